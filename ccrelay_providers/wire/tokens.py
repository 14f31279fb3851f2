"""Estimates of input tokens. Never zero, and meant to be calibrated per model by the true counts of its answers.

Letters, digits and signs are counted apart, so that prose, code, schemas and tables of numbers need one factor and not
one each. The rates lie between those of Qwen, Llama, Gemma, DeepSeek and StarCoder, measured on such texts: they agree
within 20 %. They are on the high side: the vocabularies of local models are larger than this. An image counts as
Anthropic counts a large one unless a provider says otherwise, a PDF by its size.
"""

from __future__ import annotations

import json
from typing import Any

LETTERS, DIGITS, SIGNS, OTHERS = 4.0, 1.2, 2.0, 2.5  # bytes per token; others: UTF-8 beyond ASCII
MESSAGE = 8  # role, separators, and what a template puts around them: 5 to 9 tokens
IMAGE = 1500  # 1568 at most for a scaled image (Anthropic's vision guide: width * height / 750)
PDF_BYTES = 40  # bytes of a PDF that make a token: 1,500 to 3,000 tokens a page of 60 to 120 KB

_LONG, _STRIDE = 16384, 23  # characters; a prime, so that a table is met in every column
_WORDS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ \n\t"
_NUMERALS = b"0123456789"
_NOT_ASCII = bytes(range(128, 256))
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


def estimate(body: dict[str, Any], image: int = IMAGE) -> int:
    """Input tokens of a request: system, tools with their schemas, and messages with everything inside."""
    total = _content(body.get("system") or "", image)
    total += sum(_json(tool) + MESSAGE for tool in body.get("tools") or [])
    for message in body.get("messages") or []:
        total += _content(message.get("content") or "", image) + MESSAGE
    return max(1, round(total))


def _text(text: str) -> float:
    """A long text is judged by a sample: to look at all of 4 MB would take as long as parsing it."""
    if len(text) > _LONG:
        sample = text[::_STRIDE]
        return _rated(sample) * len(text) / len(sample)
    return _rated(text)


def _rated(text: str) -> float:
    data = text.encode("utf-8", "replace")
    rest = data.translate(None, _WORDS)
    tokens = (len(data) - len(rest)) / LETTERS
    signs = rest.translate(None, _NUMERALS)
    tokens += (len(rest) - len(signs)) / DIGITS
    if text.isascii():
        return tokens + len(signs) / SIGNS
    others = len(signs) - len(signs.translate(None, _NOT_ASCII))
    return tokens + others / OTHERS + (len(signs) - others) / SIGNS


def _content(content: Any, image: int) -> float:
    if isinstance(content, str):
        return _text(content)
    if not isinstance(content, list):
        return _json(content)
    return sum(_block(block, image) for block in content)


def _block(block: Any, image: int) -> float:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text":
        return _content(block.get("text") or "", image)
    if kind == "image":
        return image
    if kind == "document":
        return _document(block, image)
    if kind == "tool_result":
        return _content(block.get("content") or "", image) + MESSAGE
    if kind == "thinking":
        return _content(block.get("thinking") or "", image)
    return _json(block) + MESSAGE


def _document(block: dict[str, Any], image: int) -> float:
    source = block.get("source") or {}
    if isinstance(source, dict) and source.get("type") == "base64":
        return max(IMAGE, len(str(source.get("data"))) * 0.75 / PDF_BYTES)
    if isinstance(source, dict) and source.get("type") == "text":
        return _text(str(source.get("data") or ""))
    held = source.get("content") if isinstance(source, dict) else None
    return _content(held, image) if held else IMAGE


def _json(value: Any) -> float:
    return _text(_encode(value))
