"""What the scripted models say: the same for the same request, whichever upstream is asked.

The last words of the user decide:
    USETOOL     thinking (if asked for), a text and one call of Bash, or of the first tool there is
    USETWO      the same with two calls at once
    USELONG=N   a text of N words, a delta each
    USEREDACTED, USESEARCH   at Anthropic only: redacted thinking, a search on its side (if that tool is offered)
anything else is echoed. Tool results that stand at the end of the conversation are read back.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
LONG = re.compile(r"USELONG=(\d+)")
WORD = re.compile(r"\s*\S+\s*")

# The longest text that is echoed: a long prompt should not make a long answer.
ECHO = 400

COMMANDS = ("echo hi-from-tool", "echo hi-again")


@dataclass(frozen=True)
class Prompt:
    """What a model is shown of a request: how the conversation ends, and what it may do."""

    model: str
    texts: list[str]
    results: list[str]
    tools: list[str]
    forced_tool: str = ""
    thinking: bool = False
    max_tokens: int = 1 << 30
    stop_sequences: tuple[str, ...] = ()
    schema: Json | None = None

    @property
    def said(self) -> str:
        """Everything the user said since the last answer, without reminders."""
        return "\n\n".join(text for text in map(without_reminders, self.texts) if text)

    @property
    def last(self) -> str:
        """The last thing that the user said."""
        return next(filter(None, map(without_reminders, reversed(self.texts))), "")


@dataclass(frozen=True)
class Call:
    """A tool call."""

    name: str
    arguments: Json


@dataclass(frozen=True)
class Answer:
    """What the model says. `stop` is end, length, sequence or tool."""

    thinking: str
    text: str
    calls: list[Call]
    stop: str
    stop_sequence: str | None = None

    @property
    def tokens(self) -> int:
        """The tokens it cost, a word each."""
        spoken = len(words(self.thinking)) + len(words(self.text))
        return max(1, spoken + sum(4 + len(call.arguments) for call in self.calls))


def answer(prompt: Prompt) -> Answer:
    """The model's answer, within the limits that the request sets."""
    thinking = f"Let me think about: {(prompt.last or 'the result')[-ECHO:]}" if prompt.thinking else ""
    calls = wanted_calls(prompt)
    if calls:
        names = " and ".join(call.name for call in calls)
        return Answer(thinking, f"I will use {names}.", calls, "tool")
    return limited(thinking, speech(prompt), prompt)


def wanted_calls(prompt: Prompt) -> list[Call]:
    """The calls that the user's words, or the choice of a tool, bring about."""
    count = 2 if "USETWO" in prompt.said else 1 if "USETOOL" in prompt.said or prompt.forced_tool else 0
    if not prompt.tools or not count:
        return []
    name = prompt.forced_tool or ("Bash" if "Bash" in prompt.tools else prompt.tools[0])
    return [Call(name, {"command": command, "description": "say hi"}) for command in COMMANDS[:count]]


def speech(prompt: Prompt) -> str:
    """The text of an answer without tool calls."""
    if prompt.schema is not None:
        return json.dumps(instance(prompt.schema, prompt.last[-ECHO:]))
    if long := LONG.search(prompt.said):
        return " ".join(f"word{number}" for number in range(int(long[1])))
    if prompt.results:
        return f"{prompt.model} read the result: {' | '.join(prompt.results)[-ECHO:]}"
    return f"{prompt.model} heard: {prompt.last[-ECHO:]}"


def limited(thinking: str, text: str, prompt: Prompt) -> Answer:
    """The text up to the first stop sequence or the token limit, whichever comes first."""
    found = [(text.index(sequence), sequence) for sequence in prompt.stop_sequences if sequence in text]
    position, sequence = min(found, default=(len(text), None))
    kept = words(text[:position])
    if len(kept) > prompt.max_tokens:
        return Answer(thinking, "".join(kept[: prompt.max_tokens]), [], "length")
    return Answer(thinking, text[:position], [], "sequence" if sequence else "end", sequence)


def instance(schema: Json, text: str) -> Any:
    """The smallest value that fits a JSON schema, with `text` for strings."""
    if "enum" in schema:
        return schema["enum"][0]
    kinds: dict[str, Any] = {"string": text, "integer": 1, "number": 1.5, "boolean": True, "array": []}
    if schema.get("type", "object") != "object":
        return kinds.get(schema["type"])
    return {name: instance(part, text) for name, part in schema.get("properties", {}).items()}


def words(text: str) -> list[str]:
    """The text in pieces of one word, blanks kept: together they are the text again."""
    return WORD.findall(text) or ([text] if text else [])


def without_reminders(text: str) -> str:
    """A text without the notes that the client, or a relay, puts between the user's words."""
    return REMINDER.sub("", text).strip()


def mint(size: int, *seeds: object) -> str:
    """A hexadecimal name that is the same for the same seeds."""
    return hashlib.sha256(repr(seeds).encode()).hexdigest()[:size]
