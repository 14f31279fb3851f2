"""Rows for Claude Code's picker, with the window that it is to assume."""

from __future__ import annotations

import unittest
from pathlib import Path
from typing import Any

from ccrelay_providers.commands.picker import behaves_as, foreign, model_picker, tier_slots
from ccrelay_providers.core.settings import Config, Provider, Route, RouteTarget, Routing, Server

ANTHROPIC = Provider("anthropic", "anthropic")
WORK = Provider("work", "anthropic", api_key="k")
ZAI = Provider("zai", "zai", api_key="k")


def config(*providers: Provider, **routes: list[str]) -> Config:
    told = tuple(Route(pattern, tuple(map(RouteTarget, targets))) for pattern, targets in routes.items())
    return Config(Path("relay.toml"), Server(), Routing(), told, providers, ())


def model(id: str, window: int | None = None) -> dict[str, Any]:
    name = id.partition("/")[2]
    return {"id": id, "display_name": name.upper(), "description": "of some use", "max_input_tokens": window}


MODELS = [
    model("anthropic/claude-opus-5-5", 1_000_000),
    model("work/claude-opus-5-5", 1_000_000),
    model("zai/glm-5.2", 1_000_000),
    model("zai/glm-4.7", 204_800),
    model("zai/glm-4.5-air", 131_072),
    model("zai/new"),
]
BOTH = (ANTHROPIC, WORK, ZAI)


class TestWindows(unittest.TestCase):
    def test_the_nearest_that_is_not_above_the_real_one(self) -> None:
        for window, name in (
            (2_000_000, "claude-opus-4-8"),
            (1_000_000, "claude-opus-4-8"),
            (999_999, "claude-opus-4-6"),
            (200_000, "claude-opus-4-6"),
            (199_999, None),
            (None, None),
        ):
            self.assertEqual(behaves_as(window), name, window)


class TestRows(unittest.TestCase):
    def rows(self, *providers: Provider, **routes: list[str]) -> dict[str, dict[str, Any]]:
        options = model_picker(MODELS, config(*providers, **routes))["options"]
        return {row["model"]: row for row in options}

    def test_every_model_that_claude_code_has_no_row_for(self) -> None:
        rows = self.rows(*BOTH)
        self.assertEqual(
            list(rows), ["work/claude-opus-5-5", "zai/glm-5.2", "zai/glm-4.7", "zai/glm-4.5-air", "zai/new"]
        )
        expected = {"model": "zai/glm-4.7", "label": "GLM-4.7", "description": "of some use"}
        self.assertEqual(rows["zai/glm-4.7"], expected | {"behavesAs": "claude-opus-4-6"})
        self.assertNotIn("behavesAs", rows["zai/glm-4.5-air"])
        self.assertNotIn("behavesAs", rows["zai/new"])

    def test_where_claudes_models_are_not_offered_the_clients_own_rows_go(self) -> None:
        self.assertNotIn("replaceBuiltInOptions", model_picker(MODELS, config(*BOTH)))
        self.assertIs(model_picker(MODELS, config(ZAI))["replaceBuiltInOptions"], True)
        off = Provider("anthropic", "anthropic", off="enabled = false")
        self.assertIs(model_picker(MODELS, config(off, ZAI))["replaceBuiltInOptions"], True)

    def test_a_route_with_a_plain_name_is_a_row_with_the_smallest_window(self) -> None:
        row = self.rows(*BOTH, cheap=["zai/glm-5.2", "glm-4.7"])["cheap"]
        expected = {"model": "cheap", "label": "cheap", "description": "route to zai/glm-5.2, glm-4.7"}
        self.assertEqual(row, expected | {"behavesAs": "claude-opus-4-6"})
        self.assertNotIn("behavesAs", self.rows(*BOTH, cheap=["zai/glm-5.2", "zai/glm-4.5-air"])["cheap"])

    def test_patterns_are_no_rows(self) -> None:
        routes = {"claude-haiku-*": ["zai/glm-5.2"], "claude-opus-5-5": ["zai/glm-5.2"], "g?": ["zai/glm-5.2"]}
        self.assertEqual(list(self.rows(*BOTH, **routes)), list(self.rows(*BOTH)))

    def test_a_provider_that_is_not_listed_is_not_the_first(self) -> None:
        hidden = Provider("anthropic", "anthropic", listed=False)
        self.assertEqual(foreign(MODELS[1:3], config(hidden, WORK, ZAI)), MODELS[2:3])


class TestSlots(unittest.TestCase):
    def slots(self, **routes: list[str]) -> dict[str, str]:
        return {tier: name for tier, name, _ in tier_slots(MODELS, config(*BOTH, **routes))}

    def test_the_name_that_the_route_catches_with_the_right_window(self) -> None:
        self.assertEqual(self.slots(**{"claude-haiku-*": ["zai/glm-5.2"]}), {"HAIKU": "claude-haiku-5-5"})
        self.assertEqual(self.slots(**{"claude-haiku-*": ["zai/glm-4.7"]}), {"HAIKU": "claude-haiku-4-5"})
        self.assertEqual(self.slots(**{"claude-haiku-*": ["zai/new"]}), {"HAIKU": "claude-haiku-5-5"})

    def test_the_nearest_above_where_none_fits(self) -> None:
        self.assertEqual(self.slots(**{"claude-haiku-*": ["zai/glm-4.5-air"]}), {"HAIKU": "claude-haiku-4-5"})
        self.assertEqual(self.slots(**{"claude-haiku-5-5": ["zai/glm-4.7"]}), {"HAIKU": "claude-haiku-5-5"})

    def test_only_what_is_routed(self) -> None:
        self.assertEqual(self.slots(cheap=["zai/glm-5.2"]), {})
        self.assertEqual(list(self.slots(**{"claude-*": ["zai/glm-5.2"]})), ["OPUS", "SONNET", "HAIKU", "FABLE"])


if __name__ == "__main__":
    unittest.main()
