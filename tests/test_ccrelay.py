"""The command line: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from contextlib import closing
from pathlib import Path

from tests.relay import PATIENCE, ROOT, Relay, turn

ECHO = '[providers.echo]\ntype = "echo"\n'
UNSET = dict.fromkeys(("ZAI_API_KEY", "ANTHROPIC_API_KEY", "OLLAMA_API_KEY", "CCRELAY_CONFIG"), "")


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A run that ends by itself."""
    command = [sys.executable, str(ROOT / "ccrelay.py"), *arguments]
    env = {**os.environ, **UNSET, **environ}
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=PATIENCE, env=env)


def greeting(relay: Relay) -> str:
    """All that a relay prints at its start."""
    assert relay.process.stdout is not None
    return "\n".join([*relay.out, relay.process.stdout.readline().rstrip("\n")])


class TestStart(unittest.TestCase):
    def test_the_shipped_configuration_without_any_key(self) -> None:
        with Relay("", "--config", str(ROOT / "relay.toml"), environ=UNSET) as relay:
            text = greeting(relay)
        self.assertRegex(text, r"^ccrelay \d+\.\d+\.\d+\n")
        self.assertRegex(text, r"\n  anthropic: on, 4 models, with the credential that Claude Code sends\n")
        self.assertRegex(text, r"\n  zai: +off, ZAI_API_KEY is not set\n")
        self.assertRegex(text, r"\n  echo: +on, not listed: echo/echo answers offline\n")
        self.assertRegex(text, r"\n  ollama: +on, (but cannot connect|no models|\d+ model)")
        url = re.escape(f"http://127.0.0.1:{relay.port}")
        self.assertRegex(text, rf"\nlistening on {url}\npoint Claude Code here:  export ANTHROPIC_BASE_URL={url}$")

    def test_it_is_found_beside_the_program_whatever_the_directory(self) -> None:
        command = [sys.executable, str(ROOT / "ccrelay.py"), "--port", "0"]
        env = {**os.environ, **UNSET}
        with subprocess.Popen(command, cwd=tempfile.gettempdir(), env=env, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(6)]
            process.kill()
        self.assertTrue(lines[-1].startswith(b"listening on http://127.0.0.1:"), lines)

    def test_port_0_takes_a_free_one(self) -> None:
        with Relay(ECHO) as first, Relay(ECHO) as second:
            self.assertNotEqual(first.port, second.port)
            self.assertEqual(second.request("GET", "/health").status, 200)

    def test_what_is_off_and_what_is_warned_of(self) -> None:
        config = (
            '[routes]\nx = ["zai/glm-5.2", "echo/echo"]\n[providers.zai]\ntype = "zai"\napi_key = "${ZAI_API_KEY}"\n'
        )
        off = '[providers.local]\ntype = "ollama"\nenabled = false\n'
        with Relay(config + off + ECHO, environ=UNSET) as relay:
            text = greeting(relay)
        self.assertIn(
            "\n  zai:   off, ZAI_API_KEY is not set\n  local: off, enabled = false\n  echo:  on, 1 model\n", text
        )
        self.assertIn("\n  warning: relay.toml: routes.x[0]: zai/glm-5.2 is passed over, since zai is off", text)

    def test_an_unlisted_provider_without_models(self) -> None:
        hidden = '[providers.local]\ntype = "ollama"\nlisted = false\nbase_url = "http://127.0.0.1:9"\n'
        with Relay(hidden + '[providers.echo]\ntype = "echo"\nlisted = false\nmodels = []\n') as relay:
            self.assertIn("  local: on, but cannot connect", greeting(relay))

    def test_no_secret_is_printed(self) -> None:
        key = '[providers.zai]\ntype = "zai"\napi_key = "${ZAI_API_KEY}"\nmodels = ["m"]\n'
        with Relay('[server]\ntoken = "s3cret"\n' + key, environ={"ZAI_API_KEY": "s3cret"}) as relay:
            text = greeting(relay)
        self.assertIn("zai: on, 1 model", text)
        self.assertNotIn("s3cret", text)

    def test_ipv6(self) -> None:
        if not socket.has_ipv6:
            self.skipTest("no IPv6 here")
        with Relay(ECHO, "--host", "::1") as relay:
            self.assertIn(f"ANTHROPIC_BASE_URL=http://[::1]:{relay.port}", greeting(relay))
            connection = http.client.HTTPConnection("::1", relay.port, timeout=PATIENCE)
            connection.request("GET", "/health")
            self.assertEqual(connection.getresponse().status, 200)
            connection.close()


class TestRefusals(unittest.TestCase):
    def refused(self, done: subprocess.CompletedProcess[str], code: int, *sentences: str) -> None:
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), len(sentences), done.stderr)
        for line, sentence in zip(done.stderr.splitlines(), sentences, strict=True):
            self.assertIn(sentence, line)

    def test_version_and_help(self) -> None:
        self.assertRegex(run("--version").stdout, r"^ccrelay \d+\.\d+\.\d+\n$")
        self.assertIn("--port", run("--help").stdout)

    def test_wrong_arguments(self) -> None:
        for arguments in (("--port", "70000"), ("--port", "x"), ("--port", "²"), ("--nonsense",), ("dance",)):
            done = run(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertNotIn("Traceback", done.stderr)

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

    def test_a_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            words = f"ccrelay: cannot listen on 127.0.0.1:{port} (address already in use); is it running already?"
            self.refused(run("--port", port), 1, words)


@unittest.skipIf(os.name == "nt", "Windows has no SIGTERM that can be caught")
class TestEnd(unittest.TestCase):
    def test_an_idle_relay_ends_at_once_though_clients_are_connected(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            with Relay(ECHO) as relay, closing(relay.http()) as client:
                client.request("GET", "/health")
                client.getresponse().read()
                relay.process.send_signal(number)
                self.assertEqual(relay.process.wait(PATIENCE), 0)
                self.assertEqual(client.sock.recv(1), b"")

    def test_a_running_answer_comes_to_its_end_and_nobody_new_comes_in(self) -> None:
        with Relay(ECHO) as relay, relay.stream(turn("echo/echo", "echo:slow 0.05\necho:words 20")) as stream:
            stream.read_until(b"word1")
            relay.process.send_signal(signal.SIGTERM)
            relay.wait_for_log("stopping: running answers have 30 s to finish; a second signal ends at once")
            with self.assertRaises(ConnectionRefusedError):
                relay.connect()
            self.assertEqual(stream.read()[-1]["type"], "message_stop")
            self.assertIn(b"word20", stream.body)
            self.assertEqual(relay.process.wait(PATIENCE), 0)

    def test_a_second_signal_ends_at_once(self) -> None:
        with Relay(ECHO) as relay, relay.stream(turn("echo/echo", "echo:words 3\necho:slow 60")):
            relay.request("GET", "/health")
            self.signal_twice(relay)
            self.assertEqual(relay.process.wait(PATIENCE), 1)
            self.assertNotIn("Traceback", relay.log)

    def signal_twice(self, relay: Relay) -> None:
        relay.process.send_signal(signal.SIGTERM)
        relay.wait_for_log("stopping: ")
        relay.process.send_signal(signal.SIGINT)


if __name__ == "__main__":
    unittest.main()
