"""A moment of what `python -m tests.soak` does for minutes."""

from __future__ import annotations

import unittest
from pathlib import Path

from tests.soak.__main__ import soak


@unittest.skipUnless(Path("/proc/self/fd").exists(), "no /proc here")
class TestSoak(unittest.TestCase):
    def test_every_answer_is_whole_or_says_that_it_is_not(self) -> None:
        found = soak(streams=8, seconds=1.0, seed=1, gap=0.01)
        self.assertEqual((found["wrong"], found["tracebacks"]), ([], 0))
        self.assertGreater(found["outcomes"]["whole"], 5)
        self.assertLessEqual(found["after"]["threads"], found["before"]["threads"])


if __name__ == "__main__":
    unittest.main()
