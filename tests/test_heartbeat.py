"""The watcher thread: it beats when something is due, and tells who has left."""

from __future__ import annotations

import socket
import threading
import time
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from ccrelay_providers.core import heartbeat as module
from ccrelay_providers.core.heartbeat import Heartbeat

PATIENCE = 20.0


class Watched:
    """A client's connection, that remembers what it was told."""

    def __init__(self, test: unittest.TestCase, due: float = float("inf"), interval: float = float("inf")) -> None:
        self.connection, self.client = socket.socketpair()
        for end in (self.connection, self.client):
            test.addCleanup(end.close)
        self.next, self.interval = due, interval
        self.beats: list[float] = []
        self.beaten, self.departed = threading.Semaphore(0), threading.Event()

    def due(self) -> float:
        return self.next

    def beat(self, now: float) -> None:
        if now >= self.next:
            self.beats.append(now)
            self.next = now + self.interval
            self.beaten.release()

    def depart(self) -> None:
        self.departed.set()


class TestHeartbeat(unittest.TestCase):
    """As this system has it."""

    heartbeat = Heartbeat()

    @contextmanager
    def watching(self, watched: Watched) -> Iterator[None]:
        """On a connection of its own."""
        with self.connected(watched), self.heartbeat.watching(watched):
            yield

    @contextmanager
    def connected(self, watched: Watched) -> Iterator[None]:
        self.heartbeat.opened(watched.connection)
        try:
            yield
        finally:
            self.heartbeat.closing(watched.connection)

    def test_it_beats_when_due_and_again(self) -> None:
        start = time.monotonic()
        watched = Watched(self, start + 0.05, 0.05)
        with self.watching(watched):
            for _ in range(3):
                self.assertTrue(watched.beaten.acquire(timeout=PATIENCE))
        self.assertGreaterEqual(watched.beats[0], start + 0.05)
        self.assertGreaterEqual(watched.beats[2], start + 0.15)

    def test_it_does_not_beat_afterwards(self) -> None:
        watched = Watched(self, time.monotonic() + 0.05)
        with self.watching(watched):
            pass
        other = Watched(self, time.monotonic() + 0.1)
        with self.watching(other):
            self.assertTrue(other.beaten.acquire(timeout=PATIENCE))
        self.assertEqual(watched.beats, [])

    def test_an_earlier_due_wakes_it(self) -> None:
        late = Watched(self, time.monotonic() + 3600)
        with self.watching(late):
            soon = Watched(self, time.monotonic() + 0.05)
            with self.watching(soon):
                self.assertTrue(soon.beaten.acquire(timeout=PATIENCE))
        self.assertEqual(late.beats, [])

    def test_a_due_that_moved_closer_is_told_with_expect(self) -> None:
        watched = Watched(self, time.monotonic() + 3600)
        with self.watching(watched):
            watched.next = time.monotonic() + 0.02
            self.heartbeat.expect(watched.next)
            self.assertTrue(watched.beaten.acquire(timeout=PATIENCE))

    def test_a_sleeper_needs_no_client(self) -> None:
        heartbeat, sleeper = Heartbeat(), Watched(self, time.monotonic() + 0.02)
        heartbeat.add(sleeper)
        heartbeat.expect(sleeper.due())
        self.assertTrue(sleeper.beaten.acquire(timeout=PATIENCE))

    def test_a_client_that_closes_is_noticed(self) -> None:
        watched = Watched(self)
        with self.watching(watched):
            watched.client.close()
            self.assertTrue(watched.departed.wait(PATIENCE))

    def test_of_many_the_right_one(self) -> None:
        staying, leaving = Watched(self), Watched(self)
        with self.watching(staying), self.watching(leaving):
            leaving.client.close()
            self.assertTrue(leaving.departed.wait(PATIENCE))
        self.assertFalse(staying.departed.is_set())

    def test_a_client_that_is_gone_before_is_noticed(self) -> None:
        watched = Watched(self)
        with self.connected(watched):
            watched.client.close()
            self.test_a_client_that_closes_is_noticed()  # by then it has seen this one, too
            with self.heartbeat.watching(watched):
                self.assertTrue(watched.departed.wait(PATIENCE))

    def test_one_that_is_gone_before_the_connection_is_known(self) -> None:
        watched = Watched(self)
        watched.client.close()
        with self.watching(watched):
            self.assertTrue(watched.departed.wait(PATIENCE))

    def test_a_pipelined_request_is_no_departure(self) -> None:
        pipelining, leaving = Watched(self), Watched(self)
        with self.watching(pipelining), self.watching(leaving):
            pipelining.client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            leaving.client.close()
            self.assertTrue(leaving.departed.wait(PATIENCE))
            self.assertFalse(pipelining.departed.is_set())
        self.assertEqual(pipelining.connection.recv(3), b"GET")

    def test_a_connection_can_be_watched_again_and_again(self) -> None:
        watched = Watched(self)
        with self.connected(watched):
            for _ in range(50):
                with self.heartbeat.watching(watched):
                    pass
            with self.heartbeat.watching(watched):
                watched.client.close()
                self.assertTrue(watched.departed.wait(PATIENCE))

    def test_a_number_that_is_used_again_is_somebody_else(self) -> None:
        for _ in range(20):
            gone = Watched(self)
            with self.watching(gone):
                gone.client.close()
                self.assertTrue(gone.departed.wait(PATIENCE))
            gone.connection.close()
            with self.watching(here := Watched(self)):
                self.assertFalse(here.departed.is_set())

    def test_many_come_and_go_at_once(self) -> None:
        def rounds() -> None:
            for _ in range(100):
                with self.watching(Watched(self, time.monotonic() + 0.001, 0.001)):
                    pass

        threads = [threading.Thread(target=rounds) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        self.test_a_client_that_closes_is_noticed()


class TestElsewhere(TestHeartbeat):
    """As it is where no kernel call tells of a closed connection."""

    with mock.patch.object(module, "_hangups", module._Looking):
        heartbeat = Heartbeat()


if __name__ == "__main__":
    unittest.main()
