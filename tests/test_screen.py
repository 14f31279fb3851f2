"""What the start shows."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

from ccrelay_providers.commands.screen import next_steps
from ccrelay_providers.core.settings import Server
from tests.relay import ECHO, PATIENCE, ROOT, UNSET, Relay


def greeting(relay: Relay) -> str:
    """All that a relay prints at its start; an empty line ends it."""
    assert relay.process.stdout is not None
    for line in relay.process.stdout:
        if line == "\n":
            break
        relay.out.append(line.rstrip("\n"))
    return "\n".join(relay.out)


class TestStart(unittest.TestCase):
    def test_the_shipped_configuration_without_any_key(self) -> None:
        with Relay("", "--config", str(ROOT / "relay.toml"), environ=UNSET) as relay:
            text = greeting(relay)
        self.assertRegex(text, r"^ccrelay \d+\.\d+\.\d+  .*relay\.toml\n")
        self.assertRegex(text, r"\n  anthropic  on   4 models, with the credential that Claude Code sends\n")
        self.assertRegex(text, r"\n  zai        off  ZAI_API_KEY is not set\n")
        self.assertRegex(text, r"\n  echo       on   not listed: echo/echo answers offline\n")
        self.assertRegex(text, r"\n  ollama     on   (but cannot connect|no models|\d+ model)")
        url = re.escape(f"http://127.0.0.1:{relay.port}")
        self.assertRegex(text, rf"\nlistening on {url}\n  start Claude Code: .* --port {relay.port} claude\n")
        self.assertRegex(text, rf"\n  point Claude Code here: +export ANTHROPIC_BASE_URL={url}\n")
        self.assertRegex(text, rf"\n  something is wrong\? .*ccrelay\.py .* --port {relay.port} check$")

    def test_what_to_type_next(self) -> None:
        with mock.patch("sys.argv", ["ccrelay.py", "--config", "a b.toml", "serve"]):
            steps = dict(next_steps(Server(host="0.0.0.0", port=9000, token="t"), 9000))
        self.assertRegex(steps["start Claude Code:"], r"^python\S* ccrelay.py --config 'a b.toml' claude$")
        self.assertIn("ANTHROPIC_BASE_URL=", steps["point Claude Code here:"])
        self.assertIn("http://127.0.0.1:9000", steps["point Claude Code here:"])
        self.assertIn("and show it server.token:", steps)

    def test_a_port_that_was_picked_is_named_to_who_is_to_find_it(self) -> None:
        for typed, again in (
            ("", "--port 9000"),
            ("--port 0", "--port 9000"),
            ("--verbose --port=0 --config a.toml serve", "--verbose --config a.toml --port 9000"),
        ):
            with mock.patch("sys.argv", ["ccrelay", *typed.split()]):
                steps = dict(next_steps(Server(port=0), 9000))
            self.assertEqual(steps["start Claude Code:"], f"ccrelay {again} claude")
            self.assertEqual(steps["something is wrong?"], f"ccrelay {again} check")

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
            "\n  zai    off  ZAI_API_KEY is not set\n  local  off  enabled = false\n  echo   on   1 model\n", text
        )
        self.assertIn("relay.toml: routes.x[0]: zai/glm-5.2 is passed over, since zai is off (", text)

    def test_an_unlisted_provider_without_models(self) -> None:
        hidden = '[providers.local]\ntype = "ollama"\nlisted = false\nbase_url = "http://127.0.0.1:9"\n'
        with Relay(hidden + '[providers.echo]\ntype = "echo"\nlisted = false\nmodels = []\n') as relay:
            self.assertIn("  local  on  but cannot connect", greeting(relay))

    def test_no_secret_is_printed(self) -> None:
        key = '[providers.zai]\ntype = "zai"\napi_key = "${ZAI_API_KEY}"\nmodels = ["m"]\n'
        with Relay('[server]\ntoken = "s3cret"\n' + key, environ={"ZAI_API_KEY": "s3cret"}) as relay:
            text = greeting(relay)
        self.assertIn("  zai  on  1 model", text)
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


if __name__ == "__main__":
    unittest.main()
