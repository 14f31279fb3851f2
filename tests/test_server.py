"""The listening side through its socket: endpoints, bad input, limits, who is let in, what echo can be told to do."""

from __future__ import annotations

import gzip
import json
import time
import unittest
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, ClassVar

from tests.relay import CLIENT, PATIENCE, Answer, Json, Relay, parse_events, text_of, turn
from tests.upstreams import Upstream, json_reply

CONFIG = """
[server]
max_body_mb = 0.1
head_timeout = 0.3
ping_interval = 0.2
allowed_hosts = ["relay.lan"]
{server}
[routing]
first_event_patience = 0.2
[providers.anthropic]
type = "anthropic"
base_url = "{upstream}"
models = ["claude-opus-5-5"]
[providers.zai]
type = "zai"
base_url = "{upstream}/api/anthropic"
api_key = "zai-secret"
models = [{{ id = "glm-5.2", context = 1000000, name = "GLM-5.2" }}, "glm-4.5-air"]
[providers.echo]
type = "echo"
"""
LIMIT = int(0.1 * (1 << 20))
IDS = ["anthropic/claude-opus-5-5", "zai/glm-5.2", "zai/glm-4.5-air", "echo/echo"]
DISCOVERY = {"user-agent": "claude-code/2.1.328", "authorization": "Bearer x"}


class Reply:
    """One response off a raw connection; the next one stays on it."""

    def __init__(self, file: Any) -> None:
        self.line = file.readline().decode().strip()
        self.status = int(self.line.split()[1])
        self.headers: dict[str, str] = {}
        while line := file.readline().decode().strip():
            name, _, value = line.partition(": ")
            self.headers[name.lower()] = value
        self.body: bytes = file.read(int(self.headers["content-length"])) if "content-length" in self.headers else b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Raw:
    """A connection on which a test writes its own bytes."""

    def __init__(self, relay: Relay) -> None:
        self.socket = relay.connect()
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()
        self.socket.close()

    def ask(self, data: bytes) -> Reply:
        self.socket.sendall(data)
        return Reply(self.file)

    def ended(self) -> bool:
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True


def post(body: bytes, *lines: str, path: str = "/v1/messages", length: bool = True) -> bytes:
    """A request's bytes, its head lines as they are given."""
    head = [f"POST {path} HTTP/1.1", "host: localhost", *lines, *([f"content-length: {len(body)}"] if length else [])]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


ECHO = json.dumps(turn("echo/echo")).encode()


class ServerTest(unittest.TestCase):
    """A relay before one scripted upstream, which answers 404 to everything unscripted and tells what it was asked."""

    server: ClassVar[str] = ""
    upstream: ClassVar[Upstream]
    relay: ClassVar[Relay]

    @classmethod
    def setUpClass(cls) -> None:
        stack = ExitStack()
        cls.addClassCleanup(stack.close)
        cls.upstream = stack.enter_context(Upstream("scripted"))
        cls.relay = stack.enter_context(Relay(CONFIG.format(upstream=cls.upstream.url, server=cls.server), "--verbose"))

    def get(self, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
        return self.relay.request(method, path, headers=headers)

    def raw(self) -> Raw:
        raw = Raw(self.relay)
        self.addCleanup(raw.__exit__)
        return raw

    def refused(self, reply: Answer | Reply, status: int, kind: str, words: str = "") -> None:
        """An error in the API's own shape, in the body and in the headers."""
        self.assertEqual(reply.status, status, reply.body)
        error = reply.json
        self.assertEqual((error["type"], error["error"]["type"]), ("error", kind))
        self.assertRegex(error["error"]["message"], words)
        self.assertRegex(error["request_id"], "^req_[0-9a-f]{24}$")
        self.assertEqual(reply.headers["request-id"], error["request_id"])
        self.assertEqual(reply.headers["content-type"], "application/json")


class TestEndpoints(ServerTest):
    def test_messages_with_any_query(self) -> None:
        for path in (
            "/v1/messages",
            "/v1/messages?beta=true",
            "/v1/messages?a=%2f&b",
            "/v1/messages/",
            "//v1//messages",
            "/v1/v1/messages",
        ):
            answer = self.relay.request("POST", path, turn("echo/echo"))
            self.assertEqual((answer.status, answer.json["type"]), (200, "message"), path)

    def test_count_tokens(self) -> None:
        body = {"model": "echo/echo", "messages": [{"role": "user", "content": "word " * 72}]}
        for path in ("/v1/messages/count_tokens?beta=true", "/v1/v1/messages/count_tokens/"):
            answer = self.relay.request("POST", path, body)
            self.assertEqual((answer.json, answer.headers["x-ccrelay-estimated"]), ({"input_tokens": 98}, "true"))

    def test_hello_and_health(self) -> None:
        for path in ("/", "/api/hello", "/health"):
            answer, head = self.get(path), self.get(path, method="HEAD")
            self.assertEqual((answer.status, head.status, head.body), (200, 200, b""), path)
            self.assertIsInstance(answer.json, dict)

    def test_the_list(self) -> None:
        answer = self.get("/v1/models?limit=1000").json
        self.assertEqual([model["id"] for model in answer["data"]], IDS)
        self.assertEqual((answer["has_more"], answer["first_id"], answer["last_id"]), (False, IDS[0], IDS[-1]))
        self.assertTrue(all(isinstance(model["display_name"], str) for model in answer["data"]))
        self.assertEqual(self.get("/v1/models", method="HEAD").body, b"")

    def test_the_list_for_the_picker(self) -> None:
        data = self.get("/v1/models?limit=1000", DISCOVERY).json["data"]
        self.assertEqual(
            [model["id"] for model in data], ["claude-opus-5-5", *(f"anthropic-relay/{name}" for name in IDS[1:])]
        )
        glm = data[1]
        self.assertEqual((glm["display_name"], glm["description"]), ("GLM-5.2", "Z.AI · 1M context · tools, thinking"))
        self.assertTrue(all(isinstance(model["display_name"], str) for model in data))

    def test_pages(self) -> None:
        first = self.get("/v1/models?limit=2").json
        second = self.get(f"/v1/models?limit=2&after_id={first['last_id']}").json
        before = self.get(f"/v1/models?limit=1&before_id={second['first_id']}").json
        self.assertEqual([model["id"] for model in first["data"] + second["data"]], IDS)
        self.assertEqual((first["has_more"], second["has_more"], before["first_id"]), (True, False, IDS[1]))
        self.refused(self.get("/v1/models?limit=none"), 400, "invalid_request_error", "^limit: ")
        self.refused(self.get("/v1/models?after_id=none"), 400, "invalid_request_error", "^after_id: no model 'none'")

    def test_one_model(self) -> None:
        for path, name in (
            ("zai/glm-5.2", "zai/glm-5.2"),
            ("zai%2Fglm-5.2", "zai/glm-5.2"),
            ("anthropic-relay%2Fzai%2Fglm-5.2", "anthropic-relay/zai/glm-5.2"),
            ("glm-5.2/", "glm-5.2"),
            ("claude-new%3A8b", "claude-new:8b"),
        ):
            self.assertEqual(self.get(f"/v1/models/{path}").json["id"], name)
        self.refused(
            self.get("/v1/models/zai%2Fglm-5.3"),
            404,
            "not_found_error",
            "^model: zai/glm-5.3; did you mean zai/glm-5.2",
        )

    def test_nothing_there(self) -> None:
        for method, path in (
            ("GET", "/v2"),
            ("POST", "/v1/complete"),
            ("GET", "/favicon.ico"),
            ("OPTIONS", "/x"),
            ("GET", "/../etc"),
        ):
            self.refused(self.get(path, method=method), 404, "not_found_error", "no such endpoint")

    def test_the_wrong_method(self) -> None:
        for method, path in (
            ("GET", "/v1/messages"),
            ("DELETE", "/v1/models"),
            ("PUT", "/health"),
            ("POST", "/v1/models/x"),
            ("BREW", "/"),
        ):
            self.refused(self.get(path, method=method), 405, "invalid_request_error", f"takes .*, not {method}")
        self.assertEqual(self.get("/v1/messages", method="HEAD").body, b"")


class TestBodies(ServerTest):
    def wrong(self, body: bytes | Json, words: str, status: int = 400, kind: str = "invalid_request_error") -> None:
        with self.subTest(body=str(body)[:80]):
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.refused(self.connection.ask(post(data)), status, kind, words)

    def setUp(self) -> None:
        self.connection = self.raw()

    def tearDown(self) -> None:
        """After every refusal the same connection is good for the next request, and nothing went upstream."""
        self.assertEqual(self.connection.ask(post(ECHO)).status, 200)
        self.assertEqual(self.upstream.requests(), [])

    def test_what_is_no_json(self) -> None:
        for body in (
            b"",
            b"{",
            b"[]",
            b'"x"',
            b"null",
            b"{} {}",
            b'{"a":1,}',
            b"{'a':1}",
            b'{"a" 1}',
            b"\x00",
            b"\xef\xbb\xbf{}",
        ):
            self.wrong(body, "^the body is not valid JSON: ")

    def test_what_is_no_json_either(self) -> None:
        for value in (b"NaN", b"Infinity", b"-Infinity", b"[" * 100_000, b"1" * 5000, b'"\n"', b"01", b"1."):
            self.wrong(b'{"model":"claude-opus-5-5","x":' + value + b"}", "^the body is not valid JSON: ")
        self.wrong(b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "nested too deeply")
        self.wrong(b'{"model":"\xff\xfe"}', "^the body is not UTF-8: byte 10 cannot be read$")
        self.wrong(b'{"model":"\xed\xa0\x80"}', "^the body is not UTF-8")

    def test_fields_that_are_missing(self) -> None:
        for field in ("model", "messages", "max_tokens"):
            body = turn("claude-opus-5-5")
            del body[field]
            self.wrong(body, f"^{field}: Field required$")

    def test_fields_of_the_wrong_kind(self) -> None:
        for field, values in {
            "model": (None, 5, "", " ", []),
            "stream": ("true", 1, None),
            "messages": (None, "x", {}),
            "max_tokens": ("1", 1.5, -1, True, 1e999),
            "system": (5, {}, True),
            "tools": ("x", {"a": 1}, 5, ["Bash"]),
            "stop_sequences": ("x",),
            "thinking": ("x", [1]),
            "metadata": ("x",),
        }.items():
            for value in values:
                body = json.dumps({**turn("claude-opus-5-5"), field: value}).replace("Infinity", "1e999")
                self.wrong(body.encode(), f"^{field}: expected ")

    def test_messages_of_the_wrong_kind(self) -> None:
        for message, words in (
            ("x", "^messages.1: expected an object"),
            ({"content": "x"}, r"^messages.1.role: expected"),
            ({"role": "tool", "content": "x"}, r"^messages.1.role: expected"),
            ({"role": "user"}, r"^messages.1.content: expected"),
            ({"role": "user", "content": 5}, r"^messages.1.content: expected"),
            ({"role": "user", "content": ["x"]}, r"^messages.1.content.0: expected an object with a type"),
            ({"role": "user", "content": [{"type": 5}]}, r"^messages.1.content.0: expected"),
        ):
            self.wrong(turn("claude-opus-5-5", messages=[{"role": "user", "content": "x"}, message]), words)

    def test_unknown_models_are_told_the_near_ones(self) -> None:
        self.wrong(turn("zai/glm-5.3"), "^model: zai/glm-5.3; did you mean zai/glm-5.2", 404, "not_found_error")
        self.wrong(turn("xyzzy"), "^model: xyzzy$", 404, "not_found_error")
        self.wrong(b'{"model":"\\ud800","max_tokens":1,"messages":[]}', "^model: \ud800$", 404, "not_found_error")

    def test_huge_numbers_and_unknown_fields_are_no_reason_to_fail(self) -> None:
        body = b'{"model":"echo/echo","max_tokens":%d,"messages":[],"brand_new":1e999,"x":1e-999}' % 10**400
        self.assertEqual(self.connection.ask(post(body)).status, 200)

    def test_gzip(self) -> None:
        self.assertEqual(self.connection.ask(post(gzip.compress(ECHO), "content-encoding: gzip")).status, 200)

    def test_gzip_does_not_reach_an_upstream_as_such(self) -> None:
        self.upstream.script(json_reply({"content": [], "model": "claude-opus-5-5"}))
        body = json.dumps(turn("claude-opus-5-5")).encode()
        self.connection.ask(post(gzip.compress(body), "content-encoding: gzip", "x-api-key: k"))
        [seen] = self.upstream.requests()
        self.assertEqual((seen.body, seen.header("content-encoding")), (body, None))
        self.upstream.reset()

    def test_chunks(self) -> None:
        half = len(ECHO) // 2
        chunks = b"%x;a=b\r\n%b\r\n%x\r\n%b\r\n0\r\nx: y\r\n\r\n" % (half, ECHO[:half], len(ECHO) - half, ECHO[half:])
        request = post(b"", "transfer-encoding: chunked", length=False)
        self.assertEqual(self.connection.ask(request + chunks).status, 200)
        for byte in request + chunks:
            self.connection.socket.sendall(bytes([byte]))
        self.assertEqual(Reply(self.connection.file).status, 200)

    def test_expect(self) -> None:
        head = post(b"", "expect: 100-continue", f"content-length: {len(ECHO)}", length=False)
        self.assertEqual(self.connection.ask(head).status, 100)
        self.assertEqual(self.connection.ask(ECHO).status, 200)


class TestFraming(ServerTest):
    """What cannot be told apart from the next request is answered, and ends the connection."""

    def closed(self, data: bytes, status: int, words: str, kind: str = "invalid_request_error") -> None:
        with self.subTest(data=data[:100]), Raw(self.relay) as raw:
            reply = raw.ask(data)
            self.refused(reply, status, kind, words)
            self.assertEqual(reply.headers["connection"], "close")
            self.assertTrue(raw.ended())

    def tearDown(self) -> None:
        self.assertEqual(self.upstream.requests(), [])
        self.assertEqual(self.get("/").status, 200)

    def test_a_body_over_the_limit_is_not_read(self) -> None:
        head = post(b"", "content-length: 99999999999", length=False)
        self.closed(head, 413, r"^the request is larger than 0\.1 MB \(server.max_body_mb\)$", "request_too_large")
        self.closed(post(b"x" * (LIMIT + 1)), 413, "0.1 MB", "request_too_large")
        expecting = post(b"", "expect: 100-continue", f"content-length: {LIMIT + 1}", length=False)
        self.closed(expecting, 413, "0.1 MB", "request_too_large")

    def test_a_body_at_the_limit_is(self) -> None:
        body = ECHO + b" " * (LIMIT - len(ECHO))
        self.assertEqual(self.relay.request("POST", "/v1/messages", body).status, 200)

    def test_chunks_over_the_limit(self) -> None:
        request = post(b"", "transfer-encoding: chunked", length=False)
        chunks = b"%x\r\n%b\r\n" % (LIMIT, b"x" * LIMIT)
        self.closed(request + chunks + b"1\r\nx\r\n", 413, "0.1 MB", "request_too_large")

    def test_gzip_bombs(self) -> None:
        bomb = gzip.compress(b" " * (64 << 20))
        self.assertLess(len(bomb), LIMIT)
        self.closed(post(bomb, "content-encoding: gzip"), 413, "0.1 MB", "request_too_large")

    def test_codings(self) -> None:
        packed = gzip.compress(ECHO)
        self.closed(post(packed[:-9], "content-encoding: gzip"), 400, "cut off")
        self.closed(post(packed + b"x", "content-encoding: gzip"), 400, "follows the gzip body")
        self.closed(post(ECHO, "content-encoding: gzip"), 400, "not gzip")
        self.closed(post(ECHO, "content-encoding: br"), 400, "expected gzip, got 'br'")

    def test_lengths(self) -> None:
        for value in ("-1", "+5", "0x10", "1_0", "five", "", "5, 5", "1" * 30, "\xb2"):
            self.closed(post(b"", f"content-length: {value}", length=False), 400, "^content-length: ")
        self.closed(post(b"", "content-length: 0", "content-length: 5", length=False), 400, "given twice")
        self.closed(post(b"{}", "transfer-encoding: chunked"), 400, "exclude each other")

    def test_transfer_codings(self) -> None:
        for value in ("gzip, chunked", "identity", "chunked, chunked", "xchunked"):
            self.closed(
                post(b"", f"transfer-encoding: {value}", length=False), 400, "^transfer-encoding: expected chunked"
            )
        twice = post(b"", "transfer-encoding: chunked", "transfer-encoding: chunked", length=False)
        self.closed(twice, 400, "given twice")

    def test_chunk_sizes(self) -> None:
        request = post(b"", "transfer-encoding: chunked", length=False)
        for chunks in (
            b"x\r\n",
            b"-1\r\n",
            b"0x2\r\n{}\r\n",
            b"2\n{}\n0\n\n",
            b"2\r\n{}x\r\n",
            b"\r\n",
            b"f" * 20 + b"\r\n",
            b" 2\r\n{}\r\n",
        ):
            self.closed(request + chunks, 400, "chunked framing")
        self.closed(request + b"2;" + b"x" * 5000, 400, "too long")

    def test_heads(self) -> None:
        for line in ("a\x00b: 1", "a: \x00", "a : 1", ": 1", "no colon", " folded: 1", "a: b\rc: d", "a\xe9: 1"):
            self.closed(post(b"", line), 400, "^a header field is malformed$")
        self.closed(post(b"", *(f"a{number}: 1" for number in range(200))), 400, "more than 100 header fields")
        self.closed(post(b"", "a: " + "x" * 70_000), 431, "head is larger than 65536 bytes")

    def test_request_lines(self) -> None:
        for line in (
            "GET /\r HTTP/1.1",
            "GET / HTTP/1.1 x",
            "GET  / HTTP/1.1",
            "GET / HTTP/2.0",
            "GET /",
            "G\x00T / HTTP/1.1",
            "GET /\xe9 HTTP/1.1",
            "\x16\x03\x01",
        ):
            self.closed(
                line.encode("latin-1") + b"\r\nhost: localhost\r\n\r\n", 400, "the request line is not|malformed"
            )

    def test_a_slow_head(self) -> None:
        self.closed(b"POST /v1/messages HTTP/1.1\r\nhost: ", 408, "did not arrive in time", "timeout_error")

    def test_a_client_that_leaves_in_the_middle_harms_nobody(self) -> None:
        for part in (post(ECHO)[:20], post(ECHO)[:-5], b""):
            with Raw(self.relay) as raw:
                raw.socket.sendall(part)
        self.assertNotIn("Traceback", self.relay.log)


class TestConnections(ServerTest):
    def test_requests_in_a_row_and_empty_lines_between(self) -> None:
        raw = self.raw()
        for _ in range(3):
            self.assertEqual(raw.ask(b"\r\n\r\n" + post(ECHO)).status, 200)

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        raw = self.raw()
        paths = ("/health", "/nowhere", "/")
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(ECHO), ECHO)
        chunked = post(b"", "transfer-encoding: chunked", length=False) + chunks
        rest = b"".join(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode() for path in paths)
        for first in (post(ECHO), chunked):
            raw.socket.sendall(first + rest)
            self.assertEqual([Reply(raw.file).status for _ in range(4)], [200, 200, 404, 200])

    def test_after_errors_the_connection_stays(self) -> None:
        raw = self.raw()
        for body, status in ((b"{", 400), (json.dumps(turn("xyzzy")).encode(), 404), (ECHO, 200)):
            reply = raw.ask(post(body))
            self.assertEqual((reply.status, "connection" in reply.headers), (status, False))

    def test_a_client_that_wants_to_close(self) -> None:
        raw = self.raw()
        self.assertEqual(raw.ask(post(ECHO, "connection: close")).headers["connection"], "close")
        self.assertTrue(raw.ended())

    def test_http_1_0_gets_no_chunks(self) -> None:
        body = json.dumps(turn("echo/echo", stream=True)).encode()
        raw = self.raw()
        reply = raw.ask(post(body).replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.assertEqual((reply.status, reply.headers["connection"]), (200, "close"))
        self.assertNotIn("transfer-encoding", reply.headers)
        self.assertEqual(parse_events(raw.file.read())[-1]["type"], "message_stop")

    def test_the_absolute_form(self) -> None:
        raw = self.raw()
        self.assertEqual(raw.ask(b"GET http://localhost:1/health?x HTTP/1.1\r\nhost: localhost\r\n\r\n").status, 200)


class TestWhoMayAsk(ServerTest):
    def ask(self, *lines: str) -> Reply:
        return self.raw().ask("\r\n".join(["GET /v1/models HTTP/1.1", *lines, "", ""]).encode())

    def test_hosts(self) -> None:
        for host in ("localhost", f"127.0.0.1:{self.relay.port}", "[::1]:1", "relay.lan", "RELAY.LAN:8787"):
            self.assertEqual(self.ask(f"host: {host}").status, 200, host)
        for host in ("evil.com", "relay.lan.evil.com", "127.0.0.1.evil.com", "192.168.1.1"):
            self.refused(self.ask(f"host: {host}"), 403, "permission_error", "server.allowed_hosts")

    def test_origins(self) -> None:
        self.assertEqual(self.ask("host: localhost:8787", "origin: http://localhost:8787").status, 200)
        for origin in ("null", "http://localhost:3000", "https://evil.com", "http://[", "file://"):
            self.refused(self.ask("host: localhost:8787", f"origin: {origin}"), 403, "permission_error", "web pages")

    def test_cross_site(self) -> None:
        self.assertEqual(self.ask("host: localhost", "sec-fetch-site: none").status, 200)
        self.refused(self.ask("host: localhost", "sec-fetch-site: cross-site"), 403, "permission_error", "web pages")

    def test_no_page_reads_an_answer(self) -> None:
        self.assertFalse([name for name in self.get("/v1/models").headers if name.startswith("access-control")])


class TestToken(ServerTest):
    server = 'token = "relay-secret"'

    def test_each_way_to_show_it(self) -> None:
        for headers in (
            {"authorization": "Bearer relay-secret"},
            {"x-api-key": "relay-secret"},
            {"x-ccrelay-token": "relay-secret"},
        ):
            self.assertEqual(self.get("/v1/models", headers).status, 200)
            self.assertEqual(self.relay.messages(turn("echo/echo"), headers).status, 200)

    def test_wrong_or_missing(self) -> None:
        for headers in (
            {},
            CLIENT,
            {"x-api-key": "relay-secre"},
            {"authorization": "relay-secret"},
            {"cookie": "relay-secret"},
        ):
            for path in ("/v1/models", "/v1/messages", "/v1/models/echo", "/status", "/v1/messages/count_tokens"):
                method = "POST" if "/messages" in path else "GET"
                answer = self.relay.request(method, path, b"", headers)
                self.refused(answer, 401, "authentication_error", "the relay's token is missing or wrong")

    def test_greetings_need_none(self) -> None:
        for path in ("/", "/api/hello", "/health"):
            self.assertEqual(self.get(path, {}).status, 200)

    def test_it_is_never_forwarded_and_the_clients_own_credential_is(self) -> None:
        self.addCleanup(self.upstream.reset)
        ask = turn("claude-opus-5-5")
        self.relay.messages(ask, {"x-ccrelay-token": "relay-secret", "authorization": "Bearer own"})
        self.relay.messages(ask, {"authorization": "Bearer relay-secret", "x-api-key": "own"})
        first, second = self.upstream.requests()
        self.assertEqual((first.header("authorization"), second.header("x-api-key")), ("Bearer own", "own"))
        self.assertNotIn("relay-secret", repr([first, second]))

    def test_alone_it_is_no_credential_for_anthropic(self) -> None:
        answer = self.relay.messages(turn("claude-opus-5-5"), {"authorization": "Bearer relay-secret"})
        self.refused(answer, 401, "authentication_error", "^anthropic: the request carries no credential")
        self.assertEqual(self.upstream.requests(), [])


class TestCrowd(ServerTest):
    server = "max_connections = 2"

    def test_one_too_many_is_told_and_room_is_made_again(self) -> None:
        with self.relay.connect(), self.raw() as second:
            self.assertEqual(second.ask(post(ECHO)).status, 200)
            third = self.raw()
            self.refused(Reply(third.file), 503, "overloaded_error", "2 connections open; raise server.max_connections")
            self.assertTrue(third.ended())
        deadline = time.monotonic() + PATIENCE
        while (status := self.once_more()) != 200 and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(status, 200)

    def once_more(self) -> int:
        """The relay may not have noticed yet that the others are gone."""
        try:
            with Raw(self.relay) as raw:
                return raw.ask(post(ECHO)).status
        except (OSError, IndexError):
            return 0


class TestEcho(ServerTest):
    def echo(self, text: str, **fields: Any) -> Answer:
        return self.relay.messages(turn("echo/echo", text, **fields))

    def test_it_names_itself(self) -> None:
        answer = self.echo("hello")
        self.assertIn("echo/echo answers for echo/echo", answer.text)
        self.assertEqual((answer.headers["x-ccrelay-provider"], answer.json["stop_reason"]), ("echo", "end_turn"))

    def test_words_and_thinking(self) -> None:
        content = self.echo("echo:think deeply\necho:words 3").json["content"]
        self.assertEqual([block["type"] for block in content], ["thinking", "text"])
        self.assertEqual((content[0]["thinking"], content[1]["text"].split()), ("deeply", ["word1", "word2", "word3"]))

    def test_tools_in_parallel(self) -> None:
        message = self.echo('echo:tool Bash {"command": "ls"}\necho:tool Read').json
        calls = [block for block in message["content"] if block["type"] == "tool_use"]
        self.assertEqual([(call["name"], call["input"]) for call in calls], [("Bash", {"command": "ls"}), ("Read", {})])
        self.assertEqual((message["stop_reason"], len({call["id"] for call in calls})), ("tool_use", 2))

    def test_slow_pieces_come_one_by_one(self) -> None:
        with self.relay.stream(turn("echo/echo", "echo:slow 0.05\necho:words 3")) as stream:
            times = [moment for moment, data in stream.chunks() if b"word" in data]
        self.assertEqual(len(times), 3)
        self.assertTrue(all(later - earlier > 0.02 for earlier, later in pairwise(times)))

    def test_a_wait_is_filled_with_pings(self) -> None:
        with self.relay.stream(turn("echo/echo", "echo:wait 0.7")) as stream:
            events = stream.read()
        self.assertGreaterEqual([event["type"] for event in events].count("ping"), 2)
        self.assertIn("answers for", text_of(events))

    def test_a_failure_before_anything(self) -> None:
        for status, kind in (
            (529, "overloaded_error"),
            (400, "invalid_request_error"),
            (500, "api_error"),
            (401, "authentication_error"),
        ):
            for stream in (True, False):
                answer = self.echo(f"echo:fail {status}", stream=stream)
                self.assertEqual((answer.status, answer.json["error"]["type"]), (status, kind))

    def test_a_failure_in_the_middle(self) -> None:
        for how, kind in (("stream", "overloaded_error"), ("cut", "api_error")):
            events = self.echo(f"echo:words 8\necho:fail {how}", stream=True).events
            self.assertEqual((events[0]["type"], events[-1]["type"]), ("message_start", "error"))
            self.assertEqual(events[-1]["error"]["type"], kind)
            self.assertNotIn("message_stop", [event["type"] for event in events])
            self.assertGreaterEqual(self.echo(f"echo:fail {how}").status, 500)

    def test_directives_that_cannot_be(self) -> None:
        for name, arguments in {
            "fail": ("200", "600", "²", "never", "9" * 5000),
            "words": ("0", "-1", "²", "9" * 5000),
            "slow": ("x",),
            "wait": ("",),
            "tool": ("", "A [1]", "A {"),
        }.items():
            for argument in arguments:
                answer = self.echo(f"echo:{name} {argument}")
                self.refused(answer, 400, "invalid_request_error", f"^echo:{name}: expected ")

    def test_only_the_last_turn_directs(self) -> None:
        messages = [
            {"role": "user", "content": "echo:fail 500"},
            {"role": "assistant", "content": "x"},
            {"role": "user", "content": "y"},
        ]
        self.assertEqual(self.echo("", messages=messages).status, 200)


class TestLog(ServerTest):
    def test_a_line_for_each_request_and_no_secret_in_any(self) -> None:
        secret = {**CLIENT, "x-api-key": "client-secret", "cookie": "client-secret"}
        self.relay.messages(turn("zai/glm-5.2", "client-secret", metadata={"user_id": "client-secret"}), secret)
        self.relay.request("GET", "/v1/models?key=client-secret", headers=secret)
        self.relay.messages(turn("echo/echo"), secret)
        line = self.relay.wait_for_log(" out ")
        self.assertRegex(line, r"^\d\d:\d\d:\d\d 200  -  +\d\.\d\ds in +\d+ out +\d+  echo/echo$")
        self.relay.wait_for_log("  GET /v1/models")
        self.relay.wait_for_log("zai/glm-5.2")
        self.assertNotIn("secret", self.relay.log)

    def test_a_failure_after_the_early_head_is_logged_as_what_the_client_saw(self) -> None:
        with self.relay.stream(turn("echo/echo", "echo:wait 0.4\necho:fail 529")) as stream:
            self.assertEqual(stream.read()[-1]["error"]["type"], "overloaded_error")
        self.relay.wait_for_log("echo: this failure was asked for")
        self.assertRegex(self.relay.log, r" 200 .*  echo/echo.*\n +echo: this failure was asked for")

    def test_nobody_forges_a_line(self) -> None:
        self.relay.messages(turn("a\n99:99:99  200  forged"))
        self.raw().ask(b"GET /x%0a99:99:99%20%20200 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        self.relay.wait_for_log("GET /x")
        self.assertFalse([line for line in self.relay.log.splitlines() if line.startswith("99")])


class TestJsonLog(ServerTest):
    server = 'log = "json"'

    def test_every_line_is_an_object(self) -> None:
        self.relay.messages(turn("echo/echo"), {**CLIENT, "x-claude-code-session-id": "s1"})
        self.relay.wait_for_log("s1")  # a line comes after its answer
        self.relay.messages(turn("xyzzy"))
        self.relay.wait_for_log("xyzzy")
        fine, wrong = (json.loads(line) for line in self.relay.log.splitlines())
        self.assertEqual((fine["model"], fine["answered_by"], fine["status"]), ("echo/echo", "echo/echo", 200))
        self.assertEqual((fine["session"], fine["stop_reason"], fine["attempts"]), ("s1", "end_turn", 1))
        self.assertEqual((wrong["status"], wrong["failures"]), (404, ["model: xyzzy"]))
        self.assertNotIn("secret", self.relay.log)


if __name__ == "__main__":
    unittest.main()
