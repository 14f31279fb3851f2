"""How an answer goes over the Messages API, whole or as events: the wire of the Anthropic and Z.AI upstreams."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .answers import Answer, Prompt, answer, mint, words
from .replies import Headers, Reply, Request, json_reply

Json = dict[str, Any]

STOP_REASONS = {"end": "end_turn", "length": "max_tokens", "sequence": "stop_sequence", "tool": "tool_use"}


class Refusal(Exception):
    """A request that an upstream does not take."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


@dataclass(frozen=True)
class Wire:
    """What differs between the upstreams that speak this wire."""

    message_id: str
    tool_prefix: str
    sign: Callable[[str], str]
    pings: bool
    counts_at_start: bool
    extra: Json = field(default_factory=dict)
    before_text: tuple[Json, ...] = ()


# --- reading a request


def prompt_of(body: Json, *, thinking: bool) -> Prompt:
    """What the model is shown of a Messages request."""
    last = last_turn(body["messages"])
    choice = body.get("tool_choice") or {}
    tools = [] if choice.get("type") == "none" else [tool["name"] for tool in body.get("tools") or ()]
    forced = choice.get("name", "") if choice.get("type") == "tool" else tools[0] if choice.get("type") == "any" else ""
    return Prompt(
        model=body["model"],
        texts=[block["text"] for block in last if block["type"] == "text"],
        results=[plain_text(block.get("content")) for block in last if block["type"] == "tool_result"],
        tools=tools,
        forced_tool=forced,
        thinking=thinking,
        max_tokens=body["max_tokens"],
        stop_sequences=tuple(body.get("stop_sequences") or ()),
        schema=((body.get("output_config") or {}).get("format") or {}).get("schema"),
    )


def last_turn(messages: list[Json]) -> list[Json]:
    """The blocks that the user sent since the last answer."""
    blocks: list[Json] = []
    for message in messages:
        if message["role"] == "assistant":
            blocks = []
        elif message["role"] == "user":
            blocks += blocks_of(message["content"])
    return blocks


def blocks_of(content: str | list[Json]) -> list[Json]:
    """A message's content as blocks."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def plain_text(content: str | list[Json] | None) -> str:
    """The text of a tool result; a block that has none is named."""
    return " ".join(block.get("text", f"[{block['type']}]") for block in blocks_of(content or []))


def asks_for_thinking(body: Json) -> bool:
    """Whether the request switches thinking on."""
    return (body.get("thinking") or {}).get("type") in ("enabled", "adaptive", "between_tools")


# --- counting


def count_tokens(request: Request) -> int:
    """The size of a prompt: a token for every four bytes."""
    return max(1, len(request.body) // 4)


def usage_of(request: Request, said: Answer) -> Json:
    """The counts of an answer. Half of a prompt that has a history and asks for caching was read from the cache."""
    total = count_tokens(request)
    cached = total // 2 if b'"cache_control"' in request.body and b'"assistant"' in request.body else 0
    return {
        "input_tokens": total - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": said.tokens,
    }


# --- writing an answer


def reply_to(request: Request, body: Json, wire: Wire, headers: Headers, *, thinking: bool) -> Reply:
    """The reply to a valid request, streamed or whole."""
    said = answer(prompt_of(body, thinking=thinking))
    message = message_of(said, body, wire) | {"usage": usage_of(request, said)}
    if not body.get("stream"):
        return json_reply(message, headers=headers)
    headers = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"), *headers)
    return Reply(headers=headers, pieces=tuple(map(event_text, events(message, wire))))


def message_of(said: Answer, body: Json, wire: Wire) -> Json:
    """The answer as a Message, without its usage."""
    return {
        "id": wire.message_id,
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": list(content(said, body, wire)),
        "stop_reason": STOP_REASONS[said.stop],
        "stop_sequence": said.stop_sequence,
        **wire.extra,
    }


def content(said: Answer, body: Json, wire: Wire) -> Iterator[Json]:
    """The blocks of an answer. Thinking that is not to be displayed keeps its signature only."""
    if said.thinking:
        shown = "" if body.get("thinking", {}).get("display") == "omitted" else said.thinking
        yield {"type": "thinking", "thinking": shown, "signature": wire.sign(shown)}
    yield from wire.before_text
    if said.text:
        yield {"type": "text", "text": said.text}
    for position, call in enumerate(said.calls):
        name = wire.tool_prefix + mint(24, wire.message_id, position)
        yield {"type": "tool_use", "id": name, "name": call.name, "input": call.arguments}


def events(message: Json, wire: Wire) -> Iterator[Json]:
    """The events of a message, in the order of the grammar."""
    yield {"type": "message_start", "message": opening(message, wire)}
    for index, block in enumerate(message["content"]):
        yield {"type": "content_block_start", "index": index, "content_block": empty_block(block)}
        if index == 0 and wire.pings:
            yield {"type": "ping"}
        for delta in deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    yield {"type": "message_delta", "delta": delta, "usage": message["usage"]}
    yield {"type": "message_stop"}


def opening(message: Json, wire: Wire) -> Json:
    """The message as message_start carries it: no content, no stop, and the counts that are known by then."""
    counts = {"input_tokens": 0, "output_tokens": 0}
    if wire.counts_at_start:
        counts = {**message["usage"], "output_tokens": 1}
    return {**message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": counts}


def empty_block(block: Json) -> Json:
    """The block as content_block_start carries it."""
    empty: Json = {"thinking": "", "signature": "", "text": "", "input": {}}
    return {name: empty.get(name, value) if name != "type" else value for name, value in block.items()}


def deltas(block: Json) -> Iterator[Json]:
    """The deltas of a block, a word each; a tool's input in pieces of nine characters after an empty one.

    Blocks of other kinds come whole, without any.
    """
    if block["type"] in ("tool_use", "server_tool_use"):
        text = json.dumps(block["input"])
        for part in ("", *(text[start : start + 9] for start in range(0, len(text), 9))):
            yield {"type": "input_json_delta", "partial_json": part}
        return
    kind = block["type"]
    for word in words(block[kind]) if kind in ("text", "thinking") else ():
        yield {"type": f"{kind}_delta", kind: word}
    if kind == "thinking":
        yield {"type": "signature_delta", "signature": block["signature"]}


def event_text(event: Json) -> str:
    """One server-sent event."""
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"
