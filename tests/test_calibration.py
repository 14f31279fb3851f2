"""What the counts of answers teach about estimates."""

from __future__ import annotations

import unittest

from ccrelay_providers.core.calibration import HIGHEST, LOWEST, WORTH_LEARNING, Calibration


class TestCalibration(unittest.TestCase):
    def setUp(self) -> None:
        self.calibration = Calibration()

    def factor(self) -> float:
        return self.calibration.factor("zai/glm-5.2")

    def learn(self, estimated: int, counted: int) -> None:
        self.calibration.learn("zai/glm-5.2", estimated, counted)

    def test_nothing_is_known_at_first(self) -> None:
        self.assertEqual(self.factor(), 1.0)

    def test_the_first_count_is_taken_whole(self) -> None:
        self.learn(1000, 1400)
        self.assertEqual(self.factor(), 1.4)

    def test_later_counts_pull_halfway(self) -> None:
        self.learn(1000, 1000)
        self.learn(1000, 2000)
        self.assertEqual(self.factor(), 1.5)
        self.learn(1000, 2000)
        self.assertEqual(self.factor(), 1.75)

    def test_a_small_prompt_says_little_about_a_large_one(self) -> None:
        self.learn(9000, 6300)
        for _ in range(5):
            self.learn(250, 250)
        self.assertAlmostEqual(self.factor(), 0.7, delta=0.05)
        self.learn(9000, 9000)
        self.assertAlmostEqual(self.factor(), 0.86, delta=0.02)

    def test_models_do_not_share(self) -> None:
        self.learn(1000, 2000)
        self.assertEqual(self.calibration.factor("zai/glm-5.1"), 1.0)

    def test_short_prompts_teach_nothing(self) -> None:
        self.learn(WORTH_LEARNING - 1, 2 * WORTH_LEARNING)
        self.assertEqual(self.factor(), 1.0)

    def test_counts_of_something_else_teach_nothing(self) -> None:
        self.learn(1000, int(1000 * LOWEST) - 1)
        self.learn(1000, int(1000 * HIGHEST) + 1)
        self.learn(1000, 0)
        self.assertEqual(self.factor(), 1.0)

    def test_the_limits_themselves_still_teach(self) -> None:
        self.learn(1000, int(1000 * HIGHEST))
        self.assertEqual(self.factor(), HIGHEST)


if __name__ == "__main__":
    unittest.main()
