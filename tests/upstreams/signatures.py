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


def redacted(secret: str, prefix: bytes) -> str:
    """Thinking that nobody but this organization can read."""
    data = secret.encode()
    return base64.b64encode(b"\x12\xb5\x02" + seal(data) + seal(prefix) + data).decode()


def encrypted(url: str) -> str:
    """The content of a page that a search found, for this organization's models only."""
    return base64.b64encode(b"\x12\xb6\x02" + seal(url.encode())).decode()


def prefixes(body: Json) -> list[bytes]:
    """The conversation before each message, and at its end, in a form that no wording of JSON and no cache mark change.

    The next one begins where one ends, so that all of them together take one look at the conversation.
    """
    so_far = hashlib.sha256(canonical([body.get("system") or [], body.get("tools") or []]))
    found = [so_far.digest()]
    for message in body["messages"]:
        for block in blocks_of(message["content"]):
            so_far.update(canonical([message["role"], block]))
        found.append(so_far.digest())
    return found


def prefix_of(body: Json, count: int) -> bytes:
    """The conversation before message `count`."""
    return prefixes(body)[count]


def canonical(value: Any) -> bytes:
    """The value as the same JSON always."""
    return json.dumps(without_cache_marks(value), sort_keys=True).encode()


def without_cache_marks(value: Any) -> Any:
    """The value without any cache_control."""
    if isinstance(value, list):
        return [without_cache_marks(item) for item in value]
    if isinstance(value, dict):
        return {name: without_cache_marks(item) for name, item in value.items() if name != "cache_control"}
    return value


def check_signatures(body: Json, *, bind_prefix: bool) -> None:
    """Thinking, redacted thinking and search results of this organization only."""
    before = prefixes(body)
    for position, message in enumerate(body["messages"]):
        for number, block in enumerate(blocks_of(message["content"])):
            place = f"messages.{position}.content.{number}"
            prefix = before[position] if bind_prefix else None
            if block["type"] == "thinking":
                check_signature(block, place, prefix)
            elif block["type"] == "redacted_thinking":
                check_redacted(block, place, prefix)
            elif block["type"] == "web_search_tool_result" and isinstance(block["content"], list):
                check_results(block["content"], place)


def check_redacted(block: Json, place: str, prefix: bytes | None) -> None:
    """One redacted block, behind the conversation before it if that matters."""
    data = opened(block["data"])
    mine = data[:3] == b"\x12\xb5\x02" and data[3:19] == seal(data[35:])
    if not mine:
        raise Refusal(400, "invalid_request_error", f"{place}: Invalid `data` in `redacted_thinking` block")
    if prefix is not None and data[19:35] != seal(prefix):
        message = f"{place}: Invalid `data` in `redacted_thinking` block.{BOUND_ELSEWHERE}"
        raise Refusal(400, "invalid_request_error", message)


def check_results(results: list[Json], place: str) -> None:
    """What a search found must be what was found here."""
    for result in results:
        if result.get("encrypted_content") != encrypted(result["url"]):
            raise Refusal(
                400, "invalid_request_error", f"{place}: Invalid `encrypted_content` in `search_result` block"
            )


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
