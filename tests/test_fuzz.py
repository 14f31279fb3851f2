"""A few thousand of the inputs that `python -m tests.fuzz` makes, always the same."""

from __future__ import annotations

import unittest

from tests.fuzz.__main__ import run
from tests.fuzz.cases import CASES


class TestFuzz(unittest.TestCase):
    def test_no_crash_and_no_difference(self) -> None:
        counts = run(3000, seed=1)
        self.assertEqual(sum(counts.values()), 3000)
        self.assertTrue(all(counts[case.__name__] for _, case in CASES), counts)


if __name__ == "__main__":
    unittest.main()
