"""`Use X for the rest of this session`: lines and the header, through the socket and beside it."""

from __future__ import annotations

import unittest
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from ccrelay_providers.core import pins
from ccrelay_providers.core.catalog import Catalog
from ccrelay_providers.core.pins import Choice, Pins
from ccrelay_providers.core.settings import Config, Provider, Route, RouteTarget, Routing, Server
from ccrelay_providers.wire.errors import InvalidRequest, NotFound
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.messages import GLANCE_FROM, MessagesRequest, dumps
from ccrelay_providers.wire.provider import Model, UpstreamRequest, UpstreamResponse
from ccrelay_providers.wire.use_lines import REFUSES, SAYS
from tests.relay import CLIENT, Answer, Json, Relay, text_of, turn
from tests.upstreams import RecordedRequest, Upstream

CONFIG = """
[routing]
use_lines = {use_lines}
[routes]
cheap = ["zai/glm-5.2", "ollama/qwen3:8b"]
turns = {{ targets = ["zai/glm-5.2", "anthropic/claude-sonnet-5-5"], strategy = "round-robin" }}
[providers.anthropic]
type = "anthropic"
base_url = "{anthropic}"
models = ["claude-sonnet-5-5"]
[providers.zai]
type = "zai"
base_url = "{zai}/api/anthropic"
api_key = "zai-secret"
models = ["glm-5.2"]
[providers.ollama]
type = "ollama"
base_url = "{ollama}"
"""
SONNET, HAIKU, GLM = "claude-sonnet-5-5", "claude-haiku-5-5", "zai/glm-5.2"
TOOLS = [{"name": "Bash", "input_schema": {"type": "object", "properties": {}}}]
SYSTEM = {"role": "system", "content": "# Environment"}


def user(text: str) -> Json:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def assistant(text: str) -> Json:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def of(session: str, **more: str) -> dict[str, str]:
    return {**CLIENT, "x-claude-code-session-id": session, **{name.replace("_", "-"): more[name] for name in more}}


class TestThroughTheSocket(unittest.TestCase):
    upstreams: ClassVar[dict[str, Upstream]]
    relay: ClassVar[Relay]
    config: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        stack = ExitStack()
        cls.addClassCleanup(stack.close)
        cls.upstreams = {kind: stack.enter_context(Upstream(kind)) for kind in ("anthropic", "zai", "ollama")}
        cls.config = CONFIG.format(use_lines="true", **{kind: up.url for kind, up in cls.upstreams.items()})
        cls.relay = stack.enter_context(Relay(cls.config))

    def setUp(self) -> None:
        for upstream in self.upstreams.values():
            upstream.reset()

    def ask(self, session: str, *messages: Json, model: str = SONNET, **fields: Any) -> Answer:
        answer = self.relay.messages({**turn(model), "messages": list(messages), **fields}, of(session))
        self.assertEqual(answer.status, 200, answer.body)
        return answer

    def asked(self, kind: str) -> RecordedRequest:
        """The only request that any upstream got, discovery left out."""
        found = {name: [one for one in up.requests() if one.method == "POST" and "show" not in one.path]
                 for name, up in self.upstreams.items()}  # fmt: skip
        self.assertEqual({name: len(requests) for name, requests in found.items() if requests}, {kind: 1})
        return found[kind][0]

    def assertNobodyWasAsked(self) -> None:
        for upstream in self.upstreams.values():
            self.assertEqual([one.path for one in upstream.requests() if "messages" in one.path], [])

    def test_a_line_chooses_the_model_and_does_not_reach_it(self) -> None:
        answer = self.ask("s1", user(f"/use {GLM}\nhello"))
        request = self.asked("zai")
        self.assertEqual((request.json["model"], request.json["messages"]), ("glm-5.2", [user("hello")]))
        self.assertEqual((answer.json["model"], answer.headers["x-ccrelay-model"]), (SONNET, "glm-5.2"))
        self.assertIn(f"pinned to {GLM}", self.relay.wait_for_log(f"{SONNET} → {GLM}"))

    def test_the_session_stays_there_until_auto(self) -> None:
        self.ask("s2", user(f"/use {GLM}\nhello"))
        for upstream in self.upstreams.values():
            upstream.reset()
        self.ask("s2", user("a summary of what was said"))
        self.asked("zai")
        self.setUp()
        self.ask("another", user("hello"))
        self.asked("anthropic")
        self.setUp()
        self.ask("s2", user("/use auto\nhello"))
        self.assertEqual(self.asked("anthropic").json["messages"], [user("hello")])
        self.setUp()
        self.ask("s2", user("hello"))
        self.asked("anthropic")

    def test_another_copy_finds_the_line_in_the_conversation(self) -> None:
        history = [user(f"/use {GLM}\none"), assistant("1"), user("two")]
        self.ask("never seen", *history)
        self.assertEqual(self.asked("zai").json["messages"], [user("one"), *history[1:]])

    def test_a_large_body_is_read_too(self) -> None:
        self.ask("large", user(f" /use {GLM}\n{'x' * GLANCE_FROM}"), stream=False)
        self.assertEqual(len(self.asked("zai").json["messages"][0]["content"][0]["text"]), GLANCE_FROM)

    def test_a_route_keeps_the_session_where_it_was_answered(self) -> None:
        homes = {self.ask("s11", user(f"/use turns\n{word}")).headers["x-ccrelay-provider"] for word in ("one", "two")}
        self.assertEqual(len(homes), 1)

    def test_only_a_line_is_answered_by_the_relay(self) -> None:
        answer = self.ask("s3", user(f"/use {GLM}"))
        self.assertEqual(answer.text, f"{SAYS}this session uses {GLM} from here on, until `/use auto`.")
        self.assertEqual((answer.json["model"], answer.json["stop_reason"]), (SONNET, "end_turn"))
        self.assertGreater(answer.json["usage"]["input_tokens"], 0)
        self.assertEqual((answer.headers["x-ccrelay-provider"], answer.headers["x-ccrelay-attempts"]), ("ccrelay", "0"))
        self.assertIn("request-id", answer.headers)
        self.assertIn(f"pinned to {GLM}", self.relay.wait_for_log(f"{SONNET} → ccrelay"))
        self.assertNobodyWasAsked()

    def test_streaming_too(self) -> None:
        body = {**turn(SONNET), "messages": [user("/use cheap"), SYSTEM]}
        with self.relay.stream(body, of("s4")) as stream:
            events = stream.read()
        self.assertEqual((stream.status, stream.headers["x-ccrelay-provider"]), (200, "ccrelay"))
        kinds = [event["type"] for event in events]
        self.assertEqual((kinds[0], kinds[-1]), ("message_start", "message_stop"))
        self.assertIn("uses cheap (zai/glm-5.2, then ollama/qwen3:8b) from here on", text_of(events))
        self.assertNobodyWasAsked()
        self.ask("s4", user("hello"))
        self.asked("zai")

    def test_a_conversation_goes_on_at_a_strict_anthropic_as_if_nothing_had_been_said(self) -> None:
        first = [user(f"/use {GLM}"), SYSTEM]
        said = self.ask("s5", *first)
        second = [*first, assistant(said.text), user("/use auto\nhello"), SYSTEM]
        answer = self.ask("s5", *second, tools=TOOLS)
        self.assertEqual(self.asked("anthropic").json["messages"], [user("hello"), SYSTEM, SYSTEM])
        self.setUp()
        self.ask("s5", *second, {"role": "assistant", "content": answer.json["content"]}, user("and now"), tools=TOOLS)
        self.asked("anthropic")

    def test_an_unknown_name_changes_nothing(self) -> None:
        self.ask("s6", user(f"/use {GLM}"))
        answer = self.ask("s6", user("/use zia/glm-5.2\nhello"))
        self.assertEqual(answer.text, f"{REFUSES}there is no model zia/glm-5.2; did you mean zai/glm-5.2?")
        self.assertNobodyWasAsked()
        self.ask("s6", user("/use zia/glm-5.2\nhello"), assistant(answer.text), user("so?"))
        self.assertEqual(
            self.asked("zai").json["messages"][0]["content"], [*user("hello")["content"], *user("so?")["content"]]
        )

    def test_without_a_name_it_lists(self) -> None:
        answer = self.ask("s7", user("/use"))
        self.assertIn(f"{SAYS}the model is {SONNET}.", answer.text)
        anthropic, zai, ollama, routes = answer.text.splitlines()[-4:]
        self.assertEqual((anthropic, zai, routes), (f"- anthropic/{SONNET}", f"- {GLM}", "- cheap, turns"))
        self.assertIn("ollama/qwen3:8b", ollama)

    def test_the_header_chooses_pins_and_goes_nowhere(self) -> None:
        body = {**turn(SONNET), "messages": [user("hello")]}
        self.assertEqual(self.relay.messages(body, of("s8", x_ccrelay_model=GLM)).status, 200)
        self.asked("zai")
        self.setUp()
        self.ask("s8", user("hello"))
        self.asked("zai")
        self.setUp()
        self.assertEqual(self.relay.messages(body, of("s8", x_ccrelay_model="auto")).status, 200)
        self.assertIsNone(self.asked("anthropic").header("x-ccrelay-model"))
        self.setUp()
        answer = self.relay.messages(body, of("s8", x_ccrelay_model="zai/glm-5.1"))
        self.assertEqual((answer.status, answer.json["error"]["type"]), (404, "not_found_error"))
        self.ask("s8", user("hello"))
        self.asked("anthropic")

    def test_counting_counts_for_the_pinned_model_without_the_line(self) -> None:
        plain = self.count("s9", user("hello"))
        self.assertEqual(plain.headers["x-ccrelay-provider"], "anthropic")
        pinned = self.count("s9", user(f"/use {GLM}\nhello"))
        self.assertEqual((pinned.headers["x-ccrelay-provider"], pinned.headers["x-ccrelay-estimated"]), ("zai", "true"))
        self.assertEqual(pinned.json, self.count("s9", user("hello")).json)
        self.assertEqual(self.count("s10", user("/use auto")).status, 200)

    def count(self, session: str, *messages: Json) -> Answer:
        answer = self.relay.request(
            "POST", "/v1/messages/count_tokens", {"model": SONNET, "messages": messages}, of(session)
        )
        self.assertEqual(answer.status, 200, answer.body)
        return answer

    def test_switched_off_a_line_is_text(self) -> None:
        with Relay(self.config.replace("use_lines = true", "use_lines = false")) as relay:
            body = {**turn(SONNET), "messages": [user(f"/use {GLM}")]}
            self.assertEqual(relay.messages(body, of("s")).status, 200)
            self.assertEqual(self.asked("anthropic").json, body)


def never(provider: Provider, request: UpstreamRequest) -> UpstreamResponse:
    raise AssertionError("nothing is to be asked")


def request(text: str, model: str = SONNET, tools: bool = True, **headers: str) -> MessagesRequest:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    body = {**turn(model), "messages": [user(text)], "tools": TOOLS if tools else []}
    return MessagesRequest(dumps(body), Headers([("x-claude-code-session-id", "s"), *named]), "req_1")


class TestWhoFollows(unittest.TestCase):
    def setUp(self) -> None:
        self.pins = self.fresh("glm-5.2")

    def fresh(self, *models: str) -> Pins:
        providers = (
            Provider("anthropic", "anthropic", models=(Model(SONNET),)),
            Provider("zai", "zai", api_key="k", models=tuple(map(Model, models))),
        )
        routes = (Route("cheap", (RouteTarget(GLM),)),)
        config = Config(Path("relay.toml"), Server(), Routing(), routes, providers, ())
        return Pins(config, Catalog(config, never))

    def model(self, text: str = "hello", model: str = SONNET, tools: bool = True, **headers: str) -> str:
        return self.pins.choice(request(text, model, tools, **headers)).model

    def test_main_turns_follow_whatever_they_ask_for(self) -> None:
        self.model(f"/use {GLM}\nhello")
        self.assertEqual((self.model(), self.model(model="claude-opus-5-5")), (GLM, GLM))

    def test_subagents_follow_unless_they_have_a_model_of_their_own(self) -> None:
        self.model(f"/use {GLM}\nhello")
        self.assertEqual(self.model(x_claude_code_agent_id="a"), GLM)
        self.assertEqual(self.model(model=HAIKU, x_claude_code_agent_id="a"), HAIKU)

    def test_titles_and_probes_follow_unless_they_have_a_model_of_their_own(self) -> None:
        self.model(f"/use {GLM}\nhello")
        self.assertEqual((self.model(tools=False), self.model(model=HAIKU, tools=False)), (GLM, HAIKU))

    def test_a_subagent_s_own_line_is_its_own(self) -> None:
        self.assertEqual(self.model(f"/use {GLM}\nhello", x_claude_code_agent_id="a"), GLM)
        self.assertEqual((self.model(), self.model(x_claude_code_agent_id="a")), (SONNET, GLM))

    def test_the_header_goes_before_the_line_and_says_so(self) -> None:
        choice = self.pins.choice(request("/use auto", x_ccrelay_model="cheap"))
        self.assertEqual(choice.model, "cheap")
        self.assertEqual(
            choice.answer,
            f"{SAYS}this session uses cheap (zai/glm-5.2), by the header x-ccrelay-model, which goes before `/use`.",
        )
        with self.assertRaisesRegex(NotFound, "model: zai/x"):
            self.model(x_ccrelay_model="zai/x")

    def test_a_model_that_is_gone_is_not_replaced_in_silence(self) -> None:
        self.model(f"/use {GLM}\nhello")
        gone = self.fresh("other")
        gone._pins = self.pins._pins
        with self.assertRaisesRegex(
            InvalidRequest,
            r"this session uses zai/glm-5.2 \(`/use auto` ends that\), but there is no model zai/glm-5.2",
        ):
            gone.choice(request("hello"))
        self.assertEqual(
            gone.choice(request("/use auto")).answer,
            f"{SAYS}the model is the one that the client asks for again, {SONNET}.",
        )

    def test_sessions_are_forgotten_from_the_oldest_on(self) -> None:
        for number in range(pins.MAX_SESSIONS + 1):
            self.pins._remember(str(number), pins.Pin(GLM, SONNET))
        self.assertEqual((len(self.pins._pins), "0" in self.pins._pins), (pins.MAX_SESSIONS, False))

    def test_one_that_was_pinned_anew_is_not_the_oldest(self) -> None:
        with mock.patch.object(pins, "MAX_SESSIONS", 2):
            for session, model in (("0", GLM), ("1", GLM), ("0", SONNET), ("2", GLM)):
                self.pins._remember(session, pins.Pin(model, SONNET))
        self.assertEqual([*self.pins._pins], ["0", "2"])

    def test_nothing_said_costs_no_parse(self) -> None:
        raw = dumps({"model": SONNET, "messages": [user("see /use x " * GLANCE_FROM)], "max_tokens": 1, "stream": True})
        asked = MessagesRequest(raw, Headers(), "req_1")
        self.assertEqual(self.pins.choice(asked), Choice(asked, SONNET))
        self.assertIsNone(asked._body)


if __name__ == "__main__":
    unittest.main()
