"""Which models there are: told by a relay that runs, else by the configuration and what answers."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from typing import Any

from ccrelay_providers.commands.lineup import lineup, told_by
from ccrelay_providers.commands.running import RunningRelay
from ccrelay_providers.core.config import load
from ccrelay_providers.core.settings import Config
from ccrelay_providers.wire.errors import RelayError
from tests.relay import ECHO, Relay
from tests.upstreams import Upstream

LOCAL = '[server]\nport = {port}\n[providers.local]\ntype = "ollama"\nbase_url = "{url}"\n'
NOBODY = "http://127.0.0.1:1"


def config(text: str, **values: object) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "relay.toml"
        path.write_text(text.format(**values), "utf-8")
        return load(path, {})


MODELS = {"data": [{"id": "zai/glm-5.2"}, {"id": "zai/odd"}]}
STATUS = {
    "providers": [
        {"name": "zai", "health": "resting", "resting_seconds": 40, "unreachable": None, "models": [
            {"id": "zai/glm-5.2", "health": "well", "resting_seconds": None},
            {"id": "zai/odd", "health": "resting", "resting_seconds": None},
        ]},
        {"name": "local", "health": "well", "resting_seconds": None, "unreachable": "local: gone", "models": []},
        {"name": "new", "health": "probing", "resting_seconds": None, "unreachable": None, "models": []},
    ]
}  # fmt: skip


class Told(RunningRelay):
    """A relay of which the answers are known. status: None if it is too old to have one."""

    status: Any = None

    def get(self, path: str) -> Any:
        if path == "/v1/models":
            return MODELS
        if self.status is None:
            raise RelayError("/status: no such endpoint")
        return self.status


class TestHealth(unittest.TestCase):
    def test_what_status_tells(self) -> None:
        Told.status = STATUS
        told = told_by(Told("http://here"))
        expected = {"zai": "rests 40 s", "zai/odd": "rests until a restart", "local": "unreachable", "new": "probing"}
        self.assertEqual((told.health, told.notes), (expected, ("local: gone",)))

    def test_an_older_relay_tells_none(self) -> None:
        Told.status = None
        self.assertEqual((told_by(Told("http://here")).health, len(told_by(Told("")).models)), ({}, 2))


class TestLineup(unittest.TestCase):
    def test_a_running_relay_knows_best(self) -> None:
        with Relay(ECHO) as relay:
            told = lineup(config(LOCAL, port=relay.port, url=NOBODY), 5)
            self.assertEqual([model["id"] for model in told.models], ["echo/echo"])
            self.assertEqual(told.relay and told.relay.url, f"http://127.0.0.1:{relay.port}")

    def test_without_one_ollama_is_asked(self) -> None:
        with Upstream("ollama") as ollama:
            told = lineup(config(LOCAL, port=1, url=ollama.url), 20)
        self.assertIn("local/qwen3:8b", [model["id"] for model in told.models])
        self.assertIsNone(told.relay)

    def test_what_does_not_answer_is_said(self) -> None:
        told = lineup(config(LOCAL + ECHO, port=1, url=NOBODY), 20)
        self.assertEqual([model["id"] for model in told.models], ["echo/echo"])
        self.assertIn("local: cannot connect to 127.0.0.1:1", told.notes[0])
        self.assertEqual(told.health, {"local": "unreachable"})


if __name__ == "__main__":
    unittest.main()
