"""How the messages of a request hang together: turns, and the results that every call must have."""

from __future__ import annotations

from typing import Any

from .messages import Refusal, blocks_of

Json = dict[str, Any]


def turns(messages: list[Json]) -> list[tuple[int, str, list[Json]]]:
    """(index of its first message, role, blocks) of every turn: neighbours of one role are one turn."""
    merged: list[tuple[int, str, list[Json]]] = []
    for position, message in enumerate(messages):
        blocks = list(blocks_of(message["content"]))
        if merged and merged[-1][1] == message["role"]:
            merged[-1][2].extend(blocks)
        else:
            merged.append((position, message["role"], blocks))
    return merged


def check_pairs(messages: list[Json]) -> None:
    """Every call is answered once, at the head of the next turn, and nothing else is answered."""
    seen: set[str] = set()
    waiting: list[str] = []
    for position, role, blocks in turns(messages):
        check_results(position, blocks, waiting)
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"] if role == "assistant" else []
        if seen & set(waiting) or len(set(waiting)) < len(waiting):
            raise Refusal(400, "invalid_request_error", f"messages.{position}.content: `tool_use` ids must be unique")
        seen |= set(waiting)
    check_results(len(messages), [], waiting)


def check_results(position: int, blocks: list[Json], waiting: list[str]) -> None:
    """The tool results of one turn against the calls of the turn before."""
    for number, block in enumerate(blocks):
        if block["type"] == "tool_result" and block["tool_use_id"] not in waiting:
            raise Refusal(
                400,
                "invalid_request_error",
                f"messages.{position}.content.{number}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{block['tool_use_id']}. Each `tool_result` block must have a corresponding `tool_use` block in the "
                "previous message.",
            )
    results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    if twice := next((name for name in results if results.count(name) > 1), None):
        message = "each tool_use must have a single result. Found multiple `tool_result` blocks with id"
        raise Refusal(400, "invalid_request_error", f"messages.{position}.content: {message}: {twice}")
    first = {block.get("tool_use_id") for block in blocks[: len(waiting)]}
    if missing := [name for name in waiting if name not in first]:
        raise Refusal(
            400,
            "invalid_request_error",
            f"messages.{position - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
            "message.",
        )
