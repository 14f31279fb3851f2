"""One request and its answer: what the client asked, and its end of the connection.

Two threads touch a Downstream: the one that answers, and the heartbeat. One lock guards what is written to the client,
so that a ping never lands inside an event; another what is to be interrupted when the client leaves.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from ..wire.http1 import Headers, chunk, render_head
from ..wire.sse import PING
from .sockets import send_now

SERVER = ("server", "ccrelay")
_STREAM_HEAD = (
    "HTTP/1.1 200 OK\r\nserver: ccrelay\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    "cache-control: no-cache\r\nx-accel-buffering: no\r\n"
)
_CHUNKED, _CLOSE = "transfer-encoding: chunked", "connection: close"
_NEVER = float("inf")


class ClientDeparted(Exception):
    """Nobody is left to answer. Not an error: people press Esc."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the client asked. `path` is normalised and decoded; `id` is minted by the relay, `req_…`."""

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    id: str
    received: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


def status_line(status: int) -> str:
    try:
        return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP/1.1 {status} Overloaded" if status == 529 else f"HTTP/1.1 {status} Status"


class Downstream:
    """The client's end of one request.

    keep_alive: whether the connection may carry another request after this answer; may turn False.
    framed: whether the client knows chunks (HTTP/1.1).
    """

    def __init__(
        self, connection: socket.socket, *, keep_alive: bool = True, framed: bool = True, head_only: bool = False
    ) -> None:
        self.connection = connection
        self.keep_alive = keep_alive and framed
        self.departed = False
        self.sent = False
        """Whether any byte of the answer has left."""
        self.first_sent_at: float | None = None
        """When the first event of the answer left, by time.monotonic()."""
        self._framed, self._head_only = framed, head_only
        self._lock = threading.Lock()
        self._staying = threading.Lock()  # free once the client has left: an Event costs four times as much to make
        self._staying.acquire()
        self._gone = False
        self._departure = threading.Lock()
        self._interrupt: Callable[[], object] | None = None
        self._head = b""  # of a stream; goes out with the first bytes
        self._early_head: list[tuple[str, str]] | None = None
        self._unsent = b""  # the rest of a ping that did not fit into the socket's buffer
        self._quiet_since = _NEVER  # when a ping is due, counted from here
        self._ping_after = _NEVER

    # ---- the answering thread ----

    def respond(self, response: Response) -> None:
        """A whole answer in one write. Raises ClientDeparted."""
        headers = [SERVER, ("content-type", response.content_type), ("content-length", str(len(response.body)))]
        if not self.keep_alive:
            headers.append(("connection", "close"))
        head = render_head(status_line(response.status), [*headers, *response.headers])
        with self._lock:
            self._quiet_since = _NEVER
            self._send(head if self._head_only else head + response.body)

    def expect_stream(self, early_head: list[tuple[str, str]], patience: float, ping_interval: float) -> None:
        """From now on silence is filled: after `patience` seconds with 200 and a ping, then with one every interval."""
        self._ping_interval = ping_interval
        self._early_head = early_head
        self._ping_after = patience
        self._quiet_since = time.monotonic()

    def _stream_head(self, headers: list[tuple[str, str]]) -> bytes:
        return render_head(_STREAM_HEAD + (_CHUNKED if self._framed else _CLOSE), headers)

    def commit(self, headers: list[tuple[str, str]], comment: bytes) -> None:
        """The stream begins with the next write. If its head left early, `comment` says what the headers would have."""
        with self._lock:
            self._early_head = None
            self._head = self._frame(comment) if self.sent else self._stream_head(headers)

    def write(self, events: bytes, last: bool = False) -> None:
        """Whole events as one chunk in one write, with the end of the stream behind the last. Raises ClientDeparted."""
        data = chunk(events, last) if self._framed else events
        with self._lock:
            if self._unsent or self._head:
                data = self._unsent + self._head + data
                self._unsent = self._head = b""
                self._ping_after = self._ping_interval
            self._send(data)
            now = time.monotonic()
            self._quiet_since = _NEVER if last else now
        if self.first_sent_at is None:
            self.first_sent_at = now

    def _frame(self, events: bytes) -> bytes:
        return chunk(events) if self._framed else events

    def _send(self, data: bytes) -> None:
        self.sent = True
        try:
            self.connection.sendall(data)
        except OSError:  # reset, or 60 s without room in its buffer
            self.departed = True
            self.keep_alive = False
            raise ClientDeparted from None

    def pause(self, seconds: float) -> None:
        """Waits, but not for a client that has left: raises ClientDeparted."""
        if self._staying.acquire(timeout=seconds):
            self._staying.release()
            raise ClientDeparted

    def settle(self) -> bool:
        """Whether a stream has begun; if not, none will: no ping comes from now on."""
        with self._lock:
            self._quiet_since = _NEVER
            return self.sent

    def on_departure(self, interrupt: Callable[[], object] | None) -> None:
        """What a departing client calls from now on, in the heartbeat's thread. Raises ClientDeparted."""
        with self._departure:
            self._interrupt = interrupt
            if self.departed and interrupt is not None:
                raise ClientDeparted

    # ---- the heartbeat's thread ----

    def depart(self) -> None:
        """The client has closed its end."""
        with self._departure:
            if not self._gone:
                self._gone = True
                self._staying.release()
            self.departed = True
            self.keep_alive = False
            if self._interrupt is not None:
                self._interrupt()

    def due(self) -> float:
        """When a ping would be due, by time.monotonic()."""
        return self._quiet_since + self._ping_after

    def beat(self, now: float) -> None:
        """Sends a ping if one is due. Never waits: who is writing now, or has not read what is there, needs none."""
        if now < self.due() or not self._lock.acquire(blocking=False):
            return
        try:
            if now < self.due():
                return
            if self._early_head is not None and not self.sent:
                self._head = self._stream_head(self._early_head)
            self._ping(self._unsent + self._head + self._frame(PING))
            self._quiet_since, self._ping_after = now, self._ping_interval
        finally:
            self._lock.release()

    def _ping(self, data: bytes) -> None:
        if self._unsent:
            return
        with suppress(OSError):  # full buffer: no ping is missed; a dead client: its departure will be noticed
            count = send_now(self.connection, data)
            self.sent = True
            self._head, self._unsent = b"", data[count:]
