"""Upstreams that break, on every wire: before content the next one answers, after it one error is the end."""

from __future__ import annotations

import base64
import gzip
import json
import time
import unittest
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from typing import Any

from tests.relay import CLIENT, Json, Relay, text_of, turn
from tests.upstreams import Upstream, anthropic_text_stream, reply

KINDS = ("anthropic", "zai", "ollama")
COPIES = 40  # names for each upstream: a test takes one that no other test has made rest
MODEL = {"anthropic": "claude-a", "zai": "glm-5.2", "ollama": "qwen3:8b"}
CONFIG = """
[server]
ping_interval = 0.2
[providers.echo]
type = "echo"
[routes]
"""
ONE = """
[providers.{name}]
type = "{kind}"
base_url = "{url}"
idle_timeout = 0.25
models = ["{model}"]
{key}
"""
GZIP = {"content-encoding": "gzip"}
BAD = (
    (b"nonsense", "compressed answer cannot be read"),
    (bytes(17 << 20), "compressed answer is larger than any answer"),
    (b"x" * (12 << 20), "is longer than 16 MB"),
)
BOMB = gzip.compress(b"\n" * (17 << 20))

upstreams: dict[str, Upstream] = {}
relays: list[Relay] = []
fresh: dict[str, list[str]] = {kind: [f"{kind}{number}" for number in range(COPIES)] for kind in KINDS}


def setUpModule() -> None:
    stack = ExitStack()
    unittest.addModuleCleanup(stack.close)
    upstreams.update({kind: stack.enter_context(Upstream(kind)) for kind in KINDS})
    config = CONFIG
    config += "".join(f'{name} = ["{name}/{MODEL[kind]}", "echo/echo"]\n' for kind in KINDS for name in fresh[kind])
    for kind in KINDS:
        url = upstreams[kind].url + ("/api/anthropic" if kind == "zai" else "")
        key = 'api_key = "zai-secret"' if kind == "zai" else ""
        config += "".join(ONE.format(name=name, kind=kind, url=url, model=MODEL[kind], key=key) for name in fresh[kind])
    relays.append(stack.enter_context(Relay(config)))


def line(text: str, **fields: Any) -> str:
    """One of Ollama's."""
    message = {"role": "assistant", "content": text}
    return json.dumps({"model": "qwen3:8b", "message": message, "done": False, **fields}) + "\n"


def begun(kind: str) -> list[str]:
    """The pieces of an answer whose text has begun."""
    return [line("half an "), line("answer")] if kind == "ollama" else anthropic_text_stream("half an answer")[:4]


def compressed(start: bytes, bad: bytes) -> tuple[bytes, bytes]:
    """A beginning that can be undone at once, and what goes on with `bad`: as it is, or compressed if it is long."""
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(start) + packer.flush(zlib.Z_SYNC_FLUSH)
    return first, bad if len(bad) < 100 else packer.compress(bad) + packer.flush(zlib.Z_SYNC_FLUSH)


def packed(data: bytes) -> Json:
    return {"b64": base64.b64encode(data).decode()}


class FaultTest(unittest.TestCase):
    def setUp(self) -> None:
        self.relay = relays[0]

    @contextmanager
    def fault(self, kind: str, *pieces: str | Json, headers: Json | None = None, **options: Any) -> Iterator[str]:
        """An upstream that answers once with this. Gives a route to a provider that is well, and then to echo."""
        with self.subTest(kind, headers=headers, **options):
            upstreams[kind].reset()
            plain = {"content-type": "application/x-ndjson" if kind == "ollama" else "text/event-stream"}
            broken = reply(pieces, **{"headers": {**plain, **(headers or {})}, **options})
            upstreams[kind].script(broken, match="/api/chat" if kind == "ollama" else None, repeat=True)
            yield fresh[kind].pop()

    def assert_moves_on(self, route: str, provider: str = "echo") -> None:
        answer = self.relay.messages(turn(route, stream=True))
        self.assertEqual((answer.status, answer.headers.get("x-ccrelay-provider")), (200, provider), answer.body)
        self.assertEqual(answer.events[-1]["type"], "message_stop")

    def assert_ends_with_one_error(self, route: str, kind: str = "api_error") -> str:
        """The error's message."""
        with self.relay.stream(turn(route)) as stream:
            events = stream.read()
        self.assert_one_error(events, kind)
        return str(events[-1]["error"]["message"])

    def assert_one_error(self, events: list[Json], kind: str) -> None:
        types = [event["type"] for event in events]
        self.assertTrue(text_of(events).startswith("half"), events)
        self.assertEqual((types.count("error"), types[-1], types.count("message_stop")), (1, "error", 0))
        self.assertEqual(events[-1]["error"]["type"], kind)


class TestBeforeContent(FaultTest):
    def test_connections_that_end(self) -> None:
        options: tuple[Json, ...] = ({"close": "before_head"}, {"close": "reset"}, {"end": "cut"}, {"end": "reset"})
        for kind, option in product(KINDS, options):
            with self.fault(kind, **option) as route:
                self.assert_moves_on(route)

    def test_what_is_no_answer(self) -> None:
        answers: tuple[tuple[list[str | Json], Json], ...] = (
            ([], {}),
            (["<html>busy</html>"], {"content-type": "text/html"}),
            (["garbage that is no stream\n\n"], {}),
            (["data: {nonsense\n\n"], {}),
            ([packed(b"not gzip at all")], GZIP),
            ([packed(BOMB)], GZIP),
        )
        for kind, (pieces, headers) in product(KINDS, answers):
            with self.fault(kind, *pieces, headers=headers) as route:
                self.assert_moves_on(route)

    def test_an_end_before_content(self) -> None:
        for kind in KINDS:
            with self.fault(kind, *([line("")] if kind == "ollama" else begun(kind)[:1])) as route:
                self.assert_moves_on(route)

    def test_silence(self) -> None:
        for kind in KINDS:
            with self.fault(kind, end="hang") as route:
                self.assert_moves_on(route)

    def test_the_next_answers_a_request_that_does_not_stream_too(self) -> None:
        for kind, option in product(KINDS, ("cut", "reset")):
            with self.fault(kind, *begun(kind), end=option) as route:
                answer = self.relay.messages(turn(route))
                self.assertEqual((answer.status, answer.headers["x-ccrelay-provider"]), (200, "echo"))


class TestAfterContent(FaultTest):
    def test_connections_that_end(self) -> None:
        ends: tuple[Json, ...] = ({"end": "cut"}, {"end": "reset"}, {"framing": "close", "end": "cut"}, {})
        for kind, option in product(KINDS, ends):
            with self.fault(kind, *begun(kind), {"pause": 0.05}, **option) as route:
                self.assert_ends_with_one_error(route)

    def test_garbage(self) -> None:
        for kind in KINDS:
            with self.fault(kind, *begun(kind), {"pause": 0.05}, "data: {nonsense\n\n") as route:
                self.assert_ends_with_one_error(route)

    def test_silence(self) -> None:
        for kind in KINDS:
            with self.fault(kind, *begun(kind), end="hang") as route:
                self.assert_ends_with_one_error(route, "timeout_error")

    def test_compressed_bytes_that_turn_into_nonsense_or_into_too_much(self) -> None:
        for kind, (bad, words) in product(KINDS, BAD):
            start, rest = compressed("".join(begun(kind)).encode(), bad)
            pieces = (packed(start), {"pause": 0.05}, packed(rest), {"pause": 0.05}, packed(rest))
            with self.fault(kind, *pieces, headers=GZIP) as route:
                self.assertRegex(self.assert_ends_with_one_error(route), words)


class TestProcesses(FaultTest):
    """Real processes that really die. One session goes on all the time."""

    def test_killed_in_the_middle_of_a_stream_and_back(self) -> None:
        for kind in KINDS:
            with self.fault(kind, *begun(kind), end="hang") as route:
                session = {**CLIENT, "x-claude-code-session-id": route}
                with self.relay.stream(turn(route), session) as stream:
                    stream.read_until(b"half")
                    upstreams[kind].kill()
                    try:
                        self.assert_one_error(stream.read(), "api_error")
                        for _ in range(2):
                            self.assert_moves_on(route)
                    finally:
                        upstreams[kind].start()
                if kind == "zai":  # it rests a second
                    self.assert_is_back(route)

    def assert_is_back(self, route: str) -> None:
        deadline = time.monotonic() + 10
        while self.relay.messages(turn(route)).headers["x-ccrelay-provider"] != route:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def test_frozen_before_and_in_the_middle_of_an_answer(self) -> None:
        for kind in KINDS:
            hanging = self.fault(kind, *begun(kind), {"pause": 5})
            with hanging as route, self.relay.stream(turn(route)) as stream:
                stream.read_until(b"half")
                upstreams[kind].freeze()
                try:
                    self.assert_one_error(stream.read(), "timeout_error")
                    self.assert_moves_on(fresh[kind].pop())
                finally:
                    upstreams[kind].thaw()


if __name__ == "__main__":
    unittest.main()
