"""ccrelay_providers/wire/passthrough.py: what is held, passed, repaired, and called a failure."""

from __future__ import annotations

import json
import unittest
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

from ccrelay_providers.wire.errors import Overloaded, RelayError, UpstreamDisconnected
from ccrelay_providers.wire.messages import dumps
from ccrelay_providers.wire.passthrough import Passthrough
from ccrelay_providers.wire.provider import Report

Json = dict[str, Any]


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **fields}).encode())


def compact(kind: str, **fields: Any) -> bytes:
    """As Anthropic writes it."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), dumps({"type": kind, **fields}))


PING = event("ping")
START = event("message_start", message={"model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}})
OPEN = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
DELTA = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "é"})
CLOSE = event("content_block_stop", index=0)
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9})
STOP = event("message_stop")
ERROR = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
WHOLE = START + OPEN + DELTA + CLOSE + END + STOP


def no_repair(kind: str, data: Json) -> bool | Json:
    return False


class PassthroughTests(unittest.TestCase):
    def stream(
        self, *pieces: bytes, model: str = "m", repair: Any = no_repair, watches: bytes | None = None
    ) -> list[bytes]:
        return list(self.iterate(pieces, model, repair, watches))

    def iterate(
        self, pieces: Iterable[bytes], model: str = "m", repair: Any = no_repair, watches: bytes | None = None
    ) -> Iterator[bytes]:
        self.told: list[bytes] = []
        self.report = Report()
        return Passthrough(model, self.report, self.failure, repair, watches).stream(pieces)

    def failure(self, data: bytes) -> RelayError:
        self.told.append(data)
        return Overloaded("told")


class PassingTests(PassthroughTests):
    def test_an_unchanged_read_is_the_same_object(self) -> None:
        sent = self.stream(START + OPEN, piece := DELTA + PING, CLOSE + END + STOP)
        self.assertIs(piece, sent[1])

    def test_any_cut_gives_the_same_bytes(self) -> None:
        for size in (1, 2, 3, 7, 50, len(WHOLE)):
            pieces = [WHOLE[start : start + size] for start in range(0, len(WHOLE), size)]
            self.assertEqual(WHOLE, b"".join(self.stream(*pieces)))

    def test_any_line_ending_is_understood(self) -> None:
        for ending in (b"\r\n", b"\r"):
            raw = WHOLE.replace(b"\n", ending)
            for size in (1, 5, len(raw)):
                with self.subTest(ending=ending, size=size):
                    pieces = [raw[start : start + size] for start in range(0, len(raw), size)]
                    self.assertEqual(WHOLE, b"".join(self.stream(*pieces)))

    def test_the_model_is_named_as_the_client_named_it(self) -> None:
        self.assertIn(b'"model":"anthropic/m"', self.stream(WHOLE, model="anthropic/m")[0])

    def test_an_event_without_a_name_gets_one(self) -> None:
        self.assertIn(
            b"event: content_block_stop\n", b"".join(self.stream(WHOLE.replace(b"event: content_block_stop\n", b"")))
        )

    def test_the_lines_of_an_event_may_stand_in_any_order(self) -> None:
        name, data = DELTA.rstrip(b"\n").split(b"\n")
        turned = data + b"\n" + name + b"\n\n"
        whole = START + OPEN + turned + DELTA + CLOSE + END + STOP
        self.assertEqual(b"".join(self.stream(whole, repair=None)), whole)

    def test_the_report_is_filled(self) -> None:
        self.stream(WHOLE)
        counted = (self.report.input_tokens, self.report.output_tokens, self.report.stop_reason, self.report.ended)
        self.assertEqual((3, 9, "end_turn", True), counted)

    def test_nothing_follows_the_end(self) -> None:
        for tail in (b"data: [DONE]\n\n", ERROR, PING):
            self.assertEqual(WHOLE, b"".join(self.stream(WHOLE + tail)))
            self.assertEqual(WHOLE, b"".join(self.stream(WHOLE, tail)))


class UsualTests(PassthroughTests):
    """Events in Anthropic's own spelling are not parsed. What comes of them is the same."""

    def told_of(self, raw: bytes, model: str, repair: Any) -> tuple[bytes, Report]:
        return b"".join(self.stream(raw, model=model, repair=repair)), self.report

    def test_what_is_not_parsed_comes_to_the_same(self) -> None:
        counts = {"input_tokens": 3, "cache_read_input_tokens": 0, "server_tool_use": {"web_search_requests": 1}}
        starts: tuple[Json, ...] = (
            {"model": "m", "id": "1", "usage": counts}, {"model": "n", "usage": counts}, {"id": 1, "usage": counts},
            {"model": "m"}, {"model": "m", "usage": None}, {"model": "m", "usage": counts, "of": {"usage": {}}},
            {"model": "m", "of": {"model": "n"}, "usage": {"input_tokens": True, "output_tokens": -1}},
        )  # fmt: skip
        ends: tuple[Json, ...] = (
            {"delta": {"stop_reason": "refusal", "stop_sequence": None}, "usage": {"output_tokens": 9}},
            {"delta": {"stop_reason": None}, "usage": {"output_tokens": 9}}, {"delta": {"stop_reason": "end_turn"}},
            {"delta": {"stop_reason": "stop_sequence", "stop_sequence": '"usage":{}'}, "usage": {"output_tokens": 9}},
        )  # fmt: skip
        for start in starts:
            for end in ends:
                for model in ("m", "n"):
                    with self.subTest(start=start, end=end, model=model):
                        raw = compact("message_start", message=start) + OPEN + CLOSE
                        raw += compact("message_delta", **end) + STOP
                        usual, parsed = self.told_of(raw, model, None), self.told_of(raw, model, no_repair)
                        self.assertEqual((parsed[0].replace(b", ", b","), parsed[1]),
                                         (usual[0].replace(b", ", b","), usual[1]))  # fmt: skip

    def test_they_are_not_parsed(self) -> None:
        raw = compact("message_start", message={"model": "m", "usage": {"input_tokens": 3}})
        raw += compact("content_block_start", index=0, content_block={"type": "text", "text": ""})
        raw += compact("content_block_stop", index=0)
        raw += compact("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9})
        raw += compact("message_stop")
        with mock.patch.object(Passthrough, "_watch", side_effect=AssertionError):
            self.assertEqual(raw, b"".join(self.stream(raw, repair=None)))
        told = self.report
        self.assertEqual((3, 9, "end_turn"), (told.input_tokens, told.output_tokens, told.stop_reason))

    def test_a_stop_reason_of_a_broken_event_is_none(self) -> None:
        for broken in (b'"usage":{"output_tokens":', b'"usage":{},"usage":{', b'"usage"'):
            delta = (
                b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"tool_use"},%b\n\n'
                % broken
            )
            with self.subTest(broken), self.assertRaises(UpstreamDisconnected):
                self.stream(START + OPEN + CLOSE, delta, repair=None)
            self.assertIsNone(self.report.stop_reason)

    def test_lines_that_end_in_cr_hide_no_event_behind_a_delta(self) -> None:
        for piece in (DELTA, DELTA + DELTA):
            for behind in (ERROR, ERROR.replace(b"\n", b"\r\n")):
                with self.subTest(behind=behind), self.assertRaises(Overloaded):
                    self.stream(START + OPEN + DELTA, piece[:-2] + b"\r\r" + behind[:-2] + b"\n\n")

    def test_a_broken_one_is_a_failure(self) -> None:
        start = b'{"type":"message_start","message":{"model":"m","usage":'
        for broken in (start + b'{"input', start + b"[" * 100_000, b'{"type":"message_start",'):
            with self.subTest(broken[-9:]), self.assertRaises(UpstreamDisconnected):
                self.stream(b"event: message_start\ndata: %b\n\n" % broken + OPEN, repair=None)


class HoldingTests(PassthroughTests):
    def test_nothing_leaves_before_the_first_content(self) -> None:
        taken: list[bytes] = []

        def pieces() -> Iterator[bytes]:
            for piece in (b": hello\n\n", START, PING, OPEN, DELTA, CLOSE + END + STOP):
                taken.append(piece)
                yield piece

        stream = self.iterate(pieces())
        self.assertEqual(START + OPEN, next(stream))
        self.assertEqual(OPEN, taken[-1])
        self.assertEqual(DELTA, next(stream))

    def test_an_answer_without_content_is_one(self) -> None:
        self.assertEqual(START + END + STOP, b"".join(self.stream(START, END + STOP)))


class FailureTests(PassthroughTests):
    def sent_before_failing(self, *pieces: bytes) -> tuple[bytes, RelayError]:
        sent = b""
        with self.assertRaises(RelayError) as caught:
            for piece in self.iterate(pieces):
                sent += piece
        return sent, caught.exception

    def test_an_error_before_content_leaves_nothing_sent(self) -> None:
        for pieces in ([START, ERROR], [START + OPEN + DELTA + ERROR], [b'data: {"error": {"code": "1302"}}\n\n']):
            sent, failure = self.sent_before_failing(*pieces)
            self.assertEqual(b"", sent)
            self.assertIsInstance(failure, Overloaded)
            self.assertEqual(1, len(self.told))

    def test_what_came_with_a_late_error_is_sent(self) -> None:
        sent, failure = self.sent_before_failing(START + OPEN, DELTA + ERROR + DELTA)
        self.assertEqual(START + OPEN + DELTA, sent)
        self.assertIsInstance(failure, Overloaded)

    def test_an_error_of_null_is_none(self) -> None:
        odd = event("future", error=None)
        self.assertIn(odd, b"".join(self.stream(START + OPEN, odd, CLOSE + END + STOP)))

    def test_an_early_end_is_a_failure(self) -> None:
        for pieces in ([], [START], [START, OPEN + DELTA], [START, OPEN + DELTA + CLOSE], [START, OPEN, END]):
            with self.subTest(pieces=pieces):
                self.assertIsInstance(self.sent_before_failing(*pieces)[1], UpstreamDisconnected)

    def test_nothing_follows_message_stop(self) -> None:
        self.assertEqual(self.stream(WHOLE + DELTA + PING), [WHOLE])
        self.assertEqual(b"".join(self.stream(WHOLE, DELTA)), WHOLE)

    def test_only_message_stop_may_be_missing(self) -> None:
        for cut in (len(STOP), 30, 1):
            sent = b"".join(self.stream(WHOLE[:-cut]))
            self.assertTrue(sent.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n'))
            self.assertEqual(["message_stop was missing"], self.report.notes)

    def test_what_is_not_an_event_stream_is_a_failure(self) -> None:
        for raw in (b"data: [1]\n\n", b"data: {\n\n", b"data: \xff\n\n", event("message_start", message=None)):
            with self.subTest(raw=raw):
                self.assertIsInstance(self.sent_before_failing(raw)[1], UpstreamDisconnected)


class RepairTests(PassthroughTests):
    def test_only_deltas_that_are_watched_are_shown(self) -> None:
        seen: list[str] = []

        def repair(kind: str, data: Json) -> bool:
            seen.append(data.get("delta", {}).get("type", kind))
            return False

        watched = event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "s"})
        self.stream(START + OPEN + DELTA + watched + CLOSE + END + STOP, repair=repair, watches=b'"signature_delta"')
        self.assertIn("signature_delta", seen)
        self.assertNotIn("text_delta", seen)

    def test_a_change_is_written_and_an_extra_event_goes_before(self) -> None:
        def repair(kind: str, data: Json) -> bool | Json:
            if kind == "content_block_start":
                data["x"] = 1
                return True
            return {"type": "extra"} if kind == "content_block_stop" else False

        sent = b"".join(self.stream(WHOLE, repair=repair))
        self.assertIn(b'"x":1}\n\n' + DELTA + b'event: extra\ndata: {"type":"extra"}\n\n' + CLOSE, sent)


class OddFields(unittest.TestCase):
    def test_counts_and_reasons_of_the_wrong_kind_are_not_taken_over(self) -> None:
        report = Report()
        report.usage({"input_tokens": 10**400, "output_tokens": True, "cache_read_input_tokens": -1})
        report.stopped({"not": "a word"})
        self.assertEqual((report.prompt_tokens, report.output_tokens, report.stop_reason), (0, None, None))


if __name__ == "__main__":
    unittest.main()
