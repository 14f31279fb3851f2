"""A conversation in the plain blocks that everyone knows: text, image, thinking, tool_use, tool_result.

For every provider but Anthropic. Pure: the same conversation gives the same result, and a longer one begins with it.
A message in which nothing changes is the very object that came, so that it can be sent in the client's own bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from operator import is_
from typing import Any, NamedTuple

from . import blocks, tokens
from .errors import ContextOverflow
from .history import NO_OUTPUT, nothing_left, provenance
from .messages import Json
from .names import Ids
from .provider import Report, Target

BILLING = "x-anthropic-billing-header:"
NO_RESULT = "[tool result missing]"
CERTAIN = 0.8
"""An estimate 20 % too high is possible: below that the upstream decides."""

_TOOL_FIELDS = ("name", "description", "input_schema")
_NONE: dict[str, Any] = {}


def for_other(body: Json, provider_type: str, images: frozenset[str], dropped: Counter[str]) -> Json:
    """System, messages and tools in plain blocks.

    images: the media types that the model takes; none for a model without sight.
    """
    plain = _Plain(provider_type, images, dropped)
    messages = _merged([plain.message(message) for message in body["messages"]])
    return {
        **body,
        "system": _system(body.get("system")),
        "messages": _paired(messages),
        "tools": _tools(body, dropped),
    }


def measure(
    plain: Json,
    limit: int | None,
    target: Target,
    report: Report,
    certain: float = CERTAIN,
    image: int = tokens.IMAGE,
) -> None:
    """Estimates what is sent, not what came: another provider's thinking and hidden tools do not count.

    Raises ContextOverflow if it does not fit by `certain` of the estimate.
    """
    report.estimate = max(1, round(tokens.estimate(plain, image) * target.calibration))
    if limit and report.estimate * certain > limit:
        raise ContextOverflow(report.estimate, limit)


def _system(system: Any) -> list[Json]:
    """Text blocks, without the attribution that only Anthropic understands and that would spoil prefix caches."""
    parts = [blocks.text_block(system)] if isinstance(system, str) else system or []
    texts = (blocks.text_of(part) for part in parts)
    return [blocks.text_block(text) for text in texts if text.strip() and not text.startswith(BILLING)]


# ---- blocks ----


class _Plain:
    """Turns blocks into those that everyone knows, one message after the other."""

    def __init__(self, provider_type: str, images: frozenset[str], dropped: Counter[str]) -> None:
        self._type, self._images, self._dropped = provider_type, images, dropped
        self._ids = Ids()

    def message(self, message: Json) -> Json:
        """A system turn becomes a user's text in place: moved to the front it would break the prefix cache.

        One that only sets the effort from there on says nothing, and becomes nothing.
        """
        role, content = message["role"], message["content"]
        self._ids.turn(role)
        if isinstance(content, str):
            content = [blocks.text_block(content)]
        plain = self._all(content)
        if role == "system":
            self._dropped["system_turn"] += 1
            said = [blocks.text_block(f"<system-reminder>\n{blocks.text_of(plain)}\n</system-reminder>")]
            return {"role": "user", "content": said if plain else []}
        if _same(plain, message["content"]) and len(message) == 2:
            return message
        return {"role": role, "content": plain or [blocks.text_block(nothing_left(content))]}

    def _all(self, content: list[Any]) -> list[Json]:
        return [new for block in content for new in self._plain(block) if not blocks.is_blank(new)]

    def _plain(self, block: Json) -> Iterator[Json]:
        """What stands for a block: itself, another, several or none."""
        kind = block["type"]
        if kind == "text":
            yield block if len(block) == 2 else blocks.text_block(str(block.get("text") or ""))
        elif kind in ("thinking", "redacted_thinking"):
            yield from self._thinking(block, "signature" if kind == "thinking" else "data")
        elif kind == "tool_use":
            yield self._call(block)
        elif kind == "tool_result":
            yield self._result(block)
        elif kind == "image":
            yield blocks.image(block, self._images, self._dropped)
        elif kind == "document":
            yield from blocks.document(block, self._images, self._dropped)
        else:
            yield self._in_words(kind, block)

    def _in_words(self, kind: str, block: Json) -> Json:
        if kind in _WORDS:
            return _WORDS[kind](block)
        self._dropped["server_tool"] += 1
        return blocks.server_tool(block)

    def _thinking(self, block: Json, key: str) -> Iterator[Json]:
        made_by, own = provenance(block.get(key))
        if made_by == self._type:
            yield {**block, key: own}
        else:
            self._dropped["thinking"] += 1

    def _call(self, block: Json) -> Json:
        given = block.get("input") or {}
        call = {
            "type": "tool_use",
            "id": self._ids.call(str(block.get("id"))),
            "name": str(block.get("name")),
            "input": given if isinstance(given, dict) else {"input": given},
        }
        return block if block == call else call

    def _result(self, block: Json) -> Json:
        content = block.get("content")
        if isinstance(content, list):
            plain = self._all(
                [part if _is_block(part) else blocks.text_block(blocks.text_of(part)) for part in content]
            )
            content = content if _same(plain, content) else plain
        else:
            content = blocks.text_of(content)
        result: Json = {
            "type": "tool_result",
            "tool_use_id": self._ids.result(str(block.get("tool_use_id"))),
            "content": content or NO_OUTPUT,
        }
        if "is_error" in block:
            result["is_error"] = bool(block["is_error"])
        return block if block == result else result


_WORDS = {
    "search_result": blocks.search_result,
    "tool_reference": blocks.tool_reference,
    "tool_addition": blocks.tool_change,
    "tool_removal": blocks.tool_change,
    "compaction": blocks.compaction,
}
"""Blocks that lose nothing when they are said in words."""


def _same(new: list[Json], old: Any) -> bool:
    return len(new) == len(old) > 0 and all(map(is_, new, old))


# ---- turns ----


def _merged(messages: list[Json]) -> list[Json]:
    """Neighbours of one role as one turn; what says nothing is none."""
    merged: list[Json] = []
    for message in filter(lambda message: message["content"], messages):
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
        else:
            content = _answered(message["content"], calls)
            paired.append(message if _same(content, message["content"]) else {**message, "content": content})
            calls = []
    return paired + ([{"role": "user", "content": _missing(calls)}] if calls else [])


def _answered(content: list[Json], calls: list[str]) -> list[Json]:
    """A user's turn: first one result for each call, then everything else."""
    waiting, results, rest = set(calls), [], []
    for block in content:
        if block["type"] != "tool_result":
            rest.append(block)
        elif block["tool_use_id"] in waiting:
            waiting.remove(block["tool_use_id"])
            results.append(block)
        else:
            rest += _as_text(block)
    return [*_missing([call for call in calls if call in waiting]), *results, *rest]


def _missing(calls: list[str]) -> list[Json]:
    return [{"type": "tool_result", "tool_use_id": call, "content": NO_RESULT} for call in calls]


def _as_text(block: Json) -> list[Json]:
    content = block["content"]
    images = [part for part in content if part["type"] == "image"] if isinstance(content, list) else []
    return [blocks.text_block(f"[result of an earlier tool call]\n\n{blocks.text_of(content)}"), *images]


# ---- tools ----


def _tools(body: Json, dropped: Counter[str]) -> list[Json]:
    """The client's own tools, and those that its system turns define. Server tools go.

    Deferred ones wait until the history refers to them; where Anthropic would have searched for them, nobody can, so
    they do not wait.
    """
    news = _news(body["messages"])
    given = [*(body.get("tools") or []), *news.defined]
    own = [tool for tool in given if tool.get("type") in (None, "custom")]
    dropped.update(["server_tool"] * (len(given) - len(own)))
    searched = any(str(tool.get("type")).startswith("tool_search_tool") for tool in given)
    offered: dict[Any, Json] = {}
    for tool in own:
        name = tool.get("name")
        if name not in news.removed and (searched or not tool.get("defer_loading") or name in news.known):
            offered[name] = {key: tool[key] for key in _TOOL_FIELDS if key in tool}
    return list(offered.values())


class _News(NamedTuple):
    """What a history says of tools: those it writes out; names that a search brought up, a turn added or a model
    called; names that a turn took away."""

    defined: list[Json]
    known: set[str]
    removed: set[str]


def _news(messages: list[Json]) -> _News:
    news = _News([], set(), set())
    for block in _parts(messages):
        kind = block["type"]
        if kind == "tool_use":
            news.known.add(str(block.get("name")))
        elif kind == "tool_reference":
            news.known.add(blocks.tool_name(block))
        elif kind in ("tool_addition", "tool_removal"):
            tool = _object(block.get("tool"))
            here, gone = (news.known, news.removed) if kind == "tool_addition" else (news.removed, news.known)
            here.add(blocks.tool_name(tool))
            gone.discard(blocks.tool_name(tool))
            if kind == "tool_addition" and (definition := _object(tool.get("definition"))):
                news.defined.append(definition)
    return news


def _parts(messages: list[Json]) -> Iterator[Json]:
    """All blocks, and those inside of results and summaries."""
    for message in messages:
        if isinstance(message["content"], list):
            for block in message["content"]:
                yield block
                if block["type"] in ("tool_result", "tool_search_tool_result", "compaction"):
                    yield from _inside(block)


def _inside(block: Json) -> Iterator[Json]:
    content = block.get("content")
    parts = content if isinstance(content, list) else [*_list(_object(content).get("tool_references"))]
    for part in [*parts, *_list(block.get("tool_changes"))]:
        if _is_block(part):
            yield part


def _is_block(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else _NONE


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
