"""Ollama through the sockets, at the versions where it differs: the relay is a process, each server is one."""

from __future__ import annotations

import json
import time
import unittest
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import ClassVar

from tests.relay import PATIENCE, Json, Relay, turn
from tests.test_relay import BASH
from tests.upstreams import RecordedRequest, Upstream, json_reply

VERSIONS = {"v09": "0.9.0", "v014": "0.14.0", "v030": "0.30.0", "now": "0.33.0"}
FIXTURES = Path(__file__).parent / "fixtures" / "claude-code"
TABLE = """
[providers.{name}]
type = "ollama"
base_url = "{url}"
num_ctx = {num_ctx}
max_concurrent = 1
"""


def install(upstream: Upstream, models: dict[str, Json]) -> None:
    """Replaces what is installed."""
    base = {"capabilities": ["completion", "tools", "thinking"], "context": 40_960}
    described = [{**base, **facts, "name": name} for name, facts in models.items()]
    upstream.control("POST", "/__models", {"models": described})


INSTALLED: dict[str, Json] = {
    "qwen3:8b": {},
    "native:8b": {"native": True},
    "gpt-oss:20b": {},
    "denier:8b": {},
    "glm-5.2:cloud": {"context": 1_000_000},
}


def lines(*messages: Json, **last: Json | str | int) -> Json:
    """A scripted answer, a line for each message and one for the end."""
    objects: list[Json] = [{"message": {"content": "", **message}, "done": False} for message in messages]
    objects.append({"message": {"content": ""}, "done": True, "done_reason": "stop", **last})
    return {
        "headers": {"content-type": "application/x-ndjson"},
        "pieces": [json.dumps(each) + "\n" for each in objects],
    }


def chats(upstream: Upstream) -> list[RecordedRequest]:
    return [request for request in upstream.requests() if request.path == "/api/chat"]


class OllamaTest(unittest.TestCase):
    """A server of each version, and one relay in front of them."""

    num_ctx: ClassVar[int] = 65_536
    versions: ClassVar[dict[str, str]] = VERSIONS
    servers: ClassVar[dict[str, Upstream]]
    relay: ClassVar[Relay]

    @classmethod
    def setUpClass(cls) -> None:
        stack = ExitStack()
        cls.addClassCleanup(stack.close)
        servers = {name: Upstream("ollama", "--version", version) for name, version in cls.versions.items()}
        cls.servers = {name: stack.enter_context(server) for name, server in servers.items()}
        for server in cls.servers.values():
            install(server, INSTALLED)
        tables = [TABLE.format(name=name, url=up.url, num_ctx=cls.num_ctx) for name, up in cls.servers.items()]
        cls.relay = stack.enter_context(Relay("[server]\nping_interval = 0.2\n" + "".join(tables)))

    def setUp(self) -> None:
        for server in self.servers.values():
            server.reset()


class Versions(OllamaTest):
    def test_a_tool_loop_with_thinking(self) -> None:
        for name in VERSIONS:
            with self.subTest(name):
                ask = turn(f"{name}/qwen3:8b", "USETOOL please", tools=[BASH], thinking={"type": "adaptive"})
                message = self.relay.messages({**ask, "stream": True}).events
                whole = self.relay.messages(ask).json
                kinds = [block["type"] for block in whole["content"]]
                self.assertEqual(kinds[-1], "tool_use")
                # 0.9 is the first that thinks
                self.assertEqual(kinds[0], "thinking")
                self.assertEqual(message[-2]["delta"]["stop_reason"], "tool_use")
                call = whole["content"][-1]
                self.assertRegex(call["id"], r"^toolu_\w+$")
                result = {"type": "tool_result", "tool_use_id": call["id"], "content": "r1"}
                ask["messages"] += [
                    {"role": "assistant", "content": whole["content"]},
                    {"role": "user", "content": [result]},
                ]
                self.assertIn("read the result: r1", self.relay.messages(ask).text)

    def test_calls_on_the_last_line(self) -> None:
        answer = self.relay.messages(turn("v030/native:8b", "USETWO please", tools=[BASH]))
        self.assertEqual([block["type"] for block in answer.json["content"]][-2:], ["tool_use", "tool_use"])

    def test_effort_by_version(self) -> None:
        for name, think in (("v09", True), ("v014", "high"), ("now", "max")):
            ask = turn(f"{name}/gpt-oss:20b", thinking={"type": "adaptive"}, output_config={"effort": "max"})
            self.assertEqual(self.relay.messages(ask).status, 200)
            self.assertEqual(chats(self.servers[name])[-1].json["think"], think)

    def test_what_the_server_denies_is_learned(self) -> None:
        denied = json_reply({"error": '"qwen3:8b" does not support thinking'}, status=400)
        tools = json_reply({"error": "registry.ollama.ai/library/qwen3:8b does not support tools"}, status=400)
        server = self.servers["v014"]
        server.script(denied, tools, match="/api/chat")
        ask = turn("v014/denier:8b", "hello", tools=[BASH], thinking={"type": "adaptive"})
        answer = self.relay.messages({**ask, "stream": True})
        self.assertIn("hello", answer.text)
        self.assertEqual(answer.headers["x-ccrelay-dropped"], "thinking_mode=1, tools=1")
        asked = [set(chat.json) & {"think", "tools"} for chat in chats(server)]
        self.assertEqual(asked, [{"think", "tools"}, {"tools"}, set()])
        self.relay.messages(ask)
        self.assertEqual(len(chats(server)), 4, "it was not remembered")
        self.relay.wait_for_log("v014/denier:8b has no thinking")

    def test_calls_written_as_text(self) -> None:
        said = 'I look.\n<tool_call>\n{"name": "Bash", "arguments": {"command": "ls"}}\n</tool_call>'
        pieces = [{"content": said[start : start + 5]} for start in range(0, len(said), 5)]
        self.servers["now"].script(lines(*pieces), match="/api/chat")
        answer = self.relay.messages(turn("now/qwen3:8b", tools=[BASH]))
        [text, call] = answer.json["content"]
        self.assertEqual((text["text"].strip(), call["name"], call["input"]), ("I look.", "Bash", {"command": "ls"}))
        self.assertEqual(answer.json["stop_reason"], "tool_use")

    def test_a_cloud_model_is_asked_for_no_window(self) -> None:
        self.assertEqual(self.relay.messages(turn("now/glm-5.2:cloud")).status, 200)
        self.assertNotIn("num_ctx", chats(self.servers["now"])[-1].json["options"])


class Windows(OllamaTest):
    """A window of 8192 tokens."""

    num_ctx = 8192
    versions = {name: VERSIONS[name] for name in ("v09", "v030", "now")}
    LONG = "word " * 7000  # 8750 tokens of four bytes; 9722 by the estimate, which may be 20 % too high

    def test_too_long_at_every_version(self) -> None:
        for name in self.versions:
            with self.subTest(name):
                answer = self.relay.messages(turn(f"{name}/qwen3:8b", self.LONG))
                self.assertEqual(answer.status, 400)
                self.assertRegex(answer.json["error"]["message"], r"^prompt is too long: \d+ tokens > 8192 maximum$")
        self.assertEqual(chats(self.servers["v09"]), [], "what this version cuts in silence was sent")
        asked = chats(self.servers["now"])[-1].json
        self.assertEqual((asked["options"]["num_ctx"], asked["truncate"], asked["shift"]), (8192, False, False))

    def test_a_window_that_another_client_forced_down(self) -> None:
        loaded = json_reply({"models": [{"model": "qwen3:8b", "name": "qwen3:8b", "context_length": 2048}]})
        self.servers["v030"].script(loaded, match="/api/ps", repeat=True)
        for _ in range(2):
            self.assertEqual(self.relay.messages(turn("v030/qwen3:8b")).status, 200)
        self.relay.wait_for_log("v030/qwen3:8b runs with a window of 2048 tokens, not the 8192 it was asked for")
        self.assertEqual(self.relay.log.count("runs with a window"), 1)

    def test_an_answer_up_to_the_edge(self) -> None:
        for count, reason in ((190, "model_context_window_exceeded"), (100, "max_tokens")):
            said = lines({"content": "a"}, done_reason="length", prompt_eval_count=8000, eval_count=count)
            self.servers["now"].script(said, match="/api/chat")
            self.assertEqual(self.relay.messages(turn("now/qwen3:8b")).json["stop_reason"], reason)


class Current(OllamaTest):
    versions = {"now": "0.33.0"}

    def counted(self, body: Json) -> int:
        answer = self.relay.request("POST", "/v1/messages/count_tokens?beta=true", body)
        self.assertEqual(answer.headers["x-ccrelay-estimated"], "true")
        return int(answer.json["input_tokens"])

    def true_count(self, body: Json) -> int:
        usage = self.relay.messages({**body, "stream": False}).json["usage"]
        return int(usage["input_tokens"])

    def test_within_15_percent_after_two_turns(self) -> None:
        bodies = {path.stem: json.loads(path.read_text("utf-8"))["body"] for path in sorted(FIXTURES.glob("*.json"))}
        for body in bodies.values():
            body |= {"model": "now/qwen3:8b", "max_tokens": 100}
        for first in ("first-turn-unknown-model", "tool-result-turn"):
            self.true_count(bodies[first])
        for name, body in bodies.items():
            with self.subTest(name):
                told, true = self.counted(body), self.true_count(body)
                self.assertAlmostEqual(told, true, delta=0.15 * true)

    def test_never_zero(self) -> None:
        self.assertGreater(self.counted({"model": "now/qwen3:8b", "messages": [{"role": "user", "content": ""}]}), 0)

    def test_the_upstream_is_closed_at_every_stage(self) -> None:
        server = self.servers["now"]
        for stage, fields in (("before the head", {"delay": 5.0}), ("in the answer", {"gap": 0.05})):
            with self.subTest(stage):
                server.reset()
                server.script({"default": True, **fields}, match="/api/chat")
                stream = self.relay.stream(turn("now/qwen3:8b", "USELONG=500"))
                server.wait_for_requests(1)
                if stage == "in the answer":
                    stream.read_until(b"word3")
                left = time.monotonic()
                stream.close()
                [closed] = server.wait_for_closed()
                self.assertLess((closed.closed_at or 0) - left, 0.5)  # 100 ms and a loaded machine


class Discovery(unittest.TestCase):
    def test_down_is_one_line_and_it_comes_back_by_itself(self) -> None:
        constants = {"core.catalog.RETRY": 0.3}
        with (
            Upstream("ollama") as server,
            Relay(TABLE.format(name="local", url=server.url, num_ctx=4096), constants=constants) as relay,
        ):
            self.assertEqual(relay.request("GET", "/v1/models/local/qwen3:8b").status, 200)
            server.kill()
            time.sleep(0.35)  # RETRY: asked again no earlier
            for _ in range(3):
                relay.request("GET", "/v1/models/local/nobody")
            relay.wait_for_log("asked again until it answers")
            server.start()
            install(server, {"new:1b": {}})
            deadline = time.monotonic() + PATIENCE
            while relay.request("GET", "/v1/models").json["data"][0]["id"] != "local/new:1b":
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.1)
            relay.wait_for_log("local: is back")
            self.assertEqual(relay.log.count("asked again"), 1)

    def test_a_new_model_appears_though_nobody_asks_the_server(self) -> None:
        constants = {"core.catalog.POLL": 0.3, "core.catalog.RETRY": 0.3, "core.catalog.FRESH": 1e6}
        with (
            Upstream("ollama") as server,
            Relay(TABLE.format(name="local", url=server.url, num_ctx=4096), constants=constants) as relay,
        ):
            install(server, {"new:1b": {}})
            deadline = time.monotonic() + PATIENCE
            while "local/new:1b" not in [model["id"] for model in relay.request("GET", "/v1/models").json["data"]]:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
            server.kill()
            relay.wait_for_log("asked again until it answers")
            server.start()
            relay.wait_for_log("local: is back")

    @unittest.skipUnless(Path("/proc/self/task").exists(), "counts what Linux counts")
    def test_an_idle_relay_sleeps(self) -> None:
        def woken(process: int) -> int:
            statuses: list[str] = []
            for path in Path(f"/proc/{process}/task").glob("*/status"):
                with suppress(FileNotFoundError):  # a thread that has ended meanwhile
                    statuses.append(path.read_text("ascii"))
            return sum(int(status.split("voluntary_ctxt_switches:")[1].split()[0]) for status in statuses)

        with Upstream("ollama") as server, Relay(TABLE.format(name="local", url=server.url, num_ctx=4096)) as relay:
            self.assertEqual(relay.messages(turn("local/qwen3:8b")).status, 200)
            counts: list[int] = []
            while 0 not in counts and 1 not in counts:  # the first hold the look at the loaded window
                self.assertLess(len(counts), 6, f"woken in each second: {counts}")
                before = woken(relay.process.pid)
                time.sleep(1.0)
                counts.append(woken(relay.process.pid) - before)


del OllamaTest

if __name__ == "__main__":
    unittest.main()
