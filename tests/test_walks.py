"""Conversations that wander: some of the walks of tests/walks.py, always the same ones."""

from __future__ import annotations

import unittest
from random import Random
from unittest import mock

from ccrelay_providers.wire import blocks, history, names, plain, signs
from tests.walks import Walk

SEEDS = (0, 1004, 1017, 1043)  # once failed: thinking lost in a loop, text behind results, ids of Z.AI's that repeat
WALKS = 80


def fails(walks: int) -> bool:
    """Whether one of so many walks finds something wrong."""
    try:
        for seed in range(walks):
            Walk(Random(seed)).run()
    except Exception:
        return True
    return False


class WalkTests(unittest.TestCase):
    def test_nothing_is_refused_lost_or_moved(self) -> None:
        for seed in (*SEEDS, *range(2000, 2000 + WALKS)):
            with self.subTest(seed=seed):
                self.assertGreater(Walk(Random(seed)).run(), 1)

    def test_the_same_seed_is_the_same_walk(self) -> None:
        first, second = Walk(Random(7)), Walk(Random(7))
        first.run()
        second.run()
        self.assertEqual(first.messages, second.messages)

    def test_walks_find_what_is_broken(self) -> None:
        """Each of the rules left out once."""
        for name, module, function, wrong in (
            ("another's thinking stays", history, "_foreign_thinking_block", {"return_value": False}),
            ("another's server tools stay", history, "_foreign_server_tool", {"return_value": False}),
            ("the loop thinks on", history, "_tool_loop_without_thinking", {"return_value": False}),
            ("nothing seems foreign", signs, "_foreign", {"return_value": False}),
            ("ids repeat", names.Ids, "call", {"side_effect": str}),
            ("names stay long", names, "short_name", {"side_effect": lambda name, _: name}),
            ("long names stay short", names, "long_name", {"side_effect": lambda name, *_: name}),
            ("documents vanish", blocks, "document", {"return_value": ()}),
            ("all thinking seems to be Anthropic's", plain, "provenance", {"return_value": ("anthropic", "")}),
        ):
            broken = mock.patch.object(module, function, **wrong)
            with self.subTest(name), broken:
                self.assertTrue(fails(60))

    def test_unbroken_they_find_nothing(self) -> None:
        self.assertFalse(fails(20))


if __name__ == "__main__":
    unittest.main()
