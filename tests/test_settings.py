"""ccrelay_providers/core/settings.py: values that nobody can change, and that show no secret."""

from __future__ import annotations

import dataclasses
import unittest

from ccrelay_providers.core.settings import DEFAULTS, ONLY, TYPES, Provider, Server
from ccrelay_providers.wire.provider import Model


class TestSettings(unittest.TestCase):
    def test_frozen(self) -> None:
        with self.assertRaises(dataclasses.FrozenInstanceError):
            Server().port = 1  # type: ignore[misc]

    def test_no_repr_shows_a_secret(self) -> None:
        self.assertNotIn("hush", repr([Server(token="hush"), Provider("zai", "zai", api_key="hush")]))

    def test_only_ollama_is_asked_what_it_has_unless_models_are_named(self) -> None:
        found = [(Provider("p", kind).tells, Provider("p", kind).discover) for kind in ("zai", "ollama")]
        self.assertEqual(found, [(False, False), (True, True)])
        self.assertFalse(Provider("p", "ollama", models=(Model("m"),)).discover)

    def test_defaults_and_restrictions_name_known_types_and_keys(self) -> None:
        known = {each.name for each in dataclasses.fields(Provider)}
        self.assertEqual(set(DEFAULTS), set(TYPES))
        self.assertLessEqual({key for table in DEFAULTS.values() for key in table} | set(ONLY), known)


if __name__ == "__main__":
    unittest.main()
