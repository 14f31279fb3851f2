"""Who rests, and how long: time is a number that the tests move."""

from __future__ import annotations

import unittest

from ccrelay_providers.core.health import ACCOUNT_REST, FIRST_REST, LONGEST_REST, LONGEST_WAIT, Health
from ccrelay_providers.wire.errors import (
    AccountRefused,
    ContextOverflow,
    KeyRefused,
    Overloaded,
    RateLimited,
    RelayError,
    UpstreamFailure,
    UpstreamRefusal,
)


class TestHealth(unittest.TestCase):
    def setUp(self) -> None:
        self.now, self.wall = 1000.0, 1_800_000_000.0
        self.health = Health(lambda: self.now, lambda: self.wall)

    def rest(self, error: RelayError) -> float:
        """Seconds that `zai` rests after one more failure."""
        self.health.failed("zai", error)
        return self.health.state("zai").resting_until - self.now

    def test_an_unknown_provider_is_available(self) -> None:
        self.assertTrue(self.health.available("zai"))

    def test_a_failure_rests_one_provider_and_time_ends_it(self) -> None:
        self.assertEqual(self.rest(UpstreamFailure("zai: boom")), FIRST_REST)
        self.assertEqual([self.health.available(name) for name in ("zai", "ollama")], [False, True])
        self.assertFalse(self.health.available("ollama", "zai"))
        self.now += FIRST_REST
        self.assertTrue(self.health.available("zai"))

    def test_rests_double_up_to_a_minute(self) -> None:
        rests = []
        for _ in range(9):
            rests.append(self.rest(Overloaded("zai: busy")))
            self.now += rests[-1]
        self.assertEqual(rests, [1, 2, 4, 8, 16, 32, 60, 60, 60])
        self.assertEqual(rests[-1], LONGEST_REST)

    def test_thousands_of_failures_are_still_a_minute(self) -> None:
        for _ in range(2000):
            self.health.failed("zai", UpstreamFailure("zai: boom"))
        self.assertLessEqual(self.health.state("zai").resting_until - self.now, LONGEST_REST)

    def test_one_success_forgets_all(self) -> None:
        self.rest(UpstreamFailure("zai: boom"))
        self.rest(UpstreamFailure("zai: boom"))
        self.health.succeeded(["zai"], self.now)
        self.assertTrue(self.health.available("zai"))
        self.assertEqual(self.rest(UpstreamFailure("zai: boom")), FIRST_REST)

    def test_the_success_of_an_unknown_provider_is_nothing(self) -> None:
        self.health.succeeded(["zai"], self.now)
        self.assertEqual(self.health.state("zai").failures, 0)

    def test_a_requests_own_fault_says_nothing_about_the_provider(self) -> None:
        for error in (UpstreamRefusal("no"), ContextOverflow(2, 1)):
            self.health.failed("zai", error)
            self.assertTrue(self.health.available("zai"))

    def test_retry_after_is_kept(self) -> None:
        self.assertEqual(self.rest(RateLimited("zai: slow down", retry_after=17)), 17)

    def test_a_reset_in_wall_clock_time_is_kept(self) -> None:
        self.assertEqual(self.rest(RateLimited("zai: quota", resets_at=self.wall + 4000)), 4000)

    def test_a_reset_in_the_past_is_no_rest(self) -> None:
        self.assertEqual(self.rest(RateLimited("zai: quota", resets_at=self.wall - 5)), 0)

    def test_no_rest_is_longer_than_a_month(self) -> None:
        self.assertEqual(self.rest(RateLimited("zai: quota", retry_after=1e9)), LONGEST_WAIT)
        self.assertEqual(self.rest(RateLimited("zai: quota", resets_at=self.wall + 1e9)), LONGEST_WAIT)

    def test_a_rate_limit_without_a_time_does_not_grow(self) -> None:
        self.assertEqual([self.rest(RateLimited("zai: slow down")) for _ in range(4)], [FIRST_REST] * 4)

    def test_a_refused_key_rests_for_good_and_an_empty_account_an_hour(self) -> None:
        self.assertEqual(self.rest(AccountRefused("zai: no")), ACCOUNT_REST)
        self.assertEqual(self.rest(KeyRefused("zai: no")), float("inf"))

    def test_failures_at_the_same_time_are_one(self) -> None:
        asked_at = self.now
        self.now += 1
        for _ in range(5):
            self.health.failed("zai", UpstreamFailure("zai: boom"), asked_at)
        self.assertEqual(self.health.state("zai").resting_until, self.now + FIRST_REST)
        self.health.failed("zai", UpstreamFailure("zai: boom"), self.now)
        self.assertEqual(self.health.state("zai").resting_until, self.now + 2 * FIRST_REST)

    def test_one_probe_after_a_rest(self) -> None:
        self.rest(UpstreamFailure("zai: boom"))
        first, second = object(), object()
        self.assertFalse(self.health.admit(["zai"], first))
        self.now += FIRST_REST
        self.assertEqual([self.health.admit(["zai"], each) for each in (first, second)], [True, False])
        self.assertFalse(self.health.available("zai"))
        self.health.settle(["zai"], second)
        self.assertFalse(self.health.admit(["zai"], second))
        self.health.settle(["zai"], first)
        self.assertTrue(self.health.admit(["zai"], second))

    def test_a_probe_of_several_names_takes_all_or_none(self) -> None:
        for name in ("zai", "zai/m"):
            self.health.failed(name, UpstreamFailure("zai: boom"))
        self.health.failed("zai/m", UpstreamFailure("zai: boom"))
        self.now += FIRST_REST
        self.assertFalse(self.health.admit(["zai", "zai/m"], self))
        self.assertTrue(self.health.admit(["zai"], self))

    def test_while_nothing_has_failed_all_are_admitted(self) -> None:
        self.assertEqual([self.health.admit(["zai"], object()) for _ in range(3)], [True] * 3)
        self.assertTrue(self.health.available("zai", "zai/m"))

    def test_a_refused_plan_rests_until_it_resets(self) -> None:
        self.assertEqual(self.rest(KeyRefused("zai: no", resets_at=self.wall + 60)), 60)

    def test_a_shorter_rest_does_not_cut_a_longer_one(self) -> None:
        self.rest(RateLimited("zai: slow down", retry_after=100))
        self.assertEqual(self.rest(RateLimited("zai: slow down", retry_after=1)), 100)

    def test_the_reason_is_the_last_sentence(self) -> None:
        self.rest(UpstreamFailure("zai: boom"))
        self.rest(UpstreamFailure("zai: bang"))
        self.assertEqual((self.health.state("zai").failures, self.health.state("zai").reason), (2, "zai: bang"))


if __name__ == "__main__":
    unittest.main()
