"""What commands write on: when there are colours, how tables align."""

from __future__ import annotations

import io
import unittest

from ccrelay_providers.commands.terminal import NO_END, Terminal, cells, colours, columns, wrap


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestColours(unittest.TestCase):
    def test_on_a_terminal_that_knows_them(self) -> None:
        self.assertTrue(colours(Screen(), {"TERM": "xterm"}))
        for environ in ({"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}):
            self.assertFalse(colours(Screen(), environ), environ)

    def test_an_empty_no_color_says_nothing(self) -> None:
        self.assertTrue(colours(Screen(), {"NO_COLOR": ""}))

    def test_never_in_a_pipe(self) -> None:
        pipe = Terminal(io.StringIO(), {"TERM": "xterm"})
        self.assertEqual((pipe.colour, pipe.live, pipe.width, pipe.paint("red", "x")), (False, False, NO_END, "x"))


class TestLine(unittest.TestCase):
    def test_a_sign_that_the_encoding_lacks(self) -> None:
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding="ascii")
        Terminal(stream, {}).line("Z.AI · 1M")
        self.assertEqual(raw.getvalue(), b"Z.AI ? 1M\n")


class TestTable(unittest.TestCase):
    def test_columns_are_as_wide_as_their_widest_cell(self) -> None:
        self.assertEqual(list(columns([("a", "b", "c"), ("long", "", "d")], 80)), ["a     b  c", "long     d"])

    def test_wide_signs_take_two_columns_and_colours_none(self) -> None:
        self.assertEqual(
            [cells(text) for text in ("ab", "模型", "é", "e\u0301", "\x1b[31mred\x1b[0m")], [2, 4, 1, 1, 3]
        )
        lines = list(columns([("模型", "x"), ("\x1b[31mred\x1b[0m", "x")], 80))
        self.assertEqual({cells(line.partition("x")[0]) for line in lines}, {6})

    def test_what_is_too_long_goes_on_below_itself(self) -> None:
        lines = list(columns([("key", "one two three four five six seven eight")], 30))
        self.assertEqual(lines, ["key  one two three four five", "     six seven eight"])
        self.assertTrue(all(cells(line) <= 30 for line in lines))

    def test_a_short_row_may_run_below_the_columns_that_it_has_not(self) -> None:
        lines = list(columns([("a", "1234567", "x"), ("b", "a sentence that is long")], 60))
        self.assertEqual(lines[1], "b  a sentence that is long")

    def test_a_long_word_stays_whole(self) -> None:
        self.assertEqual(wrap("a " + "x" * 40 + " b", 24), ["a", "x" * 40, "b"])

    def test_nothing(self) -> None:
        self.assertEqual(list(columns([], 80)), [])
        self.assertEqual(list(columns([("", "")], 80)), [""])


if __name__ == "__main__":
    unittest.main()
