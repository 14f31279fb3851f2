"""Everything that a client can send and a provider can answer, drawn at random.

Whatever must not be lost carries a word of its own, such as `w-17-x`, by which it is found again on the other side.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

from tests.upstreams.signatures import encrypted, redacted, signature
from tests.upstreams.zai import signature as zai_signature

Json = dict[str, Any]

PNG = "iVBORw0KGgo="
LONG_NAME = "mcp__a_server_with_quite_a_long_name__" + "read_" * 18
SCHEMA = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": {}}
TOOLS: list[Json] = [
    {"name": "Bash", "description": "Runs a command.", "input_schema": {**SCHEMA, "additionalProperties": False}},
    {"name": LONG_NAME, "description": "Reads.", "input_schema": SCHEMA},
    {"name": "Found", "description": "Waits.", "input_schema": SCHEMA, "defer_loading": True},
]
SEARCH: Json = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
ODD_IDS = ("call_0", "call_1", "functions.Bash:0", "", "chatcmpl-tool-1|2", "x" * 90)
ODD_NAMES = ("functions.Bash", "Bäsh", "web search")


class Author:
    """Writes for all sides. Every word is used once."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self._words = self._ids = 0

    def word(self) -> str:
        self._words += 1
        return f"w-{self._words}-x"

    def maybe(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def text(self) -> Json:
        return {"type": "text", "text": f'{self.word()} as é, "quoted" or {self.random.randrange(10)}'}

    # --- the client

    def said(self) -> str | list[Json]:
        """What a user says: text, and what is pasted."""
        if self.maybe(30):
            return self.word()
        pasted = [self.random.choice((self.image, self.document, self.search_result))() for _ in range(self.maybe(30))]
        return [self.text(), *pasted, *([self.text()] if self.maybe(20) else [])]

    def image(self) -> Json:
        kind = self.random.choice(("png", "jpeg", "gif", "webp", "url", "file"))
        if kind == "url":
            return {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
        if kind == "file":
            return {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
        return {"type": "image", "source": {"type": "base64", "media_type": f"image/{kind}", "data": PNG}}

    def document(self) -> Json:
        sources: Sequence[Json] = (
            {"type": "text", "media_type": "text/plain", "data": self.word()},
            {"type": "content", "content": [self.text(), self.image()]},
            {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            {"type": "url", "url": "https://example.com/a.pdf"},
        )
        source = self.random.choice(sources)
        more = {"context": self.word()} if source["type"] in ("text", "content") else {}
        return {"type": "document", "source": source, "title": self.word(), **more}

    def search_result(self) -> Json:
        return {"type": "search_result", "source": self.word(), "title": self.word(), "content": [self.text()]}

    def results(self, calls: Sequence[Json]) -> list[Json]:
        """What the tools gave back, in the order of the calls."""
        return [self.result(call) for call in calls]

    def result(self, call: Json) -> Json:
        contents: Sequence[Any] = (
            self.word(), self.word(), "", [], [self.text()], [self.text(), self.image()], [self.document()],
            [{"type": "tool_reference", "tool_name": "Found"}], [self.search_result()],
        )  # fmt: skip
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": self.random.choice(contents)}
        if self.maybe(20):
            result["is_error"] = self.maybe(50)
        if self.maybe(5):
            del result["content"]
        return result

    def reminder(self) -> Json:
        """A system turn in mid-conversation."""
        change = {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "Found"}}
        contents: Sequence[Any] = (self.word(), [self.text()], [self.text(), change], [change])
        return {"role": "system", "content": self.random.choice(contents)}

    def summary(self) -> list[Json]:
        """A conversation that begins anew with what the client made of the old one."""
        return [{"role": "user", "content": f"This session is being continued: {self.word()}"}]

    # --- the providers

    def calls(self, names: Sequence[str], most: int) -> list[tuple[str, Json]]:
        """Names and inputs of some calls, of none if nothing is offered."""
        count = self.random.choice((0, 0, 1, 1, 2, most)) if names else 0
        return [(self.random.choice(names), {"command": self.word()}) for _ in range(count)]

    def by_anthropic(self, body: Json, prefix: bytes, thinks: bool) -> list[Json]:
        """Blocks as Anthropic writes them: signed, with its own ids, its own tools and its own secrets."""
        names = [tool["name"] for tool in body.get("tools") or () if "type" not in tool]
        content: list[Json] = []
        if thinks:
            content.append(self.hidden(prefix) if self.maybe(15) else self.thought(prefix))
        if self.maybe(20) and SEARCH in (body.get("tools") or ()):
            content += self.search()
        content += [self.text()] if self.maybe(70) else []
        for number, (name, given) in enumerate(self.calls(names, 3)):
            if number and thinks and self.maybe(30):
                content.append(self.thought(prefix))
            content.append({"type": "tool_use", "id": f"toolu_01{self.hex(20)}", "name": name, "input": given})
        return content if content[-1:] and content[-1]["type"] not in ("thinking",) else [*content, self.text()]

    def thought(self, prefix: bytes) -> Json:
        thinking = self.word() if self.maybe(80) else ""
        return {"type": "thinking", "thinking": thinking, "signature": signature(thinking, prefix)}

    def hidden(self, prefix: bytes) -> Json:
        return {"type": "redacted_thinking", "data": redacted("secret", prefix)}

    def search(self) -> list[Json]:
        used = "srvtoolu_" + self.hex(20)
        page: Json = {"type": "web_search_result", "url": f"https://example.com/{self.word()}", "title": self.word()}
        found: Any = [{**page, "encrypted_content": encrypted(page["url"])}]
        if self.maybe(20):
            found = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
        return [
            {"type": "server_tool_use", "id": used, "name": "web_search", "input": {"query": self.word()}},
            {"type": "web_search_tool_result", "tool_use_id": used, "content": found},
        ]

    def by_zai(self, body: Json, thinks: bool) -> list[Json]:
        """Blocks as Z.AI writes them, and as it should not: unsigned, blank, with ids that repeat and odd names."""
        names = [tool["name"] for tool in body.get("tools") or ()]
        content: list[Json] = []
        if thinks:
            thinking = self.word()
            signed = zai_signature(thinking) if self.maybe(80) else ""
            content.append({"type": "thinking", "thinking": thinking, "signature": signed})
        content += [{"type": "text", "text": self.random.choice(("", "\n"))}] if self.maybe(15) else []
        content += self.analysis() if self.maybe(10) else []
        content += [self.text()] if self.maybe(70) else []
        for name, given in self.calls(names, 3):
            content.append({"type": "tool_use", "id": self.odd_id("call_"), "name": self.odd(name), "input": given})
        content = content or [self.text()]
        return [{**block, "index": 7} for block in content] if self.maybe(20) else content

    def analysis(self) -> list[Json]:
        """One of the tools that Z.AI runs on its own side."""
        used = self.random.choice(("call_9", "srvtoolu_" + self.hex(20)))
        found: Json = {"type": "tool_result", "content": [self.text()]}
        return [
            {"type": "server_tool_use", "id": used, "name": "analyze_image", "input": {"prompt": self.word()}},
            {"type": "web_search_tool_result", "tool_use_id": used, "content": [found]},
        ]

    def by_ollama(self, body: Json, thinks: bool) -> list[Json]:
        """Lines as Ollama writes them: whole calls, with ids or without."""
        names = [tool["function"]["name"] for tool in body.get("tools") or ()]
        said: list[Json] = [{"thinking": self.word()}] if thinks else []
        said += [{"content": text} for text in (self.text()["text"], "\n") if self.maybe(60)]
        for name, given in self.calls(names, 3):
            call: Json = {"function": {"name": self.odd(name), "arguments": given}}
            said.append({"content": "", "tool_calls": [call | ({"id": self.odd_id("")} if self.maybe(70) else {})]})
        end = {"done": True, "done_reason": "stop", "prompt_eval_count": 100, "eval_count": 10}
        lines = [{"message": {"role": "assistant", "content": "", **part}, "done": False} for part in said]
        return [*lines, {"message": {"role": "assistant", "content": self.word()}, "done": False}, end]

    def odd(self, name: str) -> str:
        return self.random.choice(ODD_NAMES) if self.maybe(10) else name

    def odd_id(self, prefix: str) -> str:
        return self.random.choice(ODD_IDS) if self.maybe(30) else prefix + self.hex(24)

    def hex(self, length: int) -> str:
        """One that was not written before, whatever the dice say."""
        self._ids += 1
        return f"{self.random.getrandbits(4 * length - 16):0{length - 4}x}{self._ids:04x}"


def calls_in(message: Json) -> list[Json]:
    """The calls of a message, with what else it holds left out."""
    content = message["content"]
    return [block for block in content if block["type"] == "tool_use"] if isinstance(content, list) else []


def lines(events: Sequence[Json]) -> bytes:
    return b"".join(json.dumps({"model": "m", **event}).encode() + b"\n" for event in events)
