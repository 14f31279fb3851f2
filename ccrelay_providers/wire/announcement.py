"""The relay's own line at the head of an answer that another model gives than the one that was asked for.

It is a text block of its own. On the way back it is taken out of every assistant turn that begins with it, by its form
alone, so that no model ever reads it, or learns to write it, and the same history always becomes the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from .blocks import text_block
from .messages import Json, MessagesRequest, dumps, loads
from .passthrough import event_data
from .sse import decode, encode

MARK = "[ccrelay: "
NOTHING = "(nothing)"
LONGEST_REASON = 200  # characters
_LINE = re.compile(r"\[ccrelay: [^\[\]\n]*\]\n*")


def line(answers: str, instead_of: str, reason: str) -> str:
    """`[ccrelay: zai/glm-5.2 answers instead of claude-opus-5-5; anthropic: Overloaded]`, and an empty line."""
    said = f"{answers} answers instead of {instead_of}; {reason[:LONGEST_REASON]}"
    shown = "".join(character if character.isprintable() else " " for character in said)
    return f"{MARK}{shown.replace('[', '(').replace(']', ')')}]\n\n"


def wanted(request: MessagesRequest) -> bool:
    """Whether somebody reads the answer from its beginning: no program that wants JSON, no turn that goes on."""
    body = request.body
    if (body.get("output_config") or {}).get("format") or request.headers.get("x-claude-code-agent-id"):
        return False
    kind = request.headers.get("x-claude-code-request-class") or "main"
    return kind == "main" and body["messages"][-1:] != [] and body["messages"][-1]["role"] != "assistant"


def in_stream(pieces: Iterable[bytes], text: str) -> Iterator[bytes]:
    """The same pieces with the line as their first block; the others move up by one.

    Raises UpstreamDisconnected at an event that is not JSON: not all are read before they come here.
    """
    for piece in pieces:
        out = []
        for name, data in decode([piece]):
            event = event_data(name, data)
            if isinstance(event.get("index"), int):
                event["index"] += 1
            out.append(encode(name, dumps(event)))
            if name == "message_start":
                out.append(_block(text))
        yield b"".join(out)


def _block(text: str) -> bytes:
    events: tuple[Json, ...] = (
        {"type": "content_block_start", "index": 0, "content_block": text_block("")},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
    )
    return b"".join(encode(event["type"], dumps(event)) for event in events)


def in_message(body: bytes, text: str) -> bytes:
    """The same message with the line as its first block."""
    message = loads(body)
    return dumps({**message, "content": [text_block(text), *message["content"]]})


def removed(raw: bytes) -> bytes:
    """A request's body without the lines of earlier answers; the very bytes if there are none. Raises nothing."""
    if MARK.encode() not in raw:
        return raw
    try:
        body = loads(raw)
    except ValueError:
        return raw  # who reads it next says what is wrong with it
    messages = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(messages, list):
        return raw
    kept = [_without(message) for message in messages]
    return (
        raw if all(new is old for new, old in zip(kept, messages, strict=True)) else dumps({**body, "messages": kept})
    )


def _without(message: Any) -> Any:
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return message
    content = message.get("content")
    if isinstance(content, str) and _LINE.match(content):
        return {**message, "content": _LINE.sub("", content, count=1) or NOTHING}
    if not isinstance(content, list) or not content or not isinstance(first := content[0], dict):
        return message
    text = first.get("text")
    if first.get("type") != "text" or not isinstance(text, str) or not _LINE.match(text):
        return message
    rest = _LINE.sub("", text, count=1)
    kept = [{**first, "text": rest}, *content[1:]] if rest else content[1:]
    return {**message, "content": kept or [text_block(NOTHING)]}
