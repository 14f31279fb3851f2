"""Ids and names of tools, as every provider takes them. The same word always becomes the same other word.

Nothing is remembered: what a name became is found again from the tools that the request carries.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

_GOOD_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_GOOD_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}\Z")
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]+")
_LONGEST = 128  # Anthropic's limit; names of MCP tools come near it
_HASH = 8


def safe_id(original: str) -> str:
    """The id itself if Anthropic takes it, else one made from it."""
    return original if _GOOD_ID.match(original) else "toolu_" + _digest(original)[:24]


def safe_name(original: str) -> str:
    """The name itself if Anthropic takes it, else the nearest it takes: models call tools that nobody offered."""
    if _GOOD_NAME.match(original):
        return original
    return (_NOT_IN_A_NAME.sub("_", original) or "_")[:_LONGEST]


def short_name(original: str, limit: int) -> str:
    """The name itself if it has at most `limit` characters, else its beginning and a hash of the whole."""
    if len(original) <= limit:
        return original
    return f"{original[: limit - _HASH - 1]}_{_digest(original)[:_HASH]}"


def long_name(short: str, tools: Iterable[dict[str, Any]], limit: int) -> str:
    """The offered tool's name that became `short`, or `short` itself."""
    if len(short) != limit:
        return short
    return next((name for tool in tools if short_name(name := str(tool.get("name")), limit) == short), short)


def _digest(word: str) -> str:
    return hashlib.sha256(word.encode("utf-8", "replace")).hexdigest()


class Ids:
    """The ids of one conversation's tool calls: sound, each once, and the same in a call and its result."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._waiting: dict[str, list[str]] = {}  # id → what the calls of this turn that have it became
        self._speaking = False

    def turn(self, role: str) -> None:
        """A result belongs to a call of the turn before it, and to no older one of the same id."""
        if role == "assistant" and not self._speaking:
            self._waiting = {}
        self._speaking = role == "assistant"

    def call(self, original: str) -> str:
        safe = safe_id(original)
        count = 1
        while safe in self._used:
            count += 1
            safe = safe_id(f"{original}#{count}")
        self._used.add(safe)
        self._waiting.setdefault(original, []).append(safe)
        return safe

    def result(self, original: str) -> str:
        """Of several calls of one id, each result takes the next."""
        waiting = self._waiting.get(original)
        if not waiting:
            return safe_id(original)
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]
