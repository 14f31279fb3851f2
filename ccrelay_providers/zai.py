"""Z.AI: the Anthropic wire, with its repairs.

It signs thinking in its own way, counts only at the end, knows three levels of effort at most, and says what went wrong
by a number (wire/zai_errors.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from .wire import blocks, history, names
from .wire.errors import RelayError
from .wire.messages import Json, MessagesRequest, dumps
from .wire.passthrough import Passthrough, rename
from .wire.plain import for_other, measure
from .wire.provider import WHOLE_ANSWER, Ask, Listing, Report, Target, UpstreamRequest, UpstreamResponse
from .wire.zai_errors import as_object, error, json_object

__all__ = [
    "ABILITIES", "LABEL", "count_tokens", "error", "loaded_window", "message", "models", "prepare", "probe", "stream",
    "window",
]  # fmt: skip

LABEL = "Z.AI"
ABILITIES = {"vision": False, "tools": True, "thinking": True}

Failure = Callable[[bytes], RelayError]
"""What the bytes that came instead of an answer mean."""

_TYPE = "zai"
_FIELDS = frozenset(
    "model messages system max_tokens metadata stop_sequences stream temperature top_p top_k tools tool_choice "
    "thinking output_config".split()
)
_IMAGES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})  # all it takes: llxprt-code#3693
_SHAPES: dict[str, Json] = {  # Anthropic refuses any other field when the block comes back
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "redacted_thinking": {"data": ""},
    "tool_use": {"id": "", "name": "", "input": {}},
}
_NAME_LIMIT = 64  # not told; what most models' own wires take, and shorter than the names of many MCP tools
_SINGLE_ID = re.compile(r"[a-zA-Z0-9_-]{16,64}\Z")  # what is taken for an id that comes once, and that all take
_EFFORTS = {"low": "low", "medium": "high", "high": "high", "xhigh": "max", "max": "max"}
_NOT_IN_SCHEMA = ("$schema", "$id", "$comment", "additionalProperties")  # at the root: a reported cause of code 1210
_ONE_JSON = "Answer with one JSON value matching this schema, and nothing else: "


def prepare(request: MessagesRequest, target: Target, report: Report) -> UpstreamRequest:
    """Raises ContextOverflow if it surely does not fit."""
    body = _body(request.body, target, report.dropped)
    measure(body, window(target), target, report)
    patience = None if request.stream else WHOLE_ANSWER
    headers = _headers(request, target, report.dropped)
    return UpstreamRequest("POST", "/v1/messages", headers, request.written(body), patience)


def count_tokens(request: MessagesRequest, target: Target) -> UpstreamRequest | None:
    """None: there is no counter that is known to work, so the relay estimates."""
    return None


def window(target: Target) -> int | None:
    return target.model.context


def models(ask: Ask, target: Target, before: Listing) -> Listing:
    """Configured, not asked for: its list tells no lengths."""
    return Listing()


def probe(target: Target) -> UpstreamRequest | None:
    headers = (("authorization", f"Bearer {target.api_key or ''}"), ("accept-encoding", "identity"))
    return UpstreamRequest("GET", "/v1/models", headers)


def loaded_window(ask: Ask, target: Target) -> int | None:
    return None


def _headers(request: MessagesRequest, target: Target, dropped: Counter[str]) -> tuple[tuple[str, str], ...]:
    """Built by name. Z.AI serves its coding plan to known tools, so the client says itself which it is."""
    betas = ",".join(request.headers.all("anthropic-beta")).split(",")
    dropped.update("beta" for beta in betas if beta.strip())
    client = [(name, request.headers.get(name)) for name in ("user-agent", "x-app")]
    return (
        ("authorization", f"Bearer {target.api_key or ''}"),
        ("content-type", "application/json"),
        ("accept", "application/json"),  # as Claude Code itself asks, for streams too
        ("accept-encoding", "identity"),
        ("anthropic-version", request.headers.get("anthropic-version") or "2023-06-01"),
        *((name, value) for name, value in client if value),
    )


def _body(body: Json, target: Target, dropped: Counter[str]) -> Json:
    """The body as the target's model takes it."""
    plain = for_other(body, _TYPE, _IMAGES if target.model.vision else frozenset(), dropped)
    dropped.update(key for key in body if key not in _FIELDS)
    result = {key: value for key, value in plain.items() if key in _FIELDS} | {"model": target.model.id}
    _tools(result, dropped)
    _output(result, dropped)
    _thinking(result, target.model.id.lower(), dropped)
    _max_tokens(result, target.model.max_output, dropped)
    return {key: value for key, value in result.items() if value or key not in ("system", "tools", "output_config")}


def _tools(body: Json, dropped: Counter[str]) -> None:
    """The tools and the calls in the history, by names that are short enough."""
    choice = body.get("tool_choice")
    offered = {tool.get("name") for tool in body["tools"]}
    if choice and (not offered or (choice.get("type") == "tool" and choice.get("name") not in offered)):
        dropped["tool_choice"] += 1
        del body["tool_choice"]
    elif choice and "name" in choice:
        body["tool_choice"] = _named(choice)
    body["tools"] = [
        _named({**tool, "input_schema": _schema(tool.get("input_schema"), dropped)}) for tool in body["tools"]
    ]
    body["messages"] = [_with_short_names(message) for message in body["messages"]]


def _named(thing: Json) -> Json:
    return {**thing, "name": names.short_name(str(thing.get("name") or ""), _NAME_LIMIT)}


def _with_short_names(message: Json) -> Json:
    content = message["content"]
    if not any(block["type"] == "tool_use" and len(block["name"]) > _NAME_LIMIT for block in content):
        return message
    return {**message, "content": [_named(block) if block["type"] == "tool_use" else block for block in content]}


def _schema(schema: Any, dropped: Counter[str]) -> Json:
    schema = schema if isinstance(schema, dict) else {}
    kept = {key: value for key, value in schema.items() if key not in _NOT_IN_SCHEMA}
    if len(kept) < len(schema):
        dropped["schema"] += 1
    return kept if "type" in kept else {"type": "object", "properties": {}, **kept}


def _output(body: Json, dropped: Counter[str]) -> None:
    """Structured output is asked for in words; of the rest only the effort is known."""
    config = body.get("output_config") or {}
    dropped.update(key for key in config if key != "effort")
    wanted = as_object(config.get("format"))
    if wanted.get("type") == "json_schema":
        instruction = _ONE_JSON + dumps(wanted.get("schema")).decode()
        body["system"] = [*body["system"], blocks.text_block(instruction)]
    body["output_config"] = {key: value for key, value in config.items() if key == "effort"}


def _thinking(body: Json, model: str, dropped: Counter[str]) -> None:
    """GLM-4 switches thinking on or off, GLM-5 also takes levels, GLM-5.3 always thinks (code 1210 if told not to)."""
    thinking, config = body.get("thinking") or {}, body["output_config"]
    effort = config.get("effort")
    level = _EFFORTS.get(effort) if isinstance(effort, str) else None
    kind = thinking.get("type")
    if kind == "disabled" and model.startswith("glm-5.3"):
        kind, level = "adaptive", "low"
        dropped["thinking_mode"] += 1
    elif kind == "adaptive" and model.startswith("glm-4"):
        kind = "enabled"
    if kind == "disabled" or model.startswith("glm-4"):
        level = None
    if effort is not None and effort != level:
        dropped["effort"] += 1
    # budget_tokens: GLM "returns to the prompt prematurely" with it (llxprt-code#1494)
    dropped.update(key for key in thinking if key != "type")
    body["output_config"] = {"effort": level} if level else {}
    if thinking:
        body["thinking"] = {"type": kind}


def _max_tokens(body: Json, limit: int | None, dropped: Counter[str]) -> None:
    """Out of range is code 1210, and 0 is out of range."""
    given = body.get("max_tokens") or 0
    body["max_tokens"] = max(1, min(given, limit or given))
    if body["max_tokens"] != given:
        dropped["max_tokens"] += 1


def stream(response: UpstreamResponse, request: MessagesRequest, target: Target, report: Report) -> Iterator[bytes]:
    failure = _failure(response, request, target)
    repairs = _Repairs(request, target, report, failure)
    answer = Passthrough(request.model, report, failure, repairs.event, watches=b'"signature_delta"')
    return answer.stream(_events(response.pieces(), failure))


def message(response: UpstreamResponse, request: MessagesRequest, target: Target, report: Report) -> bytes:
    raw = response.read()
    body = json_object(raw)
    failure = _failure(response, request, target)
    if not isinstance(body.get("content"), list):
        raise failure(raw)
    report.usage(body.get("usage"))
    _Repairs(request, target, report, failure).whole(body)
    rename(body, request.model)
    return dumps(body)


def _failure(response: UpstreamResponse, request: MessagesRequest, target: Target) -> Failure:
    return lambda data: error(response.status, response.headers, data, target, _estimate(request, target))


def _estimate(request: MessagesRequest, target: Target) -> int:
    return max(1, round(request.estimate * target.calibration))


def _events(pieces: Iterator[bytes], failure: Failure) -> Iterator[bytes]:
    """The pieces of an event stream. Raises what JSON or a web page in its place means: errors come with 200, too."""
    head = b""
    for piece in pieces:
        head += piece
        if head.strip():
            break
    if head.lstrip()[:1] in (b"{", b"<"):
        raise failure(head + b"".join(pieces))
    yield head
    yield from pieces


class _Repairs:
    """What one answer needs on its way to the client: marks on its signatures, counts at its start, sound ids."""

    def __init__(self, request: MessagesRequest, target: Target, report: Report, failure: Failure) -> None:
        self._request, self._target, self._report, self._failure = request, target, report, failure
        self._unsigned: dict[int, str] = {}  # index of an open thinking block → the signature it started with
        self._tool_uses = 0
        self._ids = names.Ids()
        self._answer_id = ""

    def whole(self, body: Json) -> None:
        self._answer_id = str(body.get("id") or self._request.id)
        self._usage(body)
        for block in map(as_object, body["content"]):
            self._block(block)
            if block.get("type") == "thinking":
                block["signature"] = history.mark(_TYPE, block["signature"])
        self._stop_reason(body)
        self._last_usage(body)

    def event(self, kind: str, data: Json) -> bool | Json:
        """A `Repair`, see Passthrough."""
        index = data["index"] if isinstance(data.get("index"), int) else -1
        match kind:
            case "message_start":
                self._answer_id = str(data["message"].get("id") or self._request.id)
                return self._usage(data["message"])
            case "content_block_start":
                return self._start(index, as_object(data.get("content_block")))
            case "content_block_delta":
                return self._sign(index, as_object(data.get("delta")))
            case "content_block_stop" if index in self._unsigned:
                return self._signature(index)
            case "message_delta":
                changed = self._stop_reason(as_object(data.get("delta")))
                return self._last_usage(data) or changed
        if "code" in data and "msg" in data:  # the gateway's own envelope
            raise self._failure(dumps(data))
        return False

    def _usage(self, message: Json) -> bool:
        """Zeros at the start leave the client's context meter empty: zai-org/GLM-5#139."""
        if self._report.prompt_tokens:
            return False
        self._report.input_tokens = None
        estimate = self._report.estimate or _estimate(self._request, self._target)
        self._report.estimate = estimate
        message["usage"] = {"output_tokens": 0, **as_object(message.get("usage")), "input_tokens": estimate}
        return True

    def _last_usage(self, data: Json) -> bool:
        """An answer that was never counted leaves the meter at the estimate, not at zero."""
        if self._report.prompt_tokens:
            return False
        self._report.notes.append("input_tokens is an estimate")
        return self._usage(data)

    def _start(self, index: int, block: Json) -> bool:
        given = dict(block)
        self._block(block)
        if block.get("type") == "thinking":
            self._unsigned[index], block["signature"] = block["signature"], ""
        return block != given

    def _block(self, block: Json) -> None:
        """Fields, ids and names that Anthropic would take, too. What Z.AI's own tools did must not pass for its."""
        kind = str(block.get("type"))
        if kind in _SHAPES:
            given = dict(block)
            block.clear()
            block |= {"type": kind} | {key: given.get(key) or empty for key, empty in _SHAPES[kind].items()}
        if kind == "redacted_thinking":
            block["data"] = history.mark(_TYPE, block["data"])
        elif kind == "tool_use":
            self._tool_uses += 1
            block["id"] = self._id(str(block["id"]))
            name = names.long_name(str(block["name"]), self._request.body.get("tools") or [], _NAME_LIMIT)
            block["name"] = names.safe_name(name)
        elif kind == "server_tool_use" or kind.endswith(blocks.RESULT_SUFFIX):
            key = "id" if kind == "server_tool_use" else "tool_use_id"
            block[key] = f"{_TYPE}_{str(block.get(key) or '').removeprefix('srv')}"

    def _id(self, given: str) -> str:
        """A short one, such as `call_0`, would come again in the next answer; the client knows calls by their ids."""
        return self._ids.call(given if _SINGLE_ID.match(given) else f"{self._answer_id} {given}")

    def _sign(self, index: int, delta: Json) -> bool:
        if delta.get("type") != "signature_delta":
            return False
        self._unsigned.pop(index, None)
        delta["signature"] = history.mark(_TYPE, str(delta.get("signature") or ""))
        return True

    def _signature(self, index: int) -> Json:
        """A block that nobody signed could be anybody's. Claude Code forgets a signature that comes at the start."""
        delta = {"type": "signature_delta", "signature": history.mark(_TYPE, self._unsigned.pop(index))}
        return {"type": "content_block_delta", "index": index, "delta": delta}

    def _stop_reason(self, message: Json) -> bool:
        """`tool_use` if and only if there was a call: else the client's loop stops midway, or waits for nothing."""
        given = message.get("stop_reason")
        if given not in ("tool_use", "end_turn"):
            self._report.stopped(given)
            return False
        message["stop_reason"] = self._report.stop_reason = "tool_use" if self._tool_uses else "end_turn"
        if message["stop_reason"] == given:
            return False
        self._report.notes.append(f"stop_reason was {given}")
        return True
