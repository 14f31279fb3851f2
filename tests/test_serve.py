"""How the relay listens, and how it ends."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
import unittest
from contextlib import closing

from tests.relay import ECHO, PATIENCE, Relay, run, turn


class TestPort(unittest.TestCase):
    def test_a_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            words = f"ccrelay: cannot listen on 127.0.0.1:{port} (address already in use); is it running already?"
            done = run("--port", port)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertTrue(done.stderr.startswith(words), done.stderr)


@unittest.skipIf(os.name == "nt", "Windows has no SIGTERM that can be caught")
class TestEnd(unittest.TestCase):
    def test_an_idle_relay_ends_at_once_though_clients_are_connected(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            with Relay(ECHO) as relay, closing(relay.http()) as client:
                client.request("GET", "/health")
                client.getresponse().read()
                relay.process.send_signal(number)
                self.assertEqual(relay.process.wait(PATIENCE), 0)
                self.assertEqual(client.sock.recv(1), b"")

    def test_a_running_answer_comes_to_its_end_and_nobody_new_comes_in(self) -> None:
        with Relay(ECHO) as relay, relay.stream(turn("echo/echo", "echo:slow 0.03\necho:words 20")) as stream:
            stream.read_until(b"word1")
            relay.process.send_signal(signal.SIGTERM)
            relay.wait_for_log("stopping: running answers have 30 s to finish; a second signal ends at once")
            with self.assertRaises(ConnectionRefusedError):
                relay.connect()
            self.assertEqual(stream.read()[-1]["type"], "message_stop")
            self.assertIn(b"word20", stream.body)
            self.assertEqual(relay.process.wait(PATIENCE), 0)

    def test_an_open_connection_is_no_way_round_that(self) -> None:
        """What comes on it is left unanswered, so that the client repeats it elsewhere."""
        with Relay(ECHO) as relay, closing(relay.http()) as client:
            client.request("GET", "/health")
            client.getresponse().read()
            with relay.stream(turn("echo/echo", "echo:slow 0.03\necho:words 20")) as stream:
                stream.read_until(b"word1")
                relay.process.send_signal(signal.SIGTERM)
                relay.wait_for_log("stopping: ")
                client.request("GET", "/health")
                with self.assertRaises(http.client.RemoteDisconnected):
                    client.getresponse()
                self.assertEqual(stream.read()[-1]["type"], "message_stop")
            self.assertEqual(relay.process.wait(PATIENCE), 0)

    def test_an_answer_that_takes_too_long_is_cut_off(self) -> None:
        with (
            Relay(ECHO, constants={"commands.serve.DRAIN_SECONDS": 0.3}) as relay,
            relay.stream(turn("echo/echo", "echo:slow 0.1\necho:words 500")) as stream,
        ):
            stream.read_until(b"word1")
            began = time.monotonic()
            self.assertEqual(relay.stop(), 1)
            self.assertLess(time.monotonic() - began, PATIENCE / 2)
            with self.assertRaises((EOFError, ConnectionResetError)):
                stream.read()

    def test_a_second_signal_ends_at_once(self) -> None:
        with Relay(ECHO) as relay, relay.stream(turn("echo/echo", "echo:words 900\necho:slow 0.2")) as stream:
            stream.read_until(b"word1")
            self.signal_twice(relay)
            self.assertEqual(relay.process.wait(PATIENCE), 1)
            self.assertNotIn("Traceback", relay.log)

    def signal_twice(self, relay: Relay) -> None:
        relay.process.send_signal(signal.SIGTERM)
        relay.wait_for_log("stopping: ")
        relay.process.send_signal(signal.SIGINT)


if __name__ == "__main__":
    unittest.main()
