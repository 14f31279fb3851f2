"""At most so many requests at a provider at once; the others wait in line.

A plan may allow one concurrent call, a local model has one slot: what is sent beyond that is refused, or slows down
what is running. A turn that somebody waits for stands before background calls. One lock guards the count and the line.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from ..wire.errors import Overloaded
from ..wire.messages import MessagesRequest
from .exchange import ClientDeparted, Downstream

_OPEN = nullcontext(0)
_AWAITED = ("main", "compaction", "side_reply")


def in_background(asked: MessagesRequest) -> bool:
    """Whether nobody looks at the screen for this answer: a subagent's turn, a title, a summary, a probe.

    Claude Code says so itself if it is told to send its hints; else a subagent has an id, and the small calls offer
    no tools.
    """
    if kind := asked.headers.get("x-claude-code-request-class"):
        return kind not in _AWAITED
    return bool(asked.headers.get("x-claude-code-agent-id")) or not asked.body.get("tools")


class Gate:
    """limit: requests at once, 0 for no limit. max_queue: how many may wait; one more is refused with 529."""

    def __init__(self, name: str, limit: int, max_queue: int) -> None:
        self._name, self._limit, self._max_queue = name, limit, max_queue
        self._lock = threading.Lock()
        self._inside = 0
        self._line: deque[threading.Event] = deque()
        self._background: deque[threading.Event] = deque()  # stands behind the line

    @property
    def waiting(self) -> int:
        return len(self._line) + len(self._background)

    def passing(self, downstream: Downstream, asked: MessagesRequest | None = None) -> AbstractContextManager[int]:
        """Waits for a place and holds it: first come first served, background calls last. Gives how many were ahead.

        Raises Overloaded if the line is full, ClientDeparted if the client goes away while waiting.
        """
        return self._waiting(downstream, asked) if self._limit else _OPEN

    @contextmanager
    def _waiting(self, downstream: Downstream, asked: MessagesRequest | None) -> Iterator[int]:
        ticket = threading.Event()
        ahead = self._enter(ticket, asked)
        try:
            if ahead:
                downstream.on_departure(ticket.set)
                ticket.wait()
            if downstream.departed:
                raise ClientDeparted
            yield ahead
        finally:
            self._leave(ticket)

    def _enter(self, ticket: threading.Event, asked: MessagesRequest | None) -> int:
        background = bool(asked and self._inside >= self._limit and in_background(asked))
        with self._lock:
            if self._inside < self._limit:
                self._inside += 1
                ticket.set()
                return 0
            if self.waiting >= self._max_queue:
                raise Overloaded(
                    f"{self._name}: {self._inside} requests are running and {self.waiting} wait; try again",
                    retry_after=5,
                )
            (self._background if background else self._line).append(ticket)
            return self.waiting if background else len(self._line)

    def _leave(self, ticket: threading.Event) -> None:
        """Gives the place to the next in line, or leaves the line."""
        with self._lock:
            for line in (self._line, self._background):
                if ticket in line:
                    line.remove(ticket)
                    return
            if self.waiting:
                (self._line or self._background).popleft().set()
            else:
                self._inside -= 1
