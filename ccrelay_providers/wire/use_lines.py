"""`/use NAME`: a line by which the user tells the relay which model answers from here on. Pure.

It stands alone on the first line of a user's text. No model sees it, nor what the relay answered to it: a conversation
is sent as if neither had been said, the same way every time, so that prefixes stay the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .history import NOTHING
from .messages import Json

SAYS = "ccrelay: "
"""Begins everything that the relay says in a conversation."""
REFUSES = SAYS + "nothing has changed: "
"""Begins what it says to a line that it cannot follow, and that is not followed later either."""

_LINE = re.compile(r"\s*/use(?:[ \t]+(\S{1,200})[ \t]*(?:\r?\n|\Z)|\s*\Z)")
_WRAPPED = re.compile(r"(?s)<(system-reminder|(?:local-)?command-[a-z]+|bash-[a-z]+)>.*?</\1>")
_BESIDE = re.compile(  # what Claude Code puts beside the line: the name of a custom command, or that there is none
    r"\s*<command-(message|name)>/?([\w-]+:)?use</command-\1>"
    r"|\s*<system-reminder>\s*The user's message starts with the slash command /use[ ,]"
)


@dataclass(frozen=True, slots=True)
class UseLines:
    """The lines of a conversation, and its request without them.

    names: what was asked for and followed, in order. latest: what the last turn asks for; a line without a name asks
    for "". alone: whether the last turn says nothing else.
    """

    body: Json
    names: tuple[str, ...]
    latest: tuple[str, ...]
    alone: bool


def find(body: Json) -> UseLines | None:
    """None if there is no line."""
    reader = _Reader()
    for message in body["messages"]:
        reader.read(message)
    return reader.lines(body) if reader.found else None


class _Reader:
    """Reads a conversation message by message. `latest`, `turn` and `system` are of the turn not answered yet."""

    def __init__(self) -> None:
        self.found = False
        self._kept: list[Json] = []
        self._names: list[str] = []
        self._latest: list[str] = []
        self._turn: list[Any] = []
        self._system: list[Json] = []  # stand before the answer, or at the end

    def read(self, message: Json) -> None:
        if message["role"] == "user":
            self._user(message)
        elif message["role"] == "assistant":
            self._assistant(message)
        else:
            self._system.append(message)

    def _user(self, message: Json) -> None:
        names, content = _without(message["content"])
        self.found = self.found or bool(names)
        self._latest += names
        if names and all(map(_is_words, self._turn)):
            self._turn.clear()
        self._turn.append(_behind(message["content"], content) if names else content)
        if content or not names:
            self._kept.append({**message, "content": content} if names else message)

    def _assistant(self, message: Json) -> None:
        own = _own(message) if self._latest else ""
        if not own.startswith(REFUSES):
            self._names += self._latest
        if not own:
            self._keep_place()
            self._kept += [*self._system, message]
            self._system = []
        self._latest, self._turn = [], []

    def _keep_place(self) -> None:
        """Where somebody else answered to nothing but a line, or is to count it, roles still take turns."""
        if self._latest and (not self._kept or self._kept[-1]["role"] == "assistant"):
            self._kept.append({"role": "user", "content": NOTHING})

    def lines(self, body: Json) -> UseLines:
        alone = bool(self._latest) and not any(map(_says, self._turn))
        self._keep_place()
        names = tuple(name for name in self._names + self._latest if name)
        return UseLines({**body, "messages": self._kept + self._system}, names, tuple(self._latest), alone)


def _own(assistant: Json) -> str:
    """The relay's own words, if these are."""
    content = assistant["content"]
    if isinstance(content, list):
        content = content[0].get("text") if len(content) == 1 else None
    return content if isinstance(content, str) and content.startswith(SAYS) else ""


def _without(content: Any) -> tuple[list[str], Any]:
    """(names, content without their lines) of a user's message."""
    if isinstance(content, str):
        return _taken(content)
    names: list[str] = []
    kept = []
    for block in content:
        asked, text = _taken(block["text"]) if _is_text(block) else ([], "")
        names += asked
        if not asked:
            kept.append(block)
        elif text:
            kept.append({**block, "text": text})
    if names:
        kept = [block for block in kept if not (_is_text(block) and _BESIDE.match(block["text"]))]
    return names, kept


def _behind(content: Any, kept: Any) -> Any:
    """What is said with the last line. Words before it are of a message that nobody could answer: Claude Code sends
    both in one. With anything else before it, a result of a tool or an image, the turn goes on: all that is kept.
    """
    if isinstance(content, str):
        return kept
    last = max(number for number, block in enumerate(content) if _is_text(block) and _taken(block["text"])[0])
    return _without(content[last:])[1] if _is_words(content[:last]) else kept


def _is_words(content: Any) -> bool:
    return isinstance(content, str) or all(map(_is_text, content))


def _taken(text: str) -> tuple[list[str], str]:
    """The names in the lines that a text begins with, and the rest of it."""
    names = []
    while match := _LINE.match(text):
        names.append(match[1] or "")
        text = text[match.end() :]
    return names, text if text.strip() else ""


def _is_text(block: Json) -> bool:
    return block["type"] == "text" and isinstance(block.get("text"), str)


def _says(content: Any) -> bool:
    """Whether there is more than what the client wraps round: reminders, local commands and what they printed."""
    if isinstance(content, list):
        return any(not _is_text(block) or _says(block["text"]) for block in content)
    return bool(_WRAPPED.sub("", content).strip())
