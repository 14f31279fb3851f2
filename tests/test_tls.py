"""ccrelay_providers/core/tls.py through its socket: the same relay, spoken to over TLS."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import tempfile
import time
import unittest
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from ccrelay_providers.core.config import ConfigError, load
from ccrelay_providers.core.tls import context
from tests.relay import CERTIFICATE, KEY, PATIENCE, Relay, run, turn
from tests.relay import ECHO as ECHO_CONFIG
from tests.test_server import ECHO, Raw, Reply, post
from tests.upstreams import Upstream, anthropic_text_stream, reply

CONFIG = f"""
[server]
tls_cert = {json.dumps(str(CERTIFICATE))}
tls_key = {json.dumps(str(KEY))}
ping_interval = 0.1
head_timeout = 0.5
max_connections = 40
[routing]
first_event_patience = 0.1
[providers.echo]
type = "echo"
[providers.anthropic]
type = "anthropic"
models = ["claude-opus-5-5"]
base_url = "URL"
"""


class TestTls(unittest.TestCase):
    upstream: ClassVar[Upstream]
    relay: ClassVar[Relay]

    @classmethod
    def setUpClass(cls) -> None:
        stack = ExitStack()
        cls.addClassCleanup(stack.close)
        cls.upstream = stack.enter_context(Upstream("scripted"))
        limits = {"core.server.BODY_PROGRESS": 0.4, "core.server.WRITE_TIMEOUT": 0.6}
        config = CONFIG.replace("URL", cls.upstream.url)
        cls.relay = stack.enter_context(Relay(config, "--verbose", constants=limits))

    def tearDown(self) -> None:
        with Raw(self.relay) as raw:
            self.assertEqual(raw.ask(post(ECHO)).status, 200)
        self.assertNotIn("Traceback", self.relay.log)

    def test_requests_in_a_row_of_all_sizes(self) -> None:
        with Raw(self.relay) as raw:
            for size in (0, 50_000, 3_000_000, 10):
                body = json.dumps(turn("echo/echo", "x" * size)).encode()
                self.assertEqual(raw.ask(post(body)).status, 200)
            chunked = post(b"", "transfer-encoding: chunked", length=False)
            self.assertEqual(raw.ask(chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(ECHO), ECHO)).status, 200)

    def test_a_stream_with_pings_in_between(self) -> None:
        with self.relay.stream(turn("echo/echo", "echo:wait 0.3\necho:words 3\necho:slow 0.25")) as stream:
            events = [event["type"] for event in stream.read()]
        self.assertEqual((events[0], events[-1]), ("ping", "message_stop"))
        self.assertGreater(events[events.index("message_start") :].count("ping"), 3)

    def test_a_client_that_leaves_closes_the_upstream(self) -> None:
        for pieces in ([], anthropic_text_stream("hello")[:3]):
            self.upstream.reset()
            self.upstream.script(reply(pieces, end="hang"))
            with self.relay.stream(turn("claude-opus-5-5"), {"x-api-key": "k"}) as stream:
                self.upstream.wait_for_requests(1)
                if pieces:
                    stream.read_until(b"hello")
                left = time.monotonic()
            [request] = self.upstream.wait_for_closed(1)
            assert request.closed_at is not None
            self.assertLess(request.closed_at - left, 0.5)

    def test_a_client_that_reads_nothing_is_dropped_and_pings_hold_up_nobody(self) -> None:
        silent = self.relay.stream(turn("echo/echo", "echo:words 100000\necho:slow 0.0001", max_tokens=100000))
        silent.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with silent, self.relay.stream(turn("echo/echo", "echo:wait 1")) as other:
            self.assertGreater([event["type"] for event in other.read()].count("ping"), 3)

    def test_a_body_that_stops(self) -> None:
        for framing in ("content-length: 900", "transfer-encoding: chunked"):
            with Raw(self.relay) as raw:
                answer = raw.ask(post(b"", framing, length=False))
                self.assertEqual((answer.status, answer.json["error"]["type"]), (408, "timeout_error"))

    def test_the_end_is_announced(self) -> None:
        with Raw(self.relay) as raw:
            assert isinstance(raw.socket, ssl.SSLSocket)
            raw.socket.suppress_ragged_eofs = False  # type: ignore[attr-defined]
            self.assertEqual(raw.ask(post(ECHO, "connection: close")).status, 200)
            self.assertTrue(raw.ended())

    def test_plain_http_is_told_so(self) -> None:
        with self.relay.connect_plain() as plain, plain.makefile("rb") as file:
            plain.sendall(post(ECHO))
            answer = Reply(file)
            self.assertEqual(answer.status, 400)
            self.assertIn("https://", answer.json["error"]["message"])

    def test_what_is_no_handshake_is_closed_and_holds_up_nobody(self) -> None:
        with ExitStack() as stack:
            slow = [stack.enter_context(self.relay.connect_plain()) for _ in range(10)]
            for one in slow[:5]:
                one.sendall(b"\x16\x03\x01\x02")
            began = time.monotonic()
            self.assertEqual(self.relay.request("GET", "/health").status, 200)
            self.assertLess(time.monotonic() - began, 0.4)
            for one in slow:
                self.assertEqual(one.recv(100)[:1] in (b"", b"\x15"), True)
        for garbage in (b"\x00" * 100, b"\x16\x03\x01" + b"\xff" * 500):
            with self.relay.connect_plain() as plain:
                plain.sendall(garbage)

    def test_every_wait_has_its_own_end(self) -> None:
        """Below TLS the kernel's time-outs do nothing: each phase sets its own, and none stands in for another."""
        limits = {"core.server.KEEP_ALIVE": 0.3, "core.server.BODY_PROGRESS": 0.3}
        with Relay(CONFIG.replace("URL", self.upstream.url), constants=limits) as relay:
            with Raw(relay) as raw:
                self.assertEqual(raw.ask(post(b"", "content-length: 900", length=False)).status, 408)
            with Raw(relay) as raw:
                self.assertEqual(raw.ask(post(ECHO)).status, 200)
                self.assertTrue(raw.ended())

    def test_a_client_that_offers_two_protocols_is_told_which(self) -> None:
        offers = ssl.create_default_context(cafile=str(CERTIFICATE))
        offers.set_alpn_protocols(["h2", "http/1.1"])
        with self.relay.connect_plain() as plain, offers.wrap_socket(plain, server_hostname="localhost") as spoken:
            self.assertEqual(spoken.selected_alpn_protocol(), "http/1.1")

    def test_one_too_many(self) -> None:
        with ExitStack() as stack:
            for _ in range(40):
                stack.enter_context(self.relay.connect_plain())
            with self.assertRaises(OSError):
                self.relay.connect()
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with Raw(self.relay) as raw:
                    self.assertEqual(raw.ask(post(ECHO)).status, 200)
                return
            except (OSError, IndexError):
                self.assertLess(time.monotonic(), deadline)


class TestConfiguration(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.config = self.folder / "relay.toml"

    def test_what_is_wrong_is_a_sentence_and_files_are_looked_for_beside_the_configuration(self) -> None:
        shutil.copy(CERTIFICATE, self.folder / "cert.pem")
        (self.folder / "other.pem").write_text("nothing")
        for key, words in (
            ("no.pem", f"server.tls_key: {self.folder}/no.pem cannot be read: No such file or directory"),
            ("other.pem", f"server.tls_key: {self.folder}/other.pem is not a PEM file"),
            (KEY.with_name("another-key.pem"), "server.tls_key: is not the key of server.tls_cert"),
            (
                KEY.with_name("locked-key.pem"),
                "server.tls_key: has a password; write it out without one (openssl pkey -in KEY -out PLAIN)",
            ),
        ):
            self.config.write_text(f'[server]\ntls_cert = "cert.pem"\ntls_key = "{key}"\n{ECHO_CONFIG}')
            with self.assertRaises(ConfigError) as caught:
                context(load(self.config, {}))
            self.assertEqual(str(caught.exception), f"{self.config}: {words}")
        done = run("--config", str(self.config), "--port", "0")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (2, "", f"{self.config}: {words}\n"))


if __name__ == "__main__":
    unittest.main()
