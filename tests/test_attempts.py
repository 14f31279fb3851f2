"""Who is asked next, what each failure lets rest, and what all of them together say."""

from __future__ import annotations

import socket
import unittest
from dataclasses import replace
from itertools import pairwise

from ccrelay_providers.core.attempts import Attempts, most_useful, with_a_key
from ccrelay_providers.core.catalog import Candidate
from ccrelay_providers.core.exchange import Downstream
from ccrelay_providers.core.health import Health
from ccrelay_providers.core.keys import Keys
from ccrelay_providers.core.settings import Provider
from ccrelay_providers.wire.errors import (
    ContextOverflow,
    KeyRefused,
    ModelRefused,
    Overloaded,
    QueueFull,
    RateLimited,
    RelayError,
    UpstreamDisconnected,
    UpstreamFailure,
    UpstreamRefusal,
    UpstreamTimeout,
)
from ccrelay_providers.wire.provider import Model

A, B = (Candidate(Provider(name, "zai", api_key="k"), Model("m")) for name in "ab")
Z = Candidate(Provider("z", "zai", api_keys=("k1", "k2", "k3")), Model("m"))


class AttemptsTest(unittest.TestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.health, self.keys = Health(lambda: self.now, lambda: self.now), Keys(sticky=True)
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        self.downstream = Downstream(ours)

    def attempts(self, *candidates: Candidate, session: str | None = None, patience: float = 600) -> Attempts:
        return Attempts(candidates, session, self.now + patience, self.health, self.keys, self.downstream)

    def play(self, attempts: Attempts, *errors: RelayError | None) -> list[str]:
        """Who was asked, by name, with these outcomes; None: it answered."""
        asked, outcomes = [], iter(errors)
        for candidate in attempts:
            asked.append(candidate.names[-1] if len(candidate.names) > 2 else candidate.provider.name)
            error = next(outcomes)
            if error is None:
                attempts.succeeded(candidate)
            else:
                attempts.failed(candidate, error)
            attempts.over(candidate)
            if error is None:
                break
        return asked


class TestOrder(AttemptsTest):
    def test_each_candidate_once(self) -> None:
        self.assertEqual(self.play(self.attempts(A, B), Overloaded("a: x"), Overloaded("b: x")), ["a", "b"])

    def test_who_rests_comes_last_and_comes(self) -> None:
        self.health.failed("a", Overloaded("a: x"))
        self.assertEqual(self.play(self.attempts(A, B), Overloaded("b: x"), None), ["b", "a"])
        self.assertEqual(self.play(self.attempts(B), None), ["b"])

    def test_after_the_patience_nobody_else_is_asked(self) -> None:
        attempts = self.attempts(A, B, patience=5)
        asked = []
        for candidate in attempts:
            asked.append(candidate.provider.name)
            self.now += 6
            attempts.failed(candidate, UpstreamTimeout("a: silent"))
        self.assertEqual(asked, ["a"])

    def test_a_moment_of_patience_is_had_once_when_nobody_else_can_answer(self) -> None:
        moment = RateLimited("a: slow down", retry_after=0)
        self.assertEqual(self.play(self.attempts(A, B), moment, moment, moment), ["a", "b", "a"])
        longer = RateLimited("a: slow down", retry_after=3)
        self.assertEqual(self.play(self.attempts(A), longer), ["a"])

    def test_only_a_rate_limit_is_waited_out_and_only_in_time(self) -> None:
        self.assertEqual(self.play(self.attempts(A), Overloaded("a: x", retry_after=0)), ["a"])
        moment = RateLimited("a: slow down", retry_after=1)
        self.assertEqual(self.play(self.attempts(B, patience=1), moment), ["b"])


class TestProbe(AttemptsTest):
    def test_one_request_is_let_through_after_a_rest(self) -> None:
        self.health.failed("a", Overloaded("a: x", retry_after=10))
        self.now += 10
        probe, other = iter(self.attempts(A, B)), iter(self.attempts(A, B))
        self.assertEqual((next(probe).provider.name, next(other).provider.name), ("a", "b"))

    def test_what_came_of_it_decides(self) -> None:
        for outcome, then in ((None, "a"), (Overloaded("a: x", retry_after=10), "b"), (UpstreamRefusal("a: no"), "a")):
            self.health.failed("a", Overloaded("a: x", retry_after=0))
            first = self.attempts(A, B)
            candidate = next(iter(first))
            if outcome is None:
                first.succeeded(candidate)
            else:
                first.failed(candidate, outcome)
            first.over(candidate)
            self.assertEqual(next(iter(self.attempts(A, B))).provider.name, then, outcome)
            self.now += 100

    def test_an_answer_that_was_asked_for_before_the_failure_ends_no_rest(self) -> None:
        early = self.attempts(A)
        candidate = next(iter(early))
        self.now += 1
        self.health.failed("a", RateLimited("a: x", retry_after=60))
        early.succeeded(candidate)
        self.assertFalse(self.health.available("a"))


class TestKeys(AttemptsTest):
    def test_a_keys_failure_lets_the_next_key_answer(self) -> None:
        limited, refused = RateLimited("z: slow down", retry_after=60), KeyRefused("z: no; check providers.z.api_key x")
        asked = self.play(self.attempts(Z, A), limited, refused, None)
        self.assertEqual(asked, ["z (key 1 of 3)", "z (key 2 of 3)", "z (key 3 of 3)"])
        self.assertEqual(self.health.state("z (key 1 of 3)").resting_until, self.now + 60)
        self.assertEqual(self.health.state("z (key 2 of 3)").resting_until, float("inf"))
        self.assertEqual(refused.message, "z (key 2 of 3): no; check providers.z.api_keys x")
        self.assertTrue(self.health.available("z", "z (key 3 of 3)"))
        self.assertEqual(self.play(self.attempts(Z, A), None), ["z (key 3 of 3)"])

    def test_a_failure_of_the_provider_moves_on_at_once(self) -> None:
        self.assertEqual(self.play(self.attempts(Z, A), Overloaded("z: x"), None), ["z (key 1 of 3)", "a"])

    def test_with_all_keys_at_rest_others_are_asked_first_then_the_one_that_is_back_soonest(self) -> None:
        waits = [RateLimited("z: slow", retry_after=seconds) for seconds in (60, 30, 90)]
        asked = self.play(self.attempts(Z, A), *waits, Overloaded("a: x"))
        self.assertEqual(asked[3:], ["a"])
        self.assertFalse(any(self.health.available(Z.provider.key_name(number)) for number in range(3)))
        again = RateLimited("z: slow", retry_after=30)
        self.assertEqual(self.play(self.attempts(Z), again), ["z (key 2 of 3)"])

    def test_counting_takes_a_key_that_is_well_and_uses_up_none(self) -> None:
        self.play(self.attempts(Z, A), KeyRefused("z: no"), None)
        found = [with_a_key(each, None, self.health, self.keys).names[-1] for each in (Z, Z, A)]
        self.assertEqual(found, ["z (key 3 of 3)", "z (key 3 of 3)", "a/m"])

    def test_counting_passes_over_a_key_that_rests(self) -> None:
        self.health.failed("z (key 1 of 3)", RateLimited("z: slow down", retry_after=60))
        self.assertEqual(with_a_key(Z, None, self.health, self.keys).key, 1)

    def test_one_key_is_its_provider(self) -> None:
        self.play(self.attempts(A), RateLimited("a: slow down", retry_after=60))
        self.assertFalse(self.health.available("a"))


class TestWhatRests(AttemptsTest):
    def rests(self, error: RelayError) -> list[bool]:
        """Whether the provider, and whether the model alone, rests after it."""
        self.play(self.attempts(A), error)
        return [not self.health.available(name) for name in A.names]

    def test_by_kind(self) -> None:
        for error, provider, model in (
            (UpstreamFailure("a: x"), True, False),
            (ModelRefused("a: x"), False, True),
            (QueueFull("a: x"), False, False),
            (UpstreamRefusal("a: x"), False, False),
            (ContextOverflow(2, 1), False, False),
        ):
            self.setUp()
            self.assertEqual(self.rests(error), [provider, model], error)

    def test_who_it_was_is_said_where_the_error_does_not_know(self) -> None:
        error = UpstreamDisconnected("the stream was empty")
        self.play(self.attempts(A), error)
        self.assertEqual(error.message, "a: the stream was empty")

    def test_why_a_fallback_is_asked(self) -> None:
        attempts = self.attempts(A, B)
        self.assertEqual(attempts.reason, "resting")
        self.health.failed("a", Overloaded("a: busy"))
        self.assertEqual(attempts.reason, "a: busy")
        self.play(attempts, UpstreamFailure("b: boom"), None)
        self.assertEqual(attempts.reason, "b: boom")

    def test_a_fallback_s_own_failure_is_not_why_it_is_asked(self) -> None:
        self.health.failed("b", Overloaded("b: busy"))
        self.assertEqual(self.attempts(A, replace(B, fallback=True)).reason, "resting")


class TestMostUseful(unittest.TestCase):
    def test_an_overload_before_a_refusal(self) -> None:
        overload = Overloaded("a: busy", retry_after=7)
        late = RateLimited("a: quota", retry_after=9000)
        slow, broken = UpstreamTimeout("b: silent"), UpstreamFailure("b: boom")
        refusal, key, model = UpstreamRefusal("c: no"), KeyRefused("d: no"), ModelRefused("d: no")
        ranked = [overload, late, slow, broken, refusal, key]
        for better, worse in pairwise(ranked):
            for pair in ([better, worse], [worse, better]):
                best = most_useful(list[RelayError](pair))
                self.assertEqual((best.status, best.type), (better.status, better.type), pair)
                self.assertIn(better.message, best.message)
                self.assertIn(worse.message, best.message)
        self.assertEqual(most_useful([model, overload]).retry_after, 7)

    def test_anthropics_statuses_count_though_they_are_of_one_class(self) -> None:
        errors: list[RelayError] = [UpstreamFailure("a: boom", status=500), UpstreamFailure("b: busy", status=529)]
        self.assertEqual(most_useful(errors).status, 529)

    def test_one_is_itself(self) -> None:
        error = Overloaded("a: busy")
        self.assertIs(most_useful([error]), error)


if __name__ == "__main__":
    unittest.main()
