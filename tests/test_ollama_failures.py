"""Every way in which Ollama fails, through the sockets: what the client is told, and whether the answer is whole."""

from __future__ import annotations

import base64
import json
import unittest
from contextlib import ExitStack
from typing import Any, ClassVar

from tests.relay import Json, Relay, parse_events, turn
from tests.upstreams import Upstream, json_reply, reply

TABLE = """
[providers.local]
type = "ollama"
base_url = "{url}"
num_ctx = 8192
models = [{{ id = "qwen3:8b", context = 40960, tools = true, thinking = true, vision = true }}]
"""
EXCEEDED = {
    "error": {
        "code": 400,
        "message": "request (16020 tokens) exceeds the available context size (8192 tokens), try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 16020,
        "n_ctx": 8192,
    }
}
BUSY = "server busy, please try again.  maximum pending requests exceeded"
TOO_LONG = "the prompt is longer than the context length currently available to the model; shorten the prompt, …"
LIMIT = "you (user) have reached your session usage limit, upgrade for higher limits: https://ollama.com/upgrade"

ROWS: list[tuple[int, Any, int, str, str]] = [
    (400, "missing request body", 400, "invalid_request_error", "local: missing request body"),
    (400, "json: cannot unmarshal array into Go struct field", 400, "invalid_request_error", "cannot unmarshal"),
    (400, "model is required", 400, "invalid_request_error", "model is required"),
    (400, '"qwen3:8b" does not support chat', 400, "invalid_request_error", "choose another model"),
    (400, TOO_LONG, 400, "invalid_request_error", "prompt is too long: 8193 tokens > 8192 maximum"),
    (400, json.dumps(EXCEEDED), 400, "invalid_request_error", "prompt is too long: 16020 tokens > 8192 maximum"),
    (400, "this model only supports one image while more than …", 400, "invalid_request_error", "one image"),
    (401, "unauthorized", 502, "api_error", "check providers.local.api_key"),
    (402, "this model uses extra usage only; balance is empty", 502, "api_error", "balance is empty"),
    (403, "ollama cloud is disabled: by you", 403, "permission_error", "Ollama's settings"),
    (404, "model 'qwen3:8b' not found", 404, "not_found_error", "run: ollama pull qwen3:8b"),
    (404, 'model "qwen3:8b" not found, try pulling it first', 404, "not_found_error", "run: ollama pull qwen3:8b"),
    (429, LIMIT, 429, "rate_limit_error", "https://ollama.com/upgrade"),
    (500, "model runner has unexpectedly stopped, this may be …", 502, "api_error", "a lower num_ctx"),
    (500, "no user query found in messages", 400, "invalid_request_error", "no user query"),
    (500, "llama-server process has terminated: exit status 2", 502, "api_error", "num_ctx"),
    (500, "model requires more system memory (9 GiB) than is available", 502, "api_error", "choose a smaller model"),
    (502, "cloud unreachable", 502, "api_error", "connection to ollama.com"),
    (503, BUSY, 529, "overloaded_error", "OLLAMA_MAX_QUEUE"),
]


def line(text: str = "", **fields: Any) -> str:
    return json.dumps({"message": {"role": "assistant", "content": text}, "done": False, **fields}) + "\n"


class Failures(unittest.TestCase):
    server: ClassVar[Upstream]
    relay: ClassVar[Relay]

    @classmethod
    def setUpClass(cls) -> None:
        stack = ExitStack()
        cls.addClassCleanup(stack.close)
        cls.server = stack.enter_context(Upstream("ollama"))
        cls.relay = stack.enter_context(Relay(TABLE.format(url=cls.server.url)))

    def setUp(self) -> None:
        self.server.reset()

    def answer(self, script: Json, **fields: Any) -> Any:
        self.server.script(script, match="/api/chat")
        return self.relay.messages({**turn("local/qwen3:8b"), **fields})

    def test_before_the_stream(self) -> None:
        for status, said, wanted, kind, words in ROWS:
            for streaming in (True, False):
                with self.subTest(said, streaming=streaming):
                    answer = self.answer(json_reply({"error": said}, status), stream=streaming)
                    error = answer.json["error"]
                    self.assertEqual((answer.status, error["type"]), (wanted, kind))
                    self.assertIn(words, error["message"])
                    self.assertEqual(answer.json["request_id"], answer.headers["request-id"])

    def test_who_is_not_signed_in_is_shown_where(self) -> None:
        place = "https://ollama.com/connect?name=host&key=abc"
        answer = self.answer(json_reply({"error": "unauthorized", "signin_url": place}, 401))
        self.assertEqual((answer.status, answer.headers["x-should-retry"]), (502, "false"))
        self.assertIn(f"to sign in, open {place}", answer.json["error"]["message"])

    def test_the_host_guard_and_a_wrong_address(self) -> None:
        for status, body, words in (
            (403, "", "refused the Host header"),
            (404, "404 page not found", "base_url right?"),
        ):
            plain = {"status": status, "headers": {"content-type": "text/plain"}, "pieces": [body] if body else []}
            answer = self.answer({**plain, "framing": "length"})
            self.assertEqual(answer.status, status)
            self.assertIn(words, answer.json["error"]["message"])

    def streamed(self, *pieces: str, end: str = "clean") -> tuple[list[Json], str]:
        """The events, and the text of all deltas."""
        script = reply(pieces, end=end, gap=0.02) | {"headers": {"content-type": "application/x-ndjson"}}
        events = parse_events(self.answer(script, stream=True).body)
        return events, "".join(event["delta"].get("text", "") for event in events if "delta" in event)

    def test_in_the_middle(self) -> None:
        """What came is kept, and the end says what happened; never a stop reason that nobody gave."""
        runner = json.dumps({"error": "an error was encountered while running the model"}) + "\n"
        overflow = json.dumps({"error": json.dumps(EXCEEDED)}) + "\n"
        broken = json.dumps({"error": 'llama-server returned invalid tool call arguments for "Bash": …'}) + "\n"
        for pieces, end, words in (
            ((runner,), "clean", "an error was encountered"),
            ((overflow,), "clean", "prompt is too long: 16020 tokens > 8192 maximum"),
            ((broken,), "clean", "invalid tool call arguments"),
            ((), "clean", "the answer ended without its last line"),  # the guard against equal tokens, too
            ((), "cut", "the connection was closed in the middle"),
            (("<html>\n",), "clean", "is base_url right?"),
        ):
            with self.subTest(words):
                events, text = self.streamed(line("one "), line("two"), *pieces, end=end)
                self.assertEqual(text, "one two")
                self.assertEqual(events[-1]["type"], "error")
                self.assertIn(words, events[-1]["error"]["message"])
                self.assertIn(events[-1]["error"]["type"], ("api_error", "overloaded_error"))
                self.assertNotIn("message_delta", [event["type"] for event in events])

    def test_characters_split_between_reads(self) -> None:
        words = {"message": {"role": "assistant", "content": "Grüße 🙂 日本"}, "done": False}
        raw = json.dumps(words, ensure_ascii=False).encode() + b"\n"
        place = raw.index("🙂".encode()) + 2
        halves = [{"b64": base64.b64encode(half).decode()} for half in (raw[:place], raw[place:])]
        script = reply([*halves, line(done=True, done_reason="stop")], gap=0.05)
        answer = self.answer(script | {"headers": {"content-type": "application/x-ndjson"}}, stream=True)
        self.assertEqual(answer.text, "Grüße 🙂 日本")


if __name__ == "__main__":
    unittest.main()
