"""What Ollama answers, and what is installed there. Whole conversations are in transcripts/ollama/."""

from __future__ import annotations

import json
import unittest
from collections.abc import Iterator
from typing import Any

import ccrelay_providers.ollama as ollama
from ccrelay_providers.wire import sse
from ccrelay_providers.wire.errors import RelayError, UpstreamDisconnected, UpstreamFailure
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.messages import fold
from ccrelay_providers.wire.provider import Report, Target
from tests.test_ollama_chat import QWEN, request

Json = dict[str, Any]

DONE = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
COUNTED = {**DONE, "prompt_eval_count": 12, "eval_count": 3}


class Response:
    """An answer in given pieces."""

    def __init__(self, *pieces: bytes, status: int = 200) -> None:
        self.status, self.headers, self._pieces = status, Headers(), pieces

    def pieces(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def read(self) -> bytes:
        return b"".join(self._pieces)


def said(**message: Any) -> Json:
    return {"message": {"role": "assistant", "content": "", **message}, "done": False}


def call(name: str, arguments: Any) -> Json:
    return {"function": {"name": name, "arguments": arguments}}


def ndjson(*lines: Json) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def answered(*lines: Json, report: Report | None = None, target: Target = QWEN, **fields: Any) -> Json:
    """The message that these lines make."""
    response = Response(ndjson(*lines))
    message: Json = json.loads(ollama.message(response, request(**fields), target, report or Report(estimate=9)))
    return message


class Answers(unittest.TestCase):
    def test_usage_and_stop_reason(self) -> None:
        report = Report(estimate=9)
        message = answered(said(content="Hi"), COUNTED, report=report)
        self.assertEqual(message["content"], [{"type": "text", "text": "Hi"}])
        self.assertEqual((message["model"], message["stop_reason"]), ("ollama/qwen3:8b", "end_turn"))
        self.assertEqual((message["usage"]["input_tokens"], message["usage"]["output_tokens"]), (12, 3))
        self.assertEqual((report.input_tokens, report.output_tokens, report.notes), (12, 3, []))

    def test_a_count_that_is_missing_is_an_estimate_and_says_so(self) -> None:
        report = Report(estimate=9)
        self.assertEqual(answered(said(content="Hi"), DONE, report=report)["usage"]["input_tokens"], 9)
        self.assertEqual((report.input_tokens, report.notes), (None, ["input_tokens is an estimate"]))

    def test_thinking_text_and_calls_of_one_line(self) -> None:
        calls = [call("Bash", {"command": "ls"}), call("Read", None)]
        message = answered({**COUNTED, **said(thinking="hm", content="so", tool_calls=calls), "done": True})
        kinds = [block["type"] for block in message["content"]]
        self.assertEqual(kinds, ["thinking", "text", "tool_use", "tool_use"])
        self.assertEqual([block["input"] for block in message["content"][2:]], [{"command": "ls"}, {}])
        self.assertEqual(message["content"][0]["signature"], "ccrelay:ollama:")
        self.assertEqual(message["stop_reason"], "tool_use")

    def test_ids_are_the_relays(self) -> None:
        calls = [{"id": "same", **call("Bash", {})}, {"id": "same", **call("Bash", {})}]
        ids = {block["id"] for block in answered(said(tool_calls=calls), COUNTED)["content"]}
        self.assertEqual(ids, {"toolu_1_1", "toolu_1_2"})

    def test_one_call_only(self) -> None:
        report = Report(estimate=9)
        calls = [call("Bash", {}), call("Read", {})]
        choice = {"type": "auto", "disable_parallel_tool_use": True}
        message = answered(said(tool_calls=calls), COUNTED, report=report, tool_choice=choice)
        self.assertEqual([block["name"] for block in message["content"]], ["Bash"])
        self.assertEqual(report.dropped_header(), "tool_call=1")

    def test_arguments_in_a_string(self) -> None:
        message = answered(said(tool_calls=[call("Bash", '{"a":1}')]), COUNTED)
        self.assertEqual(message["content"][0]["input"], {"a": 1})

    def test_a_call_that_makes_no_sense_is_not_passed_on(self) -> None:
        for broken in (call("Bash", "{"), call("Bash", [1]), call("", {}), {"id": "x"}, "call"):
            with self.subTest(broken), self.assertRaises(UpstreamDisconnected):
                answered(said(tool_calls=[broken]), COUNTED)

    def test_white_space_alone_is_no_text(self) -> None:
        blank = said(content="\n")
        lines = said(thinking="hm"), blank, blank, said(tool_calls=[call("Bash", {})]), COUNTED
        self.assertEqual([block["type"] for block in answered(*lines)["content"]], ["thinking", "tool_use"])
        self.assertEqual(answered(said(content="\n"), said(content=" a"), COUNTED)["content"][0]["text"], "\n a")

    def test_an_empty_answer_stays_empty(self) -> None:
        report = Report(estimate=9)
        message = answered(COUNTED, report=report)
        self.assertEqual((message["content"], message["stop_reason"]), ([], "end_turn"))
        self.assertEqual(report.notes, ["the answer is empty"])

    def test_lines_of_old_versions(self) -> None:
        """Before 0.5 every line had images, before 0.1.30 the last one no reason, before 0.12.10 a call no id."""
        old = {key: value for key, value in COUNTED.items() if key != "done_reason"}
        lines = said(content="Hi", images=None), said(tool_calls=[call("Bash", {})], images=None), old
        report = Report(estimate=9)
        message = answered(*lines, report=report)
        self.assertEqual([block["type"] for block in message["content"]], ["text", "tool_use"])
        self.assertEqual(report.notes, [])

    def test_length(self) -> None:
        edge = {**COUNTED, "done_reason": "length", "prompt_eval_count": 32_000, "eval_count": 760}
        self.assertEqual(answered(said(content="a"), edge)["stop_reason"], "model_context_window_exceeded")
        self.assertEqual(answered(said(content="a"), {**edge, "eval_count": 700})["stop_reason"], "max_tokens")

    def test_an_unknown_reason_is_noted(self) -> None:
        report = Report(estimate=9)
        answered(said(content="a"), {**COUNTED, "done_reason": "load"}, report=report)
        self.assertEqual(report.notes, ["done_reason load became end_turn"])

    def test_a_tool_choice_that_was_not_obeyed_is_noted(self) -> None:
        report = Report(estimate=9)
        answered(said(content="a"), COUNTED, report=report, tool_choice={"type": "any"})
        self.assertEqual(report.notes, ["tool_choice was not obeyed"])

    def test_a_prompt_cut_in_silence_is_noted(self) -> None:
        report = Report(estimate=30_000)
        answered(said(content="a"), {**COUNTED, "prompt_eval_count": 2051}, report=report)
        self.assertEqual(report.notes, ["the prompt may have been cut: about 30000 tokens sent, 2051 read"])


class Streams(unittest.TestCase):
    LINES = said(thinking="hm"), said(content="Grüße \u2028 🙂"), said(tool_calls=[call("B", {"ü": "é"})]), COUNTED
    WHOLE = ndjson(*LINES)

    def events(self, *pieces: bytes, report: Report | None = None) -> list[bytes]:
        return list(ollama.stream(Response(*pieces), request(), QWEN, report or Report(estimate=9)))

    def test_bytes_may_be_split_anywhere(self) -> None:
        raw = self.WHOLE
        whole = b"".join(self.events(raw))
        self.assertEqual(b"".join(self.events(*(raw[n : n + 1] for n in range(len(raw))))), whole)
        for cut in range(0, len(raw), 7):
            self.assertEqual(b"".join(self.events(raw[:cut], raw[cut:])), whole)

    def test_characters_as_they_are(self) -> None:
        raw = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in self.LINES)
        single = self.events(*(raw[n : n + 1] for n in range(len(raw))))
        message = fold(sse.decode(single))
        self.assertEqual(message["content"][1]["text"], "Grüße \u2028 🙂")

    def test_one_write_for_each_read(self) -> None:
        lines = self.WHOLE.splitlines(keepends=True)
        self.assertEqual(len(self.events(lines[0] + lines[1], lines[2] + lines[3])), 2)

    def test_nothing_before_the_first_content(self) -> None:
        self.assertEqual(len(self.events(ndjson(said()), b"\n", ndjson(said(content=" ")), ndjson(COUNTED))), 1)

    def test_the_last_line_may_lack_its_end(self) -> None:
        self.assertTrue(self.events(self.WHOLE.rstrip(b"\n"))[-1].endswith(b'{"type":"message_stop"}\n\n'))

    def test_nothing_follows_the_end(self) -> None:
        report = Report(estimate=9)
        self.events(self.WHOLE + ndjson(said(content="more")), ndjson({"error": "late"}), report=report)
        self.assertTrue(report.ended)

    def failing(self, *pieces: bytes) -> tuple[list[bytes], RelayError]:
        """What was sent before it failed, and how it failed."""
        got: list[bytes] = []
        with self.assertRaises(RelayError) as caught:
            for event in ollama.stream(Response(*pieces), request(), QWEN, Report(estimate=9)):
                got.append(event)  # noqa: PERF402  # what came before the failure counts
        return got, caught.exception

    def test_an_end_without_the_last_line_is_a_failure(self) -> None:
        for pieces in ((), (ndjson(said(content="a")),), (b'{"message":',)):
            self.assertIsInstance(self.failing(*pieces)[1], UpstreamDisconnected)

    def test_an_error_line_before_anything_was_sent(self) -> None:
        sent_before, failure = self.failing(ndjson(said(content="a"), {"error": "an error was encountered"}))
        self.assertEqual((sent_before, failure.message), ([], "ollama: an error was encountered"))
        self.assertTrue(failure.try_next)

    def test_an_error_line_after_content(self) -> None:
        got, failure = self.failing(ndjson(said(content="a")), ndjson(said(content="b"), {"error": "x"}))
        self.assertIsInstance(failure, UpstreamFailure)
        self.assertIn(b'"text":"b"', got[1])

    def test_something_else_than_a_chat(self) -> None:
        for raw in (b"<html>\n", b"[]\n", b"1\n", b"\xff\n"):
            self.assertIn("is base_url right?", self.failing(raw)[1].message)

    def test_folded_is_the_same_as_streamed(self) -> None:
        message = json.loads(ollama.message(Response(self.WHOLE), request(), QWEN, Report(estimate=9)))
        self.assertEqual(message, fold(sse.decode(self.events(self.WHOLE))))


if __name__ == "__main__":
    unittest.main()
