"""Making one provider's conversation acceptable to another. Pure: the same conversation gives the same bytes.

Provenance is in the signature of a thinking block. Anthropic's go through untouched. Any other provider's leaves the
relay as `ccrelay:TYPE:SIGNATURE`, and on the way back the block goes, with its own signature, to providers of that type
only. No state is needed: two copies of the relay, and a restarted one, agree.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from . import blocks
from .messages import Json

MARK = "ccrelay:"
OMITTED = "[thinking by another model omitted]"
BILLING = "x-anthropic-billing-header:"
_GOOD_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_OWN_ID = re.compile(rb'"tool_use_id"\s*:\s*"(?:srv)?toolu_[a-zA-Z0-9_-]*"')
_UNSIGNED = re.compile(rb'"signature"\s*:\s*(?:""|null)')
_SIGNATURE = re.compile(rb'"signature"\s*:')
_IS_TYPE = re.compile(rb':\s*"(redacted_)?\Z')
_ENABLED = re.compile(rb'thinking"\s*:\s*\{[^{}]*"type"\s*:\s*"enabled"')


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


# ---- towards Anthropic ----


def may_need_repair(raw: bytes) -> bool:
    """Whether a body could hold something that another provider made. Looks at bytes; True does not mean it does."""
    if any(not _OWN_ID.match(raw, place) for place in _places(raw, b'"tool_use_id"')):
        return True
    types = []
    for place in _places(raw, b'thinking"'):
        if _ENABLED.match(raw, place):  # a tool loop that began elsewhere may have no thinking at all
            return True
        if is_type := _IS_TYPE.search(raw, max(0, place - 32), place):
            types.append(is_type[1])
    if not types:
        return False
    return MARK.encode() in raw or bool(_UNSIGNED.search(raw)) or types.count(None) > len(_SIGNATURE.findall(raw))


def _places(raw: bytes, word: bytes) -> Iterator[int]:
    """Where the word begins. bytes.find needs a third of the time of an expression's finditer."""
    place = raw.find(word)
    while place >= 0:
        yield place
        place = raw.find(word, place + len(word))


def for_anthropic(body: Json, dropped: Counter[str]) -> Json:
    """The conversation without what Anthropic did not make. Its own blocks are neither edited nor moved."""
    ids = _Ids()
    messages = [_anthropic_message(message, ids, dropped) for message in body["messages"]]
    result = {**body, "messages": messages}
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled" and _tool_loop_without_thinking(messages):
        # "Expected `thinking` or `redacted_thinking`, but found `tool_use`": no rule of this kind without thinking
        dropped["thinking_mode"] += 1
        result.pop("thinking")
        _without_clear_thinking(result)
    return result


def _anthropic_message(message: Json, ids: _Ids, dropped: Counter[str]) -> Json:
    content = message["content"]
    if isinstance(content, str):
        return message
    kept = [ids.rewrite(block) for block in content if not _foreign_thinking(block)]
    lost = len(content) - len(kept)
    if not lost and all(new is old for new, old in zip(kept, content, strict=True)):
        return message
    if lost:
        dropped["thinking"] += lost
    return {**message, "content": kept or [blocks.text_block(OMITTED)]}


def _foreign_thinking(block: Json) -> bool:
    if block["type"] == "thinking":
        return provenance(block.get("signature"))[0] != "anthropic"
    return block["type"] == "redacted_thinking" and provenance(block.get("data"))[0] != "anthropic"


def _tool_loop_without_thinking(messages: list[Json]) -> bool:
    """Whether the running tool loop starts with thinking neither in its first turn nor in its last.

    Anthropic's own loops without interleaved thinking have it in the first only; they are left alone.
    """
    loop: list[Json] = []
    for message in reversed(messages):
        if message["role"] == "user" and not _has_tool_result(message):
            break
        if message["role"] == "assistant":
            loop.append(message)
    return bool(loop) and _calls_tools(loop[0]) and not any(map(_starts_with_thinking, (loop[0], loop[-1])))


def _calls_tools(message: Json) -> bool:
    content = message["content"]
    return isinstance(content, list) and any(block["type"] == "tool_use" for block in content)


def _starts_with_thinking(message: Json) -> bool:
    content = message["content"]
    return isinstance(content, list) and content[:1] != [] and "thinking" in content[0]["type"]


def _has_tool_result(message: Json) -> bool:
    content = message["content"]
    return isinstance(content, list) and any(block["type"] == "tool_result" for block in content)


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


class _Ids:
    """Tool ids as Anthropic takes them: `^[a-zA-Z0-9_-]+$`, each once. The same on both sides of a call."""

    def __init__(self) -> None:
        self._current: dict[str, str] = {}
        self._used: set[str] = set()

    def rewrite(self, block: Json) -> Json:
        if block["type"] == "tool_use":
            return self._with(block, "id", self._new(str(block.get("id"))))
        if block["type"] == "tool_result":
            original = str(block.get("tool_use_id"))
            return self._with(block, "tool_use_id", self._current.get(original) or safe_id(original))
        return block

    @staticmethod
    def _with(block: Json, key: str, value: str) -> Json:
        return block if block.get(key) == value else {**block, key: value}

    def _new(self, original: str) -> str:
        safe = safe_id(original)
        count = 1
        while safe in self._used:
            count += 1
            safe = safe_id(f"{original}#{count}")
        self._used.add(safe)
        self._current[original] = safe
        return safe


def safe_id(original: str) -> str:
    """The id itself if Anthropic takes it, else one made from it, always the same."""
    if _GOOD_ID.match(original):
        return original
    return "toolu_" + hashlib.sha256(original.encode("utf-8", "replace")).hexdigest()[:24]


# ---- towards everybody else ----


def for_other(body: Json, provider_type: str, images: frozenset[str], dropped: Counter[str]) -> Json:
    """System, messages and tools in the plain blocks that everyone knows: text, image, thinking, tool_use, tool_result.

    images: the media types that the model takes; none for a model without sight.
    """
    translator = _Plain(provider_type, images, dropped)
    messages = _merged([translator.message(message) for message in body["messages"]])
    return {
        **body,
        "system": _system(body.get("system")),
        "messages": _paired(messages),
        "tools": _tools(body, dropped),
    }


def _system(system: Any) -> list[Json]:
    """Text blocks, without the attribution that only Anthropic understands and that would spoil prefix caches."""
    parts = [blocks.text_block(system)] if isinstance(system, str) else system or []
    texts = (blocks.text_of(part) for part in parts)
    return [blocks.text_block(text) for text in texts if text.strip() and not text.startswith(BILLING)]


class _Plain:
    """Turns blocks into those that everyone knows, one message after the other."""

    def __init__(self, provider_type: str, images: frozenset[str], dropped: Counter[str]) -> None:
        self._type, self._images, self._dropped = provider_type, images, dropped
        self._ids = _Ids()

    def message(self, message: Json) -> Json:
        """A system turn becomes a user's text in place: moved to the front it would break the prefix cache."""
        content = message["content"]
        content = [blocks.text_block(content)] if isinstance(content, str) else content
        if message["role"] == "system":
            self._dropped["system_turn"] += 1
            text = f"<system-reminder>\n{blocks.text_of(content)}\n</system-reminder>"
            return {"role": "user", "content": [blocks.text_block(text)]}
        plain = [new for block in content if (new := self._block(block)) is not None]
        plain = [block for block in plain if block["type"] != "text" or block["text"].strip()]
        return {"role": message["role"], "content": plain or [blocks.text_block(self._nothing(content))]}

    @staticmethod
    def _nothing(content: list[Json]) -> str:
        return OMITTED if any("thinking" in block["type"] for block in content) else "(nothing)"

    def _block(self, block: Json) -> Json | None:
        kind = block["type"]
        if kind == "text":
            return blocks.text_block(str(block.get("text") or ""))
        if kind in ("thinking", "redacted_thinking"):
            return self._thinking(block)
        if kind == "tool_use":
            call = {
                "type": "tool_use",
                "id": block.get("id"),
                "name": block.get("name"),
                "input": block.get("input") or {},
            }
            return self._ids.rewrite(call)
        if kind == "tool_result":
            return self._ids.rewrite(self._tool_result(block))
        if kind == "tool_reference":
            return blocks.tool_reference(block)
        return self._media(block) or self._server_tool(block)

    def _media(self, block: Json) -> Json | None:
        kind = block["type"]
        if kind == "image":
            return blocks.image(block, self._images, self._dropped)
        if kind == "document":
            return blocks.document(block, self._dropped)
        return blocks.search_result(block) if kind == "search_result" else None

    def _server_tool(self, block: Json) -> Json:
        self._dropped["server_tool"] += 1
        return blocks.server_tool(block)

    def _thinking(self, block: Json) -> Json | None:
        key = "signature" if block["type"] == "thinking" else "data"
        made_by, own = provenance(block.get(key))
        if made_by != self._type:
            self._dropped["thinking"] += 1
            return None
        return {**block, key: own}

    def _tool_result(self, block: Json) -> Json:
        content = block.get("content") or ""
        if isinstance(content, list):
            plain = [
                self._block(part) for part in content if isinstance(part, dict) and isinstance(part.get("type"), str)
            ]
            content = [part for part in plain if part is not None and (part["type"] != "text" or part["text"].strip())]
        result = {"type": "tool_result", "tool_use_id": block.get("tool_use_id"), "content": content or "(no output)"}
        return {**result, "is_error": True} if block.get("is_error") else result


def _merged(messages: list[Json]) -> list[Json]:
    """Neighbours of one role as one turn."""
    merged: list[Json] = []
    for message in messages:
        if merged and merged[-1]["role"] == message["role"]:
            merged[-1] = {**message, "content": merged[-1]["content"] + message["content"]}
        else:
            merged.append(message)
    return merged


def _paired(messages: list[Json]) -> list[Json]:
    """Every call with its result right after it, before any text. A missing one is stated, a stray one becomes text."""
    paired: list[Json] = []
    calls: list[str] = []
    for message in messages:
        if message["role"] == "assistant":
            paired += [{"role": "user", "content": _missing(calls)}] if calls else []
            calls = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
            paired.append(message)
            continue
        found = [block if _answers(block, calls) else _as_text(block) for block in message["content"]]
        answered = {block.get("tool_use_id") for block in found}
        missing = _missing([call for call in calls if call not in answered])
        found.sort(key=lambda block: block["type"] != "tool_result")
        paired.append({**message, "content": missing + found})
        calls = []
    return paired + ([{"role": "user", "content": _missing(calls)}] if calls else [])


def _missing(calls: list[str]) -> list[Json]:
    return [{"type": "tool_result", "tool_use_id": call, "content": "[tool result missing]"} for call in calls]


def _answers(block: Json, calls: list[str]) -> bool:
    return block["type"] != "tool_result" or block["tool_use_id"] in calls


def _as_text(block: Json) -> Json:
    return blocks.text_block(f"[result of an earlier tool call]\n\n{blocks.text_of(block['content'])}")


def _tools(body: Json, dropped: Counter[str]) -> list[Json]:
    """The client's own tools. Server tools go; deferred ones wait until the history refers to them."""
    referred = _references(body["messages"])
    tools = []
    for tool in body.get("tools") or []:
        if tool.get("type") not in (None, "custom"):
            dropped["server_tool"] += 1
        elif not tool.get("defer_loading") or tool.get("name") in referred:
            tools.append({key: tool[key] for key in ("name", "description", "input_schema") if key in tool})
    return tools


def _references(messages: list[Json]) -> set[str]:
    """Names of deferred tools that a tool search has brought up."""
    names: set[str] = set()
    for message in messages:
        content = message["content"]
        results = (
            [block.get("content") for block in content if "result" in block["type"]]
            if isinstance(content, list)
            else []
        )
        for part in (part for result in results if isinstance(result, list) for part in result):
            if isinstance(part, dict) and part.get("type") == "tool_reference":
                names.add(str(part.get("tool_name")))
    return names
