"""What Claude Code's environment has to say, for each way in which it may be set up."""

from __future__ import annotations

import unittest
from pathlib import Path

from ccrelay_providers.commands.client import Client, Setting
from ccrelay_providers.commands.lineup import Lineup
from ccrelay_providers.commands.wiring import Variable, shared_window, variables
from ccrelay_providers.core.settings import Config, Provider, Route, RouteTarget, Routing, Server
from tests.test_picker import ANTHROPIC, MODELS, WORK, ZAI

OLLAMA = Provider("ollama", "ollama")
ECHO = Provider("echo", "echo", listed=False)
OPEN, TOKEN = Server(), Server(token="s3cret")
CLAUDES = tuple(MODELS[:1])
URL = "http://127.0.0.1:8787"


def config(*providers: Provider, server: Server = OPEN, routes: tuple[Route, ...] = ()) -> Config:
    return Config(Path("relay.toml"), server, Routing(), routes, providers, ())


def client(logged_in: bool = False, **environ: str) -> Client:
    return Client(None, {name: Setting(value, "here") for name, value in environ.items()}, logged_in=logged_in)


def told(
    config: Config, client: Client, models: tuple[object, ...] = tuple(MODELS), wanted: str = ""
) -> list[Variable]:
    return list(variables(Lineup(models), config, URL, client, wanted))  # type: ignore[arg-type]


def live(*arguments: object) -> dict[str, str | None]:
    return {each.name: each.value for each in told(*arguments) if each.live}  # type: ignore[arg-type]


class TestCredentials(unittest.TestCase):
    def test_a_login_goes_through_untouched(self) -> None:
        for way in (client(logged_in=True), client(ANTHROPIC_API_KEY="k"), client(ANTHROPIC_AUTH_TOKEN="t")):
            found = live(config(ANTHROPIC, ZAI), way)
            self.assertLessEqual({"ANTHROPIC_BASE_URL"}, set(found))
            self.assertEqual(
                found.keys() & {"ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "ANTHROPIC_DEFAULT_MODEL"}, set()
            )

    def test_without_a_login_any_word_for_the_others(self) -> None:
        found = live(config(ANTHROPIC, ZAI), client())
        self.assertEqual(found["ANTHROPIC_AUTH_TOKEN"], "ccrelay")
        self.assertEqual(found["ANTHROPIC_DEFAULT_MODEL"], "work/claude-opus-5-5")

    def test_where_there_are_only_claudes_models_claude_code_asks_for_the_login(self) -> None:
        self.assertNotIn("ANTHROPIC_AUTH_TOKEN", live(config(ANTHROPIC, ECHO), client(), CLAUDES))
        self.assertIn("ANTHROPIC_AUTH_TOKEN", live(config(ANTHROPIC, ECHO), client(), CLAUDES, "echo/echo"))
        self.assertNotIn("ANTHROPIC_AUTH_TOKEN", live(config(ANTHROPIC, ECHO), client(), CLAUDES, "anthropic/claude-x"))

    def test_a_relay_that_needs_nothing_from_the_client(self) -> None:
        found = live(config(WORK, ZAI), client(logged_in=True, ANTHROPIC_API_KEY="k"))
        self.assertEqual((found["ANTHROPIC_AUTH_TOKEN"], found["ANTHROPIC_API_KEY"]), ("ccrelay", None))
        self.assertNotIn("ANTHROPIC_DEFAULT_MODEL", found)

    def test_the_relays_token_takes_the_place_of_a_credential_that_nobody_needs(self) -> None:
        found = live(config(WORK, server=TOKEN), client(logged_in=True))
        self.assertEqual(found["ANTHROPIC_AUTH_TOKEN"], "s3cret")
        self.assertEqual(live(config(ANTHROPIC, ZAI, server=TOKEN), client())["ANTHROPIC_AUTH_TOKEN"], "s3cret")

    def test_or_stands_beside_the_users_own(self) -> None:
        way = client(logged_in=True, ANTHROPIC_CUSTOM_HEADERS="x-mine: 1\nX-CCRelay-Token: old")
        found = live(config(ANTHROPIC, server=TOKEN), way)
        self.assertEqual(found["ANTHROPIC_CUSTOM_HEADERS"], "x-mine: 1\nx-ccrelay-token: s3cret")
        self.assertNotIn("ANTHROPIC_AUTH_TOKEN", found)

    def test_what_an_earlier_env_set_is_no_credential_of_the_users(self) -> None:
        again = live(config(ANTHROPIC, ZAI), client(ANTHROPIC_AUTH_TOKEN="ccrelay"))
        self.assertEqual((again["ANTHROPIC_AUTH_TOKEN"], "ANTHROPIC_DEFAULT_MODEL" in again), ("ccrelay", True))
        for server, token in ((OPEN, "ccrelay"), (TOKEN, "s3cret")):
            found = live(config(ANTHROPIC, server=server), client(logged_in=True, ANTHROPIC_AUTH_TOKEN=token))
            self.assertIsNone(found["ANTHROPIC_AUTH_TOKEN"])

    def test_a_key_that_hides_a_login_is_told(self) -> None:
        found = told(config(ANTHROPIC), client(logged_in=True, ANTHROPIC_API_KEY="k"))
        [key] = [each for each in found if each.name == "ANTHROPIC_API_KEY"]
        self.assertEqual((key.value, key.live), (None, False))
        self.assertIn("instead of your login", key.reason)


class TestOthers(unittest.TestCase):
    def test_what_leads_past_the_relay_goes(self) -> None:
        found = live(config(WORK), client(CLAUDE_CODE_USE_BEDROCK="1"))
        self.assertIsNone(found["CLAUDE_CODE_USE_BEDROCK"])
        self.assertNotIn("CLAUDE_CODE_USE_VERTEX", found)

    def test_no_proxy_for_the_relay(self) -> None:
        self.assertNotIn("NO_PROXY", live(config(WORK), client()))
        for before, after in (("", "127.0.0.1"), ("a.b", "a.b,127.0.0.1"), ("127.0.0.1,a", "127.0.0.1,a"), ("*", "*")):
            found = live(config(WORK), client(HTTPS_PROXY="http://p:1", NO_PROXY=before))
            self.assertEqual(found["NO_PROXY"], after)

    def test_patience_where_a_model_is_local(self) -> None:
        self.assertEqual(live(config(OLLAMA), client())["CLAUDE_STREAM_IDLE_TIMEOUT_MS"], "1800000")
        self.assertNotIn("CLAUDE_STREAM_IDLE_TIMEOUT_MS", live(config(ZAI), client()))

    def test_slots_where_a_route_answers_and_the_user_said_nothing(self) -> None:
        routed = config(ANTHROPIC, ZAI, routes=(Route("claude-haiku-*", (RouteTarget("zai/glm-4.7"),)),))
        found = live(routed, client(logged_in=True))
        self.assertEqual(found["ANTHROPIC_DEFAULT_HAIKU_MODEL"], "claude-haiku-4-5")
        self.assertEqual(found["ANTHROPIC_DEFAULT_HAIKU_MODEL_NAME"], "GLM-4.7 as Haiku")
        mine = client(logged_in=True, ANTHROPIC_DEFAULT_HAIKU_MODEL="mine")
        self.assertNotIn("ANTHROPIC_DEFAULT_HAIKU_MODEL", live(routed, mine))

    def test_every_variable_has_a_reason(self) -> None:
        for each in told(config(ANTHROPIC, OLLAMA, server=TOKEN), client(ANTHROPIC_API_KEY="k", HTTP_PROXY="p")):
            self.assertGreater(len(each.reason), 5, each.name)

    def test_the_smallest_window_in_which_claude_code_can_work(self) -> None:
        self.assertEqual(shared_window([131_072, None, 40_960, 8_192]), 40_960)
        self.assertIsNone(shared_window([None, 8_192]))


if __name__ == "__main__":
    unittest.main()
