"""The log line: what it says, what it never says, that it stays one line."""

from __future__ import annotations

import io
import json
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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestText(unittest.TestCase):
    def test_a_line(self) -> None:
        line = logged(entry(first_event=0.24, stream=True, total=12.34, attempts=2, queued=3))
        self.assertRegex(line, r"^\d\d:\d\d:\d\d  200  both → zai/glm-5\.2  0\.24s/12\.3s  in 1\.2k  out 30  end_turn")
        self.assertTrue(line.endswith("2 attempts  queued behind 3\n"))

    def test_the_same_name_is_said_once(self) -> None:
        self.assertNotIn("→", logged(entry(requested="zai/glm-5.2")))

    def test_what_was_dropped_cached_and_noted(self) -> None:
        report = Report(Counter(thinking=2), ["message_stop was missing"], input_tokens=1, cache_read=1_050_000)
        line = logged(entry(report=report))
        self.assertIn("in 1.05M (cached 1.05M)  out 0", line)
        self.assertIn("dropped thinking=2  message_stop was missing", line)

    def test_a_failure_is_a_line_of_its_own(self) -> None:
        lines = logged(entry(failures=["zai: boom"])).splitlines()
        self.assertEqual((len(lines), lines[1].strip()), (2, "zai: boom"))

    def test_a_client_that_left(self) -> None:
        self.assertIn("  left  both", logged(entry(departed=True)))

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
        self.assertIn("200  GET /health", logged(fine, verbose=True))
        self.assertIn("404  GET /health", logged(wrong))

    def test_colour_only_on_a_terminal(self) -> None:
        terminal = Terminal()
        Log("text", terminal).request(entry())
        self.assertIn("\x1b[32m200\x1b[0m", terminal.getvalue())
        self.assertNotIn("\x1b", logged(entry()))

    def test_colours_of_trouble(self) -> None:
        broken = {"failures": ["x"], "report": Report()}
        for fields, colour in (
            ({"status": 529}, 31),
            (broken, 31),
            ({"failures": ["x"]}, 33),
            ({"departed": True}, 33),
        ):
            terminal = Terminal()
            Log("text", terminal).request(entry(**fields))
            self.assertIn(f"\x1b[{colour}m", terminal.getvalue())

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
        self.assertEqual(
            [count(n) for n in (0, 999, 12_345, 999_950, 1_050_000)], ["0", "999", "12.3k", "1.00M", "1.05M"]
        )


if __name__ == "__main__":
    unittest.main()
