"""ccrelay_providers/anthropic.py: what is sent, and what its errors mean. Streams are in transcripts/anthropic."""

from __future__ import annotations

import json
import unittest

import ccrelay_providers.anthropic as anthropic
from ccrelay_providers.wire import errors
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.messages import MessagesRequest
from ccrelay_providers.wire.provider import Model, Report, Target
from tests.transcripts import Answer
from tests.upstreams.rules import check_thinking_option

BODY = (
    b'{ "model" :"anthropic/claude-opus-5-5","max_tokens":9,"x": 1.0,"messages":[{"role":"user","content":"\\u00e9"}]}'
)
CLIENTS = [("Authorization", "Bearer sk-ant-oat01")]


def request(raw: bytes = BODY, headers: list[tuple[str, str]] | None = None, query: str = "") -> MessagesRequest:
    return MessagesRequest(raw, Headers(CLIENTS if headers is None else headers), "req_test", query)


def target(api_key: str | None = None) -> Target:
    return Target("anthropic", "anthropic", "https://api.anthropic.com", Model("claude-opus-5-5"), api_key=api_key)


class RequestTests(unittest.TestCase):
    def test_only_the_models_name_changes(self) -> None:
        sent = anthropic.prepare(request(), target(), Report()).body
        self.assertEqual(BODY.replace(b"anthropic/claude", b"claude"), sent)

    def test_its_own_name_changes_nothing(self) -> None:
        raw = BODY.replace(b"anthropic/", b"")
        self.assertIs(raw, anthropic.prepare(request(raw), target(), Report()).body)

    def test_the_query_travels(self) -> None:
        self.assertEqual(
            "/v1/messages?beta=true", anthropic.prepare(request(query="beta=true"), target(), Report()).path
        )
        counter = anthropic.count_tokens(request(query="beta=true"), target())
        self.assertEqual("/v1/messages/count_tokens?beta=true", counter and counter.path)

    def test_foreign_thinking_is_removed_and_counted(self) -> None:
        block = {"type": "thinking", "thinking": "t", "signature": "ccrelay:zai:s"}
        turns = [
            {"role": "assistant", "content": [block, {"type": "text", "text": "a"}]},
            {"role": "user", "content": "b"},
        ]
        raw = json.dumps({"model": "x", "max_tokens": 1, "messages": turns}).encode()
        report = Report()
        sent = json.loads(anthropic.prepare(request(raw), target(), report).body)
        self.assertEqual([{"type": "text", "text": "a"}], sent["messages"][0]["content"])
        self.assertEqual("thinking=1", report.dropped_header())

    def thinking(self, asked_for: str, model: str, thinking: dict[str, object], limit: int = 9000) -> object:
        """What becomes of it when a route sends a request for one model to another; held against the strict rules."""
        body = {"model": asked_for, "max_tokens": limit, "messages": [{"role": "user", "content": "x"}]}
        raw = json.dumps({**body, "thinking": thinking}).encode()
        to = Target("a", "anthropic", "https://a", Model(model))
        sent = json.loads(anthropic.prepare(request(raw), to, report := Report()).body)
        check_thinking_option(sent)
        self.assertEqual(report.dropped_header(), "" if sent.get("thinking") == thinking else "thinking_mode=1")
        return sent.get("thinking")

    def test_another_model_gets_a_kind_of_thinking_that_it_has(self) -> None:
        budget: dict[str, object] = {"type": "enabled", "budget_tokens": 4000, "display": "omitted"}
        adaptive: dict[str, object] = {"type": "adaptive"}
        off: dict[str, object] = {"type": "disabled"}
        for model, thinking, limit, becomes in (
            ("claude-haiku-5-5", budget, 9000, {"type": "adaptive", "display": "omitted"}),
            ("claude-haiku-4-5", budget, 9000, budget),
            ("claude-sonnet-4-6", budget, 9000, budget),
            ("claude-sonnet-4-6", adaptive, 9000, adaptive),
            ("claude-haiku-4-5-20251001", adaptive, 9000, {"type": "enabled", "budget_tokens": 8999}),
            ("claude-haiku-4-5", adaptive, 64000, {"type": "enabled", "budget_tokens": 16384}),
            ("claude-haiku-4-5", adaptive, 500, None),
            ("claude-opus-5-5", off, 9000, None),
            ("claude-haiku-5-5", off, 9000, off),
        ):
            with self.subTest(model=model, thinking=thinking):
                self.assertEqual(self.thinking("claude-3-x", model, thinking, limit), becomes)

    def test_the_model_that_was_asked_for_gets_what_the_client_says(self) -> None:
        """Claude Code mends it by itself, and Anthropic's own words say how."""
        raw = BODY.replace(b'"x": 1.0', b'"thinking":{"type":"enabled","budget_tokens":1024}')
        sent = json.loads(anthropic.prepare(request(raw), target(), Report()).body)
        self.assertEqual(sent["thinking"]["type"], "enabled")

    def test_nothing_is_reported_where_nothing_changed(self) -> None:
        """The words look foreign, the conversation is Anthropic's: a loop whose last call has no thinking."""
        call = {"type": "tool_use", "id": "toolu_1", "name": "a", "input": {}}
        answer = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ccrelay:zai:"}
        thought = {"type": "thinking", "thinking": "t", "signature": "own"}
        second = [{**call, "id": "toolu_2"}]
        turns = [
            {"role": "assistant", "content": [thought, call]},
            {"role": "user", "content": [answer]},
            {"role": "assistant", "content": second},
            {"role": "user", "content": [{**answer, "tool_use_id": "toolu_2"}]},
        ]
        body = {"model": "claude-opus-5-5", "max_tokens": 1, "messages": turns, "thinking": {"type": "enabled"}}
        raw, report = json.dumps(body).encode(), Report()
        self.assertIs(raw, anthropic.prepare(request(raw), target(), report).body)
        self.assertEqual("", report.dropped_header())

    def test_a_tool_loop_that_began_without_thinking_goes_on_without(self) -> None:
        call = {"type": "tool_use", "id": "toolu_1", "name": "a", "input": {}}
        answer = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
        turns = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [answer]}]
        body = {"model": "claude-opus-5-5", "max_tokens": 1, "messages": turns, "thinking": {"type": "enabled"}}
        report = Report()
        sent = json.loads(anthropic.prepare(request(json.dumps(body).encode()), target(), report).body)
        self.assertNotIn("thinking", sent)
        self.assertEqual("thinking_mode=1", report.dropped_header())


class HeaderTests(unittest.TestCase):
    def sent(self, headers: list[tuple[str, str]], api_key: str | None = None) -> dict[str, str]:
        prepared = anthropic.prepare(request(headers=headers), target(api_key), Report())
        return {name.lower(): value for name, value in prepared.headers}

    def test_the_unknown_passes_and_what_must_not_travel_does_not(self) -> None:
        headers = [
            *CLIENTS, ("anthropic-beta", "oauth-2025-04-20,x"), ("x-novel", "1"), ("Host", "h"), ("Cookie", "c"),
            ("Connection", "close, X-Hop"), ("X-Hop", "1"), ("X-Forwarded-For", "1"), ("x-ccrelay-token", "t"),
            ("Sec-Fetch-Site", "none"), ("Origin", "o"), ("Content-Length", "9"), ("Accept-Encoding", "br"),
        ]  # fmt: skip
        expected = {"authorization": "Bearer sk-ant-oat01", "anthropic-beta": "oauth-2025-04-20,x", "x-novel": "1",
                    "accept-encoding": "identity"}  # fmt: skip
        self.assertEqual(expected, self.sent(headers))

    def test_a_configured_key_replaces_the_clients_credential(self) -> None:
        sent = self.sent([*CLIENTS, ("X-Api-Key", "theirs")], api_key="ours")
        self.assertEqual({"x-api-key": "ours", "accept-encoding": "identity"}, sent)

    def test_no_credential_at_all_is_refused_before_anything_is_sent(self) -> None:
        with self.assertRaisesRegex(errors.AuthenticationFailed, "providers.anthropic.api_key"):
            self.sent([])


def refusal(kind: str, message: str = "Text") -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}).encode()


class ErrorTests(unittest.TestCase):
    def test_a_refusal_passes_as_it_came(self) -> None:
        raw = refusal("invalid_request_error")
        failure = anthropic.error(400, Headers([("Retry-After", "7"), ("x-other", "1")]), raw, target())
        self.assertIsInstance(failure, errors.UpstreamRefusal)
        self.assertEqual((raw, 7.0), (failure.body, failure.retry_after))
        self.assertEqual({"retry-after": "7"}, dict(failure.headers))

    def test_what_another_candidate_could_do_better(self) -> None:
        for status, try_next in (
            (400, False),
            (404, False),
            (413, False),
            (408, True),
            (429, True),
            (500, True),
            (529, True),
        ):
            with self.subTest(status=status):
                self.assertEqual(try_next, anthropic.error(status, Headers(), refusal("x"), target()).try_next)

    def test_the_relays_refused_key_does_not_send_the_user_to_login(self) -> None:
        failure = anthropic.error(401, Headers(), refusal("authentication_error"), target("ours"))
        self.assertIsInstance(failure, errors.KeyRefused)
        self.assertEqual((502, False), (failure.status, failure.should_retry))
        self.assertEqual(401, anthropic.error(401, Headers(), refusal("authentication_error"), target()).status)

    def test_limits_of_the_relays_key_are_not_the_users(self) -> None:
        limits = Headers([("anthropic-ratelimit-unified-status", "rejected")])
        self.assertEqual((), anthropic.error(429, limits, refusal("x"), target("ours")).headers)
        self.assertEqual(tuple(limits), anthropic.error(429, limits, refusal("x"), target()).headers)

    def test_an_error_event_means_what_its_type_says(self) -> None:
        for kind, status in (
            ("overloaded_error", 529),
            ("rate_limit_error", 429),
            ("api_error", 500),
            ("novel_error", 500),
        ):
            with self.subTest(kind=kind):
                self.assertEqual(status, anthropic.in_band(refusal(kind), target()).status)

    def test_a_200_without_a_message_is_a_failure(self) -> None:
        for raw in (b"", b"<html>", b"[]", b'{"content": 1}'):
            with self.subTest(raw=raw), self.assertRaises(errors.UpstreamDisconnected):
                anthropic.message(Answer(200, Headers(), [raw]), request(), target(), Report())


if __name__ == "__main__":
    unittest.main()
