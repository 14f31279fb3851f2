"""Where blocks may stand: in whose turns, behind which others, and what they may refer to."""

from __future__ import annotations

import re
from typing import Any

from .messages import Refusal, blocks_of
from .pairing import turns

Json = dict[str, Any]

ASSISTANTS = re.compile(r"(redacted_)?thinking|tool_use|server_tool_use|\w+_tool_result|mcp_\w+|fallback")
USERS = re.compile(r"tool_result|image|document|search_result|container_upload")
SYSTEMS = re.compile(r"text|tool_(addition|removal)")
SERVER_RESULT_ID = re.compile(r"(srv|mcp)toolu_[a-zA-Z0-9_]+")
TOOL_FIELDS = frozenset(
    "type name description input_schema cache_control strict defer_loading eager_input_streaming input_examples "
    "allowed_callers".split()
)


def bad(message: str) -> Refusal:
    return Refusal(400, "invalid_request_error", message)


def check_places(body: Json) -> None:
    """Every block in a turn where it may stand, every reference to something that is there."""
    for position, message in enumerate(body["messages"]):
        for number, block in enumerate(blocks_of(message["content"])):
            check_place(block, message["role"], f"messages.{position}.content.{number}")
    check_server_tools(body["messages"])
    check_references(body)


def check_place(block: Json, role: str, place: str) -> None:
    """One block, in a turn of the role."""
    kind = block["type"]
    if role == "system" and not SYSTEMS.fullmatch(kind):
        raise bad(f"{place}: `{kind}` blocks are not allowed in `system` messages")
    if role != "assistant" and ASSISTANTS.fullmatch(kind):
        raise bad(f"{place}: `{kind}` blocks can only be in `assistant` messages")
    if role != "user" and USERS.fullmatch(kind):
        raise bad(f"{place}: `{kind}` blocks can only be in `user` messages")


def check_server_tools(messages: list[Json]) -> None:
    """A server tool's result in the turn of its call, and a result for every call of a turn that is over."""
    all_turns = turns(messages)
    for count, (position, _, blocks) in enumerate(all_turns, 1):
        waiting: dict[str, str] = {}
        for number, block in enumerate(blocks):
            kind = block["type"]
            if kind == "server_tool_use":
                waiting[block["id"]] = block["name"]
            elif kind.endswith("_tool_result") and kind != "mcp_tool_result":
                place = f"messages.{position}.content.{number}"
                if not SERVER_RESULT_ID.fullmatch(block["tool_use_id"]):
                    raise bad(f"{place}.{kind}.tool_use_id: String should match pattern '^srvtoolu_[a-zA-Z0-9_]+$'")
                if waiting.pop(block["tool_use_id"], None) is None:
                    raise bad(f"{place}: unexpected `tool_use_id` found in `{kind}` blocks: {block['tool_use_id']}")
        if waiting and count < len(all_turns):
            name, tool = next(iter(waiting.items()))
            raise bad(
                f"messages.{position}: `{tool}` tool use with id `{name}` was found without a corresponding "
                f"`{tool}_tool_result` block"
            )


def check_references(body: Json) -> None:
    """A tool that a search found is one of the request's, and not all of those wait to be found."""
    tools = body.get("tools") or []
    names = {tool.get("name") for tool in tools}
    if tools and all(tool.get("defer_loading") for tool in tools):
        raise bad("All tools have defer_loading set. At least one tool must be non-deferred.")
    for message in body["messages"]:
        for block in blocks_of(message["content"]):
            inside = block.get("content") if block["type"] == "tool_result" else None
            for part in blocks_of(inside or []):
                if part["type"] == "tool_reference" and part.get("tool_name") not in names:
                    raise bad(f"Tool reference '{part.get('tool_name')}' has no corresponding tool definition")


def check_tool_fields(tool: Json, place: str) -> None:
    """What a client's tool may say of itself."""
    for name in tool:
        if name not in TOOL_FIELDS:
            raise bad(f"{place}.{name}: Extra inputs are not permitted")
    if tool.get("defer_loading") and tool.get("cache_control"):
        raise bad(f"Tool '{tool.get('name')}' cannot have both defer_loading=true and cache_control set")
