"""`check`: what it finds, what it sends and what not, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

from ccrelay_providers.commands.terminal import cells
from tests import nursery
from tests.relay import CERTIFICATE, ECHO, KEY, ROOT, UNSET, Relay
from tests.upstreams import Upstream, anthropic_error, reply, sse, zai_error

PASSED = """
[providers.anthropic]
type = "anthropic"
base_url = "{anthropic}"
models = ["claude-opus-5-5", "claude-haiku-5-5"]
"""
KEYED = """
[providers.zai]
type = "zai"
base_url = "{zai}/api/anthropic"
api_key = "${{ZAI_API_KEY}}"
models = ["glm-5.2", "glm-4.6"]
"""
LOCAL = """
[providers.ollama]
type = "ollama"
base_url = "{ollama}"
"""
CLIENT = ("ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "CLAUDE_CONFIG_DIR")
EMPTY: dict[str, dict[str, Any]] = {"thinking": {"thinking": ""}, "text": {"text": ""}, "tool_use": {"input": {}}}
KEYS = {"ZAI_API_KEY": "zai-secret"}


def answer(*blocks: dict[str, Any], stop_reason: str = "tool_use") -> dict[str, Any]:
    """A scripted stream of whole blocks, 40 tokens in a fifth of a second."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m"}
    events = [sse(("message_start", {"message": {**message, "usage": {"input_tokens": 100, "output_tokens": 1}}}))]
    for index, block in enumerate(blocks):
        empty = EMPTY[block["type"]]
        events.append(sse(("content_block_start", {"index": index, "content_block": {**block, **empty}})))
        events += [sse(("content_block_delta", {"index": index, "delta": delta})) for delta in deltas(block)]
        events.append(sse(("content_block_stop", {"index": index})))
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    end = sse(("message_delta", {"delta": delta, "usage": {"output_tokens": 40}}), ("message_stop", {}))
    return reply([*events, {"pause": 0.2}, end])


def deltas(block: dict[str, Any]) -> list[dict[str, Any]]:
    if block["type"] == "tool_use":
        return [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
    return [{"type": f"{block['type']}_delta", block["type"]: block[block["type"]]}]


THOUGHT = {"type": "thinking", "thinking": "Provider is.", "signature": ""}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "report_word", "input": {"word": "provider"}}


class CheckTest(unittest.TestCase):
    """A home and a folder of its own for each test; upstreams for all of a class."""

    kinds: tuple[str, ...] = ()
    upstreams: dict[str, Upstream]

    @classmethod
    def setUpClass(cls) -> None:
        cls.upstreams = {kind: cls.enterClassContext(Upstream(kind)) for kind in cls.kinds}

    def setUp(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="ccrelay-test-")))
        self.home, self.work, self.config = folder / "home", folder / "work", folder / "relay.toml"
        for path in (self.home, self.work):
            (path / ".claude").mkdir(parents=True)
        for upstream in self.upstreams.values():
            upstream.reset()

    def check(self, config: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """`ccrelay.py check` in the empty home, with no `claude` in PATH."""
        self.config.write_text(config.format(**{kind: each.url for kind, each in self.upstreams.items()}))
        self.config.chmod(0o600)
        where = [] if "--port" in arguments else ["--port", "0"]
        command = [sys.executable, str(ROOT / "ccrelay.py"), "check", "--config", str(self.config), *where, *arguments]
        clean = {name: value for name, value in os.environ.items() if name not in CLIENT}
        env = {**clean, **UNSET, "HOME": str(self.home), "USERPROFILE": str(self.home), "PATH": "", **KEYS}
        env |= environ
        return nursery.run(command, env, self.work)

    def says(self, done: subprocess.CompletedProcess[str], code: int, *patterns: str) -> None:
        self.assertEqual((done.returncode, done.stderr), (code, ""), done.stdout)
        for pattern in patterns:
            self.assertRegex(done.stdout, pattern)
        self.assertNotIn("\x1b", done.stdout)
        self.assertNotIn("secret", done.stdout)

    def settings(self, name: str, **table: Any) -> None:
        (self.work / ".claude" / name).write_text(json.dumps(table))


class TestProviders(CheckTest):
    kinds = ("anthropic", "zai", "ollama")

    def test_all_that_is_on_can_be_used(self) -> None:
        off = '[providers.spare]\ntype = "zai"\napi_key = "${{SPARE_KEY}}"\n'
        done = self.check(PASSED + KEYED + LOCAL + ECHO + off)
        self.says(
            done,
            0,
            r"\n  anthropic  on   \d\.\d\ds    client's key  2 models: claude-opus-5-5, claude-haiku-5-5\n",
            r"\n  zai        on   \d\.\d\ds    key accepted  2 models: glm-5\.2, glm-4\.6\n",
            r"\n  ollama     on   \d\.\d\ds    no key        3 models: qwen3:8b, ",
            r"\n  echo       on   offline  no key        1 model: echo\n",
            r"\n  spare      off  SPARE_KEY is not set\n",
            r"Nothing is broken\.",
        )

    def test_no_model_is_asked_anything(self) -> None:
        self.check(PASSED + KEYED + LOCAL)
        asked = [(kind, each.method, each.path) for kind in self.kinds for each in self.upstreams[kind].requests()]
        self.assertIn(("zai", "GET", "/api/anthropic/v1/models"), asked)
        self.assertIn(("anthropic", "GET", "/v1/models?limit=1"), asked)
        talk = [path for _, _, path in asked if "messages" in path or "chat" in path or "generate" in path]
        self.assertEqual(talk, [])

    def test_a_refused_key(self) -> None:
        refusal = zai_error(401, "authentication_error", "1002", "Authorization Token is illegal")
        self.upstreams["zai"].script(refusal, match="/api/anthropic")
        done = self.check(KEYED + ECHO)
        sentence = r"Authorization Token is illegal \(code 1002\)"
        self.says(done, 1, rf"\n  zai +broken  {sentence}\n", rf"\n1 problem\n  -  zai: {sentence}; check providers")
        self.assertNotIn("Nothing is broken", done.stdout)

    def test_nobody_there(self) -> None:
        config = LOCAL.replace("{ollama}", "http://127.0.0.1:9") + ECHO
        sentence = r"ollama: cannot connect to 127\.0\.0\.1:9 \(.*\); start Ollama, or set providers\.ollama\.enabled"
        self.says(self.check(config), 1, r"\n  ollama  broken  cannot connect to 127\.0\.0\.1:9", sentence)

    def test_an_upstream_that_is_overloaded_and_one_that_is_no_api(self) -> None:
        self.upstreams["anthropic"].script(anthropic_error(529, "overloaded_error", "Overloaded"), match="/v1/models")
        self.upstreams["zai"].script({"status": 200, "pieces": ["<html>"], "headers": {"content-type": "text/html"}})
        self.says(self.check(PASSED + KEYED), 1, r"\n2 problems\n", "-  anthropic: Overloaded\n", "-  zai: .*base_url")

    def test_a_quota_is_a_warning(self) -> None:
        busy = zai_error(429, "rate_limit_error", "1302", "Rate limit reached")
        self.upstreams["zai"].script(busy, match="/api/anthropic")
        self.says(self.check(KEYED), 0, r"zai +on +\S+ +key accepted", r"warnings?\n(  - .*\n)*  -  zai: .*Rate limit")

    def test_a_route_to_nobody(self) -> None:
        routes = '[routes]\nx = ["glm-99", "zai/glm-5.2", "zai/glm-98", "ollama/none:1b", "claude-new"]\n'
        done = self.check(routes + PASSED + KEYED + LOCAL)
        for name in ("glm-99", "zai/glm-98", "ollama/none:1b"):
            sentence = f"the route 'x' leads to {name}, which no provider that is on offers"
            self.assertEqual(done.stdout.count(sentence), 1, done.stdout)
        self.assertEqual(done.stdout.count("leads to"), 3)

    def test_warnings_of_the_configuration_are_shown_and_its_errors_are_those_of_serve(self) -> None:
        route = (
            '[routes]\nx = ["spare/m", "zai/glm-5.2"]\n[providers.spare]\ntype = "zai"\napi_key = "${{SPARE_KEY}}"\n'
        )
        self.says(self.check(route + KEYED), 0, r"routes\.x\[0\]: spare/m is passed over, since spare is off")
        wrong = self.check("prot = 1\n" + KEYED)
        self.assertEqual((wrong.returncode, wrong.stdout), (2, ""))
        self.assertIn("prot: unknown key", wrong.stderr)


class TestPort(CheckTest):
    def test_free(self) -> None:
        self.says(self.check(ECHO), 0, r"port  any: one that is free")
        self.says(self.check(ECHO, "--port", "9"), 0, r"port  9: free")

    def test_a_relay_listens(self) -> None:
        with Relay(ECHO) as relay:
            self.says(self.check(ECHO, "--port", str(relay.port)), 0, rf"port  {relay.port}: a ccrelay listens")

    def test_something_else_listens(self) -> None:
        with Upstream("scripted") as other:
            words = f"port {other.port} is taken by another program; choose one with --port N"
            self.says(self.check(ECHO, "--port", str(other.port)), 1, r": something else listens", words)

    def test_over_tls(self) -> None:
        tls = f"[server]\ntls_cert = {json.dumps(str(CERTIFICATE))}\ntls_key = {json.dumps(str(KEY))}\n"
        with Relay(tls + ECHO) as relay:
            port = str(relay.port)
            trusted = self.check(tls + ECHO, "--port", port, "--send", SSL_CERT_FILE=str(CERTIFICATE))
            self.says(trusted, 0, r": a ccrelay listens", r"echo/echo +\S+ +\S+ +ok")
            self.says(self.check(tls + ECHO, "--port", port), 0, r"port  \d+: the certificate of .* is not trusted")
        wrong = self.check('[server]\ntls_cert = "no.pem"\ntls_key = "no.pem"\n' + ECHO)
        self.assertEqual((wrong.returncode, wrong.stdout), (2, ""))


class TestClient(CheckTest):
    kinds = ("anthropic",)

    def test_nothing_is_set_and_nothing_is_installed(self) -> None:
        done = self.check(PASSED)
        self.says(
            done,
            0,
            r"\n  program  not found\n  calls    Anthropic: ANTHROPIC_BASE_URL is not set\n  shows    its own login\n",
            r"\n2 warnings\n  -  claude is not installed, or not in PATH: npm install",
            r"-  ANTHROPIC_BASE_URL is not set: Claude Code does not call the relay yet\n",
        )

    @unittest.skipIf(os.name == "nt", "a program of one line is a shell's")
    def test_an_installed_client_that_calls_this_relay(self) -> None:
        program = self.home / "claude"
        program.write_text("#!/bin/sh\necho '2.1.330 (Claude Code)'\n")
        program.chmod(0o755)
        environ = {"PATH": str(self.home), "ANTHROPIC_BASE_URL": "http://localhost:9/"}
        done = self.check(PASSED, "--port", "9", **environ)
        self.says(
            done, 0, r"program  2\.1\.330  .*claude\n", r"calls    http://localhost:9/  \(environment\): this relay\n"
        )
        self.assertNotIn("warning", done.stdout)

    def test_settings_hold_over_the_environment_and_the_nearest_over_the_user_s(self) -> None:
        user = self.home / ".claude" / "settings.json"
        user.write_text(json.dumps({"env": {"ANTHROPIC_BASE_URL": "http://user:1", "ANTHROPIC_API_KEY": "secret"}}))
        environ = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
        source = r"~.\.claude.settings\.json"
        self.says(
            self.check(PASSED, "--port", "9", **environ),
            0,
            rf"ANTHROPIC_BASE_URL is http://user:1 \({source}\), which is not this relay\n",
            rf"ANTHROPIC_API_KEY is set \({source}\) and takes the place of a Claude login: what anthropic answers is",
        )
        self.settings("settings.local.json", env={"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"})
        self.says(
            self.check(PASSED, "--port", "9"), 0, r"calls    http://127\.0\.0\.1:9  \(.*settings\.local\.json\): this"
        )

    def test_settings_that_cannot_be_read(self) -> None:
        (self.work / ".claude" / "settings.json").write_text("{")
        self.says(self.check(PASSED), 0, r"-  .*settings\.json: not JSON: ")

    def test_credentials_that_get_in_each_other_s_way(self) -> None:
        both = {"ANTHROPIC_AUTH_TOKEN": "secret", "ANTHROPIC_API_KEY": "secret"}
        self.says(
            self.check(PASSED, **both),
            0,
            r"are both set",
            r"anthropic will refuse it",
            r"shows +ANTHROPIC_AUTH_TOKEN \(",
        )
        token = '[server]\ntoken = "s3"\n'
        self.says(self.check(token + PASSED), 0, r"server\.token is set, and ANTHROPIC_AUTH_TOKEN is not that token")
        shown = self.check(token + PASSED, ANTHROPIC_AUTH_TOKEN="s3")
        self.says(shown, 0, r"shows server\.token and nothing else: anthropic needs an api_key")
        self.assertNotIn("is not that token", shown.stdout)


class TestSend(CheckTest):
    kinds = ("anthropic", "zai", "ollama")

    def test_one_message_to_the_first_model_of_each_provider(self) -> None:
        self.upstreams["zai"].script(answer(THOUGHT, CALL), match="/api/anthropic/v1/messages")
        done = self.check(PASSED + KEYED + LOCAL + ECHO, "--send")
        self.says(
            done,
            0,
            r"\nMessages, to the first model of each provider\n +first +tok/s +tool +thinking +stop +in/out\n",
            r"\n  anthropic/claude-opus-5-5  no message: only Claude Code has your Claude login",
            r"\n  zai/glm-5\.2 +\d\.\d\ds +\d+ +ok +ok +tool_use +100/40\n",
            r"\n  ollama/qwen3:8b +\d\.\d\ds +\S+ +no +ok +end_turn ",
            r"\n  echo/echo +\d\.\d\ds +\S+ +ok +ok +tool_use ",
        )
        for kind, count in (("anthropic", 0), ("zai", 1), ("ollama", 1)):
            sent = [each for each in self.upstreams[kind].requests() if each.path.endswith(("messages", "/api/chat"))]
            self.assertEqual(len(sent), count, kind)

    def test_chosen_ones_by_pattern_and_by_route(self) -> None:
        routes = '[routes]\ncheap = ["zai/glm-4.6"]\n'
        done = self.check(routes + KEYED, "--send", "zai/*", "cheap")
        self.says(done, 0, r"\nMessages\n", r"\n  zai/glm-5\.2 ", r"\n  zai/glm-4\.6 ", r"\n  cheap → zai/glm-4\.6 ")

    def test_the_client_s_own_credential_goes_to_anthropic_alone(self) -> None:
        self.check(PASSED + KEYED, "--send", "*/*", ANTHROPIC_API_KEY="own-secret")
        seen = {kind: repr(self.upstreams[kind].requests()) for kind in ("anthropic", "zai")}
        self.assertIn("own-secret", seen["anthropic"])
        self.assertNotIn("own-secret", seen["zai"])

    def test_with_a_token_of_the_relay_s(self) -> None:
        self.says(self.check('[server]\ntoken = "s3"\n' + ECHO, "--send"), 0, r"echo/echo +\S+ +\S+ +ok +ok")

    def test_a_model_that_fails(self) -> None:
        overloaded = zai_error(529, "overloaded_error", "1305", "overloaded")
        self.upstreams["zai"].script(overloaded, match="/api/anthropic/v1/messages")
        done = self.check(KEYED, "--send", "zai/glm-5.2", "zai/glm-5,2")
        self.says(
            done,
            1,
            r"\n  zai/glm-5\.2  failed: .*overloaded",
            r"\n  -  zai/glm-5\.2: .*overloaded",
            r"\n  -  zai/glm-5,2: model: zai/glm-5,2; did you mean zai/glm-5\.2",
        )

    def test_a_stream_that_breaks_and_a_call_that_does_not_fit(self) -> None:
        broken = answer(THOUGHT, CALL)
        broken["pieces"] = [*broken["pieces"][:4], sse(("error", {"error": {"type": "api_error", "message": "boom"}}))]
        odd = answer({**CALL, "input": {"name": 3}})
        self.upstreams["zai"].script(broken, match="/api/anthropic/v1/messages")
        self.upstreams["zai"].script(odd, match="/api/anthropic/v1/messages")
        done = self.check(KEYED, "--send", "zai/glm-5.2", "zai/glm-4.6")
        self.says(
            done, 1, r"-  zai/glm-5\.2: .*boom", r"-  zai/glm-4\.6: called the tool with arguments that do not fit"
        )

    def test_a_model_that_thinks_only_when_told_how_long(self) -> None:
        refusal = anthropic_error(400, "invalid_request_error", "adaptive thinking is not supported on this model")
        self.upstreams["anthropic"].script(refusal, answer(CALL), match="/v1/messages")
        done = self.check(PASSED, "--send", ANTHROPIC_API_KEY="k")
        self.says(done, 0, r"anthropic/claude-opus-5-5 +\S+ +\S+ +ok +no +tool_use")

    def test_the_table_fits_80_columns(self) -> None:
        done = self.check(PASSED + KEYED + LOCAL + ECHO, "--send", ANTHROPIC_API_KEY="k")
        table = done.stdout.partition("Messages")[2].partition("\n\n")[0]
        self.assertLessEqual(max(cells(line) for line in table.splitlines()), 80, table)


if __name__ == "__main__":
    unittest.main()
