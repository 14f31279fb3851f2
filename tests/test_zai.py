"""ccrelay_providers/zai.py: the request as each model takes it. What answers become is in transcripts/zai."""

from __future__ import annotations

import json
import unittest
from typing import Any

import ccrelay_providers.zai as zai
from ccrelay_providers.wire import errors
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.messages import MessagesRequest
from ccrelay_providers.wire.provider import Model, Report, Target, UpstreamRequest
from tests.transcripts import Answer

THINKING = [  # model, thinking, effort asked for → thinking, effort sent
    ("glm-5.3", "disabled", None, "adaptive", "low"),
    ("glm-5.3-flash", "disabled", "max", "adaptive", "low"),
    ("GLM-5.3", "adaptive", "medium", "adaptive", "high"),
    ("glm-5.2", "adaptive", "xhigh", "adaptive", "max"),
    ("glm-5.2", "enabled", "low", "enabled", "low"),
    ("glm-5", "disabled", "high", "disabled", None),
    ("glm-5-turbo", "adaptive", "unheard-of", "adaptive", None),
    ("glm-5.2", None, "medium", None, "high"),
    ("glm-4.7", "adaptive", "high", "enabled", None),
    ("glm-4.7", "enabled", None, "enabled", None),
    ("glm-4.5-air", "disabled", None, "disabled", None),
]


def request(headers: list[tuple[str, str]] | None = None, **fields: Any) -> MessagesRequest:
    body = {"model": "zai/x", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}], **fields}
    return MessagesRequest(json.dumps(body).encode(), Headers(headers or []), "req_test")


def target(model: str = "glm-5.2", **fields: Any) -> Target:
    return Target("zai", "zai", "https://api.z.ai/api/anthropic", Model(model, **fields), api_key="zai-key")


def prepared(asked: MessagesRequest, model: Target | None = None) -> tuple[UpstreamRequest, dict[str, Any], Report]:
    report = Report()
    upstream = zai.prepare(asked, model or target(), report)
    return upstream, json.loads(upstream.body), report


class HeaderTests(unittest.TestCase):
    def test_only_what_is_named_travels(self) -> None:
        asked = request([
            ("Authorization", "Bearer sk-ant-oat01"), ("x-api-key", "sk-ant"), ("Cookie", "c"), ("X-Forwarded", "1"),
            ("User-Agent", "claude-cli/2"), ("x-app", "cli"), ("anthropic-beta", "a,b"), ("anthropic-beta", "c"),
            ("accept-encoding", "gzip"), ("x-stainless-os", "Linux"), ("anthropic-version", "2024-01-01"),
        ])  # fmt: skip
        upstream, _, report = prepared(asked)
        self.assertEqual("/v1/messages", upstream.path)
        expected = {
            "authorization": "Bearer zai-key", "content-type": "application/json", "accept": "application/json",
            "accept-encoding": "identity", "anthropic-version": "2024-01-01", "user-agent": "claude-cli/2",
            "x-app": "cli",
        }  # fmt: skip
        self.assertEqual(expected, dict(upstream.headers))
        self.assertEqual("beta=3", report.dropped_header())

    def test_the_version_has_a_default(self) -> None:
        self.assertEqual("2023-06-01", dict(prepared(request())[0].headers)["anthropic-version"])


class BodyTests(unittest.TestCase):
    def test_unknown_fields_are_dropped_by_name(self) -> None:
        _, body, report = prepared(request(context_management={}, service_tier="auto", metadata={"user_id": "u"}))
        self.assertEqual({"model", "max_tokens", "messages", "metadata"}, set(body))
        self.assertEqual("context_management=1, service_tier=1", report.dropped_header())

    def test_an_empty_system_and_no_tools_are_left_out(self) -> None:
        _, body, _ = prepared(request(system="", tools=[]))
        self.assertEqual({"model", "max_tokens", "messages"}, set(body))

    def test_the_same_request_gives_the_same_bytes(self) -> None:
        asked = request(tools=[{"name": "b", "input_schema": {"z": 1, "a": 2}}], system="s")
        self.assertEqual(prepared(asked)[0].body, prepared(asked)[0].body)

    def test_the_clients_body_is_not_edited(self) -> None:
        asked = request(tools=[{"name": "b", "input_schema": {"$id": "x"}}], output_config={"effort": "medium"})
        before = json.dumps(asked.body)
        prepared(asked)
        self.assertEqual(before, json.dumps(asked.body))

    def test_max_tokens_are_held_within_the_models_range(self) -> None:
        for given, limit, sent in ((10, 8, 8), (8, 8, 8), (0, 8, 1), (10**6, None, 10**6)):
            with self.subTest(given=given, limit=limit):
                _, body, report = prepared(request(max_tokens=given), target(max_output=limit))
                self.assertEqual(sent, body["max_tokens"])
                self.assertEqual(int(sent != given), report.dropped["max_tokens"])


class ThinkingTests(unittest.TestCase):
    def test_each_model_gets_its_own_dialect(self) -> None:
        for model, kind, effort, sent_kind, sent_effort in THINKING:
            with self.subTest(model=model, kind=kind, effort=effort):
                fields: dict[str, Any] = {"output_config": {"effort": effort}} if effort else {}
                if kind:
                    fields["thinking"] = {"type": kind}
                _, body, _ = prepared(request(**fields), target(model))
                self.assertEqual({"type": sent_kind} if sent_kind else None, body.get("thinking"))
                self.assertEqual({"effort": sent_effort} if sent_effort else None, body.get("output_config"))

    def test_what_is_lost_is_counted(self) -> None:
        asked = request(
            thinking={"type": "enabled", "budget_tokens": 5}, output_config={"effort": "high", "task_budget": 1}
        )
        report = prepared(asked, target("glm-4.7"))[2]
        self.assertEqual("budget_tokens=1, effort=1, task_budget=1", report.dropped_header())


class ToolTests(unittest.TestCase):
    def test_the_root_of_a_schema_is_cleaned_and_nothing_below(self) -> None:
        inner = {"type": "object", "additionalProperties": False, "$comment": "kept"}
        schema = {"$schema": "s", "$id": "i", "$comment": "c", "additionalProperties": False, "type": "object"}
        tools = [{"name": "a", "input_schema": {**schema, "properties": {"p": inner}}}, {"name": "b"}]
        _, body, report = prepared(request(tools=tools))
        self.assertEqual({"type": "object", "properties": {"p": inner}}, body["tools"][0]["input_schema"])
        self.assertEqual({"type": "object", "properties": {}}, body["tools"][1]["input_schema"])
        self.assertEqual("schema=1", report.dropped_header())

    def test_a_choice_of_a_tool_that_is_gone_goes_too(self) -> None:
        search = {"type": "web_search_20250305", "name": "web_search"}
        for tools, choice, kept in (
            ([{"name": "a"}], {"type": "tool", "name": "a"}, True),
            ([{"name": "a"}], {"type": "any"}, True),
            ([{"name": "a"}, search], {"type": "tool", "name": "web_search"}, False),
            ([search], {"type": "any"}, False),
        ):
            with self.subTest(tools=tools, choice=choice):
                _, body, report = prepared(request(tools=tools, tool_choice=choice))
                self.assertEqual(kept, "tool_choice" in body)
                self.assertEqual(not kept, bool(report.dropped["tool_choice"]))


def message_start() -> bytes:
    usage = {"input_tokens": 0, "output_tokens": 0}
    return b"data: %b\n\n" % json.dumps({"type": "message_start", "message": {"usage": usage}}).encode()


class AnswerTests(unittest.TestCase):
    """What transcripts do not show."""

    def stream(self, *events: dict[str, Any]) -> tuple[bytes, Report]:
        answer = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
        report = Report()
        pieces = zai.stream(Answer(200, Headers(), [message_start(), answer]), request(), target(), report)
        return b"".join(pieces), report

    def test_counts_of_zero_are_no_counts(self) -> None:
        for usage in ({}, {"usage": {"input_tokens": 0, "output_tokens": 3}}):
            sent, report = self.stream({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, **usage})
            self.assertIsNone(report.input_tokens)
            self.assertGreater(report.estimate or 0, 0)
            self.assertEqual(2, sent.count(b'"input_tokens":%d' % (report.estimate or 0)))
            self.assertIn("input_tokens is an estimate", report.notes)

    def test_redacted_thinking_is_marked(self) -> None:
        block = {"type": "redacted_thinking", "data": "opaque"}
        start = {"type": "content_block_start", "index": 0, "content_block": block}
        stop = {"type": "content_block_stop", "index": 0}
        sent, _ = self.stream(start, stop, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
        self.assertIn(b'"ccrelay:zai:opaque"', sent)

    def test_a_signature_at_the_start_comes_before_the_stop(self) -> None:
        block = {"type": "thinking", "thinking": "", "signature": "77"}
        start = {"type": "content_block_start", "index": 0, "content_block": block}
        stop = {"type": "content_block_stop", "index": 0}
        sent, _ = self.stream(start, stop, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
        self.assertLess(
            sent.index(b'"signature_delta","signature":"ccrelay:zai:77"'), sent.index(b"content_block_stop")
        )

    def test_long_names_are_short_upstream_and_whole_again_for_the_client(self) -> None:
        name = "mcp__" + "a" * 120
        call = {"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}
        turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [call]}]
        choice = {"type": "tool", "name": name}
        asked = request(messages=[*turns, {"role": "user", "content": [result]}],
                        tools=[{"name": name, "input_schema": {}}], tool_choice=choice)  # fmt: skip
        _, body, _ = prepared(asked)
        short = body["tools"][0]["name"]
        self.assertEqual(64, len(short))
        self.assertEqual((short, short), (body["tool_choice"]["name"], body["messages"][1]["content"][0]["name"]))
        for given, expected in ((short, name), ("functions.Bash", "functions_Bash"), ("", "_")):
            block: dict[str, Any] = {"type": "tool_use", "id": "call_1", "name": given, "input": {}}
            whole = json.dumps({"content": [block], "stop_reason": "tool_use"}).encode()
            answer = json.loads(zai.message(Answer(200, Headers(), [whole]), asked, target(), Report()))
            self.assertEqual(expected, answer["content"][0]["name"])

    def test_ids_that_may_come_again_are_made_single(self) -> None:
        seen = set()
        long = "call_0123456789abcdef"
        for answer_id in ("a", "b"):
            calls: list[dict[str, Any]] = [
                {"type": "tool_use", "id": given, "name": "Bash", "input": {}} for given in ("call_0", "call_0", "")
            ]
            body = {"id": answer_id, "content": [*calls, {**calls[0], "id": long}], "stop_reason": "tool_use"}
            answer = Answer(200, Headers(), [json.dumps(body).encode()])
            ids = [block["id"] for block in json.loads(zai.message(answer, request(), target(), Report()))["content"]]
            self.assertEqual(long, ids.pop())
            seen.update(ids)
        self.assertEqual(6, len(seen))

    def test_blocks_have_the_fields_that_anthropic_knows(self) -> None:
        blocks: list[Any] = [
            {"type": "text", "text": "a", "index": 0},
            {"type": "thinking", "thinking": "b"},
            {"type": "tool_use", "id": "call_0123456789abcdef", "name": "Bash", "index": 2},
        ]
        whole = json.dumps({"content": blocks, "stop_reason": "tool_use"}).encode()
        answer = json.loads(zai.message(Answer(200, Headers(), [whole]), request(), target(), Report()))
        expected = [
            {"type": "text", "text": "a"},
            {"type": "thinking", "thinking": "b", "signature": "ccrelay:zai:"},
            {"type": "tool_use", "id": "call_0123456789abcdef", "name": "Bash", "input": {}},
        ]
        self.assertEqual(expected, answer["content"])

    def test_its_own_server_tools_do_not_pass_for_anthropics(self) -> None:
        used = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "analyze_image", "input": {}}
        found = {"type": "web_search_tool_result", "tool_use_id": "call_1", "content": []}
        whole = json.dumps({"content": [used, found], "stop_reason": "end_turn"}).encode()
        answer = json.loads(zai.message(Answer(200, Headers(), [whole]), request(), target(), Report()))
        self.assertEqual(["zai_toolu_1", "zai_call_1"],
                         [block.get("id") or block.get("tool_use_id") for block in answer["content"]])  # fmt: skip

    def test_what_surely_does_not_fit_is_told_before_anything_is_sent(self) -> None:
        with self.assertRaisesRegex(errors.ContextOverflow, "prompt is too long: 1[0-9]{3} tokens > 1000 maximum"):
            prepared(request(system="x" * 7200), target(context=1000))
        prepared(request(system="x" * 4000), target(context=1000))

    def test_a_call_that_never_came_does_not_keep_the_loop_waiting(self) -> None:
        sent, report = self.stream({"type": "message_delta", "delta": {"stop_reason": "tool_use"}})
        self.assertIn(b'"stop_reason":"end_turn"', sent)
        self.assertEqual(("end_turn", ["stop_reason was tool_use"]), (report.stop_reason, report.notes[:1]))

    def test_the_gateways_envelope_in_a_stream_is_an_error(self) -> None:
        with self.assertRaises(errors.KeyRefused):
            self.stream({"code": 1001, "msg": "unable to authenticate", "success": False})

    def test_an_overflow_in_a_stream_names_the_estimate(self) -> None:
        answer = Answer(200, Headers(), [b'data: {"error": {"code": "1261", "message": "Prompt too long"}}\n\n'])
        long = request(system="x" * 7200)
        with self.assertRaisesRegex(errors.ContextOverflow, "prompt is too long: 18[0-9][0-9] tokens > 1000 maximum"):
            list(zai.stream(answer, long, target(context=1000), Report()))

    def test_a_message_without_content_is_an_error(self) -> None:
        for body in (b"", b"[]", b"{}", b'{"content": null}', b"<html>"):
            with self.subTest(body=body), self.assertRaises(errors.UpstreamFailure):
                zai.message(Answer(200, Headers(), [body]), request(), target(), Report())


if __name__ == "__main__":
    unittest.main()
