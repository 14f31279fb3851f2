"""Whom Claude Code would call, and what it would show."""

from __future__ import annotations

import json
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from ccrelay_providers.commands.client import Client, Setting, calls, credentials, find_program, look, warnings
from ccrelay_providers.core.settings import Server


def client(**settings: str) -> Client:
    return Client("claude", {name: Setting(value, "here") for name, value in settings.items()})


class TestAddress(unittest.TestCase):
    def test_whether_it_is_this_relay(self) -> None:
        here = Server(port=8787)
        for url, expected in (
            ("http://127.0.0.1:8787", True),
            ("http://localhost:8787/", True),
            ("http://[::1]:8787", True),
            ("http://127.0.0.1:8788", False),
            ("http://relay.lan:8787", False),
            ("https://api.anthropic.com", False),
            ("http://127.0.0.1:many", False),
            ("", False),
        ):
            self.assertEqual(calls(client(ANTHROPIC_BASE_URL=url), here), expected, url)

    def test_a_relay_that_others_reach(self) -> None:
        self.assertTrue(calls(client(ANTHROPIC_BASE_URL="http://relay.lan:80"), Server("relay.lan", 80)))
        self.assertTrue(calls(client(ANTHROPIC_BASE_URL="http://127.0.0.1"), Server("0.0.0.0", 80)))

    def test_another_cloud_is_called_whatever_the_address(self) -> None:
        sentence = "CLAUDE_CODE_USE_BEDROCK is set (here): "
        for value, said in (("1", True), ("0", False), ("false", False)):
            found = warnings(client(CLAUDE_CODE_USE_BEDROCK=value), Server(), None)
            self.assertEqual(any(each.startswith(sentence) for each in found), said, value)


class TestCredential(unittest.TestCase):
    def said(self, server: Server, passes_through: str | None, **settings: str) -> str:
        wired = {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{server.port}"}
        return "\n".join(warnings(client(**wired, **settings), server, passes_through))

    def test_all_is_well(self) -> None:
        self.assertEqual(self.said(Server(), "anthropic"), "")
        self.assertEqual(self.said(Server(), "anthropic", ANTHROPIC_AUTH_TOKEN="sk-ant-oat01"), "")
        self.assertEqual(self.said(Server(), None, ANTHROPIC_AUTH_TOKEN="x"), "")
        self.assertEqual(self.said(Server(), None, ANTHROPIC_API_KEY="x"), "")
        self.assertEqual(self.said(Server(token="t"), None, ANTHROPIC_AUTH_TOKEN="t"), "")
        custom = "x-ccrelay-token: t"
        self.assertEqual(self.said(Server(token="t"), "anthropic", ANTHROPIC_CUSTOM_HEADERS=custom), "")

    def test_an_api_key_is_billed(self) -> None:
        self.assertIn("what claude answers is billed to that key", self.said(Server(), "claude", ANTHROPIC_API_KEY="k"))

    def test_a_token_that_anthropic_will_refuse(self) -> None:
        self.assertIn("claude will refuse it", self.said(Server(), "claude", ANTHROPIC_AUTH_TOKEN="x"))


class TestLook(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = Path(folder.name)
        patch = mock.patch("pathlib.Path.home", return_value=self.home)
        patch.start()
        self.addCleanup(patch.stop)

    def write(self, name: str, content: object) -> None:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), "utf-8")

    def look(self, **environ: str) -> Client:
        return look({"PATH": "", **environ}, self.home / "work")

    def test_nothing_there(self) -> None:
        found = self.look()
        self.assertEqual((found.program, found.logged_in, found.picker, found.unreadable), (None, False, None, ()))

    def test_each_sign_of_a_login(self) -> None:
        self.assertTrue(self.look(CLAUDE_CODE_OAUTH_TOKEN="t").logged_in)
        self.write(".claude.json", {"oauthAccount": {}})
        self.assertTrue(self.look().logged_in)
        other = str(self.home / "other")
        self.assertFalse(self.look(CLAUDE_CONFIG_DIR=other).logged_in)
        self.write("other/.credentials.json", {})
        self.assertTrue(self.look(CLAUDE_CONFIG_DIR=other).logged_in)

    def test_settings_beat_the_environment_and_only_the_users_own_picker_counts(self) -> None:
        self.write(".claude/settings.json", {"env": {"A": 2}, "modelPicker": {"options": []}})
        self.write("work/.claude/settings.json", {"env": {"B": "3"}, "modelPicker": {"options": [{"model": "x"}]}})
        found = self.look(A="1", C="4")
        self.assertEqual([found.value(name) for name in "ABC"], ["2", "3", "4"])
        self.assertEqual(found.picker, {"options": []})

    def test_what_cannot_be_read_is_told_and_the_rest_counts(self) -> None:
        self.write(".claude/settings.json", [])
        self.write("work/.claude/settings.json", {"env": {"A": "1"}})
        (self.home / "work/.claude/settings.local.json").write_bytes(b"\xef\xbb\xbf{} x")
        found = self.look()
        self.assertEqual(found.value("A"), "1")
        mine, local = found.unreadable
        self.assertEqual(mine, str(Path("~/.claude/settings.json")) + ": expected a JSON object")
        self.assertIn(str(Path("~/work/.claude/settings.local.json")) + ": not JSON: Extra data: ", local)

    def test_the_program(self) -> None:
        installed = self.home / ".local" / "bin" / "claude"
        self.write(str(installed), "")
        installed.chmod(0o755)
        self.assertEqual(find_program({"PATH": ""}), str(installed))
        self.assertEqual(find_program({"CCRELAY_CLAUDE": sys.executable}), sys.executable)
        self.assertIsNone(find_program({"CCRELAY_CLAUDE": "/nowhere/claude"}))


class TestHeaders(unittest.TestCase):
    def test_as_claude_code_sends_them(self) -> None:
        both = {"ANTHROPIC_AUTH_TOKEN": "t", "ANTHROPIC_API_KEY": "k"}
        self.assertEqual(credentials(both), {"authorization": "Bearer t", "x-api-key": "k"})
        self.assertEqual(credentials({"ANTHROPIC_API_KEY": ""}), {})


if __name__ == "__main__":
    unittest.main()
