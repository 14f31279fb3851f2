"""What somebody hostile sends, as a client or as an upstream: an answer or an end, and the relay as it was before."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from tests.relay import ECHO as ECHO_CONFIG
from tests.relay import PATIENCE, Relay, turn
from tests.test_server import ECHO, Raw, Reply, ServerTest, post
from tests.upstreams import Json, anthropic_text_stream, json_reply, reply, sse

IDLE_UPSTREAM = 2  # connections that the relay may keep: one to each provider that the tests ask
KEY = "x-api-key: k"
CLAUDE = "claude-opus-5-5"


def census(relay: Relay) -> tuple[int, int]:
    """How many threads and descriptors the relay's process has."""
    process = Path(f"/proc/{relay.process.pid}")
    return len(list((process / "task").iterdir())), len(list((process / "fd").iterdir()))


def resting(relay: Relay) -> tuple[int, int]:
    """The census once it stays the same."""
    seen = [census(relay)]
    while seen[-3:] != [seen[-1]] * 3:
        time.sleep(0.05)
        seen.append(census(relay))
    return seen[-1]


def settled(probe: Callable[[], bool]) -> bool:
    """Whether it comes true within the tests' patience."""
    deadline = time.monotonic() + PATIENCE
    while not probe():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def large(*fields: tuple[str, str]) -> bytes:
    """A body too large to be parsed without need: model first, stream last, `fields` (key, JSON) in between."""
    padding = json.dumps([{"role": "user", "content": "x" * 40_000}])
    members = [("model", f'"{CLAUDE}"'), ("messages", padding), ("max_tokens", "5"), *fields, ("stream", "false")]
    return ("{" + ",".join(f'"{key}":{value}' for key, value in members) + "}").encode()


class Attack(ServerTest):
    """After each attack the relay answers, and has the threads and descriptors that it had; no traceback in its log."""

    at_rest: ClassVar[tuple[int, int]]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        if os.path.exists("/proc/self/fd"):
            cls.relay.request("GET", "/health")
            cls.at_rest = resting(cls.relay)

    def setUp(self) -> None:
        self.upstream.reset()
        self.greet()
        if os.path.exists("/proc/self/fd"):
            self.addCleanup(self.as_before)

    def greet(self) -> None:
        answer = self.relay.request("POST", "/v1/messages", ECHO, {"x-ccrelay-token": "relay-secret"})
        self.assertEqual(answer.status, 200)

    def as_before(self) -> None:
        threads, descriptors = self.at_rest
        self.greet()
        self.assertTrue(settled(lambda: census(self.relay)[0] <= threads), (census(self.relay), self.at_rest))
        most = descriptors + IDLE_UPSTREAM
        self.assertTrue(settled(lambda: census(self.relay)[1] <= most), (census(self.relay), self.at_rest))
        self.assertNotIn("Traceback", self.relay.log)


class TestRequests(Attack):
    def asked(self, body: bytes, *lines: str) -> Reply:
        with Raw(self.relay) as raw:
            return raw.ask(post(body, KEY, *lines))

    def test_of_a_model_given_twice_the_last_is_asked_for_and_seen(self) -> None:
        small = b'{"model":"zai/glm-5.2","model":"echo/echo","max_tokens":5,"messages":[]}'
        self.assertEqual(self.asked(small).headers["x-ccrelay-provider"], "echo")
        for again in (("model", '"echo/echo"'), ("x", '{"model":"m"}'), ("x", r'"\",\"model\":\"m\",\""')):
            seen = self.asked(large(again)).headers["x-ccrelay-provider"]
            self.assertEqual(seen, "echo" if again[0] == "model" else "anthropic", again)

    def test_a_model_given_twice_is_renamed_wherever_it_stands(self) -> None:
        self.upstream.script(json_reply({"content": [], "model": CLAUDE}))
        self.asked(large(("model", f'"anthropic/{CLAUDE}"')))
        [seen] = self.upstream.requests()
        names = [value for key, value in json.loads(seen.body, object_pairs_hook=list) if key == "model"]
        self.assertEqual(names, [CLAUDE, CLAUDE])

    def test_keys_inside_strings_are_no_keys(self) -> None:
        self.upstream.script(json_reply({"content": [], "model": CLAUDE}))
        body = large(("system", json.dumps('","model":"echo/echo","stream":true}')))
        self.assertEqual(self.asked(body).headers["x-ccrelay-provider"], "anthropic")
        self.assertEqual(self.upstream.requests()[0].body, body)

    def test_large_bodies_that_are_no_json(self) -> None:
        """They are not looked at whole: the upstream refuses them, and then the estimate does."""
        self.upstream.script(json_reply({"error": {"type": "api_error", "message": "no"}}, 500), repeat=True)
        for value in ("[" * 20_000 + "]" * 20_000, "1" * 5000, '"\x00"', "NaN", '"' + chr(0xFF) * 9):
            answer = self.asked(large(("x", value)))
            self.refused(answer, 400, "invalid_request_error", "^the body is not")
        self.refused(self.asked(large(("x", '"\xff"')).replace(b"\xc3", b"")), 400, "invalid_request_error", "UTF-8")

    def test_nesting_that_json_takes_and_the_rest_may_not(self) -> None:
        for depth in (100, 400, 900, 2000, 9000):
            for nest in ('{"a":' * depth + "1" + "}" * depth, "[" * depth + "]" * depth):
                for field in ('"tools":[{"name":"t","input_schema":%s}]', '"new":%s', '"metadata":{"a":%s}'):
                    body = '{"model":"zai/glm-5.2","max_tokens":5,"messages":[],' + field % nest + "}"
                    self.assertIn(self.asked(body.encode()).status, (400, 404), (depth, field))

    def test_results_in_results(self) -> None:
        for depth in (50, 300, 600, 900):
            content = '[{"type":"tool_result","tool_use_id":"a","content":' * depth + '"x"' + "}]" * depth
            for model in ("zai/glm-5.2", "anthropic/" + CLAUDE):
                body = f'{{"model":"{model}","max_tokens":5,"messages":[{{"role":"user","content":{content}}}]}}'
                answer = self.asked(body.encode())
                self.assertIn(answer.status, (400, 404))
                self.assertNotIn("internal error", str(answer.body))

    def test_names_with_line_breaks_start_no_header(self) -> None:
        for name in ("zai/glm-5.2\r\nx-evil: 1", "claude-\r\n\r\nx", "echo/echo\nset-cookie: a"):
            answer = self.relay.messages(turn(name), {"x-api-key": "k"})
            self.assertNotIn("x-evil", answer.headers)
            self.assertNotIn("set-cookie", answer.headers)
        for seen in self.upstream.requests():
            self.assertIsNone(seen.header("x-evil"))

    def test_gzip_with_something_behind(self) -> None:
        for data in (gzip.compress(ECHO) + b"GET /", gzip.compress(ECHO) + gzip.compress(b"x")):
            answer = self.asked(data, "content-encoding: gzip")
            self.refused(answer, 400, "invalid_request_error", "something follows the gzip body")

    def test_trailers_without_end(self) -> None:
        request = post(b"", "transfer-encoding: chunked", length=False) + b"0\r\n"
        with Raw(self.relay) as raw:
            self.refused(raw.ask(request + b"x: y\r\n" * 20_000), 400, "invalid_request_error", "trailers .* too long")

    def test_a_body_that_is_promised_and_never_comes(self) -> None:
        """By whom may ask: the client is waited for; and a client's word reserves no memory."""
        crowd = [self.relay.connect() for _ in range(20)]
        for one in crowd:
            one.sendall(post(b"", f"content-length: {100_000}", length=False))
        self.assertEqual(self.relay.request("POST", "/v1/messages", ECHO).status, 200)
        for one in crowd:
            one.close()

    def test_resets_at_every_place(self) -> None:
        data = post(json.dumps(turn("echo/echo", "echo:words 50", stream=True)).encode())
        for cut in (0, 1, len(data) // 2, len(data)):
            for _ in range(5):
                one = self.relay.connect()
                one.sendall(data[:cut])
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.close()

    def test_a_refusal_is_logged(self) -> None:
        self.asked(b"x", "content-encoding: br")
        self.relay.wait_for_log("content-encoding: expected gzip, got 'br'")


class TestWhoIsNotRead(Attack):
    server = 'token = "relay-secret"'

    def test_whoever_may_not_ask_is_refused_before_the_body(self) -> None:
        for line, status, kind in (
            ("x-api-key: wrong", 401, "authentication_error"),
            ("origin: https://evil.com", 403, "permission_error"),
        ):
            for framing in ("content-length: 90000", "transfer-encoding: chunked"):
                with Raw(self.relay) as raw:
                    self.refused(raw.ask(post(b"", line, framing, length=False)), status, kind, ".")
                    self.assertTrue(raw.ended())
        with Raw(self.relay) as raw:
            head = post(b"", "x-api-key: relay-secret", f"content-length: {len(ECHO)}", length=False)
            raw.socket.sendall(head)
            self.assertEqual(raw.ask(ECHO).status, 200)

    def test_two_hosts(self) -> None:
        with Raw(self.relay) as raw:
            answer = raw.ask(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nHost: evil.com\r\n\r\n")
            self.refused(answer, 400, "invalid_request_error", "^host: given twice")


class TestUpstreams(Attack):
    """An upstream that means harm."""

    def turn(self, **fields: Any) -> Json:
        return turn(CLAUDE, **fields)

    def told(self, answer: Json, stream: bool = False) -> Json:
        """The error that the client gets; no bug of the relay's, which would be `ccrelay: internal error`."""
        self.upstream.script(answer)
        got = self.relay.messages(self.turn(stream=stream), {"x-api-key": "k"})
        if got.status == 200:
            return {"events": got.events} if stream else {"message": got.json}
        self.assertEqual(got.json["type"], "error")
        self.assertNotIn("internal error", got.json["error"]["message"])
        error: Json = got.json["error"]
        return error

    def test_heads(self) -> None:
        body = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n%s\r\n{}"
        for field in (
            "x: a\rb\r\n",
            "x: a\nb\r\n",
            " folded\r\n",
            "no colon\r\n",
            "x: \x00\r\n",
            "a b: c\r\n",
            ": v\r\n",
        ):
            self.assertEqual(self.told({"head": body % field, "framing": "close"})["type"], "api_error")

    def test_numbers_and_nesting_in_answers(self) -> None:
        deep = "[" * 50_000 + "]" * 50_000
        for value in (
            deep,
            "[" * 100_000,
            "9" * 5000,
            "NaN",
            '"\ud800"'.encode("utf-8", "surrogatepass").decode("latin-1"),
        ):
            event = 'event: message_start\ndata: {"type":"message_start","message":{"usage":VALUE}}\n\n'
            event = event.replace("VALUE", value)
            self.told(reply([event]), stream=True)
            self.told(
                {
                    "headers": {"content-type": "application/json"},
                    "pieces": ['{"content":' + value + "}"],
                    "framing": "length",
                }
            )

    def test_numbers_where_words_should_be(self) -> None:
        values: tuple[Any, ...] = (None, 5, [], {}, "x", -1, 1e300, True)
        for value in values:
            for event in (
                ("message_start", {"message": value}),
                ("message_start", {"message": {"usage": value, "model": value, "content": value}}),
                ("content_block_start", {"index": value, "content_block": value}),
                ("content_block_delta", {"index": value, "delta": value}),
                ("message_delta", {"delta": value, "usage": value}),
                ("error", {"error": value}),
            ):
                self.told(reply([sse(event)]), stream=True)

    def test_a_response_header_cannot_start_another(self) -> None:
        answer = reply(anthropic_text_stream("hello"))
        answer["headers"]["request-id"] = "req_\x85\x0b"
        self.upstream.script(answer)
        self.relay.messages(self.turn(stream=True), {"x-api-key": "k"})


class TestSlowClients(unittest.TestCase):
    """Time limits, made short."""

    def test_who_takes_no_data_is_dropped(self) -> None:
        limits = {"core.server.WRITE_TIMEOUT": 0.5}
        with Relay(ECHO_CONFIG, constants=limits) as relay:
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect((relay.host, relay.port))
            with one:
                one.sendall(
                    post(json.dumps(turn("echo/echo", "echo:words 100000", stream=True, max_tokens=10**5)).encode())
                )
                self.assertIn("left", relay.wait_for_log("echo/echo"))

    def test_a_body_by_progress(self) -> None:
        limits = {"core.server.BODY_PROGRESS": 0.4}
        with Relay(ECHO_CONFIG, constants=limits) as relay:
            with Raw(relay) as raw:  # longer than the limit in all, never in one piece
                raw.socket.sendall(post(b"", f"content-length: {len(ECHO)}", length=False))
                for byte in range(0, len(ECHO), len(ECHO) // 6):
                    time.sleep(0.15)
                    raw.socket.sendall(ECHO[byte : byte + len(ECHO) // 6])
                self.assertEqual(Reply(raw.file).status, 200)
            for framing in ("content-length: 900", "transfer-encoding: chunked"):
                with Raw(relay) as raw:
                    answer = raw.ask(post(b"", framing, length=False))
                    self.assertEqual((answer.status, answer.json["error"]["type"]), (408, "timeout_error"))
                    self.assertIn("stopped arriving", answer.json["error"]["message"])

    def test_an_idle_connection_ends_without_a_word(self) -> None:
        with Relay(ECHO_CONFIG, constants={"core.server.KEEP_ALIVE": 0.3}) as relay, Raw(relay) as raw:
            self.assertEqual(raw.ask(post(ECHO)).status, 200)
            self.assertTrue(raw.ended())


if __name__ == "__main__":
    unittest.main()
