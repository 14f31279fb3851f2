"""The order of candidates: strategies, a session's home, who is resting."""

from __future__ import annotations

import unittest
from collections import Counter
from pathlib import Path
from typing import Any

from ccrelay_providers.core import router
from ccrelay_providers.core.catalog import Candidate, Catalog
from ccrelay_providers.core.router import Router
from ccrelay_providers.core.settings import Config, Provider, Route, RouteTarget, Routing, Server, Strategy
from ccrelay_providers.wire.errors import NotFound
from ccrelay_providers.wire.provider import Model, UpstreamRequest, UpstreamResponse

NAMES = ("a", "b", "c")


def never(provider: Provider, request: UpstreamRequest) -> UpstreamResponse:
    raise AssertionError("nothing is to be asked")


class RouterTest(unittest.TestCase):
    def setUp(self) -> None:
        self.resting: set[str] = set()

    def router(self, strategy: Strategy = "failover", weights: tuple[int, ...] = (1, 1, 1), **routing: Any) -> Router:
        """Three providers that all have `m`, and a route `r` to them."""
        providers = tuple(Provider(name, "echo", models=(Model("m"),)) for name in NAMES)
        targets = tuple(RouteTarget(f"{name}/m", weight) for name, weight in zip(NAMES, weights, strict=True))
        settings = Routing(strategy=strategy, **routing)
        config = Config(Path("relay.toml"), Server(), settings, (Route("r", targets),), providers, ())
        return Router(settings, Catalog(config, never), lambda *names: not self.resting.intersection(names))

    def order(self, router: Router, name: str = "r", session: str | None = None) -> str:
        return "".join(candidate.provider.name for candidate in router.candidates(name, session))


class TestStrategies(RouterTest):
    def test_failover_keeps_the_order(self) -> None:
        router = self.router()
        self.assertEqual([self.order(router) for _ in range(3)], ["abc"] * 3)

    def test_round_robin_begins_one_further_each_time(self) -> None:
        router = self.router("round-robin")
        self.assertEqual([self.order(router) for _ in range(4)], ["abc", "bca", "cab", "abc"])

    def test_counting_tokens_and_sessions_at_home_take_no_turn(self) -> None:
        router = self.router("round-robin")
        home = router.candidates("r", "old")[0]
        router.answered(home, "r", "old")
        firsts = []
        for number in range(3):
            router.candidates("r", f"new {number}", turn=False)
            router.candidates("r", "old")
            firsts.append(self.order(router, session=f"new {number}")[0])
        self.assertEqual((home.provider.name, firsts), ("a", ["b", "c", "a"]))

    def test_names_take_turns_on_their_own(self) -> None:
        router = self.router("round-robin")
        self.assertEqual((self.order(router), self.order(router, "m"), self.order(router)), ("abc", "abc", "bca"))

    def test_weighted_is_smooth_and_exact(self) -> None:
        router = self.router("weighted", (3, 1, 1))
        firsts = [self.order(router)[0] for _ in range(10)]
        self.assertEqual("".join(firsts), "abacaabaca")
        self.assertEqual(len(self.order(router)), 3)

    def test_shuffle_deals_everyone_once_before_anyone_twice(self) -> None:
        router = self.router("shuffle")
        for _ in range(10):
            self.assertEqual(Counter(self.order(router)[0] for _ in NAMES), Counter(NAMES))

    def test_least_busy(self) -> None:
        router = self.router("least-busy")
        a, b, _ = router.candidates("r", None)
        with router.running(a), router.running(a), router.running(b):
            self.assertEqual(self.order(router), "cba")
        self.assertEqual(self.order(router), "abc")

    def test_load_is_given_back_after_a_failure(self) -> None:
        router = self.router("least-busy")
        with self.assertRaises(ValueError), router.running(router.candidates("r", None)[0]):
            raise ValueError
        self.assertEqual(self.order(router), "abc")

    def test_a_routes_own_strategy_wins(self) -> None:
        routing = Routing("failover")
        route = Route("r", (RouteTarget("a/m"), RouteTarget("b/m")), "round-robin")
        providers = tuple(Provider(name, "echo", models=(Model("m"),)) for name in NAMES)
        config = Config(Path("relay.toml"), Server(), routing, (route,), providers, ())
        router = Router(routing, Catalog(config, never), lambda *names: True)
        self.assertEqual((self.order(router), self.order(router)), ("ab", "ba"))


class TestAvailability(RouterTest):
    def test_who_is_resting_comes_last_but_comes(self) -> None:
        router = self.router()
        self.resting = {"a"}
        self.assertEqual(self.order(router), "bca")
        self.resting = {"a", "b", "c"}
        self.assertEqual(self.order(router), "abc")

    def test_a_model_or_all_of_several_keys_rest_alone(self) -> None:
        several = Provider("a", "zai", api_keys=("k1", "k2"), models=(Model("m"),))
        config = Config(
            Path("relay.toml"), Server(), Routing(), (), (several, Provider("b", "echo", models=(Model("m"),))), ()
        )
        router = Router(Routing(), Catalog(config, never), lambda *names: not self.resting.intersection(names))
        for resting, order in (
            (set(), "ab"), ({"a/m"}, "ba"), ({"a/other"}, "ab"), ({"a (key 1 of 2)"}, "ab"),
            ({"a (key 1 of 2)", "a (key 2 of 2)"}, "ba"),
        ):  # fmt: skip
            self.resting = resting
            self.assertEqual(self.order(router, "m"), order)

    def test_one_candidate_is_asked_even_if_it_rests(self) -> None:
        self.resting = {"a"}
        self.assertEqual(self.order(self.router(), "a/m"), "a")

    def test_max_attempts_cuts_after_the_order_is_known(self) -> None:
        self.resting = {"a"}
        self.assertEqual(self.order(self.router(max_attempts=2)), "bc")

    def test_an_unknown_name(self) -> None:
        with self.assertRaises(NotFound):
            self.router().candidates("nobody", None)


class TestFallback(RouterTest):
    def fallback(self, *names: str, **routing: Any) -> Router:
        return self.router(fallback=names, **routing)

    def test_they_come_after_who_can_answer_and_before_who_rests(self) -> None:
        router = self.fallback("c/m", "nobody/m", "b/m")
        self.assertEqual(self.order(router, "a/m"), "acb")
        self.resting = {"a", "c"}
        self.assertEqual(self.order(router, "a/m"), "bac")

    def test_they_are_marked_and_nobody_comes_twice(self) -> None:
        found = self.fallback("c/m", "b/m").candidates("b/m", None)
        self.assertEqual([(each.id, each.fallback) for each in found], [("b/m", False), ("c/m", True)])

    def test_they_are_no_sessions_home_and_count_no_tokens(self) -> None:
        router = self.fallback("c/m", strategy="round-robin")
        last = router.candidates("a/m", "s")[-1]
        router.answered(last, "a/m", "s")
        self.assertEqual(self.order(router, "a/m", "s"), "ac")
        self.resting = {"a"}
        self.assertEqual([each.id for each in router.candidates("a/m", "s", turn=False)], ["a/m"])


class TestStickiness(RouterTest):
    def answered(self, router: Router, provider: str, session: str | None, name: str = "r") -> None:
        found: Candidate = next(each for each in router.candidates(name, None) if each.provider.name == provider)
        router.answered(found, name, session)

    def test_a_session_stays_where_it_was_answered(self) -> None:
        router = self.router("round-robin")
        self.answered(router, "c", "s")
        self.assertEqual({self.order(router, session="s")[0] for _ in range(4)}, {"c"})
        self.assertEqual(len({self.order(router, session="other")[0] for _ in range(3)}), 3)

    def test_a_home_that_rests_is_left_and_found_again(self) -> None:
        router = self.router()
        self.answered(router, "c", "s")
        self.resting = {"c"}
        self.assertEqual(self.order(router, session="s"), "abc")
        self.resting = set()
        self.assertEqual(self.order(router, session="s"), "cab")

    def test_the_last_answer_counts(self) -> None:
        router = self.router()
        self.answered(router, "c", "s")
        self.answered(router, "b", "s")
        self.assertEqual(self.order(router, session="s"), "bac")

    def test_another_name_in_the_same_session_has_its_own_home(self) -> None:
        router = self.router()
        self.answered(router, "c", "s")
        self.assertEqual(self.order(router, "m", "s"), "abc")

    def test_switched_off_or_without_a_session(self) -> None:
        router = self.router(sticky=False)
        self.answered(router, "c", "s")
        self.assertEqual(self.order(router, session="s"), "abc")
        router = self.router()
        self.answered(router, "c", None)
        self.assertEqual(self.order(router), "abc")

    def test_sessions_are_forgotten_oldest_first(self) -> None:
        router_ = self.router()
        self.answered(router_, "c", "oldest")
        for number in range(router.MAX_SESSIONS):
            self.answered(router_, "b", f"s{number}")
        self.assertEqual(self.order(router_, session="oldest"), "abc")
        self.assertEqual(self.order(router_, session="s0"), "bac")


if __name__ == "__main__":
    unittest.main()
