"""The dataclasses, relay.toml and docs/configuration.md say the same: every key, every default."""

from __future__ import annotations

import re
import tempfile
import tomllib
import unittest
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args

from ccrelay_providers.core import settings
from ccrelay_providers.core.config import ConfigError, load
from ccrelay_providers.core.settings import DEFAULTS, Provider, Route, RouteTarget, Routing, Server
from ccrelay_providers.wire.provider import Model

ROOT = Path(__file__).resolve().parent.parent
TOML = (ROOT / "relay.toml").read_text("utf-8")
DOCS = (ROOT / "docs" / "configuration.md").read_text("utf-8")
FULL = re.sub(r'(?m)^(\s*)# (?=[\w"*-]+ = |\{ )', r"\1", TOML)  # with every commented key switched on
KEYS = ("CCRELAY_TOKEN", "ANTHROPIC_API_KEY", "ZAI_API_KEY", "OLLAMA_API_KEY")
NOT_KEYS = {Provider: {"name", "off"}, Route: {"pattern"}}  # given by the table's name, or found out


def keys(cls: Any) -> set[str]:
    return {each.name for each in fields(cls)} - NOT_KEYS.get(cls, set())


def default(cls: Any, key: str, kind: str | None = None) -> Any:
    """A field's default as TOML would write it; MISSING for a required one."""
    own = next(each.default for each in fields(cls) if each.name == key)
    value = DEFAULTS.get(kind or "", {}).get(key, own)
    return list(value) if isinstance(value, tuple) else value


class TestRelayToml(unittest.TestCase):
    full = tomllib.loads(FULL)

    def test_it_works_as_it_is(self) -> None:
        off = load(ROOT / "relay.toml", {})
        self.assertEqual([each.name for each in off.providers if each.off], ["zai"])
        on = load(ROOT / "relay.toml", {"ZAI_API_KEY": "k"})
        self.assertEqual([each.off for each in on.providers], [None] * 4)
        self.assertEqual((on.server, on.routing, on.warnings), (Server(), Routing(), ()))

    def test_it_works_with_every_key_switched_on(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "relay.toml"
            path.write_text(FULL, "utf-8")
            full = load(path, dict.fromkeys(KEYS, "k"))
        self.assertEqual([len(route.targets) for route in full.routes], [2, 2, 2])
        self.assertEqual(full.warnings, ())

    def test_every_key_is_there(self) -> None:
        self.assertEqual(set(self.full), {"server", "routing", "routes", "providers"})
        self.assertEqual(set(self.full["server"]), keys(Server))
        self.assertEqual(set(self.full["routing"]), keys(Routing))
        providers = self.full["providers"].values()
        self.assertEqual({key for table in providers for key in table}, keys(Provider))
        self.assertEqual({key for model in self.full["providers"]["zai"]["models"] for key in model}, keys(Model))
        tables = [route for route in self.full["routes"].values() if isinstance(route, dict)]
        self.assertEqual({key for route in tables for key in route}, keys(Route))
        targets = [each for route in tables for each in route["targets"] if isinstance(each, dict)]
        self.assertEqual({key for target in targets for key in target}, keys(RouteTarget))

    def test_every_provider_is_there(self) -> None:
        self.assertEqual({table["type"] for table in self.full["providers"].values()}, set(settings.TYPES))

    def test_commented_keys_show_their_defaults(self) -> None:
        live = tomllib.loads(TOML)
        for name, cls in (("server", Server), ("routing", Routing)):
            self.assertDefaults(cls, self.full[name], set(), None)  # here the live keys do so too
        for name, table in self.full["providers"].items():
            self.assertDefaults(Provider, table, set(live["providers"][name]), table["type"])

    def assertDefaults(self, cls: Any, table: dict[str, Any], but: set[str], kind: str | None) -> None:
        for key in table.keys() - but:
            expected = default(cls, key, kind)
            if expected is not None:  # else what stands there is an example
                self.assertEqual(table[key], expected, f"{cls.__name__}.{key}")

    def test_addresses_are_the_defaults(self) -> None:
        for table in self.full["providers"].values():
            self.assertEqual(table.get("base_url"), DEFAULTS[table["type"]].get("base_url"))

    def test_every_key_is_explained_where_it_first_stands(self) -> None:
        seen: set[str] = set()
        for key, rest in re.findall(r"(?m)^(\w+) = (.*)$", FULL):
            if key not in seen | set(self.full["routes"]):
                self.assertRegex(rest, "  # .", key)
            seen.add(key)


class TestConfigurationPage(unittest.TestCase):
    def rows(self, after: str) -> dict[str, str]:
        """The first table of keys after some text: key → the cell with its default."""
        table = DOCS.split(after, 1)[1].split("| key |", 1)[1].split("\n\n", 1)[0]
        return dict(re.findall(r"(?m)^\| `(\w+)` \| [^|]* \| ([^|]*) \|", table))

    def test_every_key_and_default(self) -> None:
        for cls, after in (
            (Server, "## `[server]`"),
            (Routing, "## `[routing]`"),
            (Route, "## `[routes]`"),
            (RouteTarget, "A target is a string"),
            (Provider, "## `[providers.NAME]`"),
            (Model, "A model is a string"),
        ):
            rows = self.rows(after)
            self.assertEqual(set(rows), keys(cls), cls.__name__)
            for key, cell in rows.items():
                with self.subTest(table=cls.__name__, key=key):
                    self.assertEqual(self.documented(cell), self.expected(cls, key))

    def documented(self, cell: str) -> dict[str, Any]:
        """A cell such as "`300`, ollama `600`": type ("" for all) → default."""
        if cell in ("required", "none"):
            return {"": MISSING if cell == "required" else None}
        found = re.findall(r"(?:(\w+) )?`([^`]*)`", cell)
        return {kind: tomllib.loads(f"value = {value}")["value"] for kind, value in found}

    def expected(self, cls: Any, key: str) -> dict[str, Any]:
        special = {kind: table[key] for kind, table in DEFAULTS.items() if cls is Provider and key in table}
        common = default(cls, key)
        return special if special and not common and common != [] else {"": common} | special

    def test_every_strategy_and_type(self) -> None:
        for name in (*settings.TYPES, *get_args(settings.Strategy)):
            self.assertIn(f"`{name}`", DOCS)

    def test_the_examples_of_errors_are_true(self) -> None:
        text, said = re.findall(r"(?s)```(?:toml|text)\n(.*?)```", DOCS.split("## Errors", 1)[1])
        with tempfile.TemporaryDirectory() as folder, self.assertRaises(ConfigError) as caught:
            path = Path(folder) / "relay.toml"
            path.write_text(text, "utf-8")
            load(path, {})
        self.assertEqual([each.replace(f"{path}", "relay.toml") for each in caught.exception.errors], said.splitlines())

    def test_the_example_of_routes_is_in_relay_toml(self) -> None:
        example = re.findall(r"(?s)```toml\n(.*?)```", DOCS)[0]
        self.assertEqual(tomllib.loads(example)["routes"], tomllib.loads(FULL)["routes"])


if __name__ == "__main__":
    unittest.main()
