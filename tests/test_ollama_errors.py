"""What goes wrong at Ollama, in every form it comes in, and what becomes of it."""

from __future__ import annotations

import json
import unittest
from typing import Any

import ccrelay_providers.ollama as ollama
from ccrelay_providers.wire.errors import (
    AbilityMissing,
    ModelRefused,
    Overloaded,
    RateLimited,
    RelayError,
    UpstreamDisconnected,
    UpstreamFailure,
    UpstreamRefusal,
)
from ccrelay_providers.wire.http1 import Headers
from tests.test_ollama_chat import QWEN

Json = dict[str, Any]

EXCEEDED = {
    "code": 400,
    "message": "request (16020 tokens) exceeds the available context size (8192 tokens), try increasing it",
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 16020,
    "n_ctx": 8192,
}
LONGER = "the prompt is longer than the context length currently available to the model; shorten the prompt, …"


class Errors(unittest.TestCase):
    def error(self, status: int, body: Any = None, **headers: str) -> RelayError:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = Headers((name.replace("_", "-"), value) for name, value in headers.items())
        return ollama.error(status, fields, raw, QWEN)

    def test_overflow_in_every_form(self) -> None:
        numbers = "prompt is too long: 16020 tokens > 8192 maximum"
        forms: list[Json] = [
            {"error": json.dumps({"error": EXCEEDED})},
            {"error": EXCEEDED},
            {"error": EXCEEDED["message"]},
        ]
        for form in forms:
            for status in (200, 400, 500):
                failure = self.error(status, form)
                self.assertEqual((failure.status, failure.type), (400, "invalid_request_error"))
                self.assertEqual(failure.message, numbers)
        self.assertEqual(self.error(400, {"error": LONGER}).message, "prompt is too long: 32769 tokens > 32768 maximum")

    def test_what_it_says_becomes_what_to_do(self) -> None:
        rows: list[tuple[int, str, type[RelayError], int, str]] = [
            (400, '"m" does not support thinking', AbilityMissing, 400, "set thinking = false"),
            (400, "registry.ollama.ai/library/m does not support tools", AbilityMissing, 400, "set tools = false"),
            (400, "this model does not support image input", AbilityMissing, 400, "set vision = false"),
            (400, '"m" does not support chat', UpstreamRefusal, 400, "embedding model"),
            (400, "missing request body", UpstreamRefusal, 400, "missing request body"),
            (400, "json: cannot unmarshal string into Go struct field", UpstreamRefusal, 400, "unmarshal"),
            (400, "this model only supports one image while more", UpstreamRefusal, 400, "only supports one image"),
            (400, "model is required", UpstreamRefusal, 400, "ollama: model is required"),
            (402, "balance is empty", ModelRefused, 502, "balance is empty"),
            (403, "ollama cloud is disabled: x", UpstreamFailure, 403, "allow it in Ollama's settings"),
            (403, "this model requires a subscription", ModelRefused, 502, "subscription"),
            (404, "model 'qwen3:8b' not found", UpstreamRefusal, 404, "qwen3:8b is not installed; run: ollama pull"),
            (404, 'model "m" not found, try pulling it first', UpstreamRefusal, 404, "ollama pull qwen3:8b"),
            (429, "you have reached your session usage limit", RateLimited, 429, "usage limit"),
            (499, "request canceled", UpstreamDisconnected, 502, "canceled"),
            (500, "model runner has unexpectedly stopped, this may be …", UpstreamFailure, 502, "a lower num_ctx"),
            (500, 'llama-server returned invalid tool call arguments for "X": …', UpstreamFailure, 502, 'for "X"'),
            (500, "system message must be at the beginning", UpstreamRefusal, 400, "at the beginning"),
            (500, "no user query found in messages", UpstreamRefusal, 400, "no user query"),
            (500, "model requires more system memory (9 GiB) than is available", ModelRefused, 502, "num_ctx"),
            (500, "llama-server process has terminated: x", ModelRefused, 502, "num_ctx"),
            (502, "unreachable", UpstreamFailure, 502, "connection to ollama.com"),
            (503, "server busy, please try again.  maximum pending requests exceeded", Overloaded, 529, "server busy"),
        ]
        for status, text, kind, wanted, part in rows:
            with self.subTest(text):
                failure = self.error(status, {"error": text})
                self.assertIs(type(failure), kind)
                self.assertEqual(failure.status, wanted)
                self.assertIn(part, failure.message)
                self.assertTrue(failure.message.startswith("ollama: "))

    def test_not_signed_in(self) -> None:
        failure = self.error(401, {"error": "unauthorized", "signin_url": "https://ollama.com/connect?name=x"})
        self.assertIsInstance(failure, ModelRefused)
        self.assertIn("https://ollama.com/connect?name=x", failure.message)
        self.assertIn("api_key", self.error(401, {"error": "unauthorized"}).message)

    def test_the_host_guard(self) -> None:
        failure = self.error(403, b"")
        self.assertEqual((failure.status, failure.type), (403, "permission_error"))
        self.assertIn("base_url", failure.message)

    def test_a_wrong_address(self) -> None:
        self.assertIn("is base_url right?", self.error(404, b"404 page not found").message)
        self.assertIn("is base_url right?", self.error(302, b"<html>").message)

    def test_retry_after(self) -> None:
        failure = self.error(429, {"error": "slow down"}, retry_after="7")
        self.assertEqual((failure.retry_after, failure.should_retry), (7.0, None))
        self.assertIs(self.error(429, {"error": "session usage limit"}).should_retry, False)

    def test_braces_in_what_it_says(self) -> None:
        self.assertEqual(self.error(400, {"error": "{x} {0}"}).message, "ollama: {x} {0}")


if __name__ == "__main__":
    unittest.main()
