"""The skill: how it is installed, and what its script prints, whatever is wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest
import zipapp
from importlib.metadata import PackagePath
from pathlib import Path
from textwrap import indent
from typing import Any
from unittest import mock

from ccrelay_providers import __version__
from ccrelay_providers.commands import skill
from tests import nursery
from tests.relay import CLIENT, ECHO, PATIENCE, ROOT, UNSET, Relay, run, turn
from tests.test_relay import BASH
from tests.upstreams import Upstream, json_reply

SKILL = ROOT / "skill" / "relay-models"
SCRIPT = SKILL / "scripts" / "list_models.py"
MODELS = """
[providers.zai]
type = "zai"
api_key = "zai-secret"
models = [
  { id = "glm-5.2", name = "GLM-5.2", context = 1000000, max_output = 131072 },
  { id = "glm-5v", vision = true },
]
[providers.anthropic]
type = "anthropic"
models = ["claude-opus-5-5"]
"""


def listed(*arguments: str, **environ: str) -> str:
    """What the script prints. Its exit code is 0 and its stderr empty, always."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    env = {**clean, **{name: value for name, value in environ.items() if value}}
    done = nursery.run([sys.executable, str(SCRIPT), *arguments], env)
    if (done.returncode, done.stderr) != (0, ""):
        raise AssertionError(f"{done.returncode}: {done.stderr}")
    return done.stdout


class TestTable(unittest.TestCase):
    relay: Relay
    url: str

    @classmethod
    def setUpClass(cls) -> None:
        cls.relay = cls.enterClassContext(Relay(MODELS + ECHO))
        cls.url = f"http://127.0.0.1:{cls.relay.port}"

    def test_a_row_a_model(self) -> None:
        lines = listed(ANTHROPIC_BASE_URL=self.url + "/", ANTHROPIC_AUTH_TOKEN="x").splitlines()
        self.assertRegex(lines[0], rf"^{re.escape(self.url)} · 4 models")
        self.assertRegex(lines[2], r"^ID +NAME +PROVIDER +WINDOW +OUTPUT +ABILITIES")
        self.assertRegex(lines[3], r"^zai/glm-5\.2 +GLM-5\.2 +Z\.AI +1M +131k +tools, thinking( +ok)?$")
        self.assertRegex(lines[4], r"^zai/glm-5v +glm-5v +Z\.AI +\? +\? +tools, vision, thinking")
        self.assertRegex(lines[5], r"^anthropic/claude-opus-5-5 ")
        self.assertNotIn("secret", "\n".join(lines))

    def test_a_filter(self) -> None:
        text = listed("GLM-5.2", ANTHROPIC_BASE_URL=self.url)
        self.assertIn("zai/glm-5.2", text)
        self.assertNotIn("claude", text)
        nothing = listed("xyzzy", ANTHROPIC_BASE_URL=self.url)
        self.assertEqual(nothing, "UNAVAILABLE: no model is called like 'xyzzy'; without a filter there are 4\n")

    def test_who_answers_the_session(self) -> None:
        headers = {**CLIENT, "x-claude-code-session-id": "s 1"}
        self.relay.messages(turn("echo", tools=[BASH]), headers)
        self.relay.messages(turn("echo/echo"), headers)
        first = listed("--session", "s 1", ANTHROPIC_BASE_URL=self.url).splitlines()[0]
        self.assertTrue(first.endswith(" · this session is answered by echo/echo (asked for echo)"), first)
        self.assertNotIn("answered", listed("--session", "s 2", ANTHROPIC_BASE_URL=self.url))
        status = self.relay.request("GET", "/status?session=s%201").json
        self.assertEqual(status["session"], {"model": "echo", "answered_by": "echo/echo"})
        self.relay.messages(turn("echo/echo", "/use zai/glm-5.2"), headers)
        status = self.relay.request("GET", "/status?session=s%201").json
        self.assertEqual(status["session"], {"model": "zai/glm-5.2", "answered_by": "echo/echo"})
        self.assertNotIn("session", self.relay.request("GET", "/status").json)

    def test_json(self) -> None:
        told = json.loads(listed("--json", ANTHROPIC_BASE_URL=self.url))
        self.assertEqual((told["relay"], len(told["models"])), (self.url, 4))
        self.assertEqual(told["models"][0]["context"], 1_000_000)
        self.assertEqual(told["models"][1]["vision"], True)


class TestTrouble(unittest.TestCase):
    def test_no_relay_in_this_session(self) -> None:
        self.assertRegex(listed(), r"^UNAVAILABLE: ANTHROPIC_BASE_URL is not set in this shell, .*\n$")

    def test_the_relay_is_down(self) -> None:
        text = listed(ANTHROPIC_BASE_URL="http://user:s3cret@127.0.0.1:9")
        self.assertRegex(
            text, r"^UNAVAILABLE: no relay answers at http://127\.0\.0\.1:9 \(.*refused.*\); start it with .*\n$"
        )

    def test_no_address(self) -> None:
        for url in ("http://127.0.0.1:port", "nonsense", "http://[::1", "ftp://"):
            self.assertRegex(listed(ANTHROPIC_BASE_URL=url), r"^UNAVAILABLE: .*\n$")

    def test_the_token(self) -> None:
        with Relay('[server]\ntoken = "t0ken"\n' + ECHO) as relay:
            url = f"http://127.0.0.1:{relay.port}"
            none = listed(ANTHROPIC_BASE_URL=url)
            self.assertRegex(
                none, r"^UNAVAILABLE: the relay at .* wants its token, and there is no credential in this shell"
            )
            wrong = listed(ANTHROPIC_BASE_URL=url, ANTHROPIC_AUTH_TOKEN="wr0ng")
            self.assertRegex(wrong, r"^UNAVAILABLE: the relay at .* refused the token: ")
            self.assertNotIn("wr0ng", wrong)
            for name, value in (
                ("ANTHROPIC_AUTH_TOKEN", "t0ken"),
                ("ANTHROPIC_API_KEY", "t0ken"),
                ("ANTHROPIC_CUSTOM_HEADERS", "x-other: 1\nX-CCRelay-Token: t0ken"),
            ):
                self.assertIn("echo/echo", listed(ANTHROPIC_BASE_URL=url, **{name: value}), name)

    def test_something_else_answers(self) -> None:
        with Upstream("scripted") as other:
            sentence = rf"^UNAVAILABLE: what answers at {re.escape(other.url)} is not ccrelay \(HTTP 404\)\n$"
            self.assertRegex(listed(ANTHROPIC_BASE_URL=other.url), sentence)
            other.script(json_reply({"data": "no list"}), json_reply([]), repeat=True)
            for _ in range(2):
                self.assertIn("is not ccrelay", listed(ANTHROPIC_BASE_URL=other.url))

    def test_a_credential_follows_no_redirect(self) -> None:
        with Upstream("scripted") as here, Upstream("scripted") as elsewhere:
            here.script({"status": 302, "headers": {"location": elsewhere.url + "/v1/models"}}, repeat=True)
            self.assertIn("is not ccrelay (HTTP 302)", listed(ANTHROPIC_BASE_URL=here.url, ANTHROPIC_AUTH_TOKEN="x"))
            self.assertEqual(elsewhere.requests(), [])

    def test_what_the_relay_says_of_health_and_of_the_session(self) -> None:
        names = ("a/one", "a/two", "b/three", "c/four", "d/five")
        models = {"data": [{"id": name} for name in names]}
        resting = {"health": "resting", "resting_seconds": 42, "reason": "a: overloaded"}
        providers = [
            {"name": "a", "health": "well", "models": [{"id": "a/one", "health": "well"}, {"id": "a/two", **resting}]},
            {"name": "b", "health": "resting", "resting_seconds": None, "reason": "b: key refused", "models": []},
            {"name": "c", "health": "well", "unreachable": "c: cannot connect"},
        ]
        status = {"providers": providers, "session": {"model": "cheap", "answered_by": "a/one"}}
        with Upstream("scripted") as relay:
            relay.script(json_reply(models), match="/v1/models", repeat=True)
            relay.script(json_reply(status), match="/status", repeat=True)
            text = listed("--session", "s 1", ANTHROPIC_BASE_URL=relay.url)
            self.assertIn("/status?session=s%201", [request.path for request in relay.requests()])
        self.assertIn(" · this session is answered by a/one (asked for cheap)\n", text)
        told = ("ok", "resting 42 s: a: overloaded", "resting: b: key refused", "down: c: cannot connect", "thinking?")
        for name, words in zip(names, told, strict=True):
            self.assertRegex(text, rf"(?m)^{name} .*{re.escape(words)}$")

    def test_a_list_without_models(self) -> None:
        with Relay('[providers.echo]\ntype = "echo"\nlisted = false\n') as relay:
            text = listed(ANTHROPIC_BASE_URL=f"http://127.0.0.1:{relay.port}")
        self.assertRegex(
            text, r"^UNAVAILABLE: the relay at .* has no model to offer; `python ccrelay\.py check` says why\n$"
        )


class TestFiles(unittest.TestCase):
    def frontmatter(self) -> dict[str, str]:
        _, head, _ = (SKILL / "SKILL.md").read_text("utf-8").split("---\n", 2)
        return dict(re.findall(r"(?m)^([a-z-]+): ?(.*)$", head))

    def test_only_the_portable_keys(self) -> None:
        portable = {"name", "description", "license", "compatibility", "allowed-tools", "metadata"}
        head = self.frontmatter()
        self.assertEqual(set(head), portable)
        self.assertEqual(head["name"], SKILL.name)
        self.assertLessEqual(len(head["description"]), 1024)
        self.assertFalse(set("<>") & set(head["description"]))
        self.assertLessEqual(len(head["compatibility"]), 500)

    def test_one_version(self) -> None:
        plugin: dict[str, Any] = json.loads((ROOT / "skill" / ".claude-plugin" / "plugin.json").read_text("utf-8"))
        market: dict[str, Any] = json.loads((ROOT / ".claude-plugin" / "marketplace.json").read_text("utf-8"))
        versions = {plugin["version"], market["metadata"]["version"], market["plugins"][0]["version"]}
        self.assertEqual(versions, {__version__})
        self.assertIn(f'version: "{__version__}"', (SKILL / "SKILL.md").read_text("utf-8"))
        self.assertTrue((ROOT / market["plugins"][0]["source"] / ".claude-plugin" / "plugin.json").exists())
        self.assertEqual([(ROOT / "skill" / each / "SKILL.md").exists() for each in plugin["skills"]], [True])


class TestInstall(unittest.TestCase):
    def setUp(self) -> None:
        self.home = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="ccrelay-test-")))
        self.config = self.home / "relay.toml"
        self.config.write_text(ECHO)

    def skill(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        home = {"HOME": str(self.home), "USERPROFILE": str(self.home), "CLAUDE_CONFIG_DIR": "", **UNSET}
        return run("skill", "--config", str(self.config), *arguments, **{**home, **environ})

    def test_without_install_it_says_where_it_is_and_writes_nothing(self) -> None:
        done = self.skill()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn(str(SKILL), done.stdout)
        self.assertFalse((self.home / ".claude").exists())

    def test_into_the_user_s_skills(self) -> None:
        done = self.skill("--install")
        target = self.home / ".claude" / "skills" / "relay-models"
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("In a new Claude Code: /relay-models", done.stdout)
        for name in ("SKILL.md", "scripts/list_models.py"):
            self.assertEqual((target / name).read_bytes(), (SKILL / name).read_bytes())
        again = self.skill("--install").stdout
        self.assertEqual((again.count("unchanged"), again.count("replaced")), (3, 0))

    def test_the_command_use_comes_with_it_and_one_s_own_is_kept(self) -> None:
        path = self.home / ".claude" / "commands" / "use.md"
        self.assertRegex(self.skill("--install").stdout, r"\nnew +.*use\.md: the command /use\n")
        self.assertEqual(path.read_bytes(), skill.USE.encode())
        page = (ROOT / "docs" / "switching.md").read_text("utf-8")
        self.assertIn(indent(skill.USE, "  "), page, "the page shows another file")
        path.write_text("my own")
        self.assertRegex(self.skill("--install").stdout, r"\nkept +.*use\.md, which is different")
        self.assertEqual(path.read_text(), "my own")
        other = self.home / "other"
        self.skill("--install", "--to", str(other / "skills"))
        self.assertEqual([each.name for each in other.iterdir()], ["skills"])

    def test_a_broken_configuration_does_not_matter(self) -> None:
        self.config.write_text("prot = 1\n[")
        for arguments in ((), ("--install",)):
            done = self.skill(*arguments)
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_what_was_changed_is_kept_and_told(self) -> None:
        self.skill("--install", "--to", str(self.home / "mine"))
        changed = self.home / "mine" / "relay-models" / "SKILL.md"
        for words, kept in (("my own words", "SKILL.md.old"), ("and others", "SKILL.md.old2")):
            changed.write_text(words)
            done = self.skill("--install", "--to", str(self.home / "mine"))
            self.assertRegex(done.stdout, rf"replaced .*SKILL\.md, which was different: kept as {re.escape(kept)}\n")
            self.assertEqual(changed.with_name(kept).read_text(), words)
            self.assertEqual(changed.read_bytes(), (SKILL / "SKILL.md").read_bytes())

    def test_a_folder_of_claude_code_s_own(self) -> None:
        self.skill("--install", CLAUDE_CONFIG_DIR=str(self.home / "config"))
        self.assertTrue((self.home / "config" / "skills" / "relay-models" / "SKILL.md").exists())

    def test_out_of_an_archive(self) -> None:
        shutil.copytree(ROOT / "ccrelay_providers", self.home / "app" / "ccrelay_providers")
        shutil.copytree(ROOT / "skill", self.home / "app" / "skill")
        shutil.copy(ROOT / "ccrelay.py", self.home / "app")
        archive = self.home / "ccrelay.pyz"
        zipapp.create_archive(self.home / "app", archive, main="ccrelay:console")
        to = self.home / "mine"
        command = [sys.executable, str(archive), "skill", "--config", str(self.config), "--install", "--to", str(to)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=PATIENCE)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        copied = {path.relative_to(to / SKILL.name) for path in to.rglob("*") if path.is_file()}
        self.assertEqual(copied, {path.relative_to(SKILL) for path in SKILL.rglob("*.*") if path.suffix != ".pyc"})

    def test_as_pip_installed_it(self) -> None:
        path = PackagePath("../../../share/ccrelay/skill/relay-models/SKILL.md")
        path.dist = mock.Mock(locate_file=lambda file: self.home / "lib/python3/site-packages" / file)
        with mock.patch("importlib.metadata.files", return_value=[PackagePath("ccrelay.py"), path]):
            self.assertEqual(skill.installed(), (self.home / "share/ccrelay/skill/relay-models").resolve())

    def test_pip_is_told_of_every_file(self) -> None:
        tables = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["data-files"]
        listed = {each for files in tables.values() for each in files if each.startswith("skill/")}
        own = (path for path in SKILL.rglob("*.*") if path.suffix != ".pyc")
        self.assertEqual(listed, {path.relative_to(ROOT).as_posix() for path in own})

    def test_where_nothing_can_be_written(self) -> None:
        done = self.skill("--install", "--to", str(self.config))
        self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
        self.assertRegex(done.stderr, r"relay-models: cannot be written: ")


if __name__ == "__main__":
    unittest.main()
