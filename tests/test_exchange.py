"""The client's end of a request: framing, pings between chunks only, departure."""

from __future__ import annotations

import socket
import threading
import time
import unittest
from typing import Any
from unittest import mock

from ccrelay_providers.core import exchange
from ccrelay_providers.core.exchange import ClientDeparted, Downstream, Response, status_line
from ccrelay_providers.wire.http1 import chunk
from ccrelay_providers.wire.sse import PING

EVENT = b"event: message_stop\ndata: {}\n\n"


class DownstreamTest(unittest.TestCase):
    def downstream(self, **options: Any) -> Downstream:
        ours, self.client = socket.socketpair()
        for end in (ours, self.client):
            self.addCleanup(end.close)
        self.client.settimeout(20)
        return Downstream(ours, **options)

    def streaming(self, patience: float = 10.0, interval: float = 5.0, **options: Any) -> Downstream:
        downstream = self.downstream(**options)
        downstream.expect_stream([("request-id", "early")], patience, interval)
        return downstream

    def received(self, ours: Downstream) -> bytes:
        """All that came, once nothing more can."""
        ours.connection.shutdown(socket.SHUT_WR)
        data = b""
        while piece := self.client.recv(65536):
            data += piece
        return data


class TestRespond(DownstreamTest):
    def test_a_whole_answer(self) -> None:
        ours = self.downstream()
        ours.respond(Response(200, b'{"a":1}', (("request-id", "r"),)))
        head, _, body = self.received(ours).partition(b"\r\n\r\n")
        self.assertEqual(body, b'{"a":1}')
        self.assertTrue(head.startswith(b"HTTP/1.1 200 OK\r\nserver: ccrelay\r\n"))
        self.assertIn(b"content-length: 7\r\nrequest-id: r", head)
        self.assertNotIn(b"connection:", head)
        self.assertTrue(ours.keep_alive and ours.sent)

    def test_head_has_the_length_and_no_body(self) -> None:
        ours = self.downstream(head_only=True)
        ours.respond(Response(200, b"1234"))
        self.assertTrue(self.received(ours).endswith(b"content-length: 4\r\n\r\n"))

    def test_a_connection_that_ends_says_so(self) -> None:
        for options in ({"keep_alive": False}, {"framed": False}):
            ours = self.downstream(**options)
            ours.respond(Response(200))
            self.assertIn(b"connection: close\r\n", self.received(ours))

    def test_no_header_can_begin_a_line(self) -> None:
        ours = self.downstream()
        ours.respond(Response(200, b"", (("x-ccrelay-model", "a\r\nset-cookie: b"),)))
        self.assertNotIn(b"\nset-cookie", self.received(ours))

    def test_a_client_that_is_gone(self) -> None:
        ours = self.downstream()
        self.client.close()
        with self.assertRaises(ClientDeparted):
            for _ in range(3):
                ours.respond(Response(200))
        self.assertTrue(ours.departed)
        self.assertFalse(ours.keep_alive)

    def test_status_lines(self) -> None:
        lines = [status_line(status) for status in (200, 404, 529, 499)]
        wanted = ["200 OK", "404 Not Found", "529 Overloaded", "499 Status"]
        self.assertEqual(lines, [f"HTTP/1.1 {words}" for words in wanted])


class TestStream(DownstreamTest):
    def test_head_and_first_event_leave_in_one_write(self) -> None:
        ours = self.streaming()
        ours.commit([("x-ccrelay-provider", "zai")], b": late\n\n")
        self.assertFalse(ours.sent)
        ours.write(EVENT)
        first = self.client.recv(65536)
        self.assertIn(b"x-ccrelay-provider: zai", first)
        self.assertTrue(first.endswith(b"\r\n\r\n" + chunk(EVENT)))
        self.assertNotIn(b"early", first)
        self.assertNotIn(b": late", first)

    def test_the_last_write_ends_the_chunks(self) -> None:
        ours = self.streaming()
        ours.commit([], b"")
        ours.write(EVENT, last=True)
        self.assertTrue(self.received(ours).endswith(chunk(EVENT) + b"0\r\n\r\n"))
        self.assertEqual(ours.due(), float("inf"))

    def test_without_chunks_the_end_of_the_connection_ends_it(self) -> None:
        ours = self.streaming(framed=False)
        ours.commit([], b"")
        ours.write(EVENT, last=True)
        data = self.received(ours)
        self.assertTrue(data.endswith(b"\r\n\r\n" + EVENT))
        self.assertIn(b"connection: close", data)
        self.assertNotIn(b"chunked", data)

    def test_when_the_first_event_left_is_known(self) -> None:
        ours = self.streaming()
        ours.commit([], b"")
        before = time.monotonic()
        ours.write(EVENT)
        first = ours.first_sent_at
        ours.write(EVENT)
        assert first is not None
        self.assertTrue(before <= first <= time.monotonic())
        self.assertEqual(ours.first_sent_at, first)


class TestPings(DownstreamTest):
    def test_not_before_they_are_due(self) -> None:
        ours = self.streaming(patience=10)
        ours.beat(ours.due() - 0.001)
        self.assertFalse(ours.sent)

    def test_the_first_brings_the_head_along(self) -> None:
        ours = self.streaming(patience=10, interval=5)
        due = ours.due()
        ours.beat(due)
        self.assertEqual(ours.due(), due + 5)
        ours.beat(due + 5)
        ours.commit([], b": ccrelay provider=zai\n\n")
        ours.write(EVENT, last=True)
        head, _, rest = self.received(ours).partition(b"\r\n\r\n")
        self.assertIn(b"request-id: early", head)
        self.assertEqual(rest, chunk(PING) * 2 + chunk(b": ccrelay provider=zai\n\n") + chunk(EVENT) + b"0\r\n\r\n")

    def test_a_write_puts_them_off(self) -> None:
        ours = self.streaming(patience=1000, interval=5)
        ours.commit([], b"")
        ours.write(EVENT)
        self.assertAlmostEqual(ours.due(), time.monotonic() + 5, delta=2)

    def test_no_ping_while_somebody_writes(self) -> None:
        ours = self.streaming(patience=0)
        with ours._lock:
            ours.beat(ours.due() + 1)
        self.assertFalse(ours.sent)

    def test_without_a_stream_none_is_ever_due(self) -> None:
        ours = self.downstream()
        ours.beat(1e18)
        self.assertFalse(ours.sent)

    def test_none_after_a_whole_answer(self) -> None:
        ours = self.streaming()
        ours.respond(Response(529))
        self.assertEqual(ours.due(), float("inf"))

    def test_a_full_buffer_tears_no_chunk(self) -> None:
        """What did not fit of a ping goes out before the next write; until then no other ping is sent."""
        ours = self.streaming(patience=0)
        with mock.patch.object(exchange, "send_now", lambda connection, data: connection.send(data[:100])):
            for number in range(20):
                ours.beat(ours.due() + number)
        ours.commit([], b": x\n\n")
        ours.write(EVENT)
        ours.write(EVENT, last=True)
        rest = self.received(ours).partition(b"\r\n\r\n")[2].replace(chunk(PING), b"")
        self.assertEqual(rest, chunk(b": x\n\n") + chunk(EVENT) * 2 + b"0\r\n\r\n")

    def test_what_did_not_fit_in_the_middle_of_a_stream_goes_out_before_the_next_event(self) -> None:
        ours = self.streaming()
        ours.commit([], b": x\n\n")
        ours.write(EVENT)
        with mock.patch.object(exchange, "send_now", lambda connection, data: connection.send(data[:10])):
            ours.beat(ours.due() + 1)
        ours.write(EVENT, last=True)
        rest = self.received(ours).partition(b"\r\n\r\n")[2]
        self.assertEqual(rest, chunk(EVENT) + chunk(PING) + chunk(EVENT) + b"0\r\n\r\n")

    def test_a_buffer_without_any_room_is_no_error(self) -> None:
        ours = self.streaming(patience=0)
        with mock.patch.object(exchange, "send_now", side_effect=BlockingIOError):
            ours.beat(ours.due())
        self.assertFalse(ours.sent)


class TestDeparture(DownstreamTest):
    def test_what_runs_is_interrupted(self) -> None:
        ours, calls = self.downstream(), []
        ours.on_departure(lambda: calls.append("aborted"))
        ours.depart()
        self.assertEqual((calls, ours.departed, ours.keep_alive), (["aborted"], True, False))

    def test_nothing_begins_for_a_client_that_has_left(self) -> None:
        ours = self.downstream()
        ours.depart()
        ours.on_departure(None)
        with self.assertRaises(ClientDeparted):
            ours.on_departure(lambda: None)

    def test_a_pause_ends_at_once(self) -> None:
        ours = self.downstream()
        threading.Timer(0.05, ours.depart).start()
        started = time.monotonic()
        with self.assertRaises(ClientDeparted):
            ours.pause(60)
        self.assertLess(time.monotonic() - started, 20)

    def test_a_pause_takes_its_time(self) -> None:
        started = time.monotonic()
        self.downstream().pause(0.05)
        self.assertGreaterEqual(time.monotonic() - started, 0.049)


class TestSettle(unittest.TestCase):
    """Whether a stream has begun is decided once: no ping slips in between the question and the answer."""

    def test_no_ping_comes_after_it(self) -> None:
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        downstream = Downstream(ours)
        downstream.expect_stream([], 0.0, 1.0)
        self.assertFalse(downstream.settle())
        downstream.beat(time.monotonic() + 10)
        downstream.respond(Response(400))
        self.assertTrue(theirs.recv(100).startswith(b"HTTP/1.1 400"))

    def test_a_ping_before_it_counts_as_a_beginning(self) -> None:
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        downstream = Downstream(ours)
        downstream.expect_stream([], 0.0, 1.0)
        downstream.beat(time.monotonic())
        self.assertTrue(downstream.settle())


if __name__ == "__main__":
    unittest.main()
