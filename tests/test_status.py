"""GET /status: what it tells, and to whom."""

from __future__ import annotations

import unittest
from contextlib import ExitStack
from typing import Any

from tests.relay import CLIENT, Answer, Relay, turn
from tests.upstreams import Upstream, anthropic_error, zai_error

CONFIG = """
[server]
token = "relay-secret"
[routing]
fallback = ["echo/echo"]
[providers.claude]
type = "anthropic"
base_url = "{claude}"
api_key = "claude-secret"
max_concurrent = 1
models = ["claude-a"]
[providers.zai]
type = "zai"
base_url = "{zai}/api/anthropic"
api_keys = ["zai-secret-1", "zai-secret-2", "zai-secret-3"]
models = ["glm-5.2", "glm-5.1"]
[providers.away]
type = "zai"
models = ["glm-away"]
[providers.echo]
type = "echo"
"""
TOKEN = {**CLIENT, "authorization": "Bearer relay-secret"}


class TestStatus(unittest.TestCase):
    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.claude, self.zai = stack.enter_context(Upstream("anthropic")), stack.enter_context(Upstream("zai"))
        self.relay = stack.enter_context(Relay(CONFIG.format(claude=self.claude.url, zai=self.zai.url)))

    def status(self) -> dict[str, Any]:
        answer = self.relay.request("GET", "/status", headers=TOKEN)
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"))
        self.assertNotIn(b"secret", answer.body)
        return {**answer.json, **{provider["name"]: provider for provider in answer.json["providers"]}}

    def ask(self, model: str) -> Answer:
        return self.relay.messages(turn(model), TOKEN)

    def test_at_the_start_all_is_well(self) -> None:
        status = self.status()
        self.assertRegex(status["version"], r"^\d+\.\d+\.\d+")
        self.assertLess(status["uptime_seconds"], 60)
        self.assertEqual((status["running"], status["queued"], status["fallback"]), (0, 0, ["echo/echo"]))
        self.assertEqual((status["away"]["off"], status["away"]["models"]), ("api_key is missing", []))
        self.assertEqual([each["name"] for each in status["providers"]], ["claude", "zai", "away", "echo"])
        self.assertEqual({each["health"] for each in status["providers"]}, {"well"})
        self.assertEqual([key["name"] for key in status["zai"]["keys"]], [f"key {n} of 3" for n in (1, 2, 3)])
        self.assertEqual([model["id"] for model in status["zai"]["models"]], ["zai/glm-5.2", "zai/glm-5.1"])
        self.assertEqual(status["claude"]["keys"], [{"name": "key 1 of 1"}])

    def test_who_rests_until_when_and_why(self) -> None:
        self.claude.script(anthropic_error(529, "overloaded_error", "Overloaded", headers={"retry-after": "90"}))
        self.assertEqual(self.ask("claude-a").headers["x-ccrelay-provider"], "echo")
        claude = self.status()["claude"]
        self.assertEqual((claude["health"], claude["failures"], claude["reason"]), ("resting", 1, "claude: Overloaded"))
        self.assertIn(claude["resting_seconds"], range(85, 91))
        self.assertRegex(claude["resting_until"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_after_a_rest_the_next_answer_will_decide(self) -> None:
        self.claude.script(anthropic_error(529, "overloaded_error", "Overloaded", headers={"retry-after": "0"}))
        self.ask("claude-a")
        claude = self.status()["claude"]
        self.assertEqual((claude["health"], claude["resting_seconds"], claude["failures"]), ("probing", None, 1))

    def test_keys_and_models_on_their_own(self) -> None:
        self.zai.script(
            zai_error(401, "authentication_error", "1000", "Authentication Failed"),
            zai_error(429, "rate_limit_error", "1302", "Rate limit reached for requests"),
        )
        self.assertEqual(self.ask("zai/glm-5.2").status, 200)
        self.zai.script(zai_error(403, "permission_error", "1311", "not in your plan"))
        self.ask("zai/glm-5.1")
        zai = self.status()["zai"]
        self.assertEqual(zai["health"], "well")
        self.assertEqual([key["health"] for key in zai["keys"]], ["resting", "resting", "well"])
        self.assertEqual([key["used"] for key in zai["keys"]], [1, 1, 2])
        self.assertEqual((zai["keys"][0]["resting_until"], zai["keys"][1]["resting_seconds"]), (None, 2))
        self.assertEqual([model["health"] for model in zai["models"]], ["well", "resting"])

    def test_what_runs_and_what_waits(self) -> None:
        self.claude.script({"default": True, "delay": 30})
        with self.relay.stream(turn("claude-a"), TOKEN) as first:
            self.claude.wait_for_requests(1)
            with self.relay.stream(turn("claude-a"), TOKEN):
                self.until_queued()
                status = self.status()
        self.assertEqual((status["running"], status["queued"]), (1, 1))
        self.assertEqual((status["claude"]["running"], status["claude"]["queued"]), (1, 1))
        self.assertIsNone(first.status)

    def until_queued(self) -> None:
        for _ in range(1000):
            if self.status()["queued"]:
                return
        self.fail("nobody waits")

    def test_only_for_those_who_may_ask(self) -> None:
        self.assertEqual(self.relay.request("GET", "/status", headers={}).status, 401)
        self.assertEqual(self.relay.request("GET", "/status", headers={**TOKEN, "host": "evil.example"}).status, 403)
        self.assertEqual(self.relay.request("GET", "/status", headers={**TOKEN, "origin": "http://x"}).status, 403)
        self.assertEqual(self.relay.request("POST", "/status", {}, TOKEN).status, 405)


if __name__ == "__main__":
    unittest.main()
