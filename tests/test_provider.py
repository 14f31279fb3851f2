"""ccrelay_providers/wire/provider.py: what a report adds up to, and that every provider keeps the contract."""

from __future__ import annotations

import inspect
import unittest
from collections import Counter
from typing import Any

from ccrelay_providers import PROVIDERS
from ccrelay_providers.wire.provider import Listing, Model, Provider, Report, Target


def report(*usages: Any) -> Report:
    filled = Report()
    for usage in usages:
        filled.usage(usage)
    return filled


class ReportTests(unittest.TestCase):
    def test_the_last_count_stands(self) -> None:
        filled = report({"input_tokens": 5, "output_tokens": 1}, {"output_tokens": 9})
        self.assertEqual((5, 9), (filled.input_tokens, filled.output_tokens))

    def test_a_zero_never_replaces_a_count(self) -> None:
        filled = report({"input_tokens": 5, "output_tokens": 0}, {"input_tokens": 0, "output_tokens": 0})
        self.assertEqual((5, 0), (filled.input_tokens, filled.output_tokens))

    def test_what_is_no_count_is_passed_over(self) -> None:
        usages: tuple[Any, ...] = (None, "x", [], {"input_tokens": "5"}, {"input_tokens": None}, {"future": 5})
        for usage in usages:
            self.assertIsNone(report(usage).input_tokens)

    def test_the_prompt_is_all_of_it(self) -> None:
        usage = {
            "input_tokens": 5,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 20,
            "output_tokens": 7,
        }
        self.assertEqual(125, report(usage).prompt_tokens)
        self.assertEqual(0, Report().prompt_tokens)

    def test_what_was_dropped_is_listed_by_name(self) -> None:
        self.assertEqual("image=1, thinking=2", Report(dropped=Counter(thinking=2, image=1)).dropped_header())
        self.assertEqual("", Report().dropped_header())

    def test_no_two_reports_share_anything(self) -> None:
        first = Report()
        first.dropped["x"] += 1
        first.notes.append("x")
        self.assertEqual((Counter(), []), (Report().dropped, Report().notes))


class TargetTests(unittest.TestCase):
    def test_the_key_is_never_shown(self) -> None:
        target = Target("zai", "zai", "https://x", Model("glm-5.2"), api_key="very-secret")
        self.assertNotIn("very-secret", f"{target!r} {target}")
        self.assertEqual("zai/glm-5.2", target.label)


class ContractTests(unittest.TestCase):
    def test_every_provider_has_all_functions_with_the_parameters_named_alike(self) -> None:
        wanted = {name: value for name, value in vars(Provider).items() if inspect.isfunction(value) and name[0] != "_"}
        self.assertLessEqual({"prepare", "stream", "message", "error", "models"}, set(wanted))
        for kind, module in PROVIDERS.items():
            for name, function in wanted.items():
                with self.subTest(kind=kind, function=name):
                    expected = list(inspect.signature(function).parameters)[1:]
                    self.assertEqual(
                        expected, list(inspect.signature(getattr(module, name)).parameters)[: len(expected)]
                    )

    def test_every_provider_has_a_name_for_people_and_its_abilities(self) -> None:
        for module in PROVIDERS.values():
            self.assertTrue(module.LABEL)
            self.assertLessEqual(set(module.ABILITIES), {"vision", "tools", "thinking"})

    def test_no_provider_lists_models_without_an_upstream_to_ask(self) -> None:
        def fetch(request: object) -> Any:
            raise AssertionError("asked")

        for kind in ("anthropic", "zai", "echo"):
            target = Target(kind, kind, "https://x", Model(""))
            self.assertEqual(Listing(), PROVIDERS[kind].models(fetch, target, Listing()))
            self.assertIsNone(PROVIDERS[kind].loaded_window(fetch, target))


if __name__ == "__main__":
    unittest.main()
