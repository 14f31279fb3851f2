"""What the relay asks of sockets, tried on a pair of them."""

from __future__ import annotations

import socket
import time
import unittest
from unittest import mock

from ccrelay_providers.core import sockets
from ccrelay_providers.core.sockets import peek, readable, send_now, set_timeouts


class TestSockets(unittest.TestCase):
    def setUp(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)

    def test_peek_tells_nothing_data_and_the_end_apart(self) -> None:
        self.assertIsNone(peek(self.ours))
        self.theirs.sendall(b"ab")
        self.assertEqual((peek(self.ours), peek(self.ours)), (b"a", b"a"))
        self.assertEqual(self.ours.recv(2), b"ab")
        self.theirs.close()
        self.assertEqual(peek(self.ours), b"")

    def test_peek_never_waits_whatever_the_timeout(self) -> None:
        started = time.monotonic()
        for timeout in (None, 30.0):
            self.ours.settimeout(timeout)
            self.assertIsNone(peek(self.ours))
            with mock.patch.object(sockets, "_NO_WAIT", 0):
                self.assertIsNone(peek(self.ours))
        self.assertLess(time.monotonic() - started, 20)

    def test_readable(self) -> None:
        self.assertFalse(readable(self.ours, 0.01))
        self.theirs.close()
        self.assertTrue(readable(self.ours, 20))

    def test_a_receive_gives_up_in_time(self) -> None:
        set_timeouts(self.ours, 0.05, 20)
        started = time.monotonic()
        with self.assertRaises(BlockingIOError):
            self.ours.recv(1)
        self.assertTrue(0.04 <= time.monotonic() - started < 20)

    def test_a_send_gives_up_in_time(self) -> None:
        set_timeouts(self.ours, 20, 0.05)
        with self.assertRaises(BlockingIOError):
            self.ours.sendall(b"x" * (64 << 20))

    def test_send_now_takes_what_fits_and_never_waits(self) -> None:
        self.assertEqual(send_now(self.ours, b"abc"), 3)
        self.ours.setblocking(True)
        with self.assertRaises(BlockingIOError):
            while send_now(self.ours, b"x" * 65536):
                pass


if __name__ == "__main__":
    unittest.main()
