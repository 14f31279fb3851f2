"""ccrelay_providers/echo.py: what each directive does, streamed and folded."""

from __future__ import annotations

import json
import unittest
from collections.abc import Iterator
from typing import Any

import ccrelay_providers.echo as echo
from ccrelay_providers.wire.errors import (
    InvalidRequest,
    RateLimited,
    RelayError,
    UpstreamDisconnected,
    UpstreamFailure,
    UpstreamRefusal,
)
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.messages import MessagesRequest, fold
from ccrelay_providers.wire.provider import LocalAnswer, Model, Report, Target
from ccrelay_providers.wire.sse import decode

Json = dict[str, Any]
TARGET = Target("echo", "echo", "", Model("echo"))


class Played:
    """A LocalAnswer as a response, without its pauses."""

    def __init__(self, answer: LocalAnswer) -> None:
        self.status, self.headers = answer.status, Headers()
        self._pieces = [piece for piece in answer.pieces if isinstance(piece, bytes)]

    def pieces(self) -> Iterator[bytes]:
        yield from self._pieces

    def read(self) -> bytes:
        return b"".join(self._pieces)


def asked(*texts: str, **fields: Any) -> MessagesRequest:
    """The texts are the user's turns, with an answer between them."""
    turns = [{"role": "assistant" if number % 2 else "user", "content": text} for number, text in enumerate(texts)]
    body = {"model": "echo/echo", "max_tokens": 1000, "messages": turns, **fields}
    return MessagesRequest(json.dumps(body).encode(), Headers(), "req_1")


def answer(request: MessagesRequest) -> Json:
    """The message, after it was seen that a stream of the same says the same."""
    prepared = echo.prepare(request, TARGET, Report())
    message: Json = json.loads(echo.message(Played(prepared), request, TARGET, Report()))
    streamed = fold(decode(echo.stream(Played(prepared), request, TARGET, Report())))
    assert message == streamed, (message, streamed)
    return message


def text_of(message: Json) -> str:
    return "".join(block.get("text", "") for block in message["content"])


class AnswerTests(unittest.TestCase):
    def test_max_tokens_cuts_the_answer(self) -> None:
        cut = answer(asked("echo:words 5\necho:tool Bash {}", max_tokens=2))
        self.assertEqual(
            (text_of(cut), cut["stop_reason"], cut["usage"]["output_tokens"]), ("word1 word2 ", "max_tokens", 2)
        )
        whole = answer(asked("echo:words 5", max_tokens=5))
        self.assertEqual((whole["stop_reason"], whole["usage"]["output_tokens"]), ("end_turn", 5))

    def test_an_unknown_line_is_refused_with_the_known_ones(self) -> None:
        with self.assertRaises(InvalidRequest) as caught:
            answer(asked("echo:shout hi"))
        self.assertEqual(
            caught.exception.message,
            "echo:shout: no such line; there are echo:think, echo:tool, echo:words, echo:slow, echo:wait, echo:fail "
            "(docs/providers.md)",
        )
        self.assertIn("answers for", text_of(answer(asked("echo: this is prose"))))

    def test_without_a_directive_it_says_what_came(self) -> None:
        message = answer(asked("hi", "ho", "hi", tools=[{"name": "a"}]))
        self.assertRegex(
            text_of(message), r"echo/echo answers for echo/echo: \d+ input tokens .*, 3 messages, 1 tools\."
        )
        self.assertEqual(("echo/echo", "end_turn"), (message["model"], message["stop_reason"]))

    def test_it_is_the_same_every_time(self) -> None:
        self.assertEqual(answer(asked("hi\necho:think\necho:tool a")), answer(asked("hi\necho:think\necho:tool a")))

    def test_words(self) -> None:
        message = answer(asked("echo:words 3"))
        self.assertEqual("word1 word2 word3 ", text_of(message))
        self.assertEqual(3, message["usage"]["output_tokens"])

    def test_think(self) -> None:
        first = answer(asked("echo:think Hm, é.\nplease"))["content"][0]
        self.assertEqual({"type": "thinking", "thinking": "Hm, é.", "signature": "ccrelay:echo:"}, first)

    def test_tools_in_parallel(self) -> None:
        message = answer(asked('echo:tool Bash {"command": "ls"}\necho:tool Read'))
        calls = [(block["name"], block["input"]) for block in message["content"] if block["type"] == "tool_use"]
        self.assertEqual([("Bash", {"command": "ls"}), ("Read", {})], calls)
        self.assertEqual("tool_use", message["stop_reason"])
        self.assertEqual(2, len({block["id"] for block in message["content"][1:]}))

    def test_after_a_call_it_says_what_the_tool_returned(self) -> None:
        result = {"type": "tool_result", "tool_use_id": "a", "content": "echo:fail 500\nfound"}
        turns = [{"role": "user", "content": "echo:tool a"}, {"role": "user", "content": [result]}]
        self.assertIn("got from the tool: echo:fail 500\nfound", text_of(answer(asked(messages=turns))))

    def test_only_the_last_turn_directs(self) -> None:
        self.assertIn("3 messages", text_of(answer(asked("echo:fail 500", "x", "hi"))))
        self.assertIn("1 messages", text_of(answer(asked("not a line: echo:fail 500"))))


class PauseTests(unittest.TestCase):
    def test_wait_comes_once_and_slow_before_every_piece(self) -> None:
        pieces = echo.prepare(asked("echo:wait 2\necho:slow 0.5\necho:words 2"), TARGET, Report()).pieces
        self.assertEqual([2.0, 0.5, 0.5, 0.5], [piece for piece in pieces if isinstance(piece, float)])
        self.assertEqual((2.0, 0.5), pieces[:2])
        self.assertIsInstance(pieces[-1], bytes)

    def test_seconds_have_limits(self) -> None:
        for text, seconds in (("-1", 0.0), ("1e9", echo.MAX_SECONDS), ("inf", echo.MAX_SECONDS)):
            self.assertEqual(seconds, echo.prepare(asked(f"echo:wait {text}"), TARGET, Report()).pieces[0])


class FailureTests(unittest.TestCase):
    def test_a_status_fails_before_anything_is_sent(self) -> None:
        for status, kind in (
            (400, UpstreamRefusal),
            (404, UpstreamRefusal),
            (429, RateLimited),
            (529, UpstreamFailure),
        ):
            prepared = echo.prepare(asked(f"echo:fail {status}"), TARGET, Report())
            self.assertEqual((status, "application/json"), (prepared.status, prepared.content_type))
            failure = echo.error(prepared.status, Headers(), Played(prepared).read(), TARGET)
            self.assertEqual((kind, status), (type(failure), failure.status))
            self.assertIn("this failure was asked for", failure.message)

    def broken(self, how: str) -> tuple[bytes, RelayError]:
        request, sent = asked(f"echo:words 10\necho:fail {how}"), b""
        with self.assertRaises(RelayError) as caught:
            for piece in echo.stream(Played(echo.prepare(request, TARGET, Report())), request, TARGET, Report()):
                sent += piece
        return sent, caught.exception

    def test_a_stream_fails_in_the_middle(self) -> None:
        for how, kind in (("stream", UpstreamFailure), ("cut", UpstreamDisconnected)):
            sent, failure = self.broken(how)
            self.assertIn(b"word5 ", sent)
            self.assertNotIn(b"message_delta", sent)
            self.assertIs(kind, type(failure))
        self.assertEqual("overloaded_error", self.broken("stream")[1].type)

    def test_a_directive_that_cannot_be_is_refused_in_a_sentence(self) -> None:
        for line in (
            "echo:words 0", "echo:words many", "echo:words 100001", "echo:words ²", "echo:words " + "9" * 5000,
            "echo:slow fast",
            "echo:wait", "echo:fail 200", "echo:fail 600", "echo:fail ²", "echo:fail x", "echo:tool",
            "echo:tool a [1]", "echo:tool a {",
        ):  # fmt: skip
            name = line.split()[0]
            with self.subTest(line=line[:30]), self.assertRaisesRegex(InvalidRequest, f"{name}: expected"):
                echo.prepare(asked(line), TARGET, Report())


if __name__ == "__main__":
    unittest.main()
