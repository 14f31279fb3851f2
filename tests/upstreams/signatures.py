"""How Anthropic signs thinking: over its text, and over the conversation before it where it binds the two."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from .messages import Refusal, blocks_of

Json = dict[str, Any]

KEY = b"the key that signs this organization's thinking"

BOUND_ELSEWHERE = (
    " The block is bound to a different conversation. Remove the block, or set "
    '`thinking.block_binding.prefix_mismatch_behavior` to "drop_block"'
)


def signature(thinking: str, prefix: bytes) -> str:
    """The signature of a thinking block that follows the given conversation."""
    return base64.b64encode(b"\x12\xb4\x02" + seal(thinking.encode()) + seal(prefix)).decode()


def seal(data: bytes) -> bytes:
    """Sixteen bytes that only this organization can make of the data."""
    return hmac.new(KEY, data, hashlib.sha256).digest()[:16]


def prefix_of(body: Json, count: int) -> bytes:
    """The conversation before message `count`, in a form that wording of JSON and cache marks do not change."""
    blocks = [[m["role"], block] for m in body["messages"][:count] for block in blocks_of(m["content"])]
    prefix = [body.get("system") or [], body.get("tools") or [], blocks]
    return json.dumps(without_cache_marks(prefix), sort_keys=True).encode()


def without_cache_marks(value: Any) -> Any:
    """The value without any cache_control."""
    if isinstance(value, list):
        return [without_cache_marks(item) for item in value]
    if isinstance(value, dict):
        return {name: without_cache_marks(item) for name, item in value.items() if name != "cache_control"}
    return value


def check_signatures(body: Json, *, bind_prefix: bool) -> None:
    """Thinking of this organization only."""
    for position, message in enumerate(body["messages"]):
        for number, block in enumerate(blocks_of(message["content"])):
            place = f"messages.{position}.content.{number}"
            if block["type"] == "thinking":
                check_signature(block, place, prefix_of(body, position) if bind_prefix else None)
            elif block["type"] == "redacted_thinking":
                raise Refusal(400, "invalid_request_error", f"{place}: Invalid `data` in `redacted_thinking` block")


def check_signature(block: Json, place: str, prefix: bytes | None) -> None:
    """One thinking block, behind the conversation before it if that matters."""
    whole = signature(block["thinking"], prefix or b"")
    if opened(block["signature"])[:19] != opened(whole)[:19]:
        raise Refusal(400, "invalid_request_error", f"{place}: Invalid `signature` in `thinking` block")
    if prefix is not None and block["signature"] != whole:
        raise Refusal(
            400, "invalid_request_error", f"{place}: Invalid `signature` in `thinking` block.{BOUND_ELSEWHERE}"
        )


def opened(text: str) -> bytes:
    """The bytes of a signature, none if it is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
