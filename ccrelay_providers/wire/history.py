"""Making a conversation acceptable to Anthropic again. Pure: the same conversation gives the same bytes.

Provenance is in the signature of a thinking block. Anthropic's go through untouched. Any other provider's leaves the
relay as `ccrelay:TYPE:SIGNATURE`, and on the way back the block goes, with its own signature, to providers of that type
only. No state is needed: two copies of the relay, and a restarted one, agree. The other directions are in `plain`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from operator import is_
from typing import Any

from . import blocks
from .messages import Json
from .names import Ids, safe_name

MARK = "ccrelay:"
OMITTED = "[thinking by another model omitted]"
NOTHING = "(nothing)"
NO_OUTPUT = "(no output)"

_SERVER_ID = re.compile(r"srvtoolu_[a-zA-Z0-9_]+\Z")
_SERVER_RESULT_ID = re.compile(r"(?:srv|mcp)toolu_[a-zA-Z0-9_-]+\Z")
_OWN_CALL = re.compile(r"toolu_(?:[a-z]+_)?[a-zA-Z0-9]+\Z")  # of a cloud's Anthropic: toolu_vrtx_...


def mark(provider_type: str, signature: str) -> str:
    """A signature as it leaves the relay."""
    return f"{MARK}{provider_type}:{signature}"


def provenance(signature: Any) -> tuple[str | None, str]:
    """(type of the provider that made it, its own signature); None: nobody signed."""
    if not isinstance(signature, str) or not signature:
        return None, ""
    if not signature.startswith(MARK):
        return "anthropic", signature
    provider_type, _, own = signature.removeprefix(MARK).partition(":")
    return provider_type, own


# ---- the repair ----


def for_anthropic(body: Json, dropped: Counter[str]) -> Json:
    """The conversation without what Anthropic did not make. Its own blocks are neither edited nor moved.

    A message in which nothing changes is the very object that came.
    """
    repair = _Repair(dropped)
    messages = [repair.message(message) for message in body["messages"]]
    result = {**body, "messages": messages}
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled" and _tool_loop_without_thinking(messages, body["messages"]):
        # "Expected `thinking` or `redacted_thinking`, but found `tool_use`": no rule of this kind without thinking
        dropped["thinking_mode"] += 1
        result.pop("thinking")
        _without_clear_thinking(result)
    return result


class _Repair:
    """Goes through a conversation, one message after the other."""

    def __init__(self, dropped: Counter[str]) -> None:
        self._dropped = dropped
        self._ids = Ids()

    def message(self, message: Json) -> Json:
        self._ids.turn(message["role"])
        content = message["content"]
        if isinstance(content, str):
            return message
        kept = self._kept(content)
        if len(kept) == len(content) and all(map(is_, kept, content)):
            return message
        return {**message, "content": kept or [blocks.text_block(nothing_left(content))]}

    def _kept(self, content: list[Json]) -> list[Json]:
        return [new for block in content if (new := self._block(block)) is not None]

    def _block(self, block: Json) -> Json | None:
        kind = block["type"]
        if kind == "text":
            return block if str(block.get("text") or "").strip() else None  # always refused
        if kind == "tool_use":
            return self._call(block)
        if kind == "tool_result":
            return self._result(block)
        if _foreign_thinking_block(kind, block):
            self._dropped["thinking"] += 1
            return None
        if _foreign_server_tool(kind, block):
            self._dropped["server_tool"] += 1
            return blocks.server_tool(block)
        return block

    def _call(self, block: Json) -> Json:
        given = block.get("input")
        changed = {
            "id": self._ids.call(str(block.get("id"))),
            "name": safe_name(str(block.get("name"))),
            "input": given if isinstance(given, dict) else {"input": given},
        }
        return block if all(block.get(key) is value for key, value in changed.items()) else {**block, **changed}

    def _result(self, block: Json) -> Json:
        answered = self._ids.result(str(block.get("tool_use_id")))
        if block.get("tool_use_id") != answered:
            block = {**block, "tool_use_id": answered}
        content = block.get("content")
        if not isinstance(content, list) or not content:
            return block
        kept = [part for part in content if not blocks.is_blank(part)]
        return block if len(kept) == len(content) else {**block, "content": kept or NO_OUTPUT}


def nothing_left(content: list[Json]) -> str:
    """What stands for a turn of which nothing is kept: without it the order of roles would break."""
    return OMITTED if any("thinking" in block["type"] for block in content) else NOTHING


def _foreign_thinking_block(kind: str, block: Json) -> bool:
    if kind == "thinking":
        return provenance(block.get("signature"))[0] != "anthropic"
    return kind == "redacted_thinking" and provenance(block.get("data"))[0] != "anthropic"


def _foreign_server_tool(kind: str, block: Json) -> bool:
    """Z.AI has tools of its own that run on its side. Their ids are not Anthropic's, and refused by it."""
    if kind == "server_tool_use":
        return not _SERVER_ID.match(str(block.get("id")))
    return kind.endswith(blocks.RESULT_SUFFIX) and not _SERVER_RESULT_ID.match(str(block.get("tool_use_id")))


# ---- thinking mode ----


def _tool_loop_without_thinking(messages: list[Json], originals: list[Json]) -> bool:
    """Whether the running tool loop's last turn has no thinking at its head, and not because Anthropic gave none.

    Anthropic's own loops without interleaved thinking have it in the first turn only; they are left alone. Once
    thinking was switched off in a loop it stays off: Anthropic's next turn has none then.
    """
    loop = list(_running_loop(messages, originals))
    if not loop or not _holds(loop[0][0], "tool_use") or _starts_with_thinking(loop[0][0]):
        return False
    return not _starts_with_thinking(loop[-1][0]) or any(_made_elsewhere(original) for _, original in loop)


def _running_loop(messages: list[Json], originals: list[Json]) -> Iterator[tuple[Json, Json]]:
    """The assistant's turns back to what the user said last, as they are and as they came; the newest first.

    Neighbours of one role are one turn: a text of the user's behind the results does not end the loop.
    """
    speaking = results = False
    for message, original in zip(reversed(messages), reversed(originals), strict=True):
        if message["role"] == "user":
            results = _holds(message, "tool_result") or (results and not speaking)
            speaking = False
        elif message["role"] == "assistant":
            if not results:
                return
            speaking = True
            yield message, original


def _holds(message: Json, kind: str) -> bool:
    content = message["content"]
    return isinstance(content, list) and any(block["type"] == kind for block in content)


def _starts_with_thinking(message: Json) -> bool:
    content = message["content"]
    return isinstance(content, list) and content[:1] != [] and "thinking" in content[0]["type"]


def _made_elsewhere(message: Json) -> bool:
    """Whether a turn shows that another provider made it: by its thinking, or by the ids of its calls."""
    content = message["content"]
    return isinstance(content, list) and any(
        _foreign_thinking_block(block["type"], block)
        or (block["type"] == "tool_use" and not _OWN_CALL.match(str(block.get("id"))))
        for block in content
    )


def _without_clear_thinking(body: Json) -> None:
    management = body.get("context_management")
    if not isinstance(management, dict) or not isinstance(edits := management.get("edits"), list):
        return
    kept = [
        edit for edit in edits if not isinstance(edit, dict) or not str(edit.get("type")).startswith("clear_thinking")
    ]
    if kept:
        body["context_management"] = {**management, "edits": kept}
    else:
        body.pop("context_management")
