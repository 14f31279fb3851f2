"""At most so many requests at a provider at once; the others wait in line.

A plan may allow one concurrent call, a local model has one slot: what is sent beyond that is refused, or slows down
what is running. One lock guards the count and the line.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from ..wire.errors import Overloaded
from .exchange import ClientDeparted, Downstream


class Gate:
    """limit: requests at once, 0 for no limit. max_queue: how many may wait; one more is refused with 529."""

    def __init__(self, name: str, limit: int, max_queue: int) -> None:
        self._name, self._limit, self._max_queue = name, limit, max_queue
        self._lock = threading.Lock()
        self._inside = 0
        self._line: deque[threading.Event] = deque()

    @property
    def waiting(self) -> int:
        return len(self._line)

    @contextmanager
    def passing(self, downstream: Downstream) -> Iterator[int]:
        """Waits for a place, first come first served, and holds it. Gives how many waited ahead.

        Raises Overloaded if the line is full, ClientDeparted if the client goes away while waiting.
        """
        if not self._limit:
            yield 0
            return
        ticket = threading.Event()
        ahead = self._enter(ticket)
        try:
            if ahead:
                downstream.on_departure(ticket.set)
                ticket.wait()
            if downstream.departed:
                raise ClientDeparted
            yield ahead
        finally:
            self._leave(ticket)

    def _enter(self, ticket: threading.Event) -> int:
        with self._lock:
            if self._inside < self._limit:
                self._inside += 1
                ticket.set()
                return 0
            if len(self._line) >= self._max_queue:
                raise Overloaded(
                    f"{self._name}: {self._inside} requests are running and {len(self._line)} wait; try again",
                    retry_after=5,
                )
            self._line.append(ticket)
            return len(self._line)

    def _leave(self, ticket: threading.Event) -> None:
        """Gives the place to the next in line, or leaves the line."""
        with self._lock:
            if ticket in self._line:
                self._line.remove(ticket)
            elif self._line:
                self._line.popleft().set()
            else:
                self._inside -= 1
