"""The one watcher thread: pings silent streams, and notices clients that have left.

Without a request it sleeps. With some it wakes when the earliest ping is due, or when a client closes its end. The
tables are plain dicts and sets, and each step on them is one that the interpreter makes whole; a lock is needed, and
taken, only where the time to wake is compared and set. A lock on every request's path would be waited for (it was: half
of all time at 16 connections).
"""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress
from typing import Protocol

from .sockets import hung_up

_NEVER = float("inf")
_LONGEST_SLEEP = 3600.0  # some systems take no more than 24 days
_RETRY = 0.5  # seconds until who could not be served now is asked again
_LOOK_INTERVAL = 0.05  # seconds, where no kernel call tells of a closed connection


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
        self._watched: dict[int, Watched] = {}
        self._hung_up: set[int] = set()  # connections whose client left while no request was on them
        self._sleepers: list[Sleeper] = []
        self._wake_at = _NEVER
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._hangups = _hangups()
        self._hangups.add(self._woken.fileno(), data=True)
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def opened(self, connection: socket.socket) -> None:
        """A client has connected. Told once a connection, not once a request: that would be two system calls each."""
        self._hung_up.discard(connection.fileno())
        self._hangups.add(connection.fileno())

    def closing(self, connection: socket.socket) -> None:
        """To be told before the connection is closed, while its number is its own."""
        number = connection.fileno()
        self._hangups.remove(number)
        self._hung_up.discard(number)

    def watching(self, watched: Watched) -> _Watching:
        """While the body runs, the client's departure is noticed and its silence filled."""
        return _Watching(self, watched)

    def watch(self, number: int, watched: Watched) -> None:
        self._watched[number] = watched
        if number in self._hung_up and hung_up(watched.connection):
            watched.depart()
        if self._hangups.needs_waking:
            self._waker.send(b"!")
        self.expect(watched.due())

    def forget(self, number: int) -> None:
        del self._watched[number]

    def expect(self, due: float) -> None:
        """Something is due at that time: sleep no longer."""
        if due < self._wake_at:
            with self._lock:
                self._wake_at = min(due, self._wake_at)
            self._waker.send(b"!")

    def add(self, sleeper: Sleeper) -> None:
        self._sleepers.append(sleeper)
        self.expect(sleeper.due())

    def _run(self) -> None:
        while True:
            sleep = min(max(0.0, self._wake_at - time.monotonic()), _LONGEST_SLEEP)
            for number in self._hangups.wait(sleep, self._watched):
                if number == self._woken.fileno():
                    with suppress(BlockingIOError):
                        self._woken.recv(4096)
                else:
                    self._hung(number)
            if (now := time.monotonic()) >= self._wake_at:
                self._beat(now)

    def _hung(self, number: int) -> None:
        """First remembered, then looked up; watching() does the same the other way round, so one of them sees it."""
        self._hung_up.add(number)
        if (watched := self._watched.get(number)) is None:
            return
        if hung_up(watched.connection):
            watched.depart()
        else:
            self._hung_up.discard(number)

    def _beat(self, now: float) -> None:
        with self._lock:
            self._wake_at = _NEVER
        sleepers = [*list(self._watched.values()), *self._sleepers]
        for sleeper in sleepers:
            sleeper.beat(now)
        dues = (sleeper.due() for sleeper in sleepers)
        earliest = min((due if due > now else now + _RETRY for due in dues), default=_NEVER)
        with self._lock:  # a request that began meanwhile has told its own time through expect()
            self._wake_at = min(self._wake_at, earliest)


class _Watching:
    """A context; a generator would cost as much again as what is done in it."""

    def __init__(self, heartbeat: Heartbeat, watched: Watched) -> None:
        self._heartbeat, self._watched = heartbeat, watched
        self._number = watched.connection.fileno()

    def __enter__(self) -> None:
        self._heartbeat.watch(self._number, self._watched)

    def __exit__(self, *exception: object) -> None:
        self._heartbeat.forget(self._number)


# ---- how a system tells that a peer has closed its end ----


class _Epoll:
    """Linux: only the hang-up is told, not data, and once."""

    needs_waking = False

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def add(self, number: int, data: bool = False) -> None:
        self._epoll.register(number, select.EPOLLIN if data else select.EPOLLRDHUP | select.EPOLLET)

    def remove(self, number: int) -> None:
        with suppress(OSError, ValueError):
            self._epoll.unregister(number)

    def wait(self, seconds: float, watched: dict[int, Watched]) -> list[int]:
        return [number for number, _ in self._epoll.poll(seconds)]


class _Looking:
    """Elsewhere: while requests are running, their connections are looked at every 50 ms."""

    needs_waking = True  # a select() that waits does not see what is added

    def __init__(self) -> None:
        self._own: list[int] = []

    def add(self, number: int, data: bool = False) -> None:
        if data:
            self._own.append(number)

    def remove(self, number: int) -> None:
        pass

    def wait(self, seconds: float, watched: dict[int, Watched]) -> list[int]:
        ready = select.select(self._own, [], [], min(seconds, _LOOK_INTERVAL) if watched else seconds)[0]
        return [*ready, *(number for number, one in list(watched.items()) if hung_up(one.connection))]


def _hangups() -> _Epoll | _Looking:
    return _Epoll() if hasattr(select, "epoll") else _Looking()
