"""The table of models, its filter and its JSON."""

from __future__ import annotations

import json
import subprocess
import tempfile
import unittest
from pathlib import Path

from ccrelay_providers.commands.models import grid, matching, nothing
from ccrelay_providers.commands.terminal import columns
from tests.relay import ECHO, Relay, call

ZAI = """
[server]
port = {port}
[routes]
cheap = ["zai/glm-5.2", "odd"]
"claude-haiku-*" = ["zai/glm-5.2"]
[providers.zai]
type = "zai"
api_key = "k"
models = [{{ id = "glm-5.2", name = "GLM-5.2", context = 1000000, max_output = 131072 }}, "odd"]
"""


def models(config: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "relay.toml"
        path.write_text(config, "utf-8")
        path.chmod(0o600)
        return call("models", "--config", str(path), *arguments)


def row(id: str, name: str | None = None, **fields: object) -> dict[str, object]:
    nothing = dict.fromkeys(("context", "max_output", "tools", "vision", "thinking", "health"))
    return {"id": id, "name": name, "provider": "p", **nothing, "routes": [], **fields}


class TestCommand(unittest.TestCase):
    def test_who_is_off_is_said(self) -> None:
        config = ZAI.format(port=1).replace('api_key = "k"', 'api_key = "${ZAI_API_KEY}"')
        for arguments in ((), ("glm",)):
            self.assertIn("zai is off: ZAI_API_KEY is not set\n", models(config + ECHO, *arguments).stderr)

    def test_from_the_configuration(self) -> None:
        done = models(ZAI.format(port=1))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        head, first, second = done.stdout.splitlines()
        self.assertEqual(head.split(), ["MODEL", "NAME", "WINDOW", "OUTPUT", "ABILITIES", "ROUTES"])
        words = ["zai/glm-5.2", "GLM-5.2", "1M", "131k", "tools", "thinking", "cheap", "claude-haiku-*"]
        self.assertEqual(first.split(), words)
        self.assertEqual(second.split(), ["zai/odd", "odd", "tools", "thinking", "cheap"])
        self.assertEqual(first.index("1M"), head.index("WINDOW"))

    def test_from_a_running_relay(self) -> None:
        with Relay(ECHO) as relay:
            done = models(ZAI.format(port=relay.port))
            self.assertIn("echo/echo", done.stdout)
            self.assertNotIn("zai/", done.stdout)

    def test_json(self) -> None:
        [model] = json.loads(models(ZAI.format(port=1), "glm", "--json").stdout)
        expected = {"id": "zai/glm-5.2", "name": "GLM-5.2", "provider": "zai", "context": 1_000_000}
        expected |= {"max_output": 131_072, "tools": True, "vision": False, "thinking": True, "health": None}
        self.assertEqual(model, expected | {"routes": ["cheap", "claude-haiku-*"]})

    def test_nothing_found_is_one_sentence(self) -> None:
        done = models(ZAI.format(port=1), "xyzzy")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, "no model is called like 'xyzzy'; without a filter `models` shows all 2\n")
        self.assertEqual(json.loads(models(ZAI.format(port=1), "xyzzy", "--json").stdout), [])

    def test_what_did_not_answer_stands_below(self) -> None:
        local = '[providers.local]\ntype = "ollama"\nbase_url = "http://127.0.0.1:1"\n'
        done = models(ZAI.format(port=1) + local)
        self.assertEqual((done.returncode, done.stderr.count("\n")), (0, 1))
        self.assertIn("local: cannot connect to 127.0.0.1:1", done.stderr)
        self.assertEqual(models(ZAI.format(port=1) + local, "glm").stderr, "")


class TestFilter(unittest.TestCase):
    rows = [row("zai/glm-5.2", "GLM-5.2"), row("zai/glm-4.5-air", "GLM-4.5-Air"), row("ollama/qwen3:8b")]

    def found(self, wanted: str | None) -> list[str]:
        return [each["id"] for each in matching(self.rows, wanted)]

    def test_parts_of_ids_and_names(self) -> None:
        for wanted, ids in (
            (None, ["zai/glm-5.2", "zai/glm-4.5-air", "ollama/qwen3:8b"]),
            ("zai", ["zai/glm-5.2", "zai/glm-4.5-air"]),
            ("GLM-5", ["zai/glm-5.2"]),
            ("-AIR", ["zai/glm-4.5-air"]),
            ("quen3", ["ollama/qwen3:8b"]),
            ("zai/glm5.2", ["zai/glm-5.2", "zai/glm-4.5-air"]),
            ("xyzzy", []),
        ):
            self.assertEqual(self.found(wanted), ids, wanted)

    def test_no_models_at_all(self) -> None:
        self.assertIn("no provider that is on lists a model", nothing("x", 0))


class TestTable(unittest.TestCase):
    rows = [row("p/a", "A" * 30, context=65_536, tools=True), row("p/" + "b" * 40, health="rests 40 s")]

    def test_what_says_nothing_has_no_column(self) -> None:
        self.assertEqual(grid(self.rows, 120)[0], ("MODEL", "NAME", "WINDOW", "ABILITIES", "HEALTH"))
        self.assertEqual(grid(self.rows, 120)[1], ("p/a", "A" * 30, "66k", "tools", ""))

    def test_the_name_gives_way_on_a_narrow_terminal(self) -> None:
        self.assertEqual(grid(self.rows, 80)[0], ("MODEL", "WINDOW", "ABILITIES", "HEALTH"))
        self.assertLessEqual(max(map(len, columns(grid(self.rows, 80), 80))), 80)


if __name__ == "__main__":
    unittest.main()
