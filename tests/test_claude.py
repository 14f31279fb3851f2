"""Claude Code is started wired to a relay; a program of ours stands in for it and tells what it was given."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

from ccrelay_providers.commands.claude import (
    option,
    session_settings,
    settings_of,
    split_settings,
    wiring,
)
from ccrelay_providers.commands.client import Client, Setting
from ccrelay_providers.commands.lineup import Lineup
from ccrelay_providers.commands.wiring import Variable
from ccrelay_providers.core.settings import Config, Routing, Server
from tests.relay import ECHO, PATIENCE, ROOT, UNSET, Relay
from tests.test_picker import ZAI

STAND_IN = """#!{python}
import json, os, signal, sys, urllib.request
path = sys.argv[2]
told = {{"arguments": sys.argv[3:], "environ": dict(os.environ), "settings": json.load(open(path)), "path": path}}
told["mode"] = os.stat(path).st_mode & 0o777
body = {{"model": "echo/echo", "max_tokens": 9, "messages": [{{"role": "user", "content": "hi"}}]}}
url = os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages"
headers = {{"authorization": "Bearer " + os.environ.get("ANTHROPIC_AUTH_TOKEN", "")}}
request = urllib.request.Request(url, json.dumps(body).encode(), headers)
told["answer"] = json.load(urllib.request.urlopen(request))
print(json.dumps(told), flush=True)
if "wait" in sys.argv:
    signal.signal(signal.SIGINT, lambda number, frame: sys.exit(7))
    print("waiting", flush=True)
    signal.pause()
sys.exit(5 if "fail" in sys.argv else 0)
"""
ROUTED = ECHO + '[routes]\ncheap = ["echo/echo"]\n'


def communicated(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed up to its end; a process that does not end is killed with all that it started."""
    try:
        return process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


@unittest.skipIf(os.name == "nt", "the stand-in is a script with a first line")
class TestCommand(unittest.TestCase):
    stdout = subprocess.PIPE

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = Path(folder.name)
        self.program = self.home / "claude"
        self.program.write_text(STAND_IN.format(python=sys.executable), "utf-8")
        self.program.chmod(0o755)

    def start(self, config: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        path = self.home / "relay.toml"
        path.write_text(config, "utf-8")
        path.chmod(0o600)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "CLAUDE"))}
        env = {**clean, **UNSET, "HOME": str(self.home), "CCRELAY_CLAUDE": str(self.program), **environ}
        command = [sys.executable, str(ROOT / "ccrelay.py"), "--config", str(path), *arguments]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self.stdout,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=env,
            start_new_session=True,
        )

    def run_it(self, config: str, *arguments: str, **environ: str) -> tuple[int, str, str]:
        with self.start(config, *arguments, **environ) as process:
            out, err = communicated(process)
        return process.returncode, out, err

    def told(self, config: str, *arguments: str, **environ: str) -> dict[str, Any]:
        code, out, err = self.run_it(config, *arguments, **environ)
        self.assertEqual(code, 0, err)
        found: dict[str, Any] = json.loads(out)
        return found

    def test_a_relay_of_its_own_answers_and_is_gone_afterwards(self) -> None:
        code, out, err = self.run_it(ROUTED, "--port", "1", "claude", "fail")
        told = json.loads(out)
        self.assertEqual(code, 5)
        self.assertEqual(told["answer"]["model"], "echo/echo")
        words = r"no relay listens on http://127\.0\.0\.1:1; this session has a relay of its own on (\S+), log in \S+\n"
        self.assertRegex(err, f"^ccrelay: {words}$")
        self.assertEqual(told["environ"]["ANTHROPIC_BASE_URL"], re.findall(words, err)[0])
        self.assertEqual((told["mode"], Path(told["path"]).parent.exists()), (0o600, False))

    def test_the_relay_that_runs_is_used(self) -> None:
        with Relay('[server]\ntoken = "s3cret"\n' + ECHO) as relay:
            code, out, err = self.run_it('[server]\ntoken = "s3cret"\n' + ECHO, "--port", str(relay.port), "claude")
            relay.wait_for_log("echo/echo")
        environ = json.loads(out)["environ"]
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(environ["ANTHROPIC_BASE_URL"], f"http://127.0.0.1:{relay.port}")
        self.assertEqual(environ["ANTHROPIC_AUTH_TOKEN"], "s3cret")

    def test_what_it_is_told(self) -> None:
        arguments = ["-c", "--verb", "-h", "--port", "7", "--model=x", "a b", "--version", "--", "--settings", "{"]
        wrong = {"ANTHROPIC_API_KEY": "k", "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1", "MINE": "1"}
        path = self.home / ".claude" / "settings.json"
        path.parent.mkdir()
        path.write_text('{"modelPicker": {"options": [{"model": "mine"}]}}', "utf-8")
        told = self.told(ROUTED, "--port", "0", "claude", *arguments, **wrong)
        with self.subTest("arguments are its own"):
            self.assertEqual(told["arguments"], arguments)
        with self.subTest("environment"):
            self.assertEqual((told["environ"]["ANTHROPIC_AUTH_TOKEN"], told["environ"]["MINE"]), ("ccrelay", "1"))
            self.assertEqual(told["environ"].keys() & (wrong.keys() - {"MINE"}), set())
            self.assertEqual(told["settings"]["env"]["ANTHROPIC_BASE_URL"], told["environ"]["ANTHROPIC_BASE_URL"])
        with self.subTest("rows of the picker, the user's own first"):
            rows = [row["model"] for row in told["settings"]["modelPicker"]["options"]]
            self.assertEqual(rows, ["mine", "cheap", "echo/echo"])
        with self.subTest("the user's files stay as they are"):
            self.assertEqual(sorted(each.name for each in path.parent.iterdir()), ["settings.json"])
            self.assertEqual(path.read_text("utf-8"), '{"modelPicker": {"options": [{"model": "mine"}]}}')

    def test_settings_of_the_command_line_are_merged(self) -> None:
        given = self.home / "given.json"
        given.write_text('{"env": {"A": "1"}, "model": "cheap"}', "utf-8")
        told = self.told(ECHO, "--port", "0", "claude", "-p", "--settings", str(given), "x")
        self.assertEqual((told["arguments"], told["settings"]["model"]), (["-p", "x"], "cheap"))
        self.assertEqual(told["settings"]["env"]["A"], "1")
        code, out, err = self.run_it(ECHO, "--port", "0", "claude", "--settings", "{x")
        self.assertEqual((code, out, err.count("\n")), (2, "", 1))
        self.assertIn("--settings: not JSON: ", err)

    def test_signals_reach_claude_code(self) -> None:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        self.addCleanup(signal.signal, signal.SIGINT, before)
        for number, code in ((signal.SIGINT, 7), (signal.SIGTERM, 128 + signal.SIGTERM)):
            with self.start(ECHO, "--port", "0", "claude", "wait") as process:
                assert process.stdout is not None
                path = Path(json.loads(process.stdout.readline())["path"])
                self.assertEqual(process.stdout.readline(), "waiting\n")
                process.send_signal(number)
                err = communicated(process)[1]
                self.assertEqual((process.returncode, "Traceback" in err), (code, False))
            self.assertFalse(path.exists())

    def test_what_is_not_installed_or_cannot_be_started(self) -> None:
        code, out, err = self.run_it(ECHO, "claude", CCRELAY_CLAUDE="", PATH=str(self.home / "empty"))
        self.assertEqual((code, out, err.count("\n")), (1, "", 1))
        self.assertIn("npm install -g @anthropic-ai/claude-code", err)
        code, _, err = self.run_it(ECHO, "claude", CCRELAY_CLAUDE="/nowhere/claude")
        self.assertEqual((code, err.count("\n")), (1, 1))
        self.assertIn("CCRELAY_CLAUDE is /nowhere/claude, which is no program; correct it, or unset it", err)
        self.program.write_text("#!/nowhere/python\n", "utf-8")
        terminal, out_of_it = os.openpty()  # there a session ends with how to go on
        self.addCleanup(os.close, terminal)
        self.stdout = out_of_it
        with self.start(ECHO, "--port", "0", "claude") as process:
            os.close(out_of_it)
            err = communicated(process)[1]
        self.assertEqual(process.returncode, 1)
        sentence = "cannot be started (No such file or directory); install it anew, or name another one with CCRELAY"
        self.assertRegex(err, rf"\nccrelay: {re.escape(f'{self.program} {sentence}')}_CLAUDE\n$")


class TestWiring(unittest.TestCase):
    windows = {"zai/a": 40_000, "zai/b": 60_000, "zai/c": 9_000, "zai/d": 1_000_000}

    def window(self, wanted: str, environ: dict[str, str]) -> str | None:
        models = tuple(
            {"id": id, "display_name": id, "max_input_tokens": window} for id, window in self.windows.items()
        )
        config = Config(Path("relay.toml"), Server(), Routing(), (), (ZAI,), ())
        client = Client(None, {name: Setting(value, "here") for name, value in environ.items()})
        told = wiring(Lineup(models), config, "http://127.0.0.1:1", client, wanted)
        return next((each.value for each in told if each.name == "CLAUDE_CODE_MAX_CONTEXT_TOKENS"), None)

    def test_the_window_of_the_model_that_the_session_begins_with_else_the_smallest(self) -> None:
        for wanted, window in (("", "40000"), ("zai/b", "60000"), ("zai/d", "40000"), ("zai/c", None)):
            self.assertEqual(self.window(wanted, {}), window, wanted)

    def test_what_the_user_has_set_stays(self) -> None:
        self.assertIsNone(self.window("", {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "1"}))


class TestSettings(unittest.TestCase):
    def test_split(self) -> None:
        for arguments, rest, settings in (
            ([], [], {}),
            (["--settings", '{"a": 1}', "-p"], ["-p"], {"a": 1}),
            (["-p", '--settings={"a": 1}'], ["-p"], {"a": 1}),
            (["--settings", '{"a": 1}', "--settings", '{"b": 2}'], [], {"b": 2}),
            (["--", "--settings", "x"], ["--", "--settings", "x"], {}),
        ):
            self.assertEqual(split_settings(arguments), (rest, settings))

    def test_what_cannot_be_read_is_a_sentence(self) -> None:
        for given, words in (
            ("/nowhere", "^--settings /nowhere: cannot be read: No such file or directory$"),
            (os.devnull, f"^--settings {os.devnull}: not JSON: "),
            ('{"', "^--settings: not JSON: "),
        ):
            with self.assertRaisesRegex(ValueError, words):
                settings_of(given)

    def test_the_relays_variables_win_and_other_rows_stay(self) -> None:
        told = [Variable("A", "1", "why"), Variable("GONE", None, "why")]
        picker = {"options": [{"model": "x"}, {"model": "y"}], "replaceBuiltInOptions": True}
        given = {"env": {"A": "0", "B": "2"}, "modelPicker": {"options": [{"model": "y", "label": "Mine"}]}}
        users = {"options": [{"model": "z"}]}
        found = session_settings(told, picker, users, given)
        self.assertEqual(found["env"], {"A": "1", "B": "2", "GONE": ""})
        self.assertEqual(found["modelPicker"]["options"], [{"model": "y", "label": "Mine"}, {"model": "x"}])
        self.assertIs(found["modelPicker"]["replaceBuiltInOptions"], True)
        odd = session_settings(told, picker, 3, {"env": 4, "modelPicker": {"options": 5}})
        self.assertEqual(odd["modelPicker"]["options"], picker["options"])

    def test_options(self) -> None:
        for arguments, value in (
            (["--model", "x"], "x"),
            (["-p", "--model=x"], "x"),
            (["--model"], None),
            (["-p"], None),
        ):
            self.assertEqual(option(arguments, "--model"), value)


if __name__ == "__main__":
    unittest.main()
