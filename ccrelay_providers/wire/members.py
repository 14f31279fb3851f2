"""Where things stand in the bytes of a large body, so that the rest of it need not be written anew. Pure.

A conversation in the order of Claude Code's keys is parsed message by message: one letter from beyond Latin-1 makes
every character of a text take two bytes, and of a message only those of that message.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

Span = tuple[int, int]
"""Where something begins and ends."""

_HEAD = re.compile(
    rb'[ \t\r\n]*\{[ \t\r\n]*"model"\s*:\s*("[A-Za-z0-9._:/@\[\]-]*")\s*,\s*"messages"\s*:\s*\[(?=\{"role":")'
)
_NEXT = b'},{"role":"'
_SPACE = re.compile(r"[ \t\r\n]*")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


decoder = json.JSONDecoder(parse_constant=_no_constant)
"""Knows no NaN and no Infinity."""


class Long(NamedTuple):
    """A body, and where its model and each of its messages stand, in bytes."""

    body: dict[str, Any]
    model: list[Span]
    messages: list[Span]


def parse_long(raw: bytes) -> Long | None:
    """A body in Claude Code's order and spelling: the model, the messages, the rest. None for every other.

    Where a message seems to end it does if JSON ends there: then no other reading is left.
    """
    head = _HEAD.match(raw)
    if head is None:
        return None
    try:
        messages, spans = _messages(raw, head.end())
        rest = raw[spans[-1][1] :]
        more = rest.startswith(b"],")
        behind = decoder.decode("{" + rest[1 + more :].decode())
    except ValueError:  # RecursionError is the caller's to tell
        return None
    if {"model", "messages"} & behind.keys() or more != bool(behind) or not rest.startswith(b"]"):
        return None
    body = {"model": head[1][1:-1].decode(), "messages": messages, **behind}
    return Long(body, [head.span(1)], spans)


def _messages(raw: bytes, position: int) -> tuple[list[Any], list[Span]]:
    """The messages from there on, and their spans. Raises ValueError."""
    messages: list[Any] = []
    spans: list[Span] = []
    while True:
        end = raw.find(_NEXT, position) + 1
        text = raw[position : end or len(raw)].decode()
        message, length = decoder.raw_decode(text)
        messages.append(message)
        if not end or length < len(text):
            spans.append((position, position + len(text[:length].encode())))
            return messages, spans
        spans.append((position, end))
        position = end + 1


# ---- every other body ----


def parse(text: str) -> tuple[dict[str, Any], list[Span]]:
    """Like json.loads for an object, with the spans of the values of its key `model`, in characters."""
    position = _skip(text, 0)
    if text[position : position + 1] != "{":
        raise json.JSONDecodeError("expected an object", text, position)
    body: dict[str, Any] = {}
    spans: list[Span] = []
    position = _skip(text, position + 1)
    closed = text[position : position + 1] == "}"
    while not closed:
        if text[position : position + 1] != '"':
            raise json.JSONDecodeError("expected a key in double quotes", text, position)
        key, position = decoder.raw_decode(text, position)
        start = _skip(text, _expect(text, _skip(text, position), ":"))
        body[key], end = decoder.raw_decode(text, start)
        if key == "model":
            spans.append((start, end))
        position = _skip(text, end)
        closed = text[position : position + 1] == "}"
        if not closed:
            position = _skip(text, _expect(text, position, ","))
    if _skip(text, position + 1) != len(text):
        raise json.JSONDecodeError("something follows the object", text, position + 1)
    return body, spans


def in_bytes(text: str, spans: list[Span]) -> list[Span]:
    offsets = [(len(text[:start].encode()), len(text[start:end].encode())) for start, end in spans]
    return [(offset, offset + length) for offset, length in offsets]


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None  # it matches the empty string
    return match.end()


def _expect(text: str, position: int, character: str) -> int:
    if text[position : position + 1] != character:
        raise json.JSONDecodeError(f"expected {character!r}", text, position)
    return position + 1
