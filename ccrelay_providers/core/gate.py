"""At most so many requests at a provider at once; the others wait in line.

A plan may allow one concurrent call, a local model has one slot: what is sent beyond that is refused, or slows down
what is running. The sessions take turns, and in each it is first come first served; a turn that somebody waits for goes
before background calls, but not for ever. One lock guards the count and the lines.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from ..wire.errors import QueueFull
from ..wire.messages import MessagesRequest
from .exchange import ClientDeparted, Downstream

HEAD_START = 8  # places that are given away before a background call is as urgent as a turn that has just come
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


@dataclass(slots=True)
class _Line:
    """Of one session; its background calls stand in a second one. urgency: the lowest goes first."""

    urgency: int
    tickets: deque[threading.Event] = field(default_factory=deque)


class Gate:
    """limit: requests at once, 0 for no limit. max_queue: how many may wait; one more is refused with 529."""

    def __init__(self, name: str, limit: int, max_queue: int) -> None:
        self._name, self._limit, self._max_queue = name, limit, max_queue
        self._lock = threading.Lock()
        self._inside = 0
        self._given = 0  # places so far: the time by which lines age
        self._lines: dict[tuple[str, bool], _Line] = {}  # by session, and whether in the background

    @property
    def waiting(self) -> int:
        return sum(len(line.tickets) for line in list(self._lines.values()))

    def passing(
        self, downstream: Downstream, asked: MessagesRequest | None = None, deadline: float | None = None
    ) -> AbstractContextManager[int]:
        """Waits for a place and holds it. Gives how many were ahead.

        deadline: by time.monotonic(). Raises QueueFull if there is no room to wait or no place until then,
        ClientDeparted if the client goes away while waiting.
        """
        return self._waiting(downstream, asked, deadline) if self._limit else _OPEN

    @contextmanager
    def _waiting(self, downstream: Downstream, asked: MessagesRequest | None, deadline: float | None) -> Iterator[int]:
        ticket = threading.Event()
        ahead = self._enter(ticket, asked)
        try:
            if ahead:
                self._wait(ticket, downstream, deadline)
            yield ahead
        finally:
            self._leave(ticket)

    def _wait(self, ticket: threading.Event, downstream: Downstream, deadline: float | None) -> None:
        downstream.on_departure(ticket.set)
        called = ticket.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        if downstream.departed:
            raise ClientDeparted
        if not called:
            raise QueueFull(f"{self._name}: {self._inside} requests are running; no place came free in time")

    def _busy(self) -> str:
        running = "1 request is" if self._inside == 1 else f"{self._inside} requests are"
        return f"{running} running and {self.waiting} {'waits' if self.waiting == 1 else 'wait'}"

    def _enter(self, ticket: threading.Event, asked: MessagesRequest | None) -> int:
        background = bool(asked and self._inside >= self._limit and in_background(asked))
        session = asked.headers.get("x-claude-code-session-id") or "" if asked else ""
        with self._lock:
            if self._inside < self._limit:
                self._inside += 1
                ticket.set()
                return 0
            if self.waiting >= self._max_queue:
                raise QueueFull(f"{self._name}: {self._busy()}; try again", retry_after=5)
            line = self._lines.setdefault((session, background), _Line(self._urgency(background)))
            line.tickets.append(ticket)
            return sum(len(line.tickets) for (_, last), line in self._lines.items() if background or not last)

    def _urgency(self, background: bool) -> int:
        """Of a line whose first comes to the front now: the longer it will have stood there, the lower than others'."""
        return self._given if background else self._given - HEAD_START

    def _leave(self, ticket: threading.Event) -> None:
        """Gives the place to the next in line, or leaves the line."""
        with self._lock:
            for key, line in self._lines.items():
                if ticket in line.tickets:
                    line.tickets.remove(ticket)
                    if not line.tickets:
                        del self._lines[key]
                    return
            if self._lines:
                self._call_next()
            else:
                self._inside -= 1

    def _call_next(self) -> None:
        """The session that has waited longest since it was served."""
        key = min(self._lines, key=lambda key: self._lines[key].urgency)
        line = self._lines[key]
        line.tickets.popleft().set()
        self._given += 1
        line.urgency = self._urgency(key[1])
        if not line.tickets:
            del self._lines[key]
