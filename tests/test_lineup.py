"""Which models there are: told by a relay that runs, else by the configuration and what answers."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from ccrelay_providers.commands.lineup import lineup
from ccrelay_providers.core.config import load
from ccrelay_providers.core.settings import Config
from tests.relay import ECHO, Relay
from tests.upstreams import Upstream

LOCAL = '[server]\nport = {port}\n[providers.local]\ntype = "ollama"\nbase_url = "{url}"\n'
NOBODY = "http://127.0.0.1:1"


def config(text: str, **values: object) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "relay.toml"
        path.write_text(text.format(**values), "utf-8")
        return load(path, {})


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


if __name__ == "__main__":
    unittest.main()
