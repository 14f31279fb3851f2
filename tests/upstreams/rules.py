"""The rules by which Anthropic refuses a Messages request, in its own words.

`check` raises the Refusal of the first rule that is broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .messages import Refusal, blocks_of
from .pairing import check_pairs, turns
from .placement import check_places, check_tool_fields
from .signatures import check_signatures

Json = dict[str, Any]

FIELDS = frozenset(
    "model max_tokens messages system tools tool_choice thinking output_config metadata stop_sequences stream "
    "service_tier cache_control container inference_geo diagnostics temperature top_p top_k tags data_flow "
    "billing_policy".split()
)

# Fields that are known only to requests with a beta that begins so.
BETA_FIELDS = {
    "context_management": "context-management-",
    "safeguards": "dangerous-tool-use-",
    "mcp_servers": "mcp-",
    "fallbacks": "server-side-fallback-",
    "fallback_credit_token": "fallback-credit-",
    "compaction": "compact",
    "thread": "message-threads-",
    "resumption": "resumption-",
    "program_use_case_id": "program-use-case-ids-",
    "speed": "fast-mode-",
}

BLOCK_FIELDS = {
    "text": {"text", "citations", "cache_control"},
    "image": {"source", "transformations", "cache_control"},
    "document": {"source", "title", "context", "citations", "cache_control"},
    "search_result": {"source", "title", "content", "citations", "cache_control"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
    "tool_use": {"id", "name", "input", "caller", "toolset_name", "cache_control"},
    "tool_result": {"tool_use_id", "content", "is_error", "toolset_name", "cache_control"},
}

REQUIRED = {
    "text": ("text",),
    "image": ("source",),
    "document": ("source",),
    "search_result": ("source", "title", "content"),
    "thinking": ("signature", "thinking"),
    "redacted_thinking": ("data",),
    "tool_use": ("id", "name", "input"),
    "tool_result": ("tool_use_id",),
    "server_tool_use": ("id", "name", "input"),
}

OTHER_BLOCKS = re.compile(
    r"server_tool_use|\w+_tool_result|container_upload|mcp_\w+|compaction|fallback|"
    r"tool_(addition|removal|reference)|browser_state"
)

SERVER_TOOLS = (
    "web_search", "web_fetch", "code_execution", "bash_code_execution", "text_editor_code_execution",
    "tool_search_tool_regex", "tool_search_tool_bm25",
)  # fmt: skip

SERVER_TOOL_ID = re.compile(r"srvtoolu_[a-zA-Z0-9_]+")
TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")

OLD_MODELS = re.compile(r"claude-(3|\w+-4-5|\w+-4-1|\w+-4-0|\w+-4-2025)")
MANUAL_THINKING = re.compile(rf"{OLD_MODELS.pattern}|claude-\w+-4-6")
ALWAYS_THINKING = re.compile(r"claude-opus-5-5|claude-fable|claude-mythos")

NO_TAG = "found using 'type' does not match any of the expected tags"
EMPTY = "all messages must have non-empty content except for the optional final assistant message"
NO_PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."
MUST_THINK = (
    "Expected `thinking` or `redacted_thinking`, but found `{found}`. When `thinking` is enabled, a final `assistant` "
    "message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks). "
    "We recommend you include thinking blocks from previous turns. To avoid this requirement, disable `thinking`."
)


def bad(message: str) -> Refusal:
    """The refusal of an invalid request."""
    return Refusal(400, "invalid_request_error", message)


def check(body: Json, betas: list[str], *, counting: bool, bind_prefix: bool) -> None:
    """Raises the refusal of the first rule that the request breaks."""
    check_fields(body, betas)
    check_required(body, counting=counting)
    check_thinking_option(body)
    check_sampling(body)
    check_tools(body)
    check_system(body.get("system") or "")
    check_cache_marks(body)
    messages = body["messages"]
    check_roles(messages)
    check_blocks(messages)
    check_places(body)
    check_pairs(messages)
    check_ending(body)
    check_signatures(body, bind_prefix=bind_prefix)


# --- the top level


def check_fields(body: Json, betas: list[str]) -> None:
    """No field that this request may not have."""
    for name in body:
        beta = BETA_FIELDS.get(name)
        if name not in FIELDS and (beta is None or not any(given.startswith(beta) for given in betas)):
            raise bad(f"{name}: Extra inputs are not permitted")


def check_required(body: Json, *, counting: bool) -> None:
    """A known model, a limit on the answer, and messages."""
    for name in ("model", "messages") if counting else ("model", "max_tokens", "messages"):
        if name not in body:
            raise bad(f"{name}: Field required")
    if not str(body["model"]).startswith("claude-"):
        raise Refusal(404, "not_found_error", f"model: {body['model']}")
    limit = body.get("max_tokens", 1)
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise bad("max_tokens: Input should be a valid integer")
    if limit < 0:
        raise bad("max_tokens: Input should be greater than or equal to 0")
    if limit > 128_000:
        message = f"max_tokens: {limit} > 128000, which is the maximum allowed number of output tokens"
        raise bad(f"{message} for {body['model']}")
    if not isinstance(body["messages"], list):
        raise bad("messages: Input should be a valid list")
    if not body["messages"]:
        raise bad("messages: at least one message is required")


def check_thinking_option(body: Json) -> None:
    """A kind of thinking that the model has, with a budget it can spend."""
    option, model = body.get("thinking") or {"type": "disabled?"}, body["model"]
    match option.get("type"):
        case "enabled":
            check_budget(option.get("budget_tokens"), body)
        case "adaptive" if OLD_MODELS.match(model):
            raise bad("adaptive thinking is not supported on this model")
        case "disabled" if ALWAYS_THINKING.match(model):
            raise bad('"thinking.type.disabled" is not supported for this model. Use "thinking.type.adaptive".')
        case "adaptive" | "between_tools" | "disabled" | "disabled?":
            pass
        case kind:
            tags = "'adaptive', 'between_tools', 'disabled', 'enabled'"
            raise bad(f"thinking: Input tag '{kind}' {NO_TAG}: {tags}")


def check_budget(budget: Any, body: Json) -> None:
    """The rules of thinking with a budget."""
    if not MANUAL_THINKING.match(body["model"]):
        advice = 'Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
        raise bad(f'"thinking.type.enabled" is not supported for this model. {advice}')
    if budget is None:
        raise bad("thinking.enabled.budget_tokens: Field required")
    if budget < 1024:
        raise bad("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if budget >= body.get("max_tokens", budget + 1):
        raise bad("`max_tokens` must be greater than `thinking.budget_tokens`.")


def thinks(body: Json) -> bool:
    """Whether the request has the model think."""
    return (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")


def check_sampling(body: Json) -> None:
    """No temperature where the model takes none."""
    if body.get("temperature", 1) == 1:
        return
    if thinks(body):
        raise bad("`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.")
    if not MANUAL_THINKING.match(body["model"]):
        raise bad("`temperature` is deprecated for this model.")


# --- tools and system


def check_tools(body: Json) -> None:
    """Tools with names of their own, and a choice that can be made."""
    names = []
    for position, tool in enumerate(body.get("tools") or ()):
        if tool.get("type", "custom") == "custom":
            check_custom_tool(tool, f"tools.{position}.custom")
        names.append(tool.get("name"))
    if len(set(names)) < len(names):
        raise bad("tools: Tool names must be unique.")
    choice = body.get("tool_choice") or {"type": "auto"}
    if choice["type"] in ("any", "tool") and thinks(body):
        raise bad("Thinking may not be enabled when tool_choice forces tool use.")
    if choice["type"] == "tool" and choice.get("name") not in names:
        raise bad(f"Tool '{choice.get('name')}' not found in provided tools")


def check_custom_tool(tool: Json, place: str) -> None:
    """A tool that the client defines."""
    check_tool_fields(tool, place)
    if not TOOL_NAME.fullmatch(str(tool.get("name", ""))):
        raise bad(f"{place}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    schema = tool.get("input_schema")
    if schema is None:
        raise bad(f"{place}.input_schema: Field required")
    if schema.get("type") != "object":
        raise bad(f"{place}.input_schema.type: Input should be 'object'")
    if set(schema) & {"anyOf", "oneOf", "allOf"}:
        raise bad(f"{place}.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level")


def check_system(system: str | list[Json]) -> None:
    """System blocks are texts with something in them."""
    for position, block in enumerate(system if isinstance(system, list) else ()):
        if block.get("type") != "text":
            raise bad(f"system.{position}.type: Input should be 'text'")
        if not block.get("text"):
            raise bad("system: text content blocks must be non-empty")


def check_cache_marks(body: Json) -> None:
    """Four cache_control marks at most, the long-lived ones first."""
    marks = list(cache_marks([body.get("tools"), body.get("system"), body["messages"]]))
    if len(marks) > 4:
        raise bad(f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}.")
    ttls = [mark.get("ttl", "5m") for mark in marks]
    if ttls != sorted(ttls):  # "1h" sorts before "5m"
        raise bad("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")


def cache_marks(value: Any) -> Iterator[Json]:
    """Every cache_control of a block, in order; what a tool call carries in its input is none."""
    if isinstance(value, list):
        for item in value:
            yield from cache_marks(item)
    elif isinstance(value, dict):
        if value.get("cache_control"):
            yield value["cache_control"]
        yield from cache_marks(value.get("content"))


# --- messages


def check_roles(messages: list[Json]) -> None:
    """User and assistant, and system turns in the places where they may stand."""
    for position, message in enumerate(messages):
        place = f"messages.{position}"
        role = message.get("role")
        if role not in ("user", "assistant", "system"):
            raise bad(f'messages: Unexpected role "{role}". Allowed roles are "user", "assistant" or "system"')
        if "content" not in message:
            raise bad(f"{place}.content: Field required")
        for name in set(message) - {"role", "content", "output_config"}:
            raise bad(f"{place}.{name}: Extra inputs are not permitted")
        if role == "system":
            check_system_turn(messages, position)


def check_system_turn(messages: list[Json], position: int) -> None:
    """A system turn follows the user, and precedes the assistant or ends the array."""
    before = messages[position - 1] if position else None
    if before is None or (before["role"] == "assistant" and not ends_in_server_result(before)):
        raise bad(f"messages.{position}: role 'system' must follow a 'user' message")
    rest = (message["role"] for message in messages[position + 1 :])
    if next((role for role in rest if role != "system"), "assistant") != "assistant":
        raise bad(f"messages.{position}: role 'system' must precede an 'assistant' message or end the array")


def ends_in_server_result(message: Json) -> bool:
    """Whether an assistant turn ends in what a server tool gave back."""
    blocks = blocks_of(message["content"])
    return bool(blocks) and str(blocks[-1].get("type")).endswith("_tool_result")


def check_blocks(messages: list[Json]) -> None:
    """Content that is there, of known kinds, in known shapes."""
    for position, message in enumerate(messages):
        place = f"messages.{position}"
        prefill = message["role"] == "assistant" and position == len(messages) - 1
        setting = message["role"] == "system" and "output_config" in message  # Claude Code's effort from here on
        if not message["content"] and not prefill and not setting:
            raise bad(f"{place}: {EMPTY}")
        if isinstance(message["content"], str):
            check_text(message["content"])
            continue
        for number, block in enumerate(message["content"]):
            check_block(block, f"{place}.content.{number}")


def check_text(text: str) -> None:
    """A text that says something."""
    if not text:
        raise bad("messages: text content blocks must be non-empty")
    if not text.strip():
        raise bad("messages: text content blocks must contain non-whitespace text")


def check_block(block: Json, place: str) -> None:
    """One block, and those inside a tool result."""
    kind = str(block.get("type"))
    if kind not in BLOCK_FIELDS and not OTHER_BLOCKS.fullmatch(kind):
        tags = ", ".join(repr(tag) for tag in sorted(BLOCK_FIELDS))
        raise bad(f"{place}: Input tag '{kind}' {NO_TAG}: {tags}")
    for name in REQUIRED.get(kind, ()):
        if name not in block:
            raise bad(f"{place}.{kind}.{name}: Field required")
    for name in block if kind in BLOCK_FIELDS else ():
        if name not in BLOCK_FIELDS[kind] | {"type"}:
            raise bad(f"{place}.{kind}.{name}: Extra inputs are not permitted")
    check_kind(kind, block, place)


def check_kind(kind: str, block: Json, place: str) -> None:
    """The rules that one kind of block has for itself."""
    match kind:
        case "text":
            check_text(block["text"])
        case "image":
            check_image(block["source"], place)
        case "document" if block["source"].get("type") not in ("base64", "text", "content", "url", "file"):
            raise bad(f"{place}.document.source: Input tag '{block['source'].get('type')}' {NO_TAG}")
        case "server_tool_use" if block["name"] not in SERVER_TOOLS:
            raise bad(f"{place}.server_tool_use.name: Input should be {', '.join(map(repr, SERVER_TOOLS))}")
        case "tool_use":
            check_tool_use(block, f"{place}.tool_use")
        case "server_tool_use" if not SERVER_TOOL_ID.fullmatch(block["id"]):
            raise bad(f"{place}.server_tool_use.id: String should match pattern '^srvtoolu_[a-zA-Z0-9_]+$'")
        case "tool_result":
            if not TOOL_ID.fullmatch(block["tool_use_id"]):
                raise bad(f"{place}.tool_result.tool_use_id: String should match pattern '^[a-zA-Z0-9_-]+$'")
            for number, inner in enumerate(blocks_of(block.get("content") or [])):
                check_block(inner, f"{place}.tool_result.content.{number}")


def check_tool_use(block: Json, place: str) -> None:
    """A call's id, name and input."""
    if not TOOL_ID.fullmatch(block["id"]):
        raise bad(f"{place}.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if not TOOL_NAME.fullmatch(block["name"]):
        raise bad(f"{place}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    if not isinstance(block["input"], dict):
        raise bad(f"{place}.input: Input should be a valid dictionary")


def check_image(source: Json, place: str) -> None:
    """An image in a format that models see."""
    kinds = ("image/jpeg", "image/png", "image/gif", "image/webp")
    if source.get("type") == "base64" and source.get("media_type") not in kinds:
        expected = ", ".join(map(repr, kinds))
        raise bad(f"{place}.image.source.base64.media_type: Input should be {expected}")


def check_ending(body: Json) -> None:
    """No prefill where the model takes none, and thinking at the head of a running tool loop."""
    merged = [turn for turn in turns(body["messages"]) if turn[1] != "system"]
    if merged[-1][1] == "assistant" and not OLD_MODELS.match(body["model"]):
        raise bad(NO_PREFILL)
    if (body.get("thinking") or {}).get("type") == "enabled":
        check_loop(merged)


def check_loop(merged: list[tuple[int, str, list[Json]]]) -> None:
    """Thinking at the head of the running tool loop's last turn, or of its first: a model that does not think between
    its calls must be able to make a second one."""
    loop = []
    for (position, role, spoken), (_, _, answered) in zip(merged[-2::-1], merged[:0:-1], strict=True):
        if role == "assistant":
            if not any(block["type"] == "tool_result" for block in answered):
                break
            loop.append((position, spoken[0]["type"]))
    if loop and not any("thinking" in kind for _, kind in (loop[0], loop[-1])):
        position, found = loop[0]
        raise bad(f"messages.{position}.content.0.type: {MUST_THINK.format(found=found)}")
