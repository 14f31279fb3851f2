"""ccrelay_providers/wire/names.py: ids and names of tools."""

from __future__ import annotations

import unittest

from ccrelay_providers.wire.names import Ids, long_name, safe_id, safe_name, short_name

LONG = "mcp__a_server_with_a_long_name__a_tool_with_a_name_that_is_even_longer_" + "x" * 40


class NameTests(unittest.TestCase):
    def test_what_is_good_stays(self) -> None:
        self.assertEqual(("Bash", "toolu_1"), (safe_name("Bash"), safe_id("toolu_1")))
        self.assertEqual("x" * 128, safe_name("x" * 128))

    def test_what_is_not_becomes_something_that_anthropic_takes(self) -> None:
        for word in ("functions.Bash:0", "", "a b", "Ünïcode", "x" * 500, "\ud800"):
            with self.subTest(word=word):
                self.assertRegex(safe_name(word), r"\A[a-zA-Z0-9_-]{1,128}\Z")
                self.assertRegex(safe_id(word), r"\A[a-zA-Z0-9_-]{1,64}\Z")
                self.assertEqual(safe_id(word), safe_id(word))

    def test_a_long_name_is_shortened_and_found_again(self) -> None:
        tools = [{"name": "Bash"}, {"name": LONG}, {"name": LONG + "y"}]
        short = [short_name(str(tool["name"]), 64) for tool in tools]
        self.assertEqual(3, len(set(short)))
        self.assertEqual([4, 64, 64], list(map(len, short)))
        self.assertEqual([tool["name"] for tool in tools], [long_name(name, tools, 64) for name in short])

    def test_a_name_that_nobody_offered_stays(self) -> None:
        self.assertEqual("x" * 64, long_name("x" * 64, [{"name": LONG}], 64))


class IdTests(unittest.TestCase):
    def setUp(self) -> None:
        self.ids = Ids()

    def turn(self, calls: list[str], results: list[str]) -> tuple[list[str], list[str]]:
        self.ids.turn("assistant")
        made = [self.ids.call(each) for each in calls]
        self.ids.turn("user")
        return made, [self.ids.result(each) for each in results]

    def test_a_result_follows_its_call(self) -> None:
        first, second = self.turn(["call_0"], ["call_0"]), self.turn(["call_0"], ["call_0"])
        self.assertEqual((["call_0"], ["call_0"]), first)
        self.assertEqual(*second)
        self.assertNotEqual(first, second)

    def test_parallel_calls_of_one_id_share_its_results_in_order(self) -> None:
        made, answered = self.turn(["a", "a", "b"], ["b", "a", "a"])
        self.assertEqual(3, len(set(made)))
        self.assertEqual([made[2], made[0], made[1]], answered)

    def test_a_call_without_a_result_takes_none_of_the_next_turn(self) -> None:
        self.turn(["a"], [])
        self.assertEqual(*self.turn(["a"], ["a"]))

    def test_a_stray_result_keeps_a_sound_id(self) -> None:
        self.assertEqual(["gone", safe_id("go ne")], self.turn([], ["gone", "go ne"])[1])


if __name__ == "__main__":
    unittest.main()
