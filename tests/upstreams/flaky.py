"""An upstream that fails at random, in every way that the relay says it can bear; else it counts.

A prompt `count ID N` is answered with the words `ID:0 ID:1 … ID:N`, so that the reader can tell a whole answer from one
that lacks a word, and one answer from two. It speaks the Messages API, and Ollama's under /api/chat.

    --seed N             what is left to chance
    --gap SECONDS        between two words
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from . import anthropic_text_stream
from .replies import Reply, Request, json_reply
from .scripted import arguments, serve

Json = dict[str, Any]
EVENTS = (("content-type", "text/event-stream"),)
LINES = (("content-type", "application/x-ndjson"),)
PROMPT = re.compile(r"count (\w+) (\d+)")


class Flaky:
    """Two of three requests are answered well."""

    def __init__(self, seed: int, gap: float) -> None:
        self._rng, self._gap, self._lock = random.Random(seed), gap, threading.Lock()

    def __call__(self, request: Request) -> Reply:
        """Answers one request, or does not."""
        if request.method != "POST":
            return json_reply({"models": [], "version": "0.30.0"})
        asked = json.loads(request.body)
        name, count = found(request.body.decode())
        with self._lock:
            fault = self._rng.choice(FAULTS) if self._rng.random() < 0.33 else None
            cut = self._rng.randrange(1, count + 5)
        if fault in REFUSALS:
            return REFUSALS[fault]()
        reply = self._whole(request, asked, [f"{name}:{number}" for number in range(count + 1)])
        if fault is None:
            return reply
        pieces = reply.pieces[:cut] if len(reply.pieces) > 1 else (reply.pieces[0][: cut * 10],)  # type: ignore[index]
        end = fault if len(reply.pieces) > 1 else "cut"  # one that hangs may do so for ten minutes there
        return replace(reply, pieces=pieces, end=end)

    def _whole(self, request: Request, asked: Json, words: list[str]) -> Reply:
        if request.path == "/api/chat":
            lines = tuple(ollama_lines(words))
            return Reply(200, LINES, lines if asked.get("stream", True) else ("".join(lines),), gap=self._gap)
        if asked.get("stream"):
            return Reply(200, EVENTS, tuple(anthropic_text_stream(" ".join(words))), gap=self._gap)
        content = [{"type": "text", "text": " ".join(words)}]
        usage = {"input_tokens": 9, "output_tokens": 9}
        return json_reply(
            {"type": "message", "content": content, "model": "m", "stop_reason": "end_turn", "usage": usage}
        )


def found(body: str) -> tuple[str, int]:
    """What the prompt asks for; the last one counts."""
    name, count = PROMPT.findall(body)[-1]
    return name, int(count)


def ollama_lines(words: list[str]) -> list[str]:
    """The lines of an answer of Ollama's."""
    said = [
        {"message": {"role": "assistant", "content": (" " if n else "") + word}, "done": False}
        for n, word in enumerate(words)
    ]
    last = {
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 9,
        "eval_count": 9,
    }
    return [json.dumps(line) + "\n" for line in [*said, last]]


def error(status: int, kind: str, *headers: tuple[str, str]) -> Reply:
    """A refusal in the shape of the Messages API."""
    return json_reply({"type": "error", "error": {"type": kind, "message": f"flaky: {status}"}}, status, headers)


REFUSALS: dict[str, Callable[[], Reply]] = {
    "429": lambda: error(429, "rate_limit_error", ("retry-after", "1")),
    "500": lambda: error(500, "api_error"),
    "529": lambda: error(529, "overloaded_error"),
    "html": lambda: Reply(200, (("content-type", "text/html"),), ("<html>busy</html>",), "length"),
    "nothing": lambda: Reply(close="before_head"),
    "reset at once": lambda: Reply(close="reset"),
    "slow": lambda: Reply(delay=1.5, close="before_head"),
}
FAULTS = [*REFUSALS, "cut", "reset", "hang", "cut", "reset"]

if __name__ == "__main__":
    parser = arguments()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gap", type=float, default=0.1)
    options = parser.parse_args()
    serve(Flaky(options.seed, options.gap), options.port)
