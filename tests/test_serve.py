"""How the relay listens, and how it ends."""

from __future__ import annotations

import gc
import http.client
import io
import json
import os
import signal
import socket
import tempfile
import time
import unittest
from contextlib import ExitStack, closing
from pathlib import Path

from ccrelay_providers.commands.serve import build
from ccrelay_providers.core.config import load
from ccrelay_providers.core.exchange import Downstream, Request
from ccrelay_providers.core.log import Log
from ccrelay_providers.wire.http1 import Headers
from tests.relay import ECHO, PATIENCE, Json, Relay, run, turn
from tests.upstreams import Upstream, anthropic_error, anthropic_text_stream, reply


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


LEFT = """
[server]
port = 0
[routing]
first_event_patience = 60
[routes]
both = ["anthropic/claude-a", "closed/claude-a"]
[providers.anthropic]
type = "anthropic"
base_url = "{url}"
models = ["claude-a"]
[providers.closed]
type = "anthropic"
base_url = "http://127.0.0.1:1"
models = ["claude-a"]
"""


class TestNothingIsLeft(unittest.TestCase):
    """A circle of references keeps a whole request, its megabytes and its socket, until a garbage collection."""

    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.upstream = stack.enter_context(Upstream("scripted"))
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "relay.toml"
        path.write_text(LEFT.format(url=self.upstream.url), encoding="utf-8")
        server, _ = build(load(path, {}), Log("text", io.StringIO()))
        assert server is not None
        self.server = stack.enter_context(server)
        gc.collect()
        gc.disable()
        stack.callback(gc.enable)

    def left(self, model: str, *script: Json) -> set[str]:
        """Our own kinds of objects, and frames, that only the garbage collector takes away after a request."""
        self.upstream.script(*script)
        gc.collect()
        self.ask(model)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        kinds = {f"{type(one).__module__}.{type(one).__name__}" for one in gc.garbage}
        gc.garbage.clear()
        return {kind for kind in kinds if kind.startswith(("ccrelay", "socket", "http.client")) or "frame" in kind}

    def ask(self, model: str) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            body = json.dumps(turn(model, stream=True)).encode()
            headers = Headers([("host", "localhost"), ("x-api-key", "k")])
            self.server.endpoints.answer(Request("POST", "/v1/messages", "", headers, body, "req_1"), Downstream(ours))

    def test_after_an_answer(self) -> None:
        self.assertEqual(self.left("anthropic/claude-a", reply(anthropic_text_stream("hello"))), set())

    def test_after_what_failed(self) -> None:
        for script in (
            reply(end="cut"),
            reply(close="reset"),
            reply(anthropic_text_stream("hello")[:3], end="reset"),
            anthropic_error(529, "overloaded_error", "Overloaded"),
            anthropic_error(400, "invalid_request_error", "no"),
        ):
            for model in ("anthropic/claude-a", "both"):
                self.assertEqual(self.left(model, script), set(), (model, script))
        self.assertEqual(self.left("closed/claude-a"), set())
        self.assertEqual(self.left("nobody"), set())


if __name__ == "__main__":
    unittest.main()
