"""A Messages API request as the body of Ollama's /api/chat. What has no place there is counted in the report.

`shift` and `truncate` are always false: else a prompt that is too long loses its oldest messages, then its system
prompt and tools, behind a 200. `num_ctx` never changes between requests: that would load the model anew.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from .blocks import Block, text_block, text_of
from .errors import InvalidRequest
from .messages import Json, dumps
from .ollama_schema import parameters
from .plain import CERTAIN, for_other, measure
from .provider import Report, Target, Version

TYPE = "ollama"
IMAGES = frozenset({"image/png", "image/jpeg", "image/webp"})
"""What every version's decoder reads. A GIF is refused (ollama-js#174)."""
IMAGE_TOKENS = 768
"""What Ollama itself reckons with (server/prompt.go)."""

_LEVELS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "max"}
_CLOUD = re.compile(r"[:-]cloud\Z")
_LEVELS_SINCE, _MAX_SINCE = (0, 11, 1), (0, 22, 0)
_OBEYS_SINCE = (0, 12, 4)
"""Before, `truncate` and `shift` meant nothing, and what was too long was cut in silence."""
_TAKEN = {
    "model", "messages", "system", "tools", "tool_choice", "max_tokens", "stream", "temperature", "top_p", "top_k",
    "stop_sequences", "thinking", "output_config", "output_format", "betas",
}  # fmt: skip
_WITHOUT_LOSS = {"metadata", "cache_control"}  # who asks, and a cache that Ollama keeps by itself


def is_cloud(target: Target) -> bool:
    """Run by ollama.com, with the largest window there is; also through a local Ollama."""
    return bool(_CLOUD.search(target.model.id)) or "//ollama.com" in target.base_url


def since(target: Target, version: Version) -> bool:
    """Whether the server is at least so new; one that tells no version is."""
    return not target.version or target.version >= version


def headers(target: Target) -> tuple[tuple[str, str], ...]:
    """None of the client's: an Origin would be checked, and a foreign Host refused."""
    plain = (("content-type", "application/json"), ("accept-encoding", "identity"))
    return (*plain, ("authorization", f"Bearer {target.api_key}")) if target.api_key else plain


def window(target: Target) -> int | None:
    """The tokens that fit, if that is known."""
    return target.model.context if is_cloud(target) else target.num_ctx


def chat(body: Json, target: Target, report: Report) -> Json:
    """The body to send. Raises ContextOverflow if it surely does not fit."""
    if not body["messages"]:
        raise InvalidRequest("messages: at least one message is required")  # Ollama would only load the model
    plain = for_other(body, TYPE, IMAGES if target.model.vision is not False else frozenset(), report.dropped)
    tools, instruction = _tools(plain, target, report.dropped)
    tools = [_tool(tool) for tool in tools]
    plain = {**plain, "tools": tools, "system": [*plain["system"], *instruction]}
    certain = CERTAIN if since(target, _OBEYS_SINCE) else 1
    measure(plain, window(target), target, report, certain, IMAGE_TOKENS)
    _count_dropped(body, report.dropped)
    request: Json = {"model": target.model.id, "messages": messages(plain, target.model.tools is not False)}
    if tools:
        request["tools"] = tools
    request |= {"stream": True, "shift": False, "truncate": False, "options": _options(body, target, report.dropped)}
    optional = {"think": _think(body, target, report.dropped), "format": _format(body), "keep_alive": target.keep_alive}
    return request | {key: value for key, value in optional.items() if value is not None}


def _count_dropped(body: Json, dropped: Counter[str]) -> None:
    fields = [name for name, value in body.items() if name not in _TAKEN | _WITHOUT_LOSS and value is not None]
    fields += [name for name in body.get("output_config") or {} if name not in ("effort", "format")]
    dropped.update(fields)
    if betas := body.get("betas"):
        dropped["beta"] += len(betas) if isinstance(betas, list) else 1


# ---- how to answer ----


def _options(body: Json, target: Target, dropped: Counter[str]) -> Json:
    limit = max(1, body.get("max_tokens") or 1)  # 0 would mean: without end
    if target.model.max_output and limit > target.model.max_output:
        limit = target.model.max_output
        dropped["max_tokens"] += 1
    options: Json = {} if is_cloud(target) or not target.num_ctx else {"num_ctx": target.num_ctx}
    options["num_predict"] = limit
    options |= {name: body[name] for name in ("temperature", "top_p", "top_k") if body.get(name) is not None}
    return {**options, "stop": body["stop_sequences"]} if body.get("stop_sequences") else options


def _think(body: Json, target: Target, dropped: Counter[str]) -> bool | str | None:
    """False is understood by all. True is an error for a model that cannot; without a word those think that can.

    So for a model nobody knows: False, or nothing. Only gpt-oss has levels, and only since some version.
    """
    wanted = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    effort = (body.get("output_config") or {}).get("effort")
    has_levels = "gpt-oss" in target.model.id and since(target, _LEVELS_SINCE)
    if wanted and effort in _LEVELS and has_levels and target.model.thinking is not False:
        return "high" if effort == "max" and not since(target, _MAX_SINCE) else _LEVELS[effort]
    dropped.update(["effort"] if effort else [])
    if target.model.thinking is False:
        dropped.update(["thinking_mode"] if wanted else [])
        return None
    dropped.update(["budget_tokens"] if wanted and "budget_tokens" in body["thinking"] else [])
    return (target.model.thinking or None) if wanted else False


def _format(body: Json) -> Json | None:
    asked = (body.get("output_config") or {}).get("format") or body.get("output_format")
    schema = asked.get("schema") if isinstance(asked, dict) else None
    return schema if isinstance(schema, dict) else None


def _tools(plain: Json, target: Target, dropped: Counter[str]) -> tuple[list[Json], list[Block]]:
    """The tools to offer, and the instruction that stands for a tool_choice, which Ollama does not know."""
    tools: list[Json] = plain["tools"]
    choice = plain.get("tool_choice") or {}
    kind = choice.get("type")
    if not tools or kind == "none":
        return [], []
    if target.model.tools is False:
        dropped["tools"] += len(tools)
        return [], []
    if kind == "any":
        return tools, [text_block("Answer by calling one of the tools, not with text alone.")]
    if kind == "tool":
        name = choice.get("name")
        if named := [tool for tool in tools if tool.get("name") == name]:
            return named, [text_block(f"Answer by calling the tool {name}, not with text alone.")]
        dropped["tool_choice"] += 1
    return tools, []


def _tool(tool: Json) -> Json:
    function = {"name": str(tool.get("name")), "description": str(tool.get("description") or "")}
    return {"type": "function", "function": {**function, "parameters": parameters(tool.get("input_schema"))}}


# ---- the conversation ----


def messages(plain: Json, with_tools: bool) -> list[Json]:
    """System, messages and results. Templates without tools leave calls and results out: there they become text."""
    system = "\n\n".join(block["text"] for block in plain["system"])
    result: list[Json] = [{"role": "system", "content": system}] if system else []
    names: dict[str, str] = {}
    for message in plain["messages"]:
        content = message["content"]
        names |= {block["id"]: str(block["name"]) for block in content if block["type"] == "tool_use"}
        if not with_tools:
            content = [part for block in content for part in _told(block, names)]
        result += [_assistant(content)] if message["role"] == "assistant" else _user(content, names)
    return result


def _assistant(content: list[Block]) -> Json:
    message = {"role": "assistant", **_said(content)}
    thoughts = [str(block.get("thinking") or "") for block in content if block["type"] == "thinking"]
    if thinking := "\n\n".join(filter(None, thoughts)):
        message["thinking"] = thinking
    calls = [block for block in content if block["type"] == "tool_use"]
    if calls:
        message["tool_calls"] = [_call(call, index) for index, call in enumerate(calls)]
    return message


def _call(block: Block, index: int) -> Json:
    arguments = block["input"] if isinstance(block["input"], dict) else {"input": block["input"]}
    return {"id": block["id"], "function": {"index": index, "name": str(block["name"]), "arguments": arguments}}


def _user(content: list[Block], names: dict[str, str]) -> list[Json]:
    """Each result as a message of its own, then what the user says."""
    results = [_result(block, names) for block in content if block["type"] == "tool_result"]
    rest = [block for block in content if block["type"] != "tool_result"]
    return [*results, {"role": "user", **_said(rest)}] if rest else results


def _result(block: Block, names: dict[str, str]) -> Json:
    """With name and id: templates know one, llama-server the other."""
    said = _said(block["content"])
    if block.get("is_error"):
        said["content"] = _failed(said["content"])
    call = block["tool_use_id"]
    return {"role": "tool", "tool_name": names.get(call, ""), "tool_call_id": call, **said}


def _failed(text: str) -> str:
    """A tool message has no field for a failure."""
    return text if text.startswith("Error:") else f"Error: {text}"


def _said(content: Any) -> Json:
    said: Json = {"content": text_of(content)}
    blocks = content if isinstance(content, list) else []
    if images := [block["source"].get("data") for block in blocks if block["type"] == "image"]:
        said["images"] = images
    return said


def _told(block: Block, names: dict[str, str]) -> list[Block]:
    """A call or its result in words; any other block as it is."""
    if block["type"] == "tool_use":
        return [text_block(f"[{block['name']} was called with {dumps(block['input']).decode()}]")]
    if block["type"] == "tool_result":
        content, words = block["content"], text_of(block["content"])
        images = [part for part in content if part["type"] == "image"] if isinstance(content, list) else []
        name = names.get(block["tool_use_id"], "the tool")
        told = _failed(words) if block.get("is_error") else words
        return [text_block(f"[{name} returned]\n\n{told}"), *images]
    return [block]
