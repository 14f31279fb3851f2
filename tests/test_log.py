"""The log line: what it says, what it never says, that it stays one line."""

from __future__ import annotations

import io
import json
import re
import unittest
from collections import Counter
from typing import Any, Literal

from ccrelay_providers.core.log import Entry, Log, as_dict, count, seconds
from ccrelay_providers.wire.provider import Report


def entry(**fields: Any) -> Entry:
    """A plain, answered request, changed by the fields."""
    report = Report(input_tokens=1200, output_tokens=30, stop_reason="end_turn")
    plain: dict[str, Any] = {
        "requested": "both",
        "answered_by": "zai/glm-5.2",
        "status": 200,
        "total": 2.5,
        "report": report,
    }
    return Entry("req_1", "POST", "/v1/messages", **{**plain, **fields})


def logged(each: Entry, form: Literal["text", "json"] = "text", verbose: bool = False) -> str:
    stream = io.StringIO()
    Log(form, stream, verbose).request(each)
    return stream.getvalue()


def painted(each: Entry) -> str:
    stream = io.StringIO()
    Log("text", stream, colour=True).request(each)
    return stream.getvalue()


class TestText(unittest.TestCase):
    def test_a_line(self) -> None:
        line = logged(entry(first_event=0.24, stream=True, total=12.34, attempts=2, queued=3, session="3f2a6c00"))
        self.assertRegex(line, r"^\d\d:\d\d:\d\d 200  3f2a  0\.24s  12\.3s in  1\.2k out   30  both → zai/glm-5\.2 ")
        self.assertTrue(line.endswith("  2 attempts  queued behind 3\n"))

    def test_columns_stand_below_each_other(self) -> None:
        slow = entry(first_event=65.0, stream=True, total=3905.0, session="agent's")
        big = Report(input_tokens=1_050_000, output_tokens=9_949)
        silent = Report()
        lines = [
            logged(each) for each in (entry(), slow, entry(report=big), entry(report=silent), entry(departed=True))
        ]
        self.assertEqual({line.index("both") for line in lines}, {52})

    def test_a_narrow_terminal_has_no_blanks_behind_the_names(self) -> None:
        stream = io.StringIO()
        Log("text", stream, names=1).request(entry(requested="zai/glm-5.2", attempts=2))
        self.assertIn("zai/glm-5.2  2 attempts", stream.getvalue())
        self.assertIn("zai/glm-5.2                  2 attempts", logged(entry(requested="zai/glm-5.2", attempts=2)))

    def test_a_name_is_said_once(self) -> None:
        for asked, answered, shown in (
            ("zai/glm-5.2", "zai/glm-5.2", "zai/glm-5.2"),
            ("glm-5.2", "zai/glm-5.2", "glm-5.2 → zai"),
            ("anthropic-relay/zai/glm-5.2", "zai/glm-5.2", "zai/glm-5.2"),
            ("claude-haiku-5-5", "zai/glm-4.5-air", "claude-haiku-5-5 → zai/glm-4.5-air"),
            ("ollama/qwen3", "ollama/qwen3:8b", "ollama/qwen3 → ollama/qwen3:8b"),
            ("nobody", "", "nobody"),
        ):
            self.assertEqual(logged(entry(requested=asked, answered_by=answered))[52:].strip(), shown)

    def test_a_subagent_has_the_mark_of_its_session(self) -> None:
        self.assertIn(" 3f2a+ ", logged(entry(session="3f2a6c00/agent-1")))
        self.assertIn(" -     ", logged(entry()))

    def test_what_was_dropped_cached_and_noted(self) -> None:
        report = Report(Counter(thinking=2), ["message_stop was missing"], input_tokens=1, cache_read=1_050_000)
        line = logged(entry(report=report))
        self.assertIn("in 1.05M out    0", line)
        self.assertIn("cached 1.05M  dropped thinking=2  message_stop was missing", line)

    def test_an_unusual_end_is_said(self) -> None:
        self.assertIn("max_tokens", logged(entry(report=Report(input_tokens=1, stop_reason="max_tokens"))))
        self.assertNotIn("end_turn", logged(entry()))

    def test_a_fallback_is_never_silent(self) -> None:
        self.assertIn("fallback, since zai: boom", logged(entry(fallback="zai: boom")))
        self.assertEqual(as_dict(entry(fallback="zai: boom"))["fallback"], "zai: boom")
        self.assertIsNone(as_dict(entry())["fallback"])

    def test_a_failure_is_a_line_of_its_own(self) -> None:
        lines = logged(entry(failures=["zai: boom"])).splitlines()
        self.assertEqual((len(lines), lines[1].strip()), (2, "zai: boom"))

    def test_a_client_that_left(self) -> None:
        self.assertRegex(logged(entry(departed=True)), r"^\S+ left -  .*  both")

    def test_nobody_can_forge_a_line_or_move_the_cursor(self) -> None:
        for fields in ({"requested": "a\n9 forged\x1b[2J"}, {"failures": ["a\n9 forged\x1b[2J"]}):
            text = logged(entry(**fields))
            self.assertFalse(any(line.startswith("9 forged") for line in text.splitlines()), text)
            self.assertNotIn("\x1b", text)
        path = Entry("req_1", "GET", "/x\n9 forged", status=404)
        self.assertEqual(logged(path).count("\n"), 1)

    def test_listings_and_health_checks_only_when_verbose_or_wrong(self) -> None:
        fine, wrong = (Entry("req_1", "GET", "/health", status=status) for status in (200, 404))
        self.assertEqual(logged(fine), "")
        self.assertRegex(logged(fine, verbose=True), r" 200 .* GET /health\n")
        self.assertRegex(logged(wrong), r" 404 .* GET /health\n")

    def test_counts_only_when_verbose_or_wrong(self) -> None:
        path = "/v1/messages/count_tokens"
        fine = Entry("req_1", "POST", path, requested="m", answered_by="zai/m", status=200)
        estimated = Entry("req_1", "POST", path, requested="m", answered_by="zai/m", status=200, failures=["zai: x"])
        self.assertEqual(logged(fine), "")
        for line in (logged(fine, verbose=True), logged(estimated)):
            self.assertIn("  count_tokens m → zai", line)

    def test_plain_unless_colours_are_wanted(self) -> None:
        self.assertIn("\x1b[32m200 \x1b[0m", painted(entry()))
        self.assertNotIn("\x1b", logged(entry(session="s", failures=["x"])))

    def test_colours_change_no_column(self) -> None:
        for each in (entry(session="3f2a6c00/agent"), entry(), entry(failures=["zai: boom"], departed=True)):
            self.assertEqual(re.sub(r"\x1b\[\d+m", "", painted(each)), logged(each))

    def test_colours_of_trouble(self) -> None:
        broken = {"failures": ["x"], "report": Report()}
        for fields, colour in (
            ({"status": 529}, 31),
            (broken, 31),
            ({"failures": ["x"]}, 33),
            ({"departed": True}, 33),
        ):
            self.assertRegex(painted(entry(**fields)), rf"\x1b\[{colour}m(\d+|left) *\x1b")

    def test_a_session_keeps_its_colour(self) -> None:
        first, again = (painted(entry(session="3f2a6c00", total=total)) for total in (1.0, 2.0))
        self.assertEqual(*(re.findall(r"\x1b\[\d+m3f2a", line) for line in (first, again)))

    def test_say(self) -> None:
        stream = io.StringIO()
        Log("text", stream).say("stopping")
        self.assertRegex(stream.getvalue(), r"^\d\d:\d\d:\d\d stopping\n$")


class TestJson(unittest.TestCase):
    def test_a_line_is_one_object_with_fixed_names(self) -> None:
        text = logged(entry(failures=["zai:\nboom"], session="s", first_event=0.5), "json")
        line = json.loads(text)
        self.assertEqual(text.count("\n"), 1)
        self.assertEqual((line["model"], line["answered_by"], line["status"]), ("both", "zai/glm-5.2", 200))
        self.assertEqual((line["input_tokens"], line["output_tokens"], line["stop_reason"]), (1200, 30, "end_turn"))
        self.assertEqual((line["failures"], line["session"], line["first_event_seconds"]), (["zai:\nboom"], "s", 0.5))
        self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_names_do_not_depend_on_what_happened(self) -> None:
        self.assertEqual(list(as_dict(entry())), list(as_dict(Entry("req_1", "GET", "/"))))

    def test_say(self) -> None:
        stream = io.StringIO()
        Log("json", stream).say("stopping", request_id="req_1")
        line = json.loads(stream.getvalue())
        self.assertEqual((line["message"], line["request_id"]), ("stopping", "req_1"))


class TestBrokenTerminal(unittest.TestCase):
    def test_a_closed_stream_ends_nothing(self) -> None:
        stream = io.StringIO()
        log = Log("text", stream)
        stream.close()
        log.say("into the void")


class TestWords(unittest.TestCase):
    def test_seconds(self) -> None:
        self.assertEqual([seconds(value) for value in (0.24, 12.34, 59.9, 245)], ["0.24s", "12.3s", "59.9s", "4m05s"])

    def test_count(self) -> None:
        numbers = (0, 999, 12_345, 99_949, 99_950, 215_400, 999_499, 999_500, 1_050_000)
        words = ["0", "999", "12.3k", "99.9k", "100k", "215k", "999k", "1.00M", "1.05M"]
        self.assertEqual([count(n) for n in numbers], words)


if __name__ == "__main__":
    unittest.main()
