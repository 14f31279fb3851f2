"""The one watcher thread: pings silent streams, and notices clients that have left.

Without a stream it sleeps. With some it wakes when the earliest ping is due, or when a client closes its end. State:
which connections are watched and when to wake next, guarded by one lock; what it calls, it calls without the lock.
"""

from __future__ import annotations

import select
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

_NEVER = float("inf")
_LONGEST_SLEEP = 3600.0  # some systems take no more than 24 days
_RETRY = 0.5  # seconds until who could not be served now is asked again
_NO_WAIT = getattr(socket, "MSG_DONTWAIT", 0)


class Sleeper(Protocol):
    """What has something to do at a time, without a client: the pool's idle connections."""

    def due(self) -> float: ...
    def beat(self, now: float) -> None: ...


class Watched(Sleeper, Protocol):
    connection: socket.socket

    def depart(self) -> None: ...


class Heartbeat:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._immediate = hasattr(select, "epoll") or hasattr(select, "kqueue")  # else a running select sees no change
        self._watched: dict[int, Watched] = {}
        self._sleepers: list[Sleeper] = []
        self._wake_at = _NEVER
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    @contextmanager
    def watching(self, watched: Watched) -> Iterator[None]:
        """While the body runs, the client's departure is noticed and its silence filled."""
        number = watched.connection.fileno()
        with self._lock:
            self._watched[number] = watched
            self._selector.register(number, selectors.EVENT_READ)
        self.expect(watched.due())
        try:
            yield
        finally:
            with self._lock:
                del self._watched[number]
                self._unregister(number)

    def expect(self, due: float) -> None:
        """Something is due at that time: sleep no longer."""
        if due < self._wake_at or not self._immediate:
            with self._lock:
                self._wake_at = min(due, self._wake_at)
            self._waker.send(b"!")

    def add(self, sleeper: Sleeper) -> None:
        self._sleepers.append(sleeper)

    def _unregister(self, number: int) -> None:
        with suppress(KeyError):
            self._selector.unregister(number)

    def _run(self) -> None:
        while True:
            sleep = min(max(0.0, self._wake_at - time.monotonic()), _LONGEST_SLEEP)
            for key, _ in self._selector.select(sleep):
                if key.fileobj is self._woken:
                    with suppress(BlockingIOError):
                        self._woken.recv(4096)
                else:
                    self._readable(key.fd)
            if (now := time.monotonic()) >= self._wake_at:
                self._beat(now)

    def _beat(self, now: float) -> None:
        with self._lock:
            sleepers = [*self._watched.values(), *self._sleepers]
            self._wake_at = _NEVER
        for sleeper in sleepers:
            sleeper.beat(now)
        dues = (sleeper.due() for sleeper in sleepers)
        earliest = min((due if due > now else now + _RETRY for due in dues), default=_NEVER)
        with self._lock:  # a request that began meanwhile has told its own time through expect()
            self._wake_at = min(self._wake_at, earliest)

    def _readable(self, number: int) -> None:
        """A watched client sent something before its answer was complete: its end, or a pipelined request."""
        with self._lock:
            watched = self._watched.get(number)
            if watched is None or not self._departed(watched.connection):
                self._unregister(number)
                return
            self._unregister(number)
        watched.depart()

    @staticmethod
    def _departed(connection: socket.socket) -> bool:
        try:
            return not connection.recv(1, socket.MSG_PEEK | _NO_WAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
