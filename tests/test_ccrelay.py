"""The command line: what it takes, and what it refuses."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stderr
from pathlib import Path

import ccrelay
from tests.relay import ECHO, ROOT, run


class TestRefusals(unittest.TestCase):
    def refused(self, done: subprocess.CompletedProcess[str], code: int, *sentences: str) -> None:
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), len(sentences), done.stderr)
        for line, sentence in zip(done.stderr.splitlines(), sentences, strict=True):
            self.assertIn(sentence, line)

    def test_version_and_help(self) -> None:
        done = subprocess.run([sys.executable, str(ROOT / "ccrelay.py"), "--version"], capture_output=True, text=True)
        self.assertRegex(done.stdout, r"^ccrelay \d+\.\d+\.\d+\n$")
        self.assertIn("--port", run("--help").stdout)

    @unittest.skipIf(os.name == "nt", "no pipes of this kind")
    def test_who_reads_no_further(self) -> None:
        """`ccrelay models | head -1`: silence, as of every program."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "relay.toml"
            path.write_text(
                ECHO + "models = [" + ", ".join(f'"model-{number}"' for number in range(4000)) + "]\n", "utf-8"
            )
            command = [sys.executable, str(ROOT / "ccrelay.py"), "models", "--config", str(path), "--port", "1"]
            pipe = subprocess.PIPE
            with subprocess.Popen(command, stdout=pipe, stderr=pipe, encoding="utf-8") as process:
                assert process.stdout
                assert process.stderr
                process.stdout.readline()
                process.stdout.close()
                self.assertEqual((process.stderr.read(), process.wait()), ("", 141))

    def test_wrong_arguments(self) -> None:
        number = "argument --port: expected a number from 0 to 65535, got "
        for line, sentence in (
            ("--port 70000", f"ccrelay: error: {number}'70000'"),
            ("--port ²", f"ccrelay: error: {number}'²'"),
            ("check --port x", f"ccrelay check: error: {number}'x'"),
            ("--port", "ccrelay: error: argument --port: expected one argument"),
            ("--nonsense", "ccrelay serve: error: unknown argument --nonsense; --help shows what there is"),
            ("--por 9", "ccrelay: error: unknown argument --por; did you mean --port?"),
            ("--prot 9", "ccrelay: error: unknown argument --prot; did you mean --port?"),
            ("--prot 9 claude", "ccrelay: error: unknown argument --prot; did you mean --port?"),
            ("--prot=9 claude", "ccrelay claude: error: unknown argument --prot=9; did you mean --port?"),
            ("models --jsn", "ccrelay models: error: unknown argument --jsn; did you mean --json?"),
            ("check zai", "ccrelay check: error: unknown argument zai; --help shows what there is"),
            ("chekc --verbose", "ccrelay: error: unknown argument chekc; did you mean check?"),
            ("dance", "ccrelay: error: unknown argument dance; --help shows what there is"),
        ):
            with self.subTest(line), redirect_stderr(io.StringIO()) as said:
                with self.assertRaises(SystemExit) as end:
                    ccrelay.parse(line.split())
                self.assertEqual((end.exception.code, said.getvalue().splitlines()[-1]), (2, sentence))
        done = run("dance")
        self.assertEqual((done.returncode, done.stdout, "Traceback" in done.stderr), (2, "", False))

    def test_all_errors_of_a_configuration_at_once(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "relay.toml"
            path.write_text('prot = 1\n[server]\nlog = "loud"\n' + ECHO, "utf-8")
            done = run("--config", str(path))
            self.refused(done, 2, "relay.toml: prot: unknown key", "relay.toml: server.log: expected one of text, json")
            self.refused(run(CCRELAY_CONFIG=str(path)), 2, "prot", "server.log")

    def test_a_configuration_that_is_not_there(self) -> None:
        self.refused(run("--config", "/nowhere/relay.toml"), 2, "/nowhere/relay.toml: cannot be read: No such file")

    def test_the_network_needs_a_token(self) -> None:
        done = run("--host", "0.0.0.0")
        self.refused(done, 2, "--host: 0.0.0.0 is reachable from the network, so server.token must be set")


if __name__ == "__main__":
    unittest.main()
