"""Who answers when somebody cannot, through the socket: fallback, keys, probes, strategies, a request's patience."""

from __future__ import annotations

import time
import unittest
from collections import Counter
from contextlib import ExitStack
from typing import Any

from tests.relay import CLIENT, Answer, Json, Relay, turn
from tests.upstreams import Upstream, anthropic_error, anthropic_text_stream, reply, zai_error

CONFIG = """
[server]
log = "json"
ping_interval = 0.2
[routing]
total_patience = 0.5
fallback = ["zai/glm-5.2", "last/echo"]
announce = true
[routes]
turns = {{ targets = ["one/claude-a", "two/claude-a"], strategy = "round-robin" }}
weighs = {{ targets = [{{ model = "one/claude-a", weight = 3 }}, "two/claude-a"], strategy = "weighted" }}
deals = {{ targets = ["one/claude-a", "two/claude-a"], strategy = "shuffle" }}
busy = {{ targets = ["one/claude-a", "two/claude-a"], strategy = "least-busy" }}
"claude-haiku-*" = ["thinker/claude-haiku-4-5", "two/claude-haiku-5-5"]
sticks = {{ targets = ["one/claude-a", "two/claude-a"], strategy = "round-robin" }}
{pairs}
[providers.two]
type = "anthropic"
base_url = "{two}"
models = ["claude-a"]
[providers.zai]
type = "zai"
base_url = "{zai}/api/anthropic"
api_key = "zai-secret"
models = ["glm-5.2"]
[providers.last]
type = "echo"
models = ["echo"]
"""
ONE = """
[providers.{name}]
type = "anthropic"
base_url = "{url}"
models = ["claude-a"]
"""
FRESH = [f"one{number}" for number in range(20)]
SESSION = "x-claude-code-session-id"


upstreams: dict[str, Upstream] = {}
relays: list[Relay] = []
fresh = list(FRESH)


def setUpModule() -> None:
    stack = ExitStack()
    unittest.addModuleCleanup(stack.close)
    kinds = {"one": "anthropic", "two": "anthropic", "zai": "zai"}
    upstreams.update({name: stack.enter_context(Upstream(kind)) for name, kind in kinds.items()})
    urls = {name: upstream.url for name, upstream in upstreams.items()}
    pairs = "".join(f'{name} = ["{name}/claude-a", "two/claude-a"]\n' for name in FRESH)
    config = CONFIG.format(pairs=pairs, **urls)
    config += "".join(ONE.format(name=name, url=urls["one"]) for name in ("one", "thinker", *FRESH))
    relays.append(stack.enter_context(Relay(config)))


class FailoverTest(unittest.TestCase):
    """The first upstream goes by many names, so that a test can have one that no other test has made rest."""

    def setUp(self) -> None:
        self.relay, self.upstreams = relays[0], upstreams
        for upstream in upstreams.values():
            upstream.reset()
        self.name = fresh.pop()
        """A provider that is well, and a route to it and then to `two`."""
        self.only = f"{self.name}/claude-a"

    def until(self, model: str, provider: str) -> None:
        """Asks until that provider answers: after its rest, that is, which is a second here."""
        deadline = time.monotonic() + 10
        while self.who(self.relay.messages(turn(model))) != provider:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def who(self, answer: Answer) -> str:
        return answer.headers.get("x-ccrelay-provider", "")

    def overload(self, **options: Any) -> None:
        overloaded = anthropic_error(529, "overloaded_error", "Overloaded", **options)
        self.upstreams["one"].script(overloaded, repeat=True)


class TestGenerations(FailoverTest):
    def test_the_next_model_gets_a_kind_of_thinking_that_it_has(self) -> None:
        """Claude Code gives a Haiku of 4.5 a budget; one of 5.5 refuses that, as does the strict upstream."""
        self.overload()
        budget = {"type": "enabled", "budget_tokens": 2000}
        answer = self.relay.messages(turn("claude-haiku-4-5", thinking=budget, max_tokens=4000, stream=True))
        self.assertEqual((answer.status, self.who(answer)), (200, "two"))
        self.assertEqual(answer.headers["x-ccrelay-dropped"], "thinking_mode=1")

    def test_what_was_dropped_for_one_that_failed_is_not_counted_again(self) -> None:
        self.overload()
        unsigned = {"type": "thinking", "thinking": "By nobody.", "signature": ""}
        ask = turn(self.name)
        said = {"role": "assistant", "content": [unsigned, {"type": "text", "text": "hello"}]}
        ask["messages"] += [said, {"role": "user", "content": "go on"}]
        answer = self.relay.messages(ask)
        self.assertEqual((self.who(answer), answer.headers["x-ccrelay-attempts"]), ("two", "2"))
        self.assertEqual(answer.headers["x-ccrelay-dropped"], "thinking=1")


class TestFallback(FailoverTest):
    def test_it_answers_when_nobody_else_can_and_says_so(self) -> None:
        self.overload()
        for stream in (True, False):
            answer = self.relay.messages(turn(self.only, stream=stream))
            self.assertEqual((answer.status, self.who(answer)), (200, "zai"))
            self.assertEqual(answer.headers["x-ccrelay-fallback"], "zai/glm-5.2")
            line = f"[ccrelay: zai/glm-5.2 answers instead of {self.only}; {self.name}: Overloaded]\n\n"
            self.assertTrue(answer.text.startswith(line), answer.text)
            self.assertIn("glm-5.2 heard: hi", answer.text)
        self.relay.wait_for_log('"fallback": "' + self.name)

    def test_indices_stay_in_order(self) -> None:
        self.overload()
        ask = turn(self.only, "USETOOL please", thinking={"type": "adaptive"}, stream=True)
        ask["tools"] = [{"name": "Bash", "description": "runs", "input_schema": {"type": "object", "properties": {}}}]
        events = self.relay.messages(ask).events
        starts = [event for event in events if event["type"] == "content_block_start"]
        self.assertEqual([event["index"] for event in starts], list(range(len(starts))))
        self.assertEqual(starts[0]["content_block"]["type"], "text")
        self.assertGreater(len(starts), 1)
        self.assertEqual(events[-1]["type"], "message_stop")

    def test_the_line_never_reaches_a_model(self) -> None:
        self.overload()
        for stream in (True, False):
            ask = turn(self.only)
            message = self.relay.messages(ask).json
            ask["messages"] += [
                {"role": "assistant", "content": message["content"]},
                {"role": "user", "content": "and now?"},
            ]
            for model, name in ((self.only, "zai"), ("two/claude-a", "two")):
                answer = self.relay.messages({**ask, "model": model, "stream": stream})
                self.assertEqual((answer.status, self.who(answer)), (200, name))
                sent = self.upstreams[name].requests()[-1].json["messages"]
                self.assertNotIn("[ccrelay:", repr(sent))
                self.assertIn("glm-5.2 heard: hi", repr(sent[1]))

    def test_json_for_programs_begins_with_no_line(self) -> None:
        self.overload()
        wanted = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
        answer = self.relay.messages(turn(self.only, output_config=wanted))
        self.assertEqual(answer.headers["x-ccrelay-fallback"], "zai/glm-5.2")
        self.assertNotIn("ccrelay", answer.text)

    def test_who_was_asked_for_comes_back_by_itself(self) -> None:
        self.overload()
        self.assertEqual(self.who(self.relay.messages(turn(self.only))), "zai")
        self.upstreams["one"].reset()
        self.until(self.only, self.name)
        self.assertNotIn("x-ccrelay-fallback", self.relay.messages(turn(self.only)).headers)

    def test_a_requests_own_fault_is_nobodys_to_answer(self) -> None:
        self.upstreams["one"].script(anthropic_error(400, "invalid_request_error", "your fault"))
        answer = self.relay.messages(turn(self.only))
        self.assertEqual((answer.status, answer.json["error"]["message"]), (400, "your fault"))

    def test_a_fallback_that_refuses_is_not_the_last_word(self) -> None:
        """A conversation that is too long for the fallback must not be compacted because of it."""
        self.overload()
        self.upstreams["zai"].script(zai_error(400, "invalid_request_error", "1261", "Prompt exceeds max length"))
        answer = self.relay.messages(turn(self.only))
        self.assertEqual((answer.status, self.who(answer)), (200, "last"))
        self.assertEqual(answer.headers["x-ccrelay-attempts"], "3")


class TestPatience(FailoverTest):
    def test_after_it_nobody_else_is_asked(self) -> None:
        self.overload(delay=0.6)
        answer = self.relay.messages(turn(self.only))
        self.assertEqual((answer.status, answer.headers["x-ccrelay-attempts"]), (529, "1"))
        self.assertEqual(self.upstreams["zai"].requests(), [])

    def test_an_answer_that_has_begun_is_never_cut(self) -> None:
        self.upstreams["one"].script(reply(anthropic_text_stream("a b c d e f g h"), gap=0.08))
        answer = self.relay.messages(turn(self.only, stream=True))
        self.assertEqual((answer.text, answer.events[-1]["type"]), ("a b c d e f g h", "message_stop"))


class TestProbe(FailoverTest):
    def test_after_a_rest_one_request_tries_and_the_others_go_elsewhere(self) -> None:
        """The probe is held for a while: who comes meanwhile is answered by the other provider at once."""
        one = self.upstreams["one"]
        self.overload()
        self.assertEqual(self.who(self.relay.messages(turn(self.name))), "two")
        one.reset()
        one.script({"default": True, "delay": 0.4}, repeat=True)
        time.sleep(1.05)
        first = self.relay.stream(turn(self.name))
        self.addCleanup(first.close)
        one.wait_for_requests(1)
        self.assertEqual([self.who(self.relay.messages(turn(self.name))) for _ in range(3)], ["two"] * 3)
        first.read()
        self.assertEqual((first.headers["x-ccrelay-provider"], len(one.requests())), (self.name, 1))
        self.assertEqual(self.who(self.relay.messages(turn(self.name))), self.name)

    def test_a_probe_whose_client_leaves_is_followed_by_another(self) -> None:
        one = self.upstreams["one"]
        self.overload()
        self.relay.messages(turn(self.name))
        one.reset()
        one.script({"default": True, "delay": 30})
        time.sleep(1.05)
        with self.relay.stream(turn(self.name)):
            one.wait_for_requests(1)
        one.wait_for_closed(1)
        self.until(self.name, self.name)


class TestStrategies(FailoverTest):
    def asked(self, name: str, count: int, **headers: str) -> str:
        """The first letters of who answered."""
        return "".join(
            self.who(
                self.relay.messages(turn(name), {**CLIENT, **{k.replace("_", "-"): v for k, v in headers.items()}})
            )[0]
            for _ in range(count)
        )

    def test_round_robin_weighted_and_shuffle(self) -> None:
        self.assertIn(self.asked("turns", 6), ("ototot", "tototo"))
        self.assertEqual(self.asked("weighs", 8), "ootoooto")
        dealt = self.asked("deals", 8)
        self.assertEqual([Counter(dealt[n : n + 2]) for n in range(0, 8, 2)], [Counter("ot")] * 4)

    def test_least_busy(self) -> None:
        one = self.upstreams["one"]
        one.script({"default": True, "delay": 0.5})
        with self.relay.stream(turn("busy")) as held:
            one.wait_for_requests(1)
            self.assertEqual(self.asked("busy", 3), "ttt")
            held.read()
        deadline = time.monotonic() + 10
        while self.asked("busy", 1) != "o":  # a client has the end of its answer before the relay has counted it
            self.assertLess(time.monotonic(), deadline)

    def test_sessions_stick_and_subagents_on_their_own(self) -> None:
        homes = {name: self.asked("sticks", 3, x_claude_code_session_id=name) for name in ("s1", "s2")}
        self.assertEqual(sorted(homes.values()), ["ooo", "ttt"])
        agents = {
            name: self.asked("sticks", 3, x_claude_code_session_id="s1", x_claude_code_agent_id=name)
            for name in ("a1", "a2")
        }
        self.assertEqual(sorted(agents.values()), ["ooo", "ttt"])

    def test_a_session_leaves_who_fails_for_good(self) -> None:
        self.relay.messages(turn(self.name), {**CLIENT, SESSION: "leaver"})
        self.overload()
        self.assertEqual(self.asked(self.name, 1, x_claude_code_session_id="leaver"), "t")
        self.upstreams["one"].reset()
        self.until(self.name, self.name)
        self.assertEqual(self.asked(self.name, 3, x_claude_code_session_id="leaver"), "ttt")


KEYS = """
[routing]
sticky = true
[routes]
both = ["zai/glm-5.2", "echo/echo"]
[providers.zai]
type = "zai"
base_url = "{zai}/api/anthropic"
api_keys = ["zai-key-alpha", "zai-key-beta", "zai-key-gamma"]
models = ["glm-5.2"]
[providers.echo]
type = "echo"
"""
LIMITED = zai_error(429, "rate_limit_error", "1302", "Rate limit reached for requests")
QUOTA = "Usage limit reached for 5 hour. Your limit will reset at {}"


class TestKeys(unittest.TestCase):
    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.zai = stack.enter_context(Upstream("zai"))
        self.relay = stack.enter_context(Relay(KEYS.format(zai=self.zai.url)))

    def used(self) -> list[str]:
        return [str(each.header("authorization")).removeprefix("Bearer zai-key-") for each in self.zai.requests()]

    def test_the_least_used_is_next_and_a_session_keeps_its_own(self) -> None:
        for _ in range(4):
            self.relay.messages(turn("zai/glm-5.2"))
        for _ in range(3):
            self.relay.messages(turn("zai/glm-5.2"), {**CLIENT, SESSION: "s"})
        self.assertEqual(self.used(), ["alpha", "beta", "gamma", "alpha", "beta", "beta", "beta"])

    def test_a_limit_is_the_keys_and_the_next_answers_in_the_same_request(self) -> None:
        limited: Json = {**LIMITED, "headers": {**LIMITED["headers"], "retry-after": "60"}}
        self.zai.script(limited)
        for stream in (True, False):
            answer = self.relay.messages(turn("both", stream=stream))
            self.assertEqual((answer.status, answer.headers["x-ccrelay-provider"]), (200, "zai"))
        self.assertEqual(self.used(), ["alpha", "beta", "gamma"])
        self.relay.wait_for_log("zai (key 1 of 3): Rate limit reached for requests (code 1302)")
        self.relay.messages(turn("both"))
        self.assertEqual(self.used()[3:], ["beta"])

    def test_a_quota_rests_the_key_until_its_reset(self) -> None:
        soon = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() + 8 * 3600 + 3600))
        self.zai.script(zai_error(429, "rate_limit_error", "1308", QUOTA.format(soon)))
        self.relay.messages(turn("both"))
        self.relay.messages(turn("both"))
        self.relay.messages(turn("both"))
        self.assertEqual(self.used(), ["alpha", "beta", "gamma", "beta"])

    def test_a_refused_key_is_not_asked_again_and_no_key_is_ever_shown(self) -> None:
        self.zai.script(zai_error(401, "authentication_error", "1000", "Authentication Failed"))
        self.assertEqual(self.relay.messages(turn("both")).headers["x-ccrelay-provider"], "zai")
        for _ in range(4):
            self.relay.messages(turn("both"))
        self.assertEqual(self.used(), ["alpha", "beta", "gamma", "beta", "gamma", "beta"])
        self.assertIn("providers.zai.api_keys", self.relay.wait_for_log("zai (key 1 of 3)"))
        self.assertNotIn("key-", self.relay.log)

    def test_with_no_key_left_the_next_provider_answers(self) -> None:
        limited: Json = {**LIMITED, "headers": {**LIMITED["headers"], "retry-after": "60"}}
        self.zai.script(limited, repeat=True)
        answer = self.relay.messages(turn("both"))
        self.assertEqual((answer.headers["x-ccrelay-provider"], answer.headers["x-ccrelay-attempts"]), ("echo", "4"))
        self.assertEqual(self.relay.messages(turn("both")).headers["x-ccrelay-attempts"], "1")
        self.assertEqual(len(self.used()), 3)
        alone = self.relay.messages(turn("zai/glm-5.2"))
        self.assertEqual((alone.status, alone.headers["retry-after"], len(self.used())), (429, "60", 4))


if __name__ == "__main__":
    unittest.main()
