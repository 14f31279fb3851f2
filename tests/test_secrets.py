"""No secret in anything that the relay prints, answers or sends to somebody else: all of it is looked through."""

from __future__ import annotations

import os
import sys
import tempfile
import unittest
from contextlib import ExitStack, suppress
from pathlib import Path

from ccrelay_providers.core.config import ConfigError, load
from ccrelay_providers.core.tls import context
from tests import nursery
from tests.relay import CERTIFICATE, ROOT, Json, Relay, turn
from tests.test_server import Raw, post
from tests.upstreams import Upstream, anthropic_error, anthropic_text_stream, json_reply, reply, zai_error

ZAI, OTHER, OLLAMA, PAID, PROXY = (
    "sekrit-zai-key",
    "sekrit-zai-other",
    "sekrit-ollama-key",
    "sekrit-anthropic-key",
    "sekrit-proxy-password",
)
TOKEN, BEARER, KEY, COOKIE = "sekrit-token", "sekrit-bearer", "sekrit-client-key", "sekrit-cookie"
OF_THE_RELAY = (ZAI, OTHER, OLLAMA, PAID, PROXY, TOKEN)
OF_THE_CLIENT = (BEARER, KEY, COOKIE)

CONFIG = """
[server]
token = "{token}"
log = "{log}"
head_timeout = 0.3
max_body_mb = 1
[routing]
first_event_patience = 0.2
[routes]
all = ["zai/glm-5.2", "paid/claude-m", "ollama/m", "far/claude-m"]
[providers.anthropic]
type = "anthropic"
base_url = "{anthropic}"
models = ["claude-opus-5-5"]
[providers.paid]
type = "anthropic"
base_url = "{paid}"
api_key = "{key}"
models = ["claude-m"]
[providers.zai]
type = "zai"
base_url = "{zai}"
api_keys = ["${{PLANTED}}", "{other}"]
models = ["glm-5.2"]
[providers.ollama]
type = "ollama"
base_url = "{ollama}"
api_key = "{local}"
connect_timeout = 1
[providers.far]
type = "anthropic"
base_url = "http://far.invalid:9"
models = ["claude-m"]
connect_timeout = 1
[providers.echo]
type = "echo"
"""
CLIENTS = (
    {"authorization": f"Bearer {BEARER}", "x-ccrelay-token": TOKEN, "cookie": COOKIE},
    {"authorization": f"Bearer {TOKEN}", "x-api-key": KEY, "cookie": COOKIE},
    {"x-api-key": KEY, "x-forwarded-for": COOKIE, "cookie": f"a={COOKIE}"},  # without the token
)
MODELS = ("claude-opus-5-5", "paid/claude-m", "zai/glm-5.2", "ollama/m", "far/claude-m", "echo/echo", "all", "unknown")


KNOWN = {"anthropic": (BEARER, KEY), "paid": (PAID,), "zai": (ZAI, OTHER), "ollama": (OLLAMA,)}
"""What each upstream may see."""


def repeating(script: Json, secrets: tuple[str, ...]) -> Json:
    return {**script, "pieces": [piece.replace("SHOWN", " ".join(secrets)) for piece in script["pieces"]]}


class TestSecrets(unittest.TestCase):
    """Each upstream is a process of its own; what it saw is compared with what it may see."""

    def setUp(self) -> None:
        self.stack = self.enterContext(ExitStack())
        kinds = ("anthropic", "paid", "zai", "ollama")
        self.seen = dict.fromkeys(kinds, "")
        self.upstreams = {kind: self.stack.enter_context(Upstream("scripted")) for kind in kinds}

    def config(self, log: str) -> str:
        urls = {kind: upstream.url for kind, upstream in self.upstreams.items()}
        return CONFIG.format(token=TOKEN, log=log, key=PAID, other=OTHER, local=OLLAMA, **urls)

    def test_everything_that_comes_out(self) -> None:
        for log in ("text", "json"):
            environ = {"PLANTED": ZAI, "http_proxy": f"http://user:{PROXY}@127.0.0.1:9"}
            with Relay(self.config(log), "--verbose", environ=environ) as relay:
                answers = self.everything(relay, MODELS if log == "text" else MODELS[:4])
                relay.request("GET", "/health")
                relay.wait_for_log("/health")
                printed = "\n".join([*relay.out, relay.log])
            self.clean(printed, (*OF_THE_RELAY, *OF_THE_CLIENT))
            self.clean(answers, OF_THE_RELAY)
        self.sent()

    def everything(self, relay: Relay, models: tuple[str, ...]) -> str:
        """All that the relay answers to successes, refusals and failures."""
        said = []
        for headers in CLIENTS:
            self.look()
            for path in (
                "/",
                "/v1/models",
                "/v1/models/claude-opus-5-5",
                "/status",
                "/nothing",
                f"/v1/models?key={KEY}",
            ):
                answer = relay.request("GET", path, headers=headers)
                said.append(f"{answer.headers} {answer.body!r}")
            for model in models:
                said += [self.one(relay, model, script, headers) for script in self.scripts()]
        for raw in (b"POST / HTTP/9\r\nx-api-key: " + KEY.encode(), post(b"{", f"authorization: Bearer {BEARER}")):
            with Raw(relay) as connection, suppress(OSError, IndexError):
                reply_ = connection.ask(raw + b"\r\n\r\n")
                said.append(f"{reply_.headers} {reply_.body!r}")
        return "\n".join(said)

    def one(self, relay: Relay, model: str, script: Json, headers: dict[str, str]) -> str:
        for kind, upstream in self.upstreams.items():
            shown = tuple(secret for secret in KNOWN[kind] if kind != "anthropic" or secret in str(headers))
            upstream.script(repeating(script, shown), match="/")
        streaming = script["headers"]["content-type"].startswith("text/event-stream")
        answer = relay.messages(turn(model, stream=streaming), headers)
        return f"{answer.headers} {answer.body!r}"

    def scripts(self) -> list[Json]:
        """A success, and upstreams that repeat what they were shown."""
        error = 'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"SHOWN"}}\n\n'
        return [
            reply(anthropic_text_stream("hello")),
            anthropic_error(401, "authentication_error", "no such key: SHOWN"),
            anthropic_error(529, "overloaded_error", "try later: SHOWN"),
            zai_error(500, "api_error", "1234", "SHOWN"),
            reply([*anthropic_text_stream("hello")[:3], error]),
            json_reply({"error": "SHOWN"}, 400),
        ]

    def look(self) -> None:
        """Keeps what the upstreams saw, and has them forget it, with what they would still have said."""
        for kind, upstream in self.upstreams.items():
            self.seen[kind] += repr(upstream.requests())
            upstream.reset()

    def sent(self) -> None:
        """What each upstream saw: its own key, the client's credential where that is passed through; nothing else."""
        self.look()
        for kind, seen in self.seen.items():
            self.clean(seen, [each for each in (*OF_THE_RELAY, *OF_THE_CLIENT) if each not in KNOWN[kind]])
            for secret in KNOWN[kind]:
                self.assertIn(secret, seen, kind)

    def clean(self, text: str, secrets: tuple[str, ...] | list[str]) -> None:
        for secret in secrets:
            place = text.find(secret)
            self.assertEqual(place, -1, text[max(0, place - 300) : place + 60])

    def test_errors_of_the_configuration_and_repr(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "relay.toml"
            good = self.config("text")
            path.write_text(good)
            self.clean(repr(load(path, {"PLANTED": ZAI})), OF_THE_RELAY)
            for old, new in (
                ('type = "zai"', 'type = "zia"'),
                ('api_key = "sekrit', 'api_key = "\\u00e9sekrit'),
                ('token = "sekrit-token"', 'token = ["sekrit-token"]'),
                ('token = "sekrit-token"', 'tokn = "sekrit-token"'),
                ('base_url = "http://127', 'base_url = "http://user:sekrit-zai-key@127'),
                ("${PLANTED}", "${PLANTED} x"),
                ('"${PLANTED}"', "${PLANTED}"),
                ("max_body_mb = 1", 'max_body_mb = "${PLANTED}"'),
                ("head_timeout = 0.3", f'tls_cert = "{CERTIFICATE}"\ntls_key = "{path}"'),
            ):
                self.assertIn(old, good)
                path.write_text(good.replace(old, new))
                with self.assertRaises(ConfigError) as caught:
                    context(load(path, {"PLANTED": ZAI}))
                self.clean(str(caught.exception), OF_THE_RELAY)

    def test_check(self) -> None:
        for kind, upstream in self.upstreams.items():
            upstream.script(repeating(self.scripts()[1], KNOWN[kind]), repeat=True)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "relay.toml"
            path.write_text(self.config("text"))
            for arguments in (["check", "--send"], ["models"]):
                line = [sys.executable, str(ROOT / "ccrelay.py"), *arguments, "--config", str(path), "--port", "9"]
                done = nursery.run(line, {**os.environ, "PLANTED": ZAI, "HOME": folder})
                self.clean(done.stdout + done.stderr, OF_THE_RELAY)


if __name__ == "__main__":
    unittest.main()
