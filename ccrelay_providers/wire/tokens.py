"""Estimates of input tokens. Never zero, and meant to be calibrated per model by the true counts of its answers.

Bytes per token: prose 3.6, JSON 2.9. Claude Code itself assumes 3 for models since Opus 4.7 and 4 before; GLM needs 1.4
times as many tokens for JSON as older Claude (zai-coding-plugins#12). An image counts as Anthropic counts a large
one, a PDF by its size.
"""

from __future__ import annotations

import json
from typing import Any

PROSE, JSON = 3.6, 2.9
MESSAGE = 4  # role and separators
IMAGE = 1500  # 1568 at most for a scaled image (Anthropic's vision guide: width * height / 750)
PDF_BYTES = 40  # bytes of a PDF that make a token: 1,500 to 3,000 tokens a page of 60 to 120 KB


def estimate(body: dict[str, Any]) -> int:
    """Input tokens of a request: system, tools with their schemas, and messages with everything inside."""
    total = _content(body.get("system") or "")
    total += sum(_json(tool) + MESSAGE for tool in body.get("tools") or [])
    for message in body.get("messages") or []:
        total += _content(message.get("content") or "") + MESSAGE
    return max(1, round(total))


def _content(content: Any) -> float:
    if isinstance(content, str):
        return len(content.encode("utf-8", "replace")) / PROSE
    if not isinstance(content, list):
        return _json(content)
    return sum(_block(block) for block in content)


def _block(block: Any) -> float:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text":
        return _content(block.get("text") or "")
    if kind == "image":
        return IMAGE
    if kind == "document":
        return _document(block)
    if kind == "tool_result":
        return _content(block.get("content") or "") + MESSAGE
    if kind == "thinking":
        return _content(block.get("thinking") or "")
    return _json(block) + MESSAGE


def _document(block: dict[str, Any]) -> float:
    source = block.get("source") or {}
    if isinstance(source, dict) and source.get("type") == "base64":
        return max(IMAGE, len(str(source.get("data"))) * 0.75 / PDF_BYTES)
    if isinstance(source, dict) and source.get("type") == "text":
        return _content(str(source.get("data") or ""))
    return _content(source.get("content")) if isinstance(source, dict) and source.get("content") else IMAGE


def _json(value: Any) -> float:
    return len(json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace")) / JSON
