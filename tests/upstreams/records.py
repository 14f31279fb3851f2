"""What an upstream remembers: the replies that wait for their requests, and what it was asked."""

from __future__ import annotations

import base64
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from .connections import Connection
from .replies import Reply, Request, adapted

Json = dict[str, Any]


@dataclass
class Record:
    """A request as it is reported. Times are time.monotonic(), one clock for all processes of a machine."""

    request: Request
    connection: int
    received_at: float
    closed_at: float | None = None
    finished_at: float | None = None

    def report(self) -> Json:
        """The record for /__requests; a body that is not UTF-8 comes as `body_b64`."""
        request = self.request
        try:
            body = {"body": request.body.decode()}
        except UnicodeDecodeError:
            body = {"body_b64": base64.b64encode(request.body).decode()}
        return {
            "method": request.method, "path": request.target, "headers": request.headers, **body,
            "connection": self.connection, "received_at": self.received_at,
            "closed_at": self.closed_at, "finished_at": self.finished_at,
        }  # fmt: skip


@dataclass
class Script:
    """Replies that are waiting for requests whose path begins with `match`."""

    replies: deque[Json]
    match: str
    repeat: bool

    def take(self, target: str) -> Json | None:
        """The next reply for this target, None if there is none."""
        if not self.replies or not target.startswith(self.match):
            return None
        if self.repeat:
            self.replies.rotate(-1)
            return self.replies[-1]
        return self.replies.popleft()


@dataclass
class Book:
    """Scripts, records and connections of one upstream. One lock guards them all; it also tells who waits."""

    scripts: list[Script] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    accepted: int = 0
    open: int = 0
    numbered: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def count_connection(self, accepted: int, opened: int) -> None:
        """Adds to the two counts (a control connection takes itself out again)."""
        with self.changed:
            self.accepted += accepted
            self.open += opened
            self.changed.notify_all()

    def queue(self, spec: Json) -> None:
        """Appends a script; a reply that cannot be played is refused now, not when its turn comes."""
        for reply in spec["replies"]:
            adapted(Reply(), reply)
        script = Script(deque(spec["replies"]), spec.get("match") or "", bool(spec.get("repeat")))
        with self.changed:
            self.scripts.append(script)

    def next_reply(self, target: str) -> Json | None:
        """The reply of the first script that has one for this target."""
        with self.changed:
            taken = (script.take(target) for script in self.scripts)
            return next((reply for reply in taken if reply is not None), None)

    def record(self, connection: Connection, request: Request) -> Record:
        """Notes a request that has been read whole, and numbers its connection by the first one."""
        with self.changed:
            if not connection.number:
                self.numbered += 1
                connection.number = self.numbered
            record = Record(request, connection.number, time.monotonic())
            self.records.append(record)
            self.changed.notify_all()
            return record

    def settle(self, record: Record, *, gone: bool) -> None:
        """Notes that an answer came to its end, or that the peer left before."""
        with self.changed:
            if gone:
                record.closed_at = time.monotonic()
            else:
                record.finished_at = time.monotonic()
            self.changed.notify_all()

    def reports(self, count: int, closed: int, timeout: float) -> list[Json]:
        """All records, as soon as there are so many, so many of them left by the peer, or when the time is up."""
        with self.changed:
            self.changed.wait_for(
                lambda: len(self.records) >= count and sum(r.closed_at is not None for r in self.records) >= closed,
                timeout,
            )
            return [record.report() for record in self.records]

    def reset(self) -> None:
        """Forgets scripts and records; the count of connections goes on."""
        with self.changed:
            self.scripts.clear()
            self.records.clear()
