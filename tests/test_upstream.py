"""Connections to upstreams, over real sockets: reuse, framing, time-outs, TLS, proxies."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, cast
from unittest import mock

from ccrelay_providers.core import upstream
from ccrelay_providers.core.proxies import Proxies
from ccrelay_providers.core.upstream import MAX_IDLE, SURELY_ALIVE, Connection, ConnectionPool, Origin, Watch
from ccrelay_providers.wire.errors import UpstreamDisconnected, UpstreamFailure, UpstreamTimeout
from ccrelay_providers.wire.provider import UpstreamRequest

PATIENCE = 20.0
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
GET = UpstreamRequest("GET", "/x", (("accept", "*/*"),))
HANG, CLOSE = b"(hang)", b"(close)"


def watch(seen: list[Connection]) -> Watch:
    """Keeps the connections it is told."""
    return lambda connection: seen.append(connection) if connection else None


def unwatched(connection: Connection | None) -> None:
    """Nobody may want to abort it."""


class Server:
    """Answers requests with the next of its replies, whatever connection they come on, and closes after CLOSE."""

    def __init__(self, test: unittest.TestCase, *replies: bytes, tls: ssl.SSLContext | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._replies, self._tls = list(replies), tls
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.connections: list[socket.socket] = []
        self.closed = threading.Semaphore(0)
        test.addCleanup(self.stop)
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Their own threads close the connections: OpenSSL would read on by a number that is another's by then."""
        self._listener.close()
        for each in self.connections:
            with suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)

    def _accept(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        except OSError:
            return

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self.connections.append(connection)
            while self._one(connection):
                pass
        except OSError:
            pass
        finally:
            connection.close()
            self.closed.release()

    def _one(self, connection: socket.socket) -> bool:
        request = self._read(connection)
        if not request:
            return False
        self.requests.append(request)
        reply = self._replies.pop(0) if self._replies else OK
        if reply.endswith(HANG):
            connection.sendall(reply.removesuffix(HANG))
            return bool(connection.recv(65536))
        connection.sendall(reply.removesuffix(CLOSE))
        return not reply.endswith(CLOSE)

    @staticmethod
    def _read(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        while len(body) < length:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class PoolTest(unittest.TestCase):
    def setUp(self) -> None:
        self.pool = ConnectionPool({})
        self.origins: dict[str, Origin] = {}
        self.addCleanup(lambda: self.pool.beat(float("inf")))

    def origin(self, server: Server, path: str = "", patience: float = PATIENCE) -> Origin:
        """One a server, as a relay has one a provider."""
        return self.origins.setdefault(server.url + path, Origin("zai", server.url + path, PATIENCE, patience))

    def ask(self, origin: Origin, request: UpstreamRequest = GET, seen: Watch = unwatched) -> bytes:
        with self.pool.exchange(origin, request, seen) as response:
            return response.read()

    def idle(self) -> list[Connection]:
        return [connection for idle in self.pool._idle.values() for connection in idle]

    def fails(self, reply: bytes, error: type[UpstreamFailure], words: str, patience: float = PATIENCE) -> None:
        with self.assertRaisesRegex(error, words):
            self.ask(self.origin(Server(self, reply), patience=patience))
        self.assertEqual(self.idle(), [])


class TestRequest(PoolTest):
    def test_what_is_sent(self) -> None:
        server = Server(self)
        self.ask(self.origin(server, "/api"), UpstreamRequest("POST", "/v1/messages?beta=true", (("X-A", "1"),), b"{}"))
        head = (
            f"POST /api/v1/messages?beta=true HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\ncontent-length: 2\r\nX-A: 1"
        )
        self.assertEqual(server.requests, [head.encode() + b"\r\n\r\n{}"])

    def test_a_large_body_arrives_whole(self) -> None:
        server, body = Server(self), os.urandom(3 << 20)
        self.ask(self.origin(server), UpstreamRequest("POST", "/x", (), body))
        self.assertTrue(server.requests[0].endswith(b"\r\n\r\n" + body))

    def test_no_header_can_begin_a_line(self) -> None:
        server = Server(self)
        self.ask(self.origin(server), UpstreamRequest("GET", "/x", (("a", "b\r\nc: d"),)))
        self.assertNotIn(b"\r\nc:", server.requests[0])

    def test_base_urls(self) -> None:
        for base, path, wanted in (
            ("http://h", "/v1/messages", "/v1/messages"),
            ("http://h/", "/v1/messages", "/v1/messages"),
            ("http://h/v1", "/v1/messages", "/v1/messages"),
            ("http://h/v1/", "/v1/models", "/v1/models"),
            ("http://h/api/anthropic", "/v1/messages", "/api/anthropic/v1/messages"),
            ("http://h/v1", "/api/chat", "/v1/api/chat"),
        ):
            self.assertEqual(Origin("n", base, 1, 1).path(path), wanted, base)

    def test_ports(self) -> None:
        ports = [Origin("n", base, 1, 1).port for base in ("http://h", "https://h", "http://h:8080", "https://[::1]:1")]
        self.assertEqual(ports, [80, 443, 8080, 1])


class TestReuse(PoolTest):
    def test_one_connection_for_one_after_the_other(self) -> None:
        server = Server(self)
        for _ in range(3):
            self.assertEqual(self.ask(self.origin(server)), b"ok")
        self.assertEqual((len(server.connections), len(self.idle())), (1, 1))

    def test_one_that_was_aborted_at_the_end_is_not_kept(self) -> None:
        server = Server(self)
        with self.pool.exchange(self.origin(server), GET, unwatched) as response:
            response.read()
            response._connection.abort()
        self.assertEqual(self.idle(), [])

    def test_two_at_once_are_two_and_the_last_used_is_taken_first(self) -> None:
        server, seen = Server(self), list[Connection]()
        origin = self.origin(server)
        with (
            self.pool.exchange(origin, GET, watch(seen)) as first,
            self.pool.exchange(origin, GET, watch(seen)) as second,
        ):
            self.assertEqual((first.read(), second.read()), (b"ok", b"ok"))
        self.ask(origin, seen=watch(seen))
        self.assertIs(seen[2], seen[0])
        self.assertEqual(len(server.connections), 2)

    def test_origins_do_not_share(self) -> None:
        server = Server(self)
        self.ask(Origin("a", server.url, PATIENCE, PATIENCE))
        self.ask(Origin("b", server.url, PATIENCE, PATIENCE))
        self.assertEqual(len(server.connections), 2)

    def test_what_was_not_read_to_its_end_is_closed(self) -> None:
        server = Server(self, OK.replace(b": 2", b": 9") + HANG)
        with self.pool.exchange(self.origin(server), GET, unwatched) as response:
            next(response.pieces())
        self.assertEqual(self.idle(), [])
        self.assertTrue(server.closed.acquire(timeout=PATIENCE))

    def test_the_end_of_the_framing_is_waited_for(self) -> None:
        server = Server(self, CHUNKED + b"2\r\nok\r\n0\r\n\r\n")
        with self.pool.exchange(self.origin(server), GET, unwatched) as response:
            next(response.pieces())
        self.assertEqual(len(self.idle()), 1)

    def test_a_failure_in_the_middle_closes(self) -> None:
        server = Server(self)
        with self.assertRaises(ValueError), self.pool.exchange(self.origin(server), GET, unwatched):
            raise ValueError
        self.assertEqual(self.idle(), [])

    def test_what_cannot_be_reused(self) -> None:
        closing = OK.replace(b"content", b"connection: close\r\ncontent")
        for reply in (closing, OK + b"more", OK.replace(b"1.1", b"1.0"), b"HTTP/1.1 200 OK\r\n\r\nok" + CLOSE):
            self.assertEqual(self.ask(self.origin(Server(self, reply))), b"ok")
            self.assertEqual(self.idle(), [], reply)


class TestIdle(PoolTest):
    def test_too_old_is_not_taken(self) -> None:
        server = Server(self)
        self.ask(self.origin(server))
        self.idle()[0].idle_since -= MAX_IDLE
        self.ask(self.origin(server))
        self.assertEqual(len(server.connections), 2)

    def test_the_pool_says_when_it_wants_to_close_and_does(self) -> None:
        server, told = Server(self), list[float]()
        self.pool.on_idle = told.append
        self.assertEqual(self.pool.due(), float("inf"))
        self.ask(self.origin(server))
        self.assertEqual(told, [self.pool.due()])
        self.pool.beat(self.pool.due() - 0.001)
        self.assertEqual(len(self.idle()), 1)
        self.pool.beat(self.pool.due())
        self.assertEqual((self.idle(), self.pool.due()), ([], float("inf")))
        self.assertTrue(server.closed.acquire(timeout=PATIENCE))

    def test_closed_meanwhile_is_not_taken(self) -> None:
        server, seen = Server(self, OK + CLOSE), list[Connection]()
        self.ask(self.origin(server))
        self.assertTrue(server.closed.acquire(timeout=PATIENCE))
        self.idle()[0].idle_since -= SURELY_ALIVE
        self.assertEqual(self.ask(self.origin(server), seen=watch(seen)), b"ok")
        self.assertEqual([connection.reused for connection in seen], [False])

    def test_closed_while_the_request_was_on_its_way_is_repeated_once(self) -> None:
        server = Server(self, OK, CLOSE, OK)
        self.ask(self.origin(server))
        self.assertEqual(self.ask(self.origin(server)), b"ok")
        self.assertEqual((len(server.requests), len(server.connections)), (3, 2))

    def test_a_new_connection_is_never_repeated(self) -> None:
        server = Server(self, CLOSE)
        with self.assertRaisesRegex(UpstreamDisconnected, "^zai: closed the connection without an answer$"):
            self.ask(self.origin(server))
        self.assertEqual(len(server.requests), 1)

    def test_nor_a_time_out(self) -> None:
        server = Server(self, OK, HANG)
        self.ask(self.origin(server, patience=0.1))
        with self.assertRaises(UpstreamTimeout):
            self.ask(self.origin(server, patience=0.1))
        self.assertEqual(len(server.requests), 2)


class TestAnswers(PoolTest):
    def test_framings(self) -> None:
        for reply, body in (
            (OK, b"ok"),
            (CHUNKED + b"1;x=y\r\no\r\n1\r\nk\r\n0\r\ntrailer: x\r\n\r\n", b"ok"),
            (b"HTTP/1.1 200\r\n\r\nok" + CLOSE, b"ok"),
            (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        ):
            self.assertEqual(self.ask(self.origin(Server(self, reply))), body, reply)

    def test_head_has_no_body(self) -> None:
        self.assertEqual(self.ask(self.origin(Server(self, OK[:-2])), UpstreamRequest("HEAD", "/", ())), b"")

    def test_a_length_that_is_not_kept(self) -> None:
        self.fails(OK.replace(b": 2", b": 3") + CLOSE, UpstreamDisconnected, "^zai: .* in the middle of the answer$")

    def test_chunks_without_an_end(self) -> None:
        for cut in (b"", b"2\r\nok\r\n", b"2\r\nok", b"2\r\nok\r\n0\r\n"):
            self.fails(CHUNKED + cut + CLOSE, UpstreamDisconnected, "^zai: .* in the middle of the answer$")

    def test_what_is_no_http(self) -> None:
        for reply in (
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/2 200\r\n\r\n",
            OK.replace(b"content", b"con tent"),
            CHUNKED + b"x\r\n\r\n",
        ):
            self.fails(reply + CLOSE, UpstreamDisconnected, "not HTTP|malformed|broken")

    def test_a_head_without_end(self) -> None:
        self.fails(
            b"HTTP/1.1 200 OK\r\na: " + b"x" * 200_000 + HANG,
            UpstreamDisconnected,
            "^zai: the head of its answer is larger",
        )

    def test_interim_answers_are_skipped(self) -> None:
        interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        self.assertEqual(self.ask(self.origin(Server(self, interim + OK))), b"ok")

    def test_gzip_and_deflate_are_undone(self) -> None:
        packed = gzip.compress(b"ok" * 1000)
        for coding in (b"gzip", b"GZIP", b"deflate"):
            head = b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (coding, len(packed))
            self.assertEqual(self.ask(self.origin(Server(self, head + packed))), b"ok" * 1000)

    def test_other_codings_and_broken_ones(self) -> None:
        for coding, words in ((b"br", "content-encoding br"), (b"gzip", "cannot be read")):
            head = b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\n" % coding
            self.fails(head + OK.partition(b"\r\n")[2], UpstreamDisconnected, f"^zai: .*{words}")

    def test_an_answer_has_limits(self) -> None:
        with mock.patch.object(upstream, "MAX_BODY", 1 << 20):
            body = b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n" + b"x" * 2_000_000
            self.fails(body, UpstreamDisconnected, "^zai: its answer is larger than 1 MB$")


class TestTime(PoolTest):
    def test_silence_before_and_in_the_middle_of_an_answer(self) -> None:
        for reply in (HANG, CHUNKED + b"2\r\nok\r\n" + HANG):
            self.fails(reply, UpstreamTimeout, r"^zai: sent nothing for 0\.1 s$", patience=0.1)

    def test_an_abort_ends_the_wait(self) -> None:
        server, seen = Server(self, HANG), list[Connection]()
        threading.Thread(target=lambda: self.once(lambda: bool(server.requests), seen), daemon=True).start()
        with self.assertRaises(UpstreamDisconnected):
            self.ask(self.origin(server), seen=watch(seen))
        self.assertTrue(server.closed.acquire(timeout=PATIENCE))

    def test_one_that_was_given_up_before_it_opened_does_not(self) -> None:
        def given_up(connection: Connection | None) -> None:
            if connection is not None:
                connection.abort()

        with self.assertRaisesRegex(UpstreamFailure, "given up"):
            self.ask(self.origin(server := Server(self, OK)), seen=given_up)
        self.assertEqual(server.requests, [])

    def once(self, condition: Callable[[], bool], seen: list[Connection]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.005)
        seen[0].abort()

    def test_nobody_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with self.assertRaisesRegex(
            UpstreamFailure, rf"^zai: cannot connect to 127.0.0.1:{port} \(connection refused\)$"
        ):
            self.ask(Origin("zai", f"http://127.0.0.1:{port}", PATIENCE, PATIENCE))

    def test_nobody_accepts(self) -> None:
        self.cannot_connect(TimeoutError(), UpstreamTimeout, "^zai: no connection to h within 3 s$")

    def test_no_such_name(self) -> None:
        words = r"^zai: cannot connect to h \(the name cannot be resolved\)$"
        self.cannot_connect(socket.gaierror(-2, "unknown"), UpstreamFailure, words)

    def cannot_connect(self, reason: OSError, error: type[UpstreamFailure], words: str) -> None:
        patch = mock.patch.object(Connection, "_tcp", side_effect=reason)
        with patch, self.assertRaisesRegex(error, words):
            self.ask(Origin("zai", "http://h", 3, PATIENCE))


class TestProxied(PoolTest):
    """Through a proxy on this machine, to names that only the proxy knows."""

    def through(self, proxy: Server, base_url: str) -> bytes:
        self.pool = ConnectionPool({"http_proxy": proxy.url, "https_proxy": proxy.url})
        return self.ask(Origin("zai", base_url, PATIENCE, PATIENCE))

    def test_plain_http_in_absolute_form(self) -> None:
        proxy = Server(self)
        self.assertEqual(self.through(proxy, "http://far.example:81/api"), b"ok")
        self.assertTrue(
            proxy.requests[0].startswith(b"GET http://far.example:81/api/x HTTP/1.1\r\nhost: far.example:81\r\n")
        )

    def test_a_password_is_the_proxys_alone(self) -> None:
        proxy, direct = Server(self), Server(self)
        self.pool = ConnectionPool({"http_proxy": proxy.url.replace("//", "//user:p%40ss@")})
        self.ask(Origin("zai", "http://far.example", PATIENCE, PATIENCE))
        self.ask(self.origin(direct))
        self.assertIn(b"\r\nproxy-authorization: Basic dXNlcjpwQHNz\r\n", proxy.requests[0])
        self.assertNotIn(b"proxy-authorization", direct.requests[0])

    def test_tls_asks_for_a_tunnel_and_a_refusal_is_told(self) -> None:
        proxy = Server(self, b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
        with self.assertRaisesRegex(UpstreamFailure, "^zai: cannot connect to far.example .*407"):
            self.through(proxy, "https://far.example")
        self.assertTrue(proxy.requests[0].startswith(b"CONNECT far.example:443 HTTP/1."))


@unittest.skipUnless(shutil.which("openssl"), "needs the openssl command")
class TestTls(PoolTest):
    folder: ClassVar[Path]
    server_side: ClassVar[ssl.SSLContext]

    @classmethod
    def setUpClass(cls) -> None:
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name)
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
        )
        files = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
        subprocess.run([*command.split(), *files], cwd=cls.folder, check=True, capture_output=True)
        cls.server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        cls.server_side.load_cert_chain(cls.folder / "cert.pem", cls.folder / "key.pem")

    def origin(self, server: Server, path: str = "", patience: float = PATIENCE) -> Origin:
        url = f"https://localhost:{server.port}{path}"
        return self.origins.setdefault(url, Origin("zai", url, PATIENCE, patience))

    def trusted(self) -> None:
        """SSL_CERT_FILE is read when the first connection is made."""
        patch = mock.patch.dict(os.environ, {"SSL_CERT_FILE": str(self.folder / "cert.pem")})
        patch.start()
        self.addCleanup(patch.stop)

    def test_trusted_through_ssl_cert_file_and_reused(self) -> None:
        self.trusted()
        server = Server(self, tls=self.server_side)
        started = time.monotonic()
        for _ in range(3):
            self.assertEqual(self.ask(self.origin(server)), b"ok")
        self.assertEqual(len(server.connections), 1)
        self.assertLess(time.monotonic() - started, PATIENCE / 2)

    def test_closed_meanwhile_is_not_taken(self) -> None:
        self.trusted()
        server = Server(self, OK + CLOSE, tls=self.server_side)
        self.ask(self.origin(server))
        self.assertTrue(server.closed.acquire(timeout=PATIENCE))
        self.assertEqual(self.ask(self.origin(server)), b"ok")
        self.assertEqual(len(server.connections), 2)

    def test_a_later_connection_goes_on_with_the_session(self) -> None:
        self.trusted()
        closing = OK.replace(b"OK\r\n", b"OK\r\nconnection: close\r\n") + CLOSE
        server = Server(self, closing, closing, closing, tls=self.server_side)
        resumed = []
        for _ in range(3):
            with self.pool.exchange(self.origin(server), GET, unwatched) as response:
                response.read()
                resumed.append(cast(ssl.SSLSocket, response._connection.socket).session_reused)
        self.assertEqual((resumed, self.idle()), ([False, True, True], []))

    def test_the_session_is_taken_once_a_connection(self) -> None:
        self.trusted()
        server = Server(self, tls=self.server_side)
        sessions = mock.MagicMock()
        sessions.get.return_value = None
        self.pool._sessions = sessions
        for _ in range(3):
            self.ask(self.origin(server))
        self.assertEqual(sessions.__setitem__.call_count, 1)

    def test_refused_when_untrusted(self) -> None:
        server = Server(self, tls=self.server_side)
        words = rf"^zai: the certificate of localhost:{server.port} is not trusted \(self.signed certificate\)$"
        with self.assertRaisesRegex(UpstreamFailure, words):
            self.ask(self.origin(server))
        self.assertEqual(server.requests, [])

    def test_refused_for_another_name(self) -> None:
        self.trusted()
        server = Server(self, tls=self.server_side)
        with self.assertRaisesRegex(UpstreamFailure, "^zai: the certificate of 127.0.0.1:.* is not trusted"):
            self.ask(Origin("zai", f"https://127.0.0.1:{server.port}", PATIENCE, PATIENCE))

    def test_silence_ends(self) -> None:
        self.trusted()
        server = Server(self, HANG, tls=self.server_side)
        with self.assertRaisesRegex(UpstreamTimeout, r"^zai: sent nothing for 0\.1 s$"):
            self.ask(self.origin(server, patience=0.1))

    def test_an_abort_ends_the_wait(self) -> None:
        self.trusted()
        server, seen = Server(self, HANG, tls=self.server_side), list[Connection]()
        threading.Timer(0.1, lambda: seen[0].abort()).start()
        with self.assertRaises(UpstreamDisconnected):
            self.ask(self.origin(server), seen=watch(seen))

    def test_an_answer_that_is_cut(self) -> None:
        self.trusted()
        server = Server(self, OK.replace(b": 2", b": 3") + CLOSE, tls=self.server_side)
        with self.assertRaises(UpstreamDisconnected):
            self.ask(self.origin(server))

    def test_through_a_tunnel(self) -> None:
        """The proxy answers CONNECT and then is the server itself: what it is asked inside the tunnel is encrypted."""
        self.trusted()
        far = Server(self, tls=self.server_side)
        proxy = Tunnel(self, far.port)
        self.pool._proxies = Proxies({"https_proxy": proxy.url})
        with mock.patch.object(Proxies, "_direct", return_value=False):
            self.assertEqual(self.ask(self.origin(far)), b"ok")
        self.assertEqual(proxy.asked, f"CONNECT localhost:{far.port}".encode())
        self.assertTrue(far.requests[0].startswith(b"GET /x HTTP/1.1\r\n"))


class Tunnel:
    """A proxy for one connection."""

    def __init__(self, test: unittest.TestCase, target: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        test.addCleanup(self._listener.close)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked = b""
        threading.Thread(target=self._serve, args=(target,), daemon=True).start()

    def _serve(self, target: int) -> None:
        client, _ = self._listener.accept()
        self.asked = client.recv(65536).partition(b" HTTP/1")[0]
        far = socket.create_connection(("127.0.0.1", target))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=self._pump, args=(far, client), daemon=True).start()
        self._pump(client, far)

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with source:
            while data := source.recv(65536):
                sink.sendall(data)


if __name__ == "__main__":
    unittest.main()
