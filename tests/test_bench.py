"""The bench, from end to end in its smallest size; it has to count streams as broken, not to be fast."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from tests.relay import PATIENCE, ROOT
from tests.test_floors import MAX_LINES, lines

BENCH = ROOT / "bench"
sys.path.insert(0, str(BENCH))  # its modules import each other by their plain names, as scripts do

import bodies  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402
import streams  # noqa: E402
import wire  # noqa: E402

CPU = report.Figure("CPU per request, ms", "cpu_request_ms")
RATE = report.Figure("requests per second", "requests_s", more_is_better=True)


class TestTheCommands(unittest.TestCase):
    """Three commands side by side, each with processes of its own."""

    said: dict[str, tuple[str, str, int]]  # output, errors, exit code
    told: dict[str, Any]
    svg: str

    @classmethod
    def setUpClass(cls) -> None:
        with tempfile.TemporaryDirectory() as folder:
            where = Path(folder)
            commands = {
                "whole": ["run.py", "first", "--quick", "--json", where / "whole", *cls.against()],
                "broken": ["run.py", "ollama", "tls", "--quick", "--json", where / "broken", "--fault", "cut"],
                "growth": ["growth.py", "repaired", "--quick", "--json", where / "growth", "--svg", where / "svg"],
            }
            running = {name: start(*map(str, arguments)) for name, arguments in commands.items()}
            cls.said = {name: ended(process) for name, process in running.items()}
            cls.told = {name: json.loads((where / name).read_text()) for name in commands}
            cls.svg = (where / "svg").read_text("utf-8")

    @staticmethod
    def against() -> list[str]:
        """Nothing where this is a copy without a history."""
        return ["--against", "HEAD"] if (ROOT / ".git").exists() else []

    def runs(self, command: str, scenario: str) -> dict[str, Any]:
        found: dict[str, Any] = self.told[command]["scenarios"][scenario]["runs"]
        return found

    def test_all_ended_as_they_should(self) -> None:
        for name, code in (("whole", 0), ("broken", 1), ("growth", 0)):
            out, errors, exit_code = self.said[name]
            self.assertEqual((exit_code, errors), (code, ""), f"{name}: {out}")

    def test_every_target_has_its_figures(self) -> None:
        runs = self.runs("whole", "first")
        self.assertEqual(list(runs), ["direct", "relay", *self.against()[1:]])
        for name, [run] in runs.items():
            self.assertEqual((run["requests"], run["whole"], run["broken"]), (2, 2, []), name)
            self.assertGreater(run["total_us"]["p50"], run["delay_us"]["p50"], name)
            self.assertGreaterEqual(run["first_us"]["p99"], run["first_us"]["p50"], name)
        self.assertEqual("peak_mb" in runs["relay"][0], Path("/proc/self/stat").exists())
        self.assertNotIn("peak_mb", runs["direct"][0])

    def test_the_tables_say_it(self) -> None:
        out = self.said["whole"][0]
        self.assertIn("first: 1 connection, 50 KB", out)
        self.assertRegex(out, r"(?m)^first event, p50 µs( +[\d.,]+){3}")
        if self.against():
            self.assertRegex(out, r"(?m)^ +direct +relay +× direct +HEAD +× direct +now / then")

    def test_broken_streams_are_errors_and_no_figures(self) -> None:
        for scenario in ("ollama", "tls"):
            for name, [run] in self.runs("broken", scenario).items():
                self.assertEqual(run["whole"], 0, name)
                self.assertNotIn("first_us", run)
                self.assertTrue(run["broken"], name)
            self.assertIn("the stream has no end", self.runs("broken", scenario)["direct"][0]["broken"])
        self.assertRegex(self.said["broken"][0], r"BROKEN relay: \d+ broken streams: an error event: ")

    def test_growth_tells_costs_and_memory(self) -> None:
        told = self.told["growth"]["repaired"]
        self.assertEqual([point["x"] for point in told["sequences"]["size"]], [0.01, 0.03])
        self.assertTrue(all(point["milliseconds"] > 0 for point in told["sequences"]["size"]))
        self.assertIn("grows with the power", self.said["growth"][0])
        self.assertEqual(told["kept"]["grown_mb"] is None, not Path("/proc/self/stat").exists())

    def test_the_plot_is_a_picture(self) -> None:
        found = [element.tag.rpartition("}")[2] for element in ElementTree.fromstring(self.svg).iter()]
        self.assertEqual((found.count("polyline"), found.count("circle")), (1, 2))


def start(*arguments: str) -> subprocess.Popen[str]:
    script, *others = arguments
    command = [sys.executable, str(BENCH / script), *others]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")


def ended(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    """(output, errors, exit code). On a loaded machine half a dozen processes take their time."""
    out, errors = process.communicate(timeout=3 * PATIENCE)
    return out, errors, process.returncode


class TestStreams(unittest.TestCase):
    """What counts as whole."""

    def pieces(self, answer: wire.Answer, numbers: list[int], size: int = 1 << 20) -> streams.Pieces:
        data = answer.start + b"".join(map(answer.piece, numbers)) + answer.end
        return [(10**20 + at, data[at : at + size]) for at in range(0, len(data), size)]

    def test_whole_answers_in_pieces_of_any_size(self) -> None:
        for answer, translated in ((wire.messages_answer(3), False), (wire.ollama_answer(3), True)):
            for size in (1, 7, 1000):
                found = streams.timing(0, self.pieces(answer, [0, 1, 2], size), 3, translated)
                self.assertEqual(len(found.delays), 3)
                self.assertLessEqual(found.first, found.total)

    def test_several_events_in_one_text(self) -> None:
        text = (wire.STAMP % (0, 5) + wire.STAMP % (1, 6)).decode()
        self.assertEqual(streams.checked([(9, text)], 2), [(9, 5), (9, 6)])

    def test_everything_else_is_broken(self) -> None:
        whole = self.pieces(wire.messages_answer(2), [0, 1])[0][1]
        damaged = {
            "the answer is 'HTTP/1.1 500": whole.replace(b"200 OK", b"500 Oh", 1),
            "the stream has no end": whole[:-5],
            "bytes follow the end": whole + b"x",
            "a chunk's size is": whole.replace(b"\r\n\r\n", b"\r\n\r\nxx\r\n", 1),
            "text that was never sent": whole.replace(b"ipsum", b"opsum", 1),
            "the events are": whole.replace(b"message_stop", b"message_stip"),
            "a malformed event": whole.replace(b"event: message_stop", b"event: message_stip"),
        }
        for sentence, data in damaged.items():
            with self.subTest(sentence), self.assertRaisesRegex(streams.BrokenStream, sentence):
                streams.timing(0, [(1, data)], 2, False)
        for numbers in ([0], [1, 0], [0, 0], [0, 1, 2]):
            with self.subTest(numbers), self.assertRaises(streams.BrokenStream):
                streams.timing(0, self.pieces(wire.messages_answer(2), numbers), 2, False)


class TestReport(unittest.TestCase):
    def test_slower_is_what_the_repetitions_cannot_explain(self) -> None:
        def runs(*values: float) -> list[report.Run]:
            return [{"cpu_request_ms": value, "requests_s": value} for value in values]

        self.assertTrue(report.slower(CPU, runs(1.3, 1.2, 1.4), runs(1.0, 1.1, 0.9)))
        self.assertFalse(report.slower(CPU, runs(1.3, 1.05, 1.4), runs(1.0, 1.1, 0.9)))
        self.assertFalse(report.slower(CPU, runs(0.5, 0.6), runs(1.0, 1.1)))
        self.assertTrue(report.slower(RATE, runs(0.5, 0.6), runs(1.0, 1.1)))
        self.assertFalse(report.slower(CPU, runs(1.01, 1.01), runs(1, 1)), "nobody would notice")
        self.assertFalse(report.slower(CPU, runs(9), runs(1)), "one repetition says nothing")

    def test_ratios_are_of_runs_made_side_by_side(self) -> None:
        now, then = ([{"cpu_request_ms": value} for value in values] for values in ((2, 20, 3), (1, 10, 1)))
        self.assertEqual(report.ratio(CPU, now, then), 2)
        self.assertIsNone(report.ratio(CPU, now, []))
        self.assertIsNone(report.middle(RATE, now))


class TestBodies(unittest.TestCase):
    def test_sizes_and_lengths(self) -> None:
        for size, messages in ((2_000, 0), (50_000, 0), (1_000_000, 0), (200_000, 101)):
            data = bodies.body("m", size, messages=messages)
            self.assertAlmostEqual(len(data), size, delta=size * 0.15)
            self.assertEqual(len(json.loads(data)["messages"]), messages or len(json.loads(data)["messages"]))

    def test_foreign_thinking_is_marked(self) -> None:
        turns = json.loads(bodies.body("m", 50_000, foreign=True))["messages"]
        blocks = [turn["content"][0] for turn in turns if turn["role"] == "assistant"]
        self.assertTrue(all(block["signature"].startswith("ccrelay:zai:") for block in blocks))


class TestPlot(unittest.TestCase):
    def test_signs_do_not_cover_each_other(self) -> None:
        self.assertEqual(plot.apart([50.0, 49.0, 10.0]), [49.0 + plot.SIGN_HEIGHT, 49.0, 10.0])

    def test_an_axis_runs_from_power_to_power(self) -> None:
        axis = plot.Axis([0.5, 30], 0, 300)
        self.assertEqual([round(axis.at(mark)) for mark in axis.marks()], [0, 100, 200, 300])


class TestTheHouse(unittest.TestCase):
    def test_no_function_is_longer_than_a_screen(self) -> None:
        for path in sorted(BENCH.glob("*.py")):
            source = path.read_text("utf-8")
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.FunctionDef):
                    self.assertLessEqual(lines(node, source), MAX_LINES, f"{path.name}: {node.name}")


if __name__ == "__main__":
    unittest.main()
