"""The lines that a shell takes over."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import unittest
from itertools import pairwise
from pathlib import Path

from ccrelay_providers.commands.env import written
from ccrelay_providers.commands.wiring import Variable
from tests.relay import ECHO, PATIENCE, ROOT, UNSET, Relay, call

NASTY = "it's \"$HOME\" `id` \\ 'x'\n; exit 1 # é ’"
ODD = """
[server]
token = "a'b$(exit)`c"
[providers.odd]
type = "anthropic"
api_key = "k"
models = [{ id = "m", context = 40000 }]
"""


def env(config: str, *arguments: str, **environ: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "relay.toml"
        path.write_text(config, "utf-8")
        path.chmod(0o600)
        done = call("--config", str(path), "--port", "1", "env", *arguments, HOME=folder, USERPROFILE=folder, **environ)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done
    assert "ccrelay: no relay listens on http://127.0.0.1:1 yet; `" in done.stderr, done
    return done.stdout


class TestLines(unittest.TestCase):
    def test_every_line_has_its_reason_above_it(self) -> None:
        lines = env(ECHO, "--shell", "sh").splitlines()
        self.assertRegex(lines[0], r'To use it: eval "\$\(python\S* .*ccrelay.py env\)"$')
        self.assertIn("no relay listens on http://127.0.0.1:1 yet", lines[1])
        self.assertEqual(lines[2:4], ["# where the relay listens", "export ANTHROPIC_BASE_URL=http://127.0.0.1:1"])
        for above, line in pairwise(lines):
            self.assertTrue(line.startswith("#") or above.startswith("# "), line)
        self.assertIn("export CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY=1", lines)

    def test_small_windows(self) -> None:
        self.assertIn("\nexport CLAUDE_CODE_MAX_CONTEXT_TOKENS=40000", env(ODD, "--shell", "sh"))
        both = ODD.replace("}]", '}, { id = "large", context = 1000000 }]')
        self.assertIn("\n# export CLAUDE_CODE_MAX_CONTEXT_TOKENS=40000", env(both, "--shell", "sh"))

    def test_a_running_relay_is_asked(self) -> None:
        with Relay(ECHO) as relay:
            done = call("--port", str(relay.port), "env")
        self.assertIn(f"ANTHROPIC_BASE_URL=http://127.0.0.1:{relay.port}", done.stdout)
        self.assertNotIn("no relay listens", done.stdout + done.stderr)

    def test_a_key_that_is_not_needed_is_taken_away(self) -> None:
        self.assertIn("\nunset ANTHROPIC_API_KEY\n", env(ECHO, "--shell", "sh", ANTHROPIC_API_KEY="k"))

    def test_other_shells_take_what_sh_takes(self) -> None:
        for shell in ("bash", "zsh"):
            self.assertEqual(env(ECHO, "--shell", shell), env(ECHO, "--shell", "sh"))


class TestQuoting(unittest.TestCase):
    @unittest.skipIf(os.name == "nt", "no sh")
    def test_a_shell_takes_it_as_it_is(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "relay.toml"
            path.write_text(ODD, "utf-8")
            path.chmod(0o600)
            script = (
                f'eval "$(python {ROOT}/ccrelay.py --config {path} --port 1 env)"; printf %s "$ANTHROPIC_AUTH_TOKEN"'
            )
            environ = {**os.environ, **UNSET, "HOME": folder}
            done = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, timeout=PATIENCE, env=environ)
        self.assertEqual((done.stdout, done.stderr.count("\n")), ("a'b$(exit)`c", 1), done.stderr)

    def shell(self, name: str, *command: str, show: str) -> None:
        program = shutil.which(name)
        if program is None:
            self.skipTest(f"no {name} here")
        script = f"{written(Variable('NASTY', NASTY, ''), name.replace('pwsh', 'powershell'))}\n{show}"
        done = subprocess.run([program, *command, script], capture_output=True, encoding="utf-8", timeout=PATIENCE)
        self.assertEqual(done.stdout, NASTY)

    def test_sh(self) -> None:
        self.shell("sh", "-c", show='printf %s "$NASTY"')

    def test_fish(self) -> None:
        self.shell("fish", "-c", show='printf %s "$NASTY"')

    def test_powershell(self) -> None:
        self.shell("pwsh", "-NoProfile", "-Command", show="[Console]::Write($env:NASTY)")

    def test_as_the_other_shells_want_it(self) -> None:
        value, gone = Variable("A", "it's \\ ’", ""), Variable("A", None, "")
        self.assertEqual(written(value, "fish"), "set -gx A 'it\\'s \\\\ ’'")
        self.assertEqual(written(value, "powershell"), "$env:A = 'it''s \\ ’’'")
        self.assertEqual(written(gone, "fish"), "set -e A")
        self.assertEqual(written(gone, "powershell"), "Remove-Item Env:A -ErrorAction SilentlyContinue")

    def test_a_name_from_an_upstream_cannot_leave_its_comment(self) -> None:
        evil = ECHO + '[routes]\n"claude-haiku-[\\n4]-5" = ["echo/echo"]\n'
        self.assertIn("ANTHROPIC_DEFAULT_HAIKU_MODEL=claude-haiku-4-5", env(evil, "--shell", "sh"))
        for line in env(evil, "--shell", "sh").splitlines():
            self.assertRegex(line, "^(#|export |unset )")


if __name__ == "__main__":
    unittest.main()
