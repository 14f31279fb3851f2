"""Paths, pages and descriptions as pure values; the endpoints themselves are in test_server."""

from __future__ import annotations

import io
import socket
import unittest
from collections.abc import Callable
from typing import Any
from unittest import mock

from ccrelay_providers.core.catalog import Candidate, Catalog
from ccrelay_providers.core.endpoints import (
    Endpoints,
    describe,
    description,
    normalised,
    page,
    picker_ids,
    window_words,
)
from ccrelay_providers.core.exchange import Downstream, Request
from ccrelay_providers.core.guard import Guard
from ccrelay_providers.core.health import Health
from ccrelay_providers.core.log import Entry, Log
from ccrelay_providers.core.relay import Relay
from ccrelay_providers.core.settings import Provider, Server
from ccrelay_providers.wire.errors import InvalidRequest
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.provider import Model

GLM = Model("glm-5.2", "GLM-5.2", 1_000_000, 131_072, vision=False, tools=True, thinking=True)
ZAI = Provider("zai", "zai")
LIST = [{"id": name} for name in "abcde"]


class TestPaths(unittest.TestCase):
    def test_normalised(self) -> None:
        for path, wanted in (
            ("/", "/"),
            ("", "/"),
            ("//", "/"),
            ("/v1/messages", "/v1/messages"),
            ("//v1///messages//", "/v1/messages"),
            ("/v1/v1/messages", "/v1/messages"),
            ("/v1/models/zai%2Fglm-5.2", "/v1/models/zai/glm-5.2"),
            ("/v1/models/ollama/qwen3%3A8b", "/v1/models/ollama/qwen3:8b"),
            ("/health%0d%0a", "/health\r\n"),
            ("/%ff", "/\ufffd"),
            ("*", "*"),
        ):
            self.assertEqual(normalised(path), wanted, path)


class TestPages(unittest.TestCase):
    def page(self, query: str) -> tuple[str, bool]:
        answer = page([dict(model) for model in LIST], query)
        ids = "".join(model["id"] for model in answer["data"])
        self.assertEqual((answer["first_id"], answer["last_id"]), (ids[0], ids[-1]) if ids else (None, None))
        return ids, answer["has_more"]

    def test_everything_without_a_limit(self) -> None:
        self.assertEqual(self.page(""), ("abcde", False))
        self.assertEqual(self.page("limit=1000&beta=true"), ("abcde", False))

    def test_forwards(self) -> None:
        self.assertEqual(self.page("limit=2"), ("ab", True))
        self.assertEqual(self.page("limit=2&after_id=b"), ("cd", True))
        self.assertEqual(self.page("limit=2&after_id=d"), ("e", False))
        self.assertEqual(self.page("limit=2&after_id=c"), ("de", False))
        self.assertEqual(self.page("after_id=e"), ("", False))

    def test_backwards(self) -> None:
        self.assertEqual(self.page("limit=2&before_id=e"), ("cd", True))
        self.assertEqual(self.page("limit=2&before_id=c"), ("ab", False))
        self.assertEqual(self.page("before_id=c"), ("ab", False))
        self.assertEqual(self.page("before_id=a"), ("", False))

    def test_between(self) -> None:
        self.assertEqual(self.page("after_id=a&before_id=d"), ("bc", False))
        self.assertEqual(self.page("after_id=a&before_id=e&limit=1"), ("b", True))
        self.assertEqual(self.page("after_id=d&before_id=b"), ("", False))

    def test_no_models_at_all(self) -> None:
        self.assertEqual(page([], "limit=1"), {"data": [], "has_more": False, "first_id": None, "last_id": None})

    def test_what_is_wrong_is_named(self) -> None:
        for query in (
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=ten",
            "limit=1.5",
            "limit=%C2%B2",
            "limit=" + "9" * 5000,
        ):
            with self.assertRaisesRegex(InvalidRequest, "^limit: expected a number from 1 to 1000$"):
                page([], query)
        for field in ("after_id", "before_id"):
            with self.assertRaisesRegex(InvalidRequest, f"^{field}: no model 'x' in the list$"):
                page([dict(model) for model in LIST], f"{field}=x")


class TestDescriptions(unittest.TestCase):
    def described(self, model: Model, provider: Provider = ZAI) -> dict[str, Any]:
        return describe(Candidate(provider, model))

    def test_a_model_in_anthropics_shape(self) -> None:
        model = self.described(GLM)
        self.assertEqual((model["type"], model["id"], model["display_name"]), ("model", "zai/glm-5.2", "GLM-5.2"))
        self.assertEqual((model["max_input_tokens"], model["max_tokens"]), (1_000_000, 131_072))
        self.assertEqual(model["description"], "Z.AI · 1M context · tools, thinking")
        self.assertEqual(model["capabilities"]["tool_use"], {"supported": True})
        self.assertEqual(model["capabilities"]["image_input"], {"supported": False})

    def test_the_picker_gets_an_id_that_it_keeps(self) -> None:
        own, second = Provider("anthropic", "anthropic"), Provider("work", "anthropic")
        offered = [
            (own, Model("claude-opus-5-5"), "claude-opus-5-5"),
            (own, Model("x"), "anthropic/x"),
            (second, Model("claude-opus-5-5"), "work/claude-opus-5-5"),
            (ZAI, GLM, "anthropic-relay/zai/glm-5.2"),
            (ZAI, Model("Claude-clone"), "zai/Claude-clone"),
        ]
        ids = picker_ids([Candidate(provider, model) for provider, model, _ in offered])
        self.assertEqual(ids, [wanted for *_, wanted in offered])

    def test_what_is_not_known_is_not_said_and_a_name_never_null(self) -> None:
        model = self.described(Model("x"))
        self.assertEqual((model["display_name"], model["description"], model["capabilities"]), ("x", "Z.AI", {}))

    def test_a_description_has_a_hundred_characters_at_most(self) -> None:
        long = description(Candidate(ZAI, Model("x", detail="d" * 300)))
        self.assertEqual(len(long), 100)

    def test_windows_in_words(self) -> None:
        words = [window_words(tokens) for tokens in (1_000_000, 1_048_576, 2_000_000, 200_000, 40_960, 8192)]
        self.assertEqual(words, ["1M", "1M", "2M", "200k", "41k", "8k"])


class TestBugs(unittest.TestCase):
    """What the relay itself gets wrong is said in its log, and to the client in the form that fits the moment."""

    def answer(self, messages: Callable[[Request, Downstream, Entry], None]) -> tuple[Downstream, str, str]:
        """The client's end, what the client got, and what the log says, when /v1/messages does that."""
        ours, theirs = socket.socketpair()
        relay, log = mock.Mock(spec=Relay), io.StringIO()
        relay.messages = messages
        health = Health(lambda: 0.0, lambda: 0.0)
        endpoints = Endpoints(relay, mock.Mock(spec=Catalog), Guard(Server()), health, Log("text", log), mock.Mock())
        downstream = Downstream(ours)
        with ours, theirs:
            endpoints.answer(Request("POST", "/v1/messages", "", Headers(), b"", "req_1"), downstream)
            return downstream, theirs.recv(65536).decode(), log.getvalue()

    def test_before_anything_was_sent_it_is_a_500(self) -> None:
        def messages(request: Request, downstream: Downstream, entry: Entry) -> None:
            raise KeyError("secret")

        downstream, got, log = self.answer(messages)
        self.assertTrue(got.startswith("HTTP/1.1 500 "), got)
        self.assertIn("ccrelay: internal error (KeyError); its log has the details", got)
        self.assertNotIn("secret", got)
        self.assertIn("Traceback", log)
        self.assertTrue(downstream.keep_alive)

    def test_in_the_middle_of_a_stream_it_is_an_event_and_no_second_head(self) -> None:
        def messages(request: Request, downstream: Downstream, entry: Entry) -> None:
            downstream.expect_stream([], 10, 10)
            downstream.commit([], b"")
            downstream.write(b"event: x\ndata: {}\n\n")
            raise KeyError

        _, got, log = self.answer(messages)
        self.assertEqual(got.count("HTTP/1.1"), 1, got)
        self.assertIn('event: error\ndata: {"type":"error","error":{"type":"api_error"', got)
        self.assertTrue(got.endswith("\r\n0\r\n\r\n"))
        self.assertIn("Traceback", log)


if __name__ == "__main__":
    unittest.main()
