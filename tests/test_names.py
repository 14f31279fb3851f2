"""What a requested name means, asked through the socket: who answered, what for, and under which name."""

from __future__ import annotations

import unittest
from contextlib import ExitStack
from typing import Any, ClassVar

from tests.relay import Relay, turn
from tests.upstreams import Upstream

CONFIG = """
[routes]
"claude-haiku-*" = ["zai/glm-4.5-air", "anthropic/claude-haiku-5-5"]
"anthropic/claude-opus-5-5" = ["zai/glm-5.2"]
cheap = ["zai/glm-5.2"]
glm = ["glm-5.2"]
"glm-4.[07]" = ["glm-5.2"]
new = ["claude-next-9"]
[providers.anthropic]
type = "anthropic"
base_url = "{anthropic}"
models = ["claude-opus-5-5", "claude-haiku-5-5"]
[providers.zai]
type = "zai"
base_url = "{zai}/api/anthropic"
api_key = "zai-secret"
models = ["glm-5.2", "glm-4.5-air", "glm-4.7", "glm-4.6"]
[providers.local]
type = "ollama"
base_url = "{ollama}"
[providers.echo]
type = "echo"
listed = false
models = ["echo", "glm-4.6"]
"""
ALONE = """
[providers.zai]
type = "zai"
base_url = "{zai}/api/anthropic"
api_key = "zai-secret"
models = ["glm-5.2"]
[providers.anthropic]
type = "anthropic"
enabled = false
"""


class NamesTest(unittest.TestCase):
    config: ClassVar[str] = CONFIG
    kinds: ClassVar[tuple[str, ...]] = ("anthropic", "zai", "ollama")
    relay: ClassVar[Relay]

    @classmethod
    def setUpClass(cls) -> None:
        stack = ExitStack()
        cls.addClassCleanup(stack.close)
        urls = {kind: stack.enter_context(Upstream(kind)).url for kind in cls.kinds}
        cls.relay = stack.enter_context(Relay(cls.config.format(**urls)))

    def assertAnswers(self, name: str, answered_by: str, **fields: Any) -> None:
        """One turn under this name: by whom it was answered, and that it is called as the client called it."""
        answer = self.relay.messages(turn(name, **fields))
        self.assertEqual(answer.status, 200, (name, answer.body))
        headers = answer.headers
        self.assertEqual(f"{headers['x-ccrelay-provider']}/{headers['x-ccrelay-model']}", answered_by, name)
        self.assertEqual(answer.json["model"], name)

    def assertUnknown(self, name: str, message: str) -> None:
        answer = self.relay.messages(turn(name))
        self.assertEqual((answer.status, answer.json["error"]["type"]), (404, "not_found_error"))
        self.assertEqual(answer.json["error"]["message"], message)


class TestNames(NamesTest):
    def test_public_ids(self) -> None:
        for name in ("zai/glm-5.2", "local/qwen3:8b", "echo/echo", "anthropic/claude-haiku-5-5"):
            self.assertAnswers(name, name)

    def test_an_exact_id_comes_before_a_route_of_that_name(self) -> None:
        self.assertAnswers("anthropic/claude-opus-5-5", "anthropic/claude-opus-5-5")

    def test_ids_of_the_picker(self) -> None:
        self.assertAnswers("anthropic-relay/zai/glm-5.2", "zai/glm-5.2")
        self.assertAnswers("anthropic-relay/local/qwen3:8b", "local/qwen3:8b")
        listed = self.relay.request("GET", "/v1/models", headers={"user-agent": "claude-code/2.1.330"}).json["data"]
        self.assertGreater(len(listed), 6)
        for model in listed:
            self.assertRegex(model["id"], "claude|anthropic")
            status = self.relay.messages(turn(model["id"], max_tokens=20)).status
            self.assertEqual(status, 200, model["id"])

    def test_routes(self) -> None:
        self.assertAnswers("cheap", "zai/glm-5.2")
        self.assertAnswers("glm", "zai/glm-5.2")
        self.assertAnswers("glm-4.7", "zai/glm-5.2")  # a route comes before a bare name
        self.assertAnswers("new", "anthropic/claude-next-9")

    def test_bare_names(self) -> None:
        self.assertAnswers("glm-5.2", "zai/glm-5.2")
        self.assertAnswers("qwen3:8b", "local/qwen3:8b")
        self.assertAnswers("claude-opus-5-5", "anthropic/claude-opus-5-5")
        self.assertAnswers("glm-4.6", "zai/glm-4.6")  # of several the first, by the default strategy

    def test_the_suffix_for_a_million_tokens(self) -> None:
        for name, by in (
            ("zai/glm-5.2[1m]", "zai/glm-5.2"),
            ("claude-opus-5-5[1M]", "anthropic/claude-opus-5-5"),
            ("cheap[1m]", "zai/glm-5.2"),
            ("anthropic-relay/zai/glm-5.2[1m]", "zai/glm-5.2"),
        ):
            self.assertAnswers(name, by)

    def test_claude_models_that_nobody_has_told_of(self) -> None:
        for name in ("claude-next-9", "claude-next-9[1m]", "anthropic/claude-next-9"):
            self.assertAnswers(name, "anthropic/claude-next-9")

    def test_background_calls(self) -> None:
        for name in ("claude-haiku-5-5", "claude-haiku-4-5-20251001", "claude-haiku-9"):
            self.assertAnswers(name, "zai/glm-4.5-air", max_tokens=50, thinking={"type": "disabled"})

    def test_near_names(self) -> None:
        self.assertUnknown("zai/glm-52", "model: zai/glm-52; did you mean zai/glm-5.2 or zai/glm-4.7 or zai/glm-4.6?")
        self.assertUnknown("opus-5-5", "model: opus-5-5; did you mean anthropic/claude-opus-5-5?")
        self.assertUnknown("xyzzy", "model: xyzzy")
        self.assertUnknown("echo/nobody", "model: echo/nobody")

    def test_every_endpoint_knows_the_same_names(self) -> None:
        for name in ("zai/glm-5.2", "anthropic-relay/zai/glm-5.2", "cheap", "glm-5.2[1m]", "claude-haiku-9"):
            counted = self.relay.request("POST", "/v1/messages/count_tokens", turn(name))
            self.assertEqual(counted.status, 200, name)
            self.assertEqual(self.relay.request("GET", f"/v1/models/{name}").json["id"], name)


class TestWithoutAnthropic(NamesTest):
    config = ALONE
    kinds = ("zai",)

    def test_background_calls_still_resolve(self) -> None:
        self.assertAnswers("claude-haiku-5-5", "zai/glm-5.2", max_tokens=50)
        self.assertAnswers("claude-opus-5-5", "zai/glm-5.2")

    def test_a_name_at_a_provider_that_is_off_says_so(self) -> None:
        self.assertUnknown(
            "anthropic/claude-opus-5-5",
            "model: anthropic/claude-opus-5-5; the provider anthropic is off: enabled = false",
        )


if __name__ == "__main__":
    unittest.main()
