"""The attempt loop through the socket: the relay is a process, the upstreams are processes, the client reads bytes."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import time
import unittest
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, ClassVar

from ccrelay_providers.wire.errors import error_type
from tests.relay import CLIENT, Answer, Json, Relay, parse_events, text_of, turn
from tests.upstreams import Upstream, anthropic_error, anthropic_text_stream, json_reply, reply, sse

CONFIG = """
[server]
ping_interval = 0.2
[routing]
sticky = false
first_event_patience = {patience}
[routes]
both = ["anthropic/claude-sonnet-5-5", "zai/glm-5.2"]
turns = {{ targets = ["anthropic/claude-sonnet-5-5", "zai/glm-5.2"], strategy = "round-robin" }}
[providers.anthropic]
type = "anthropic"
base_url = "{anthropic}"
idle_timeout = 1
models = ["claude-sonnet-5-5"]
[providers.zai]
type = "zai"
base_url = "{zai}/api/anthropic"
api_key = "zai-secret"
models = [{{ id = "glm-5.2", context = 1000000, max_output = 131072, name = "GLM-5.2" }}]
[providers.ollama]
type = "ollama"
base_url = "{ollama}"
max_concurrent = 1
[providers.echo]
type = "echo"
"""
UPSTREAMS = ("anthropic", "zai", "ollama")
MODELS = ("claude-sonnet-5-5", "zai/glm-5.2", "ollama/qwen3:8b", "echo/echo")
BASH = {
    "name": "Bash",
    "description": "runs",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}},
}


class RelayTest(unittest.TestCase):
    """The three upstreams and a relay in front of them, shared by the tests of a class."""

    patience: ClassVar[float] = 10
    upstreams: ClassVar[dict[str, Upstream]]
    relay: ClassVar[Relay]

    @classmethod
    def setUpClass(cls) -> None:
        stack = ExitStack()
        cls.addClassCleanup(stack.close)
        cls.upstreams = {kind: stack.enter_context(Upstream(kind)) for kind in UPSTREAMS}
        urls = {kind: upstream.url for kind, upstream in cls.upstreams.items()}
        cls.relay = stack.enter_context(Relay(CONFIG.format(patience=cls.patience, **urls)))

    def setUp(self) -> None:
        for upstream in self.upstreams.values():
            upstream.reset()

    @property
    def anthropic(self) -> Upstream:
        return self.upstreams["anthropic"]

    @property
    def zai(self) -> Upstream:
        return self.upstreams["zai"]

    @property
    def ollama(self) -> Upstream:
        return self.upstreams["ollama"]

    def recover(self) -> None:
        """A provider that was made to fail rests a second; one success ends that."""
        self.setUp()
        for model in MODELS[:2]:
            self.assertEqual(self.relay.messages(turn(model)).status, 200)


class TestAnswers(RelayTest):
    def test_every_provider_answers_streaming_and_not(self) -> None:
        for model in MODELS:
            with self.subTest(model):
                whole, streamed = self.relay.messages(turn(model)), self.relay.messages(turn(model, stream=True))
                self.assertEqual((whole.status, streamed.status), (200, 200))
                self.assertEqual(whole.json["model"], model)
                self.assertEqual(streamed.events[0]["message"]["model"], model)
                self.assertEqual(whole.text, streamed.text)
                self.assertGreater(whole.json["usage"]["input_tokens"], 0)
                self.assertGreater(streamed.events[0]["message"]["usage"]["input_tokens"], 0)
                self.assertEqual(streamed.events[-1]["type"], "message_stop")

    def test_every_answer_says_who_gave_it(self) -> None:
        for model, provider, upstream_model in (
            ("claude-sonnet-5-5", "anthropic", "claude-sonnet-5-5"),
            ("anthropic-relay/zai/glm-5.2", "zai", "glm-5.2"),
            ("qwen3:8b", "ollama", "qwen3:8b"),
        ):
            with self.subTest(model):
                answer = self.relay.messages(turn(model, stream=True))
                self.assertEqual(answer.headers["x-ccrelay-provider"], provider)
                self.assertEqual(answer.headers["x-ccrelay-model"], upstream_model)
                self.assertEqual(answer.headers["x-ccrelay-attempts"], "1")
                self.assertRegex(answer.headers["request-id"], r"^req_\w+$")

    def test_a_tool_loop_with_every_provider(self) -> None:
        for model in MODELS[:3]:
            with self.subTest(model):
                ask = turn(model, "USETWO please", tools=[BASH], thinking={"type": "adaptive"})
                message = self.relay.messages(ask).json
                calls = [block for block in message["content"] if block["type"] == "tool_use"]
                self.assertEqual(message["stop_reason"], "tool_use")
                self.assertEqual(len({call["id"] for call in calls}), 2)
                results = [
                    {"type": "tool_result", "tool_use_id": call["id"], "content": f"r{n}"}
                    for n, call in enumerate(calls)
                ]
                ask["messages"] += [
                    {"role": "assistant", "content": message["content"]},
                    {"role": "user", "content": results},
                ]
                answer = self.relay.messages({**ask, "stream": True})
                self.assertIn("read the result: r0 | r1", answer.text)

    def test_a_session_moves_over_all_providers_with_its_thinking(self) -> None:
        messages: list[Json] = []
        for number, model in enumerate([*MODELS, *MODELS[:3]]):
            messages.append({"role": "user", "content": f"turn {number}"})
            ask = {"model": model, "max_tokens": 2000, "messages": messages, "thinking": {"type": "adaptive"}}
            answer = self.relay.messages({**ask, "stream": True})
            self.assertEqual(answer.status, 200, (model, answer.body))
            whole = self.relay.messages(ask)
            self.assertEqual(whole.status, 200, (model, whole.body))
            messages.append({"role": "assistant", "content": whole.json["content"]})


class TestAnthropic(RelayTest):
    def test_the_body_arrives_byte_for_byte(self) -> None:
        body = (
            b'{"max_tokens":16, "model":"claude-sonnet-5-5" ,"metadata":{"user_id":"caf\\u00e9 <&> 1.0"},'
            b'"messages":[{"role":"user","content":"\xc3\xa9"}]}\n'
        )
        self.assertEqual(self.relay.request("POST", "/v1/messages?beta=true", body).status, 200)
        [seen] = self.anthropic.requests()
        self.assertEqual((seen.body, seen.path), (body, "/v1/messages?beta=true"))

    def test_requests_in_a_row_on_one_connection_keep_to_themselves(self) -> None:
        """What is as in the head before is not read again: lengths, credentials and added fields must not stay."""
        connection = self.relay.http()
        self.addCleanup(connection.close)
        own, other = {**CLIENT}, {**CLIENT, "authorization": "Bearer another-client", "X-Added": "1"}
        alike = {**CLIENT, "authorization": CLIENT["authorization"][:-1] + "2"}
        asked = [(own, "hi"), (own, "long" * 99), (alike, "hi"), (other, "?"), (other, "hello"), (own, "hi again")]
        for headers, words in asked:
            connection.request("POST", "/v1/messages", json.dumps(turn("claude-sonnet-5-5", words)), headers)
            self.assertEqual(Answer(connection.getresponse()).status, 200)
        seen = self.anthropic.requests()
        expected = [(headers["authorization"], headers.get("X-Added"), words) for headers, words in asked]
        words_of = [each.json["messages"][0]["content"] for each in seen]
        came = [(each.header("authorization"), each.header("x-added")) for each in seen]
        self.assertEqual(expected, [(*headers, words) for headers, words in zip(came, words_of, strict=True)])
        self.assertEqual([str(len(each.body)) for each in seen], [each.header("content-length") for each in seen])

    def test_a_long_conversation_keeps_its_bytes_when_another_has_spoken(self) -> None:
        def sent(*messages: str) -> bytes:
            body = f'{{"model":"claude-sonnet-5-5","messages":[{",".join(messages)}],"max_tokens":16,"stream":false}}'
            answer = self.relay.request("POST", "/v1/messages", body.encode())
            self.dropped = answer.headers.get("x-ccrelay-dropped")
            self.assertEqual(answer.status, 200)
            return self.anthropic.requests()[-1].body.partition(b',"max_tokens"')[0]

        head = '{"model":"claude-sonnet-5-5","messages":['
        own = '{"role":"user","content":[{"type":"text" , "text":"caf\\u00e9 ' + "x" * 40_000 + '"}]}'
        foreign = '{"role":"assistant","content":[{"type":"thinking","thinking":"y","signature":"ccrelay:zai:1"},%s]}'
        said = '{"type":"text","text":"said"}'
        self.assertEqual(sent(own).decode(), f"{head}{own}]")
        for _ in range(2):  # looked for, and remembered
            kept = f'{{"role":"assistant","content":[{said}]}}'
            self.assertEqual(sent(own, foreign % said, own).decode(), f"{head}{own},{kept},{own}]")
            self.assertEqual(self.dropped, "thinking=1")

    def test_only_the_model_name_changes(self) -> None:
        body = (
            b'{"max_tokens":16,"model": "anthropic/claude-sonnet-5-5",'
            b'"messages":[{"role":"user","content":"\xe2\x82\xac \\ud83d\\ude00"}]}'
        )
        answer = self.relay.request("POST", "/v1/messages", body)
        [seen] = self.anthropic.requests()
        self.assertEqual(seen.body, body.replace(b"anthropic/", b""))
        self.assertEqual(answer.json["model"], "anthropic/claude-sonnet-5-5")

    def test_unknown_fields_headers_and_betas_pass_and_the_rest_does_not(self) -> None:
        self.anthropic.script(json_reply({"content": [], "model": "claude-sonnet-5-5"}))
        headers = {
            **CLIENT,
            "anthropic-beta": "oauth-2025-04-20,new-2027",
            "X-New-Header": "1",
            "cookie": "c=1",
            "x-forwarded-for": "10.0.0.1",
            "x-ccrelay-token": "t",
            "connection": "keep-alive, x-hop",
            "x-hop": "1",
        }
        self.relay.messages(turn("claude-sonnet-5-5", brand_new_field=[1]), headers)
        [seen] = self.anthropic.requests()
        self.assertEqual(seen.json["brand_new_field"], [1])
        self.assertEqual(seen.header("anthropic-beta"), "oauth-2025-04-20,new-2027")
        self.assertEqual(seen.header("x-new-header"), "1")
        self.assertEqual(seen.header("authorization"), "Bearer client-secret")
        for name in ("cookie", "x-forwarded-for", "x-ccrelay-token", "x-hop", "connection"):
            self.assertIsNone(seen.header(name), name)
        self.assertEqual([name.lower() for name, _ in seen.headers].count("host"), 1)

    def test_errors_pass_verbatim_with_their_headers(self) -> None:
        fault = {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"}
        body = json.dumps({"type": "error", "error": fault, "request_id": "req_up"})
        headers = {"request-id": "req_up", "x-should-retry": "false", "retry-after": "7"}
        self.anthropic.script({"status": 400, "headers": headers, "pieces": [body], "framing": "length"})
        answer = self.relay.messages(turn("claude-sonnet-5-5", stream=True))
        self.assertEqual((answer.status, answer.body.decode()), (400, body))
        self.assertEqual(answer.headers["request-id"], "req_up")
        self.assertEqual((answer.headers["x-should-retry"], answer.headers["retry-after"]), ("false", "7"))
        self.assertEqual(len(self.anthropic.requests()), 1)

    def test_rate_limits_of_the_clients_own_credential_pass(self) -> None:
        answer = self.relay.messages(turn("claude-sonnet-5-5"))
        self.assertTrue([name for name in answer.headers if name.startswith("anthropic-ratelimit-")])
        self.assertNotIn("anthropic-organization-id", answer.headers)

    def test_a_request_without_a_credential_is_told_what_to_do(self) -> None:
        answer = self.relay.messages(turn("claude-sonnet-5-5"), {"content-type": "application/json"})
        self.assertEqual((answer.status, answer.json["error"]["type"]), (401, "authentication_error"))
        self.assertIn("anthropic: the request carries no credential", answer.json["error"]["message"])
        self.assertEqual(self.anthropic.requests(), [])

    def test_count_tokens_is_the_upstreams(self) -> None:
        body = {"model": "claude-sonnet-5-5", "messages": [{"role": "user", "content": "count me"}]}
        answer = self.relay.request("POST", "/v1/messages/count_tokens?beta=true", body)
        [seen] = self.anthropic.requests()
        self.assertEqual(seen.path, "/v1/messages/count_tokens?beta=true")
        self.assertGreater(answer.json["input_tokens"], 0)
        self.assertNotIn("x-ccrelay-estimated", answer.headers)

    def test_count_tokens_is_an_estimate_elsewhere_and_says_so(self) -> None:
        for model in ("zai/glm-5.2", "ollama/qwen3:8b", "echo/echo"):
            body = {"model": model, "messages": [{"role": "user", "content": "count me " * 100}]}
            answer = self.relay.request("POST", "/v1/messages/count_tokens", body)
            self.assertEqual(answer.headers["x-ccrelay-estimated"], "true")
            self.assertAlmostEqual(answer.json["input_tokens"], 250, delta=60)


class TestConfiguredKey(unittest.TestCase):
    """An `anthropic` provider with a key of its own uses that, whatever the client sends."""

    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.upstream = stack.enter_context(Upstream("anthropic"))
        self.stack = stack

    def relay(self, key: str) -> Relay:
        config = f'[providers.claude]\ntype = "anthropic"\nbase_url = "{self.upstream.url}/v1/"\napi_key = "{key}"\n'
        return self.stack.enter_context(Relay(config))

    def test_it_takes_the_place_of_the_clients_credential(self) -> None:
        answer = self.relay("configured-key").messages(turn("claude-opus-5-5"), {**CLIENT, "x-api-key": "client-key"})
        [seen] = self.upstream.requests()
        self.assertEqual((answer.status, seen.path), (200, "/v1/messages?beta=true"))
        self.assertEqual((seen.header("x-api-key"), seen.header("authorization")), ("configured-key", None))

    def test_its_rate_limits_are_not_the_clients_business(self) -> None:
        answer = self.relay("configured-key").messages(turn("claude-opus-5-5", stream=True))
        self.assertFalse([name for name in answer.headers if name.startswith("anthropic-ratelimit-")])

    def test_a_refused_key_sends_nobody_to_login(self) -> None:
        relay = self.relay("bad-key")
        answer = relay.messages(turn("claude-opus-5-5"))
        self.assertEqual((answer.status, answer.json["error"]["type"]), (502, "api_error"))
        self.assertEqual(answer.headers["x-should-retry"], "false")
        self.assertIn("claude: refused the relay's key", answer.json["error"]["message"])
        self.assertNotIn("bad-key", relay.log + answer.body.decode())


class TestIsolation(RelayTest):
    def test_no_other_provider_sees_the_clients_credential(self) -> None:
        headers = {
            **CLIENT,
            "x-api-key": "client-secret",
            "cookie": "client-secret",
            "anthropic-beta": "oauth-2025-04-20",
            "x-forwarded-for": "client-secret",
            "user-agent": "claude-cli/2.1.328 (external, cli)",
        }
        for model, upstream in (("zai/glm-5.2", self.zai), ("ollama/qwen3:8b", self.ollama)):
            with self.subTest(model):
                self.assertEqual(self.relay.messages(turn(model), headers).status, 200)
                [seen] = [
                    request
                    for request in upstream.requests()
                    if request.method == "POST" and "show" not in request.path
                ]
                self.assertNotIn("client-secret", repr(seen.headers))
                self.assertIsNone(seen.header("anthropic-beta"))
        self.assertEqual(self.zai.requests()[0].header("authorization"), "Bearer zai-secret")
        self.assertEqual(self.zai.requests()[0].header("user-agent"), "claude-cli/2.1.328 (external, cli)")
        self.assertNotIn("client-secret", self.relay.log)
        self.assertNotIn("zai-secret", self.relay.log)

    def test_what_is_dropped_is_said(self) -> None:
        ask = turn(
            "zai/glm-5.2",
            context_management={"edits": []},
            tools=[{"type": "web_search_20250305", "name": "web_search"}],
        )
        answer = self.relay.messages(ask, {**CLIENT, "anthropic-beta": "a,b"})
        self.assertEqual(answer.headers["x-ccrelay-dropped"], "beta=2, context_management=1, server_tool=1")
        self.relay.wait_for_log("dropped beta=2, context_management=1, server_tool=1")


class TestStreaming(RelayTest):
    def test_every_event_leaves_before_the_next_arrives(self) -> None:
        """Each upstream read is one chunk at the client, and none waits for the following one."""
        pieces = anthropic_text_stream("one two three four five six")
        self.anthropic.script(reply(pieces, gap=0.1))
        with self.relay.stream(turn("claude-sonnet-5-5")) as stream:
            arrivals = [moment for moment, _ in stream.chunks()]
        gaps = [later - earlier for earlier, later in pairwise(arrivals[:6])]
        self.assertGreater(len(arrivals), 5)
        self.assertTrue(all(gap > 0.03 for gap in gaps), gaps)

    def test_the_headers_are_those_of_an_event_stream(self) -> None:
        with self.relay.stream(turn("claude-sonnet-5-5")) as stream:
            stream.read()
        self.assertEqual(stream.headers["content-type"], "text/event-stream; charset=utf-8")
        self.assertEqual(stream.headers["cache-control"], "no-cache")
        self.assertEqual(stream.headers["transfer-encoding"], "chunked")
        self.assertNotIn("content-encoding", stream.headers)

    def test_bytes_split_anywhere_make_the_same_answer(self) -> None:
        text = "".join(anthropic_text_stream("héllo → wörld 😀"))
        data = text.encode()
        singles = [{"b64": base64.b64encode(data[n : n + 1]).decode()} for n in range(len(data))]
        self.anthropic.script(reply([text]), reply(singles))
        whole, split = (self.relay.messages(turn("claude-sonnet-5-5", stream=True)) for _ in range(2))
        self.assertEqual(whole.body, split.body)
        self.assertEqual(whole.text, "héllo → wörld 😀")

    def test_two_requests_share_one_upstream_connection(self) -> None:
        connection = self.relay.http()
        for _ in range(3):
            connection.request("POST", "/v1/messages", json.dumps(turn("claude-sonnet-5-5", stream=True)), CLIENT)
            connection.getresponse().read()
        connection.close()
        self.assertEqual(len({request.connection for request in self.anthropic.requests()}), 1)

    def test_a_stale_connection_is_repeated_unseen(self) -> None:
        self.anthropic.script({"default": True, "end": "drop"})
        first = self.relay.messages(turn("claude-sonnet-5-5", stream=True))
        second = self.relay.messages(turn("claude-sonnet-5-5", stream=True))
        self.assertEqual((first.status, second.status), (200, 200))
        self.assertEqual(second.headers["x-ccrelay-attempts"], "1")

    def test_silence_is_filled_with_pings(self) -> None:
        start, *rest = anthropic_text_stream("late words")
        self.anthropic.script(reply([start, rest[0], {"pause": 0.9}, *rest[1:]]))
        with self.relay.stream(turn("claude-sonnet-5-5")) as stream:
            events = stream.read()
        self.assertGreaterEqual(sum(event["type"] == "ping" for event in events), 2)
        self.assertEqual(text_of(events), "late words")

    def test_compressed_though_not_asked_for(self) -> None:
        packed = gzip.compress("".join(anthropic_text_stream("squeezed")).encode())
        halves = [{"b64": base64.b64encode(half).decode()} for half in (packed[:20], packed[20:])]
        self.anthropic.script(reply(halves, headers={"content-type": "text/event-stream", "content-encoding": "gzip"}))
        answer = self.relay.messages(turn("claude-sonnet-5-5", stream=True))
        self.assertEqual(answer.text, "squeezed")
        self.assertNotIn("content-encoding", answer.headers)


class TestBrokenStreams(RelayTest):
    """After content: what came stays, then exactly one error event of a kind that the client can retry, and the end."""

    def tearDown(self) -> None:
        self.recover()

    def broken(self, *pieces: str, **options: Any) -> list[Json]:
        start = anthropic_text_stream("half an answer")[:4]
        self.anthropic.script(reply([*start, {"pause": 0.1}, *pieces], **options))
        with self.relay.stream(turn("claude-sonnet-5-5")) as stream:
            events = stream.read()
        self.assertTrue(text_of(events).startswith("half"))
        self.assertEqual([event["type"] for event in events].count("error"), 1)
        self.assertEqual(events[-1]["type"], "error")
        return events

    def test_cut_in_the_chunked_framing(self) -> None:
        events = self.broken(end="cut")
        self.assertEqual(events[-1]["error"]["type"], "api_error")
        self.assertTrue(events[-1]["error"]["message"].startswith("anthropic: "))

    def test_shorter_than_its_content_length(self) -> None:
        self.broken(framing="length", end="cut")

    def test_a_clean_end_without_message_stop(self) -> None:
        self.broken()

    def test_a_reset(self) -> None:
        self.broken(end="reset")

    def test_an_error_event_keeps_its_type(self) -> None:
        error = sse(("error", {"error": {"type": "overloaded_error", "message": "Overloaded"}}))
        events = self.broken(error)
        self.assertEqual(events[-1]["error"]["type"], "overloaded_error")

    def test_an_invalid_request_in_the_stream_is_an_api_error(self) -> None:
        error = sse(("error", {"error": {"type": "invalid_request_error", "message": "late"}}))
        self.assertEqual(self.broken(error)[-1]["error"]["type"], "api_error")

    def test_garbage_that_is_not_json(self) -> None:
        self.broken("event: content_block_stop\ndata: {nonsense\n\n")

    def test_an_upstream_that_falls_silent(self) -> None:
        events = self.broken(end="hang")
        self.assertEqual(events[-1]["error"]["type"], "timeout_error")
        self.assertIn("sent nothing for 1 s", events[-1]["error"]["message"])

    def test_the_connection_serves_the_next_request(self) -> None:
        self.anthropic.script(reply([*anthropic_text_stream("half")[:3], {"pause": 0.1}], end="cut"))
        connection = self.relay.http()
        for _ in range(2):
            connection.request("POST", "/v1/messages", json.dumps(turn("claude-sonnet-5-5", stream=True)), CLIENT)
            last = parse_events(connection.getresponse().read())[-1]
        self.assertEqual(last["type"], "message_stop")
        connection.close()

    def test_a_missing_message_stop_after_the_stop_reason_is_added(self) -> None:
        pieces = anthropic_text_stream("whole")
        self.anthropic.script(reply(pieces[:-1]))
        answer = self.relay.messages(turn("claude-sonnet-5-5", stream=True))
        self.assertEqual(answer.events[-1]["type"], "message_stop")
        self.relay.wait_for_log("message_stop was missing")


class TestFailover(RelayTest):
    """Before content the next candidate answers, and nobody sees that the first was asked."""

    def tearDown(self) -> None:
        self.recover()

    def assert_zai_answers(self, *, attempts: str = "2") -> None:
        for stream in (True, False):
            answer = self.relay.messages(turn("both", stream=stream))
            self.assertEqual((answer.status, answer.headers["x-ccrelay-provider"]), (200, "zai"), answer.body)
            self.assertIn(answer.headers["x-ccrelay-attempts"], (attempts, "1"))
            self.assertIn("glm-5.2 heard: hi", answer.text)
            self.assertNotIn("anthropic: ", answer.text)
        self.assertEqual(self.zai.requests()[-1].json["model"], "glm-5.2")

    def test_statuses_that_move_on(self) -> None:
        for status, kind in (
            (429, "rate_limit_error"),
            (500, "api_error"),
            (503, "api_error"),
            (529, "overloaded_error"),
        ):
            with self.subTest(status):
                self.anthropic.script(anthropic_error(status, kind, "no"), repeat=True)
                self.assert_zai_answers()
                self.anthropic.reset()
                self.recover()

    def test_statuses_that_do_not(self) -> None:
        for status in (400, 401, 403, 404, 413):
            with self.subTest(status):
                self.anthropic.script(anthropic_error(status, error_type(status), "your fault"))
                answer = self.relay.messages(turn("both", stream=True))
                self.assertEqual((answer.status, answer.json["error"]["message"]), (status, "your fault"))
                self.assertEqual(self.zai.requests(), [])

    def test_an_error_as_the_first_event_of_a_200(self) -> None:
        error = sse(("error", {"error": {"type": "overloaded_error", "message": "Overloaded"}}))
        start = anthropic_text_stream("x")[0]
        for pieces in ([error], [start, error], [start + error]):
            self.anthropic.reset()
            self.anthropic.script(reply(pieces), repeat=True)
            answer = self.relay.messages(turn("both", stream=True))
            self.assertEqual((answer.status, answer.headers["x-ccrelay-provider"]), (200, "zai"))
            self.assertEqual(answer.events[0]["message"]["model"], "both")

    def test_a_page_with_200(self) -> None:
        self.anthropic.script(reply(["<html>busy</html>"], headers={"content-type": "text/html"}), repeat=True)
        self.assert_zai_answers()

    def test_a_connection_closed_without_an_answer(self) -> None:
        self.anthropic.script({"close": "before_head"}, repeat=True)
        self.assert_zai_answers()

    def test_a_stream_that_ends_before_content(self) -> None:
        self.anthropic.script(reply(anthropic_text_stream("x")[:1]), repeat=True)
        answer = self.relay.messages(turn("both", stream=True))
        self.assertEqual(answer.headers["x-ccrelay-provider"], "zai")

    def test_a_dead_process(self) -> None:
        self.anthropic.kill()
        self.assert_zai_answers()
        self.anthropic.start()

    def test_with_nobody_left_all_reasons_are_told(self) -> None:
        self.anthropic.script(anthropic_error(529, "overloaded_error", "Overloaded"), repeat=True)
        self.zai.script(anthropic_error(500, "api_error", "boom"), repeat=True)
        for stream in (True, False):
            answer = self.relay.messages(turn("both", stream=stream))
            self.assertEqual((answer.status, answer.json["error"]["type"]), (529, "overloaded_error"))
            self.assertIn("anthropic: Overloaded", answer.json["error"]["message"])
            self.assertIn("zai: boom", answer.json["error"]["message"])
            self.assertEqual(answer.headers["x-ccrelay-attempts"], "2")
        self.anthropic.reset()
        self.zai.reset()

    def test_a_short_retry_after_is_waited_out_when_nobody_else_can_answer(self) -> None:
        limited = anthropic_error(429, "rate_limit_error", "slow down")
        limited["headers"] = {**limited.get("headers", {}), "retry-after": "1"}
        self.anthropic.script(limited)
        answer = self.relay.messages(turn("claude-sonnet-5-5", stream=True))
        self.assertEqual((answer.status, answer.headers["x-ccrelay-attempts"]), (200, "2"))
        self.anthropic.script(limited)
        self.assertEqual(self.relay.messages(turn("both")).headers["x-ccrelay-provider"], "zai")

    def test_a_longer_one_is_the_clients_to_wait(self) -> None:
        limited = anthropic_error(429, "rate_limit_error", "slow down")
        limited["headers"] = {**limited.get("headers", {}), "retry-after": "30"}
        self.anthropic.script(limited)
        answer = self.relay.messages(turn("claude-sonnet-5-5"))
        self.assertEqual((answer.status, answer.headers["retry-after"]), (429, "30"))
        self.assertEqual(len(self.anthropic.requests()), 1)

    def test_round_robin_takes_turns(self) -> None:
        seen = [self.relay.messages(turn("turns")).headers["x-ccrelay-provider"] for _ in range(4)]
        self.assertIn(seen, (["anthropic", "zai"] * 2, ["zai", "anthropic"] * 2))

    def test_an_unknown_claude_model_is_anthropics(self) -> None:
        answer = self.relay.messages(turn("claude-opus-9-9[1m]"))
        self.assertEqual(
            (answer.headers["x-ccrelay-provider"], answer.headers["x-ccrelay-model"]), ("anthropic", "claude-opus-9-9")
        )


class TestEarlyCommit(RelayTest):
    """After first_event_patience the client gets 200 and pings; a failure may still move to the next candidate."""

    patience = 0.15

    def tearDown(self) -> None:
        self.recover()

    def test_pings_come_before_the_upstream_answers(self) -> None:
        self.anthropic.script({"default": True, "delay": 0.6})
        with self.relay.stream(turn("claude-sonnet-5-5")) as stream:
            events = stream.read()
        self.assertEqual((stream.status, events[0]["type"], events[1]["type"]), (200, "ping", "ping"))
        self.assertIn(b": ccrelay provider=anthropic model=claude-sonnet-5-5 attempts=1", stream.body)
        self.assertIn("request-id", stream.headers)
        self.assertIn("heard: hi", text_of(events))

    def test_the_next_candidate_still_answers(self) -> None:
        self.anthropic.script(anthropic_error(529, "overloaded_error", "no", delay=0.4))
        with self.relay.stream(turn("both")) as stream:
            events = stream.read()
        self.assertEqual(events[0]["type"], "ping")
        self.assertIn(b": ccrelay provider=zai model=glm-5.2 attempts=2", stream.body)
        self.assertIn("glm-5.2 heard", text_of(events))

    def test_a_failure_is_reported_in_band(self) -> None:
        self.anthropic.script(anthropic_error(400, "invalid_request_error", "wrong", delay=0.4))
        with self.relay.stream(turn("claude-sonnet-5-5")) as stream:
            events = stream.read()
        self.assertEqual((stream.status, events[-1]["type"], events[-1]["error"]["type"]), (200, "error", "api_error"))

    def test_a_request_that_does_not_stream_just_waits(self) -> None:
        self.anthropic.script({"default": True, "delay": 0.4})
        self.assertEqual(self.relay.messages(turn("claude-sonnet-5-5")).status, 200)


class TestDeparture(RelayTest):
    """A client that goes away closes the upstream within 100 ms, wherever the request is."""

    def assert_closed_soon(self, upstream: Upstream, left: float) -> None:
        [request] = upstream.wait_for_closed(1)
        assert request.closed_at is not None
        self.assertLess(request.closed_at - left, 0.1)

    def test_in_the_middle_of_a_stream(self) -> None:
        self.anthropic.script(reply(anthropic_text_stream("words")[:3], end="hang"))
        stream = self.relay.stream(turn("claude-sonnet-5-5"))
        stream.read_until(b"content_block_start")
        stream.close()
        self.assert_closed_soon(self.anthropic, time.monotonic())
        self.assertIn("left", self.relay.wait_for_log("left"))

    def test_before_the_first_byte(self) -> None:
        for streaming in (True, False):
            with self.subTest(streaming=streaming):
                self.anthropic.reset()
                self.anthropic.script({"default": True, "delay": 30})
                stream = self.relay.stream(turn("claude-sonnet-5-5"))
                self.anthropic.wait_for_requests(1)
                stream.close()
                self.assert_closed_soon(self.anthropic, time.monotonic())

    def test_while_waiting_in_line(self) -> None:
        self.ollama.script(reply([], headers={"content-type": "application/x-ndjson"}, end="hang"), match="/api/chat")
        running = self.relay.stream(turn("ollama/qwen3:8b"))
        self.ollama.wait_for_requests(1)
        waiting = self.relay.stream(turn("ollama/qwen3:8b", "the second"))
        time.sleep(0.2)
        waiting.close()
        self.relay.wait_for_log("left")
        running.close()
        answer = self.relay.messages(turn("ollama/qwen3:8b", "the third"))
        self.assertIn("the third", answer.text)
        self.assertNotIn("the second", repr([request.body for request in self.ollama.requests()]))

    def test_with_a_pipelined_byte_in_front_of_its_end(self) -> None:
        self.anthropic.script(reply(anthropic_text_stream("words")[:3], end="hang"))
        stream = self.relay.stream(turn("claude-sonnet-5-5"))
        stream.read_until(b"content_block_start")
        stream.connection.sendall(b"\r\n")
        stream.close()
        self.assert_closed_soon(self.anthropic, time.monotonic())

    def test_while_the_connection_is_being_made(self) -> None:
        """A listener whose backlog is full answers no packet; the relay would wait ten seconds for it."""
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as stack:
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            port = listener.getsockname()[1]
            config = f'[providers.far]\ntype = "anthropic"\nbase_url = "http://127.0.0.1:{port}"\nmax_concurrent = 1\n'
            relay = stack.enter_context(Relay(config))
            stream = relay.stream(turn("claude-x"))
            time.sleep(0.3)
            stream.close()
            left = time.monotonic()
            relay.wait_for_log("left")
            self.assertLess(time.monotonic() - left, 1)

    def test_it_says_nothing_about_the_provider(self) -> None:
        self.test_in_the_middle_of_a_stream()
        self.assertEqual(self.relay.messages(turn("both")).headers["x-ccrelay-provider"], "anthropic")


if __name__ == "__main__":
    unittest.main()
