"""The short way of the common lines gives the same as the long way through a parser, or is not taken."""

from __future__ import annotations

import json
import random
import unittest
from typing import Any
from unittest import mock

import ccrelay_providers.ollama as ollama
from ccrelay_providers.wire import ollama_lines, sse
from ccrelay_providers.wire.errors import RelayError
from ccrelay_providers.wire.messages import loads
from ccrelay_providers.wire.ollama_lines import blocks, plain
from ccrelay_providers.wire.provider import Report
from tests.test_ollama import COUNTED, Response
from tests.test_ollama_chat import BASH, QWEN, request

HEAD = '{"model":"qwen3:8b","created_at":"2026-11-22T12:00:00.123456789Z","message":{"role":"assistant",'


def line(text: str, kind: str = "text") -> bytes:
    """A line of which `text` is the JSON of its only word."""
    said = f'"content":{text}' if kind == "text" else f'"content":"","thinking":{text}'
    return f'{HEAD}{said}}},"done":false}}'.encode("utf-8", "surrogatepass")


class Plain(unittest.TestCase):
    def test_text_and_thinking_as_they_stand(self) -> None:
        for text in (r'"a"', r'" \u003cb\u003e\n\"\\\/"', '"ü€🙂\x7f"', r'"\ud83d"'):
            self.assertEqual(plain(line(text), "text"), [text.encode()])
            self.assertEqual(plain(line(text, "thinking"), "thinking"), [text.encode()])

    def test_several_lines(self) -> None:
        block = b"\n".join([line('"a"'), line('"b"')])
        self.assertEqual(plain(block, "text"), [b'"a"', b'"b"'])

    def test_a_cloud_models_lines(self) -> None:
        cloud = line('"a"').replace(b',"created', b',"remote_model":"m","remote_host":"https://ollama.com","created')
        self.assertEqual(plain(cloud, "text"), [b'"a"'])

    def test_what_is_not_plain(self) -> None:
        good = line('"a"')
        for odd in (
            line('""'),
            line(r'"\x"'),
            line(r'"\u12g4"'),
            line('"\t"'),
            line('"a'),
            line('"\ud83d"'),
            line('"a"', "thinking"),
            good.replace(b"qwen3", b"\xff"),
            good.replace(b"qwen3", b"\\q"),
            good.replace(b"false", b"true"),
            good.replace(b'"a"', b'"a","tool_calls":[]'),
            good.replace(b'"a"', b'"a","images":null'),
            good.replace(b"assistant", b"user"),
            good.replace(b',"done"', b',"error":"x","done"'),
            good + b"\r",
            good + b"}",
            b" " + good,
            good + b"\n",
            good + b"\n\n" + good,
            good + b"\n" + line('"b"', "thinking"),
            good + b"\nx" + good,
            b"",
        ):
            self.assertEqual(plain(odd, "text"), [], odd)


class Blocks(unittest.TestCase):
    def test_lines_that_a_piece_completes(self) -> None:
        for pieces, wanted in (
            ([b"a\n"], [b"a"]),
            ([b"a\nb\n"], [b"a\nb"]),
            ([b"a\nb", b"c", b"d\ne"], [b"a", b"bcd", b"e"]),
            ([b"a", b"\n"], [b"a"]),
            ([b"\n"], [b""]),
            ([], []),
        ):
            self.assertEqual(list(blocks(pieces)), wanted)

    def test_only_a_line_is_too_long_never_an_answer(self) -> None:
        with mock.patch.object(ollama_lines, "LONGEST_LINE", 4):
            self.assertEqual(list(blocks([b"aaa", b"\nbbb", b"\nccc", b"\n"])), [b"aaa", b"bbb", b"ccc"])
            with self.assertRaises(RelayError):
                list(blocks([b"aaa", b"aa"]))


class ShortAndLong(unittest.TestCase):
    """Random answers, read with and without the short way."""

    WORDS = [
        *(
            "a",
            " word",
            "\n",
            " ",
            "\\",
            '"',
            "<tool_call>",
            "<function=Bash>",
            "</function>",
            "{",
            "}",
            "```",
            "é",
            "🙂",
        ),
        *("```json\n", '{"name": "Bash", "arguments": {}}', "\u2028", "<", "&", "\x7f", "\r\n", "~~~\n", "\n\n"),
    ]

    def setUp(self) -> None:
        self.random = random.Random(20261122)

    def answer(self) -> bytes:
        lines = [self.line() for _ in range(self.random.randint(1, 12))]
        return b"".join(each + b"\n" for each in [*lines, json.dumps(COUNTED).encode()])

    def line(self) -> bytes:
        chance = self.random.random()
        if chance < 0.05:
            return self.random.choice((b"", b'{"error":"broke"}', b"[]", line('"\ud83d"'), line('"\t"')))
        text = "".join(self.random.choices(self.WORDS, k=self.random.randint(0, 3)))
        said: dict[str, Any] = {"thinking" if self.random.random() < 0.4 else "content": text}
        if chance < 0.15:
            said = {"content": text, "tool_calls": [{"function": {"name": "Bash", "arguments": {}}}]}
        message = {"role": "assistant", "content": "", **said}
        head = {"model": "m", "created_at": "now", "message": message, "done": False}
        written = json.dumps(head, ensure_ascii=self.random.random() < 0.5, separators=(",", ":")).encode()
        escapes = ((b"<", b"\\u003c"), (b"\\n", b"\\u000a"))
        for plainly, escaped in escapes:
            written = written.replace(plainly, escaped) if self.random.random() < 0.3 else written
        return written

    def pieces(self, raw: bytes) -> list[bytes]:
        cuts = sorted(self.random.choices(range(len(raw) + 1), k=self.random.randint(0, 6)))
        if self.random.random() < 0.7:  # as Ollama sends: whole lines
            cuts = [raw.find(b"\n", cut) + 1 for cut in cuts]
        return [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True) if start < end]

    @staticmethod
    def read(pieces: list[bytes], tools: bool) -> tuple[list[Any], list[str], str]:
        """What each write says, decoded; the notes; and how it failed."""
        report, writes, failure = Report(estimate=9), [], ""
        try:
            for write in ollama.stream(Response(*pieces), request(tools=[BASH] * tools), QWEN, report):
                writes.append([(name, loads(data)) for name, data in sse.decode([write])])  # noqa: PERF401  # up to a failure
        except RelayError as error:
            failure = error.message
        return writes, report.notes, failure

    def test_they_say_the_same_in_the_same_writes(self) -> None:
        taken = 0
        for _ in range(500):
            raw, tools = self.answer(), self.random.random() < 0.6
            pieces = self.pieces(raw)
            with mock.patch.object(ollama, "plain", wraps=plain) as watched:
                short = self.read(pieces, tools)
                taken += watched.call_count
            with mock.patch.object(ollama, "plain", return_value=[]):
                self.assertEqual(short, self.read(pieces, tools), pieces)
        self.assertGreater(taken, 300)


if __name__ == "__main__":
    unittest.main()
