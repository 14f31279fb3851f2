"""The scripted upstreams themselves: what other tests rest on is tried here, through their sockets."""

from __future__ import annotations

import http.client
import json
import socket
import time
import unittest
from typing import Any, ClassVar

from tests.upstreams import Upstream, anthropic_text_stream, json_reply, reply, sse

Json = dict[str, Any]

BASH: Json = {"name": "Bash", "input_schema": {"type": "object"}}
ANTHROPIC = {"x-api-key": "sk-ant-1", "anthropic-version": "2023-06-01"}
ZAI = {"authorization": "Bearer zai-1"}
MARKED = {"type": "thinking", "thinking": "x", "signature": "ccrelay:zai:x"}


class UpstreamTest(unittest.TestCase):
    """Tests of one upstream, which is started once and reset for each."""

    kind: ClassVar[str] = "scripted"
    path: ClassVar[str] = "/v1/messages"
    headers: ClassVar[dict[str, str]] = {}
    upstream: ClassVar[Upstream]

    @classmethod
    def setUpClass(cls) -> None:
        cls.upstream = Upstream(cls.kind)
        cls.upstream.start()
        cls.addClassCleanup(cls.upstream.kill)

    def setUp(self) -> None:
        self.upstream.reset()

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream.port, timeout=5)
        self.addCleanup(connection.close)
        return connection

    def ask(self, body: Any, method: str = "POST", path: str = "", **headers: str) -> tuple[int, str]:
        """Sends a request and returns the status and the text of the answer."""
        connection = self.connect()
        content = None if body is None else json.dumps(body)
        connection.request(method, path or self.path, content, {**self.headers, **headers})
        response = connection.getresponse()
        return response.status, response.read().decode()

    def refused(self, body: Json, status: int, words: str, **headers: str) -> None:
        got, text = self.ask(body, **headers)
        self.assertEqual((got, words in text), (status, True), text)


def turn(text: str, model: str, **more: Any) -> Json:
    """A request with one user message."""
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


def result_turn(content: list[Json]) -> list[Json]:
    """An assistant turn, and the user turn that answers all its calls."""
    ids = [block["id"] for block in content if block["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": name, "content": f"out-{n}"} for n, name in enumerate(ids)]
    return [{"role": "assistant", "content": content}, {"role": "user", "content": results}]


def events(text: str) -> list[Json]:
    """The data of the events of a stream."""
    return [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: ")]


def text_of(stream: str) -> str:
    """The text that a stream of events carries."""
    return "".join(event["delta"].get("text", "") for event in events(stream) if "delta" in event)


class ScriptedTest(UpstreamTest):
    """The engine: replies as they are told."""

    def exchange(self) -> bytes:
        """Everything that comes back, byte for byte, until the end of the connection."""
        with socket.create_connection(("127.0.0.1", self.upstream.port), timeout=5) as sock:
            sock.sendall(b"POST /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
            return b"".join(iter(lambda: sock.recv(65536), b""))

    def test_each_piece_is_one_chunk(self) -> None:
        self.upstream.script(reply(["ab", {"raw": "zz"}, {"b64": "/w=="}], keep_alive=False))
        body = self.exchange().partition(b"\r\n\r\n")[2]
        self.assertEqual(body, b"2\r\nab\r\nzz1\r\n\xff\r\n0\r\n\r\n")

    def test_a_cut_is_told_from_an_end(self) -> None:
        self.upstream.script(reply(["ab"], end="cut"), reply(["ab"], end="cut", framing="length"))
        for _ in range(2):
            with self.assertRaises(http.client.IncompleteRead):
                self.ask({})

    def test_a_reset_is_a_reset(self) -> None:
        self.upstream.script({"close": "reset"}, reply(["ab", {"pause": 0.02}], end="reset"))
        for _ in range(2):
            with self.assertRaises(ConnectionResetError):
                self.ask({})

    def test_closed_before_the_head(self) -> None:
        self.upstream.script({"close": "before_head"})
        self.assertEqual(self.exchange(), b"")

    def test_an_end_by_closing_and_a_head_of_ones_own(self) -> None:
        self.upstream.script(reply(["ab"], framing="close"), {"head": "HTTP/1.1 200\r\n\r\n", "framing": "close"})
        self.assertTrue(self.exchange().endswith(b"connection: close\r\n\r\nab"))
        self.assertEqual(self.exchange(), b"HTTP/1.1 200\r\n\r\n")

    def test_a_dropped_connection_looked_alive(self) -> None:
        self.upstream.script(reply(["ab"], end="drop"))
        connection = self.connect()
        connection.request("GET", "/")
        response = connection.getresponse()
        self.assertEqual((response.read(), response.will_close), (b"ab", False))
        assert connection.sock is not None
        self.assertEqual(connection.sock.recv(1), b"")

    def test_a_peer_that_leaves_is_noticed_in_a_pause(self) -> None:
        for script in (
            reply(delay=30),
            reply(["a", {"pause": 30}]),
            reply(["a"], end="hang"),
            reply(["a", "b"], gap=30),
        ):
            with self.subTest(script=script):
                self.upstream.reset()
                self.upstream.script(script)
                connection = self.connect()
                connection.request("GET", "/")
                self.upstream.wait_for_requests(1)
                left = time.monotonic()
                connection.close()
                [request] = self.upstream.wait_for_closed()
                self.assertLess((request.closed_at or 0) - left, 0.1)

    def test_scripts_are_used_up_unless_repeated(self) -> None:
        self.upstream.script(json_reply(1), json_reply(2), match="/a")
        self.upstream.script(json_reply(3), match="/b", repeat=True)
        paths = ("/a", "/b", "/a?x", "/a", "/b", "/c")
        self.assertEqual([self.ask({}, path=path)[1][:1] for path in paths], ["1", "3", "2", "{", "3", "{"])

    def test_a_script_that_cannot_be_played_is_refused(self) -> None:
        for wrong in ({"status": 200, "bogus": 1}, {"end": "soft"}, {"framing": "http2"}):
            with self.assertRaises(ValueError):
                self.upstream.script(wrong)

    def test_requests_are_recorded_as_they_came(self) -> None:
        connection = self.connect()
        connection.request("POST", "/p?q=1", iter([b"\xff", b"\x00"]), {"X-Two": "a"}, encode_chunked=True)
        connection.getresponse().read()
        [request] = self.upstream.requests()
        self.assertEqual((request.method, request.path, request.body), ("POST", "/p?q=1", b"\xff\x00"))
        self.assertIn(("X-Two", "a"), request.headers)
        self.assertIsNone(request.closed_at)

    def test_connections_are_counted_without_control(self) -> None:
        before, _ = self.upstream.connections()
        first, second = self.connect(), self.connect()
        for connection in (first, first, second):
            connection.request("GET", "/")
            connection.getresponse().read()
        numbers = [request.connection for request in self.upstream.requests()]
        self.assertEqual([number - numbers[0] for number in numbers], [0, 0, 1])
        self.assertEqual(self.upstream.connections()[0] - before, 2)

    def test_waiting_ends_with_its_timeout(self) -> None:
        with self.assertRaises(TimeoutError):
            self.upstream.wait_for_requests(1, timeout=0.01)

    def test_a_scripted_text_stream_is_a_whole_message(self) -> None:
        self.upstream.script(reply(anthropic_text_stream("one two three")))
        stream = self.ask({})[1]
        self.assertEqual(text_of(stream), "one two three")
        self.assertTrue(stream.endswith(sse(("message_stop", {}))))


class LifeTest(unittest.TestCase):
    """The process: frozen, killed, and back on its port."""

    def test_freeze_thaw_kill_and_start_again(self) -> None:
        with Upstream("scripted") as upstream:
            port = upstream.port
            upstream.freeze()
            with self.assertRaises(TimeoutError):
                upstream.control("GET", "/__connections", timeout=0.05)
            upstream.thaw()
            upstream.connections()
            upstream.kill()
            with self.assertRaises(ConnectionRefusedError):
                upstream.connections()
            upstream.start()
            self.assertEqual(upstream.port, port)
            upstream.connections()


class MessagesTest(UpstreamTest):
    """What the Anthropic and the Z.AI upstream have in common; run for both."""

    model: ClassVar[str] = ""

    @classmethod
    def setUpClass(cls) -> None:
        if cls is MessagesTest:
            raise unittest.SkipTest("has no upstream of its own")
        super().setUpClass()

    def test_it_echoes_streamed_and_whole(self) -> None:
        streamed = self.ask(turn("hello you", self.model, stream=True))[1]
        whole = json.loads(self.ask(turn("hello you", self.model))[1])
        self.assertEqual(text_of(streamed), f"{self.model} heard: hello you")
        self.assertEqual(whole["content"], [{"type": "text", "text": text_of(streamed)}])
        self.assertEqual((whole["stop_reason"], whole["usage"]["output_tokens"]), ("end_turn", 4))

    def test_a_tool_loop(self) -> None:
        body = turn("USETWO", self.model, tools=[BASH], thinking={"type": "adaptive"})
        message = json.loads(self.ask(body)[1])
        kinds = [block["type"] for block in message["content"]]
        self.assertEqual(kinds, ["thinking", "text", "tool_use", "tool_use"])
        self.assertEqual(message["stop_reason"], "tool_use")
        body["messages"] += result_turn(message["content"])
        self.assertIn("read the result: out-0 | out-1", self.ask(body)[1])

    def test_tool_input_comes_in_pieces(self) -> None:
        stream = self.ask(turn("USETOOL", self.model, tools=[BASH], stream=True))[1]
        parts = [event["delta"]["partial_json"] for event in events(stream) if "partial_json" in event.get("delta", {})]
        self.assertEqual(json.loads("".join(parts)), {"command": "echo hi-from-tool", "description": "say hi"})
        self.assertGreater(len(parts), 3)

    def test_the_limits_of_an_answer(self) -> None:
        long = json.loads(self.ask(turn("USELONG=500", self.model))[1])
        self.assertEqual((long["stop_reason"], long["usage"]["output_tokens"]), ("max_tokens", 100))
        stopped = json.loads(self.ask(turn("a b c", self.model, stop_sequences=["b"]))[1])
        self.assertEqual((stopped["stop_reason"], stopped["stop_sequence"]), ("stop_sequence", "b"))

    def test_the_default_answer_can_be_bent(self) -> None:
        self.upstream.script({"default": True, "take": 2, "end": "cut"})
        with self.assertRaises(http.client.IncompleteRead):
            self.ask(turn("x", self.model, stream=True))


class AnthropicTest(MessagesTest):
    """Anthropic's rules, in its words."""

    kind = "anthropic"
    headers = ANTHROPIC
    model = "claude-opus-5-5"

    def history(self, *messages: Json, **more: Any) -> Json:
        return {"model": self.model, "max_tokens": 4000, "messages": list(messages), **more}

    def test_head_and_headers(self) -> None:
        connection = self.connect()
        connection.request("HEAD", "/")
        response = connection.getresponse()
        self.assertEqual((response.status, response.read()), (200, b""))
        self.assertTrue((response.getheader("request-id") or "").startswith("req_"))
        self.assertIsNotNone(response.getheader("anthropic-ratelimit-tokens-remaining"))

    def test_credentials_and_version(self) -> None:
        body = turn("x", self.model)
        self.refused(body, 401, "invalid x-api-key", **{"x-api-key": "bad"})
        self.refused(body, 401, "authentication_error", **{"x-api-key": ""})
        self.refused(body, 400, "anthropic-version: header is required", **{"anthropic-version": ""})

    def test_fields(self) -> None:
        self.refused(turn("x", self.model, foo=1), 400, "foo: Extra inputs are not permitted")
        self.refused(turn("x", self.model, context_management={}), 400, "context_management: Extra inputs")
        self.refused(turn("x", "glm-5.2"), 404, "model: glm-5.2")
        self.refused({"model": self.model, "messages": []}, 400, "max_tokens: Field required")
        beta = {"anthropic-beta": "a-1,context-management-2025-06-27"}
        self.assertEqual(self.ask(turn("x", self.model, context_management={}), **beta)[0], 200)

    def test_ping_after_the_first_block_start_and_counts_at_the_start(self) -> None:
        got = events(self.ask(turn("x", self.model, stream=True))[1])
        self.assertEqual([event["type"] for event in got[:3]], ["message_start", "content_block_start", "ping"])
        self.assertGreater(got[0]["message"]["usage"]["input_tokens"], 10)

    def test_foreign_thinking_is_refused(self) -> None:
        foreign = {"type": "thinking", "thinking": "x", "signature": "SIGfake=="}
        said = {"role": "assistant", "content": [foreign, {"type": "text", "text": "y"}]}
        user = {"role": "user", "content": "x"}
        expected = "messages.1.content.0: Invalid `signature` in `thinking` block"
        self.refused(self.history(user, said, user), 400, expected)

    def test_calls_and_results_belong_together(self) -> None:
        user: Json = {"role": "user", "content": "x"}
        call: Json = {"type": "tool_use", "id": "a.b", "name": "Bash", "input": {}}
        self.refused(self.history(user, *result_turn([call])), 400, "tool_use.id: String should match pattern")
        call["id"] = "a"
        self.refused(self.history(user, *result_turn([call])[:1], user), 400, "`tool_use` ids were found without")
        loop = result_turn([call])
        self.refused(self.history(user, *loop, *loop), 400, "`tool_use` ids must be unique")
        self.refused(self.history(loop[1]), 400, "unexpected `tool_use_id` found in `tool_result` blocks")
        loop[1]["content"].insert(0, {"type": "text", "text": "first"})
        self.refused(self.history(user, *loop), 400, "`tool_use` ids were found without")

    def test_its_server_tools_and_hidden_thinking_come_back_unchanged(self) -> None:
        search = {"type": "web_search_20250305", "name": "web_search"}
        body = turn("USESEARCH USEREDACTED", self.model, tools=[BASH, search])
        said = json.loads(self.ask(body)[1])["content"]
        redacted, used, found = said[:3]
        kinds = ["redacted_thinking", "server_tool_use", "web_search_tool_result", "text"]
        self.assertEqual(kinds, [block["type"] for block in said])
        user = body["messages"][0]
        for content, words in (
            (said, ""),
            ([{**redacted, "data": "x"}, said[-1]], "Invalid `data` in `redacted_thinking` block"),
            ([used, said[-1]], "was found without a corresponding `web_search_tool_result` block"),
            ([found, said[-1]], "unexpected `tool_use_id` found in `web_search_tool_result` blocks"),
            ([{**used, "id": "call_1"}], "server_tool_use.id: String should match pattern"),
            ([{**used, "name": "analyze_image"}], "server_tool_use.name: Input should be"),
            ([used, {**found, "content": [{**found["content"][0], "encrypted_content": "x"}]}], "encrypted_content"),
        ):
            with self.subTest(words=words):
                messages = [user, {"role": "assistant", "content": content}, user]
                status, text = self.ask({**body, "messages": messages})
                self.assertEqual((400 if words else 200, True), (status, words in text), text)

    def test_blocks_have_their_places(self) -> None:
        user, call = {"role": "user", "content": "x"}, {"type": "tool_use", "id": "a", "name": "Bash", "input": {}}
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
        for role, block in (
            ("user", call),
            ("assistant", image),
            ("system", image),
            ("assistant", result_turn([call])[1]),
        ):
            after = [] if role == "system" else [user]
            spoken = {"role": role, "content": block.get("content", [block])}
            self.refused(self.history(user, spoken, *after), 400, " blocks ")

    def test_tools_that_wait_to_be_found(self) -> None:
        other = {**BASH, "name": "Other", "defer_loading": True}
        call = {"type": "tool_use", "id": "a", "name": "Bash", "input": {}}
        loop = result_turn([call])
        loop[1]["content"][0]["content"] = [{"type": "tool_reference", "tool_name": "Other"}]
        user = {"role": "user", "content": "x"}
        self.assertEqual(self.ask(self.history(user, *loop, tools=[BASH, other]))[0], 200)
        self.refused(self.history(user, *loop, tools=[BASH]), 400, "'Other' has no corresponding tool definition")
        self.refused(self.history(user, tools=[other]), 400, "All tools have defer_loading set")
        self.refused(self.history(user, tools=[{**BASH, "parameters": {}}]), 400, "parameters: Extra inputs")

    def test_empty_text(self) -> None:
        for text, words in (("", "non-empty"), (" ", "must contain non-whitespace text")):
            user = {"role": "user", "content": [{"type": "text", "text": text}]}
            self.refused(self.history(user), 400, words)

    def test_system_turns_have_their_places(self) -> None:
        user, system = {"role": "user", "content": "x"}, {"role": "system", "content": "note"}
        said = {"role": "assistant", "content": "y"}
        self.refused(self.history(user, system, user), 400, "messages.1: role 'system' must precede an 'assistant'")
        self.refused(self.history(system, user), 400, "messages.0: role 'system'")
        for good in ((user, system), (user, system, said, user)):
            self.assertEqual(self.ask(self.history(*good))[0], 200)

    def test_thinking_rules(self) -> None:
        enabled = {"type": "enabled", "budget_tokens": 1024}
        call = {"type": "tool_use", "id": "a", "name": "Bash", "input": {}}
        body = self.history({"role": "user", "content": "x"}, *result_turn([call]), thinking=enabled)
        self.refused(body, 400, "is not supported for this model")
        body["model"] = "claude-sonnet-4-5"
        self.refused(body, 400, "Expected `thinking` or `redacted_thinking`, but found `tool_use`")
        self.refused(self.history(thinking={"type": "disabled"}) | turn("x", self.model), 400, "thinking.type.disabled")

    def test_no_prefill(self) -> None:
        messages = ({"role": "user", "content": "x"}, {"role": "assistant", "content": "y"})
        self.refused(self.history(*messages), 400, "does not support assistant message prefill")

    def test_models_and_counting(self) -> None:
        listed = json.loads(self.ask(None, "GET", "/v1/models?limit=1000")[1])
        self.assertIn(self.model, [entry["id"] for entry in listed["data"]])
        self.assertEqual(self.ask(None, "GET", "/v1/models/nope")[0], 404)
        body = {"model": self.model, "messages": [{"role": "user", "content": "x" * 400}]}
        counted = json.loads(self.ask(body, path="/v1/messages/count_tokens")[1])
        self.assertGreater(counted["input_tokens"], 100)


class BoundThinkingTest(MessagesTest):
    """Anthropic with thinking that is bound to the conversation before it, and a small window."""

    kind = "anthropic"
    headers = ANTHROPIC
    model = "claude-sonnet-5-5"

    @classmethod
    def setUpClass(cls) -> None:
        cls.upstream = Upstream(cls.kind, "--bind-prefix", "--window", "500")
        cls.upstream.start()
        cls.addClassCleanup(cls.upstream.kill)

    def test_a_changed_prefix_is_refused(self) -> None:
        body = turn("USETOOL", self.model, tools=[BASH], thinking={"type": "adaptive"})
        message = json.loads(self.ask(body)[1])
        body["messages"] += result_turn(message["content"])
        self.assertEqual(self.ask(body)[0], 200)
        body["messages"][0]["content"] += "!"
        self.refused(body, 400, "The block is bound to a different conversation")

    def test_a_long_prompt(self) -> None:
        self.refused(turn("x" * 2400, self.model), 400, "tokens > 500 maximum")


class ZaiTest(MessagesTest):
    """Z.AI's own ways."""

    kind = "zai"
    path = "/api/anthropic/v1/messages"
    headers = ZAI
    model = "glm-5.2"

    def test_only_its_own_credentials(self) -> None:
        self.refused(turn("x", self.model), 401, "[1002]", authorization="Bearer sk-ant-1")
        self.refused(turn("x", self.model), 401, "[1002]", **{"x-api-key": "sk-ant-1"})

    def test_counts_come_at_the_end_and_nothing_pings(self) -> None:
        got = events(self.ask(turn("x", self.model, stream=True))[1])
        self.assertEqual(got[0]["message"]["usage"], {"input_tokens": 0, "output_tokens": 0})
        self.assertGreater(got[-2]["usage"]["input_tokens"], 10)
        self.assertNotIn("ping", [event["type"] for event in got])

    def test_what_it_cannot_take(self) -> None:
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
        user: Json = {"messages": [{"role": "user", "content": [image]}]}
        marked: Json = {"messages": [{"role": "assistant", "content": [MARKED]}]}
        server_tool = [{"type": "web_search_20250305", "name": "web_search"}]
        wrong: list[Json] = [user, marked, {"max_tokens": 131073}, {"safeguards": []}, {"tools": server_tool}]
        wrong += [{"tools": [{**BASH, "name": "x" * 65}]}, {"output_config": {"effort": "medium"}}, {"speed": "fast"}]
        document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
        wrong += [{"messages": [{"role": "user", "content": [document]}]}]
        for more in wrong:
            with self.subTest(more=more):
                self.refused(turn("x", self.model) | more, 400, '"code": "1210"')
        self.refused(turn("x", "glm-5.3", thinking={"type": "disabled"}), 400, "[1210]")
        self.refused(turn("x", "glm-9"), 400, '"code": "1211"')
        self.refused(turn(" ", self.model), 400, '"code": "1214"')
        self.assertEqual(self.ask(turn("x", "glm-4.6v") | user)[0], 200)

    def test_its_signature_must_come_back_unchanged(self) -> None:
        body = turn("USETOOL", self.model, tools=[BASH], thinking={"type": "adaptive"})
        body["messages"] += result_turn(json.loads(self.ask(body)[1])["content"])
        self.assertEqual(self.ask(body)[0], 200)
        body["messages"][1]["content"][0]["signature"] += "x"
        self.refused(body, 400, "[1210]")

    def test_a_wrong_path(self) -> None:
        self.assertEqual(json.loads(self.ask({}, path="/v1/messages")[1])["msg"], "404 NOT_FOUND")


class OllamaTest(UpstreamTest):
    """Ollama's native API."""

    kind = "ollama"
    path = "/api/chat"

    def lines(self, body: Json) -> list[Json]:
        status, text = self.ask(body)
        self.assertEqual(status, 200, text)
        return [json.loads(line) for line in text.splitlines()]

    def test_thinking_text_call_and_counts(self) -> None:
        tools = [{"type": "function", "function": {"name": "Bash", "parameters": {"type": "object"}}}]
        lines = self.lines(turn("USETOOL", "qwen3:8b", tools=tools))
        self.assertEqual("".join(line["message"].get("thinking", "") for line in lines), "Let me think about: USETOOL")
        self.assertEqual("".join(line["message"]["content"] for line in lines), "I will use Bash.")
        call = lines[-2]["message"]["tool_calls"][0]
        self.assertRegex(call["id"], "^call_[a-z0-9]{8}$")
        self.assertEqual(call["function"]["arguments"]["command"], "echo hi-from-tool")
        self.assertEqual((lines[-1]["done"], lines[-1]["done_reason"]), (True, "stop"))
        self.assertGreater(lines[-1]["prompt_eval_count"], 0)

    def test_a_tool_result_is_read_whole(self) -> None:
        body = turn("USETOOL", "llama3.2:3b", stream=False)
        body["messages"] += [{"role": "assistant", "content": ""}, {"role": "tool", "content": "hi"}]
        self.assertEqual(json.loads(self.ask(body)[1])["message"]["content"], "llama3.2:3b read the result: hi")

    def test_go_refuses_what_does_not_fit(self) -> None:
        user: Json = {"role": "user", "content": [{"type": "text", "text": "x"}]}
        body = {"model": "qwen3:8b", "messages": [user]}
        self.refused(body, 400, "cannot unmarshal array into Go struct field ChatRequest.messages.content")
        call = {"function": {"name": "Bash", "arguments": "{}"}}
        body["messages"] = [{"role": "assistant", "content": "", "tool_calls": [call]}]
        self.refused(body, 400, "cannot unmarshal string into Go struct field ToolCallFunction")
        self.refused(turn("x", "qwen3:8b", options={"num_ctx": "1"}), 400, "must be of type integer")

    def test_what_a_model_cannot_do(self) -> None:
        self.refused(turn("x", "llama3.2:3b", think=True), 400, "does not support thinking")
        late = [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]
        self.refused(turn("x", "qwen3:8b") | {"messages": late}, 500, "system message must be at the beginning")
        self.refused(turn("x", "qwen3:8b") | {"messages": [late[1]]}, 500, "no user query found in messages")
        self.refused(turn("x", "gemma3:4b", tools=[{"type": "function"}]), 400, "does not support tools")
        self.refused(turn("x", "nomic-embed-text"), 400, "does not support chat")
        self.refused(turn("x", "nope"), 404, "model 'nope' not found")
        self.refused(turn("x", "qwen3:8b", think="often"), 400, "invalid think value")

    def test_a_prompt_that_does_not_fit(self) -> None:
        body = turn("x" * 8000, "qwen3:8b", options={"num_ctx": 1000}, stream=False)
        status, text = self.ask(body | {"truncate": False, "shift": False})
        inner = json.loads(json.loads(text)["error"])["error"]
        self.assertEqual((status, inner["n_ctx"], inner["type"]), (400, 1000, "exceed_context_size_error"))
        self.refused(body | {"shift": False}, 400, "the prompt is longer than the context length")
        self.assertLess(json.loads(self.ask(body)[1])["prompt_eval_count"], 600)

    def test_hosts_paths_and_methods(self) -> None:
        self.assertEqual(self.ask(None, "GET", "/", host="example.com"), (403, ""))
        self.assertEqual(self.ask(None, "GET", "/"), (200, "Ollama is running"))
        self.assertEqual(self.ask({}, path="/v1/messages/count_tokens"), (404, "404 page not found"))
        self.assertEqual(self.ask(None, "GET", "/api/chat")[0], 405)

    def test_what_is_installed(self) -> None:
        tags = json.loads(self.ask(None, "GET", "/api/tags")[1])["models"]
        self.assertEqual(tags[0]["details"]["context_length"], 40_960)
        shown = json.loads(self.ask({"model": "qwen3:8b"}, path="/api/show")[1])
        self.assertEqual(shown["capabilities"], ["completion", "tools", "thinking"])
        self.assertEqual(shown["model_info"]["qwen.context_length"], 40_960)

    def test_an_old_version_with_models_of_its_own(self) -> None:
        with Upstream("ollama", "--version", "0.8.0") as old:
            model = {"name": "a:b", "capabilities": ["completion", "tools"], "context": 100}
            old.control("POST", "/__models", {"models": [model]})
            tools = [{"type": "function", "function": {"name": "Bash"}}]
            body = turn("USETOOL", "a:b", tools=tools, stream=False, think=True)
            message = old.control("POST", "/api/chat", body)["message"]
            self.assertNotIn("id", message["tool_calls"][0])
            self.assertEqual(old.control("GET", "/api/version"), {"version": "0.8.0"})


if __name__ == "__main__":
    unittest.main()
