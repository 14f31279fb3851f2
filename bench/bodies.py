"""Request bodies in the shape of Claude Code's: instructions, tools, and a conversation of calls and results."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

Json = dict[str, Any]

WORDS = "the file def return import self request stream proxy value error test line config None True é → ✓".split()
TOOLS = "Task Bash Glob Grep Read Edit Write WebFetch TodoWrite WebSearch".split()
TEXT_SIZE = 100_000
SMALL = 40_000  # bytes; below it instructions and tools are short as well
RESULT = 3_000  # bytes of a tool's result where nothing else is asked for


@cache
def text() -> str:
    """Something like code and output: line breaks, quotes, backslashes, letters beyond ASCII."""
    rng, parts, size = random.Random(1), [], 0
    while size < TEXT_SIZE:
        line = "    " * rng.randrange(4) + " ".join(rng.choices(WORDS, k=rng.randrange(3, 14)))
        parts.append(line + rng.choice(["\n", "\n", "\\n\n", ' "x": 1,\n', "\t# note\n"]))
        size += len(parts[-1])
    return "".join(parts)


def passage(size: int, number: int = 0) -> str:
    """So many characters, another place of the text for another number."""
    start = number * 977 % TEXT_SIZE
    return (text() * (2 + size // TEXT_SIZE))[start : start + size]


def body(model: str, size: int, *, messages: int = 0, foreign: bool = False) -> bytes:
    """A streaming request of about `size` bytes; `messages` of them, or as many as a conversation of that size has.

    foreign: every turn of the model thought, and that thinking is marked as Z.AI's.
    """
    small = size < SMALL
    fixed = {
        "system": [{"type": "text", "text": passage(500 if small else 12_000)}],
        "tools": [tool(name, 100 if small else 1_000) for name in (["Read"] if small else TOOLS)],
        "metadata": {"user_id": json.dumps({"session_id": "00000000-0000-4000-8000-000000000000"})},
        "max_tokens": 32000,
        "stream": True,
    }
    left = max(0, size - len(dumps(fixed)))
    turns = max(1, (messages - 1) // 2 if messages else left // RESULT)
    talk = conversation(turns, left // turns, foreign)
    return dumps({"model": model, "messages": talk, **fixed})


def conversation(turns: int, size: int, foreign: bool) -> list[Json]:
    """A question, then calls and their results, about `size` bytes each pair."""
    talk: list[Json] = [{"role": "user", "content": [{"type": "text", "text": "Fix the failing test."}]}]
    for number in range(turns):
        pair = [assistant(number, foreign), result(number, "")]
        room = max(10, size - len(dumps(pair)))
        talk += [pair[0], result(number, fitting(room, number))]
    return talk


def fitting(size: int, number: int) -> str:
    """A passage that takes about `size` bytes as JSON."""
    return passage(int(size / escaped()), number)


@cache
def escaped() -> float:
    """Bytes of JSON a character of the text."""
    return len(dumps(text())) / len(text())


def assistant(number: int, foreign: bool) -> Json:
    call = {"type": "tool_use", "id": call_id(number), "name": "Read", "input": {"file_path": f"/repo/m{number}.py"}}
    thinking = {"type": "thinking", "thinking": passage(60, number), "signature": f"ccrelay:zai:{number:032x}"}
    return {"role": "assistant", "content": [*[thinking] * foreign, {"type": "text", "text": "I look."}, call]}


def result(number: int, content: str) -> Json:
    block = {"type": "tool_result", "tool_use_id": call_id(number), "content": content}
    return {"role": "user", "content": [block]}


def call_id(number: int) -> str:
    return f"toolu_{number:024d}"


def tool(name: str, size: int) -> Json:
    schema = {"type": "object", "properties": {"file_path": {"type": "string"}}, "required": ["file_path"]}
    return {"name": name, "description": passage(size), "input_schema": schema}


def dumps(value: Any) -> bytes:
    """As JavaScript writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
