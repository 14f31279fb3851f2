"""The relay's own line: at the head of an answer, and out of every later history."""

from __future__ import annotations

import json
import unittest
from typing import Any

from ccrelay_providers.wire import announcement
from ccrelay_providers.wire.errors import UpstreamDisconnected
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.messages import MessagesRequest, dumps, fold
from ccrelay_providers.wire.sse import decode
from tests.relay import parse_events, turn
from tests.upstreams import anthropic_text_stream

LINE = announcement.line("zai/glm-5.2", "claude-opus-5-5", "anthropic: Overloaded")


def history(*content: Any) -> bytes:
    """A conversation whose assistant turns have these contents."""
    messages = [{"role": "assistant", "content": each} for each in content]
    return dumps({"model": "m", "messages": [*messages, {"role": "user", "content": LINE}]})


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


class TestLine(unittest.TestCase):
    def test_it_names_who_answers_instead_of_whom_and_why(self) -> None:
        self.assertEqual(LINE, "[ccrelay: zai/glm-5.2 answers instead of claude-opus-5-5; anthropic: Overloaded]\n\n")

    def test_whatever_an_upstream_says_it_stays_one_line_that_is_found_again(self) -> None:
        for reason in ("a]\n[b", "\x1b[31m", "x" * 5000, "日本語\u2028"):
            line = announcement.line("a/b", "c", reason)
            self.assertLess(len(line), 300)
            self.assertEqual(line.count("\n"), 2)
            self.assertEqual(
                json.loads(announcement.removed(history([text(line), text("x")])))["messages"][0]["content"],
                [text("x")],
            )


class TestAnswers(unittest.TestCase):
    def test_a_stream_has_it_as_its_first_block(self) -> None:
        for pieces in (anthropic_text_stream("two words"), ["".join(anthropic_text_stream("two words"))]):
            out = list(announcement.in_stream([piece.encode() for piece in pieces], LINE))
            self.assertEqual(len(out), len(pieces))
            events = parse_events(b"".join(out))
            self.assertEqual([event["index"] for event in events if "index" in event], [0, 0, 0, 1, 1, 1, 1])
            self.assertEqual(fold(decode(out))["content"], [text(LINE), text("two words")])

    def test_an_event_that_passed_unread_may_be_broken(self) -> None:
        for data in (b"{", b"[]", b"[" * 100_000):
            broken = b"event: content_block_delta\ndata: %b\n\n" % data
            with self.subTest(data[:2]), self.assertRaises(UpstreamDisconnected):
                list(announcement.in_stream([broken], "x"))

    def test_a_message_too(self) -> None:
        out = announcement.in_message(b'{"content":[{"type":"thinking","thinking":"t"}],"model":"m"}', LINE)
        self.assertEqual(json.loads(out)["content"], [text(LINE), {"type": "thinking", "thinking": "t"}])

    def test_who_wants_it(self) -> None:
        for headers, fields, wanted in (
            ([], {}, True),
            ([("x-claude-code-request-class", "main")], {}, True),
            ([("x-claude-code-request-class", "auxiliary")], {}, False),
            ([("x-claude-code-agent-id", "a")], {}, False),
            ([], {"output_config": {"format": {"type": "json_schema"}}}, False),
            ([], {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "{"}]}, False),
        ):
            asked = MessagesRequest(dumps({**turn("m"), **fields}), Headers(headers), "req_1")
            self.assertEqual(announcement.wanted(asked), wanted, (headers, fields))


class TestRemoved(unittest.TestCase):
    def removed(self, *content: Any) -> list[Any]:
        return [message["content"] for message in json.loads(announcement.removed(history(*content)))["messages"]]

    def test_a_block_a_merged_text_and_a_plain_string(self) -> None:
        call = {"type": "tool_use", "id": "t", "name": "n", "input": {}}
        found = self.removed([text(LINE), call], [text(LINE.strip()), text("x")], [text(LINE + "x")], LINE + "x")
        self.assertEqual(found[:4], [[call], [text("x")], [text("x")], "x"])

    def test_nothing_is_left_empty(self) -> None:
        self.assertEqual(self.removed([text(LINE)], LINE)[:2], [[text("(nothing)")], "(nothing)"])

    def test_what_others_wrote_stays(self) -> None:
        quoted = [text("He said: " + LINE)], [text("x"), text(LINE)]
        self.assertEqual(self.removed(*quoted), [*quoted, LINE])
        raw = history(*quoted)
        self.assertIs(announcement.removed(raw), raw)

    def test_what_is_no_request_passes(self) -> None:
        for raw in (
            b"[ccrelay: ",
            b'["[ccrelay: x]"]',
            b'{"messages":"[ccrelay: x]"}',
            b'{"messages":["[ccrelay: ",1]}',
        ):
            self.assertIs(announcement.removed(raw), raw)

    def test_twice_is_the_same_as_once(self) -> None:
        once = announcement.removed(history([text(LINE), text("x")]))
        self.assertEqual(announcement.removed(once), once)


if __name__ == "__main__":
    unittest.main()
