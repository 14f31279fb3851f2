"""Content blocks of the Messages API in words, for models that do not know them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .messages import dumps

Block = dict[str, Any]

RESULT_SUFFIX = "_tool_result"


def text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def text_of(content: Any) -> str:
    """The text in a string, a block or a list of blocks; parts are joined by blank lines."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n\n".join(text for text in map(text_of, content) if text.strip())
    if isinstance(content, dict):
        return str(content.get("text") or text_of(content.get("content") or ""))
    return ""


def omission(kind: str, media_type: str, reason: str) -> Block:
    return text_block(f"[{kind} omitted: {media_type}; {reason}]")


def image(block: Block, accepted: frozenset[str], dropped: Counter[str]) -> Block:
    """The image if its source is base64 data of an accepted media type, else a stated omission."""
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    media_type = str(source.get("media_type") or source.get("type") or "unknown")
    if source.get("type") == "base64" and media_type in accepted:
        return {"type": "image", "source": source}
    dropped["image"] += 1
    return omission(
        "image", media_type, "this model gets no image of this kind" if accepted else "this model cannot see images"
    )


def document(block: Block, dropped: Counter[str]) -> Block:
    """A text document as text, with its title; any other as a stated omission."""
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    title = str(block.get("title") or "document")
    if source.get("type") == "text":
        return text_block(f"{title}:\n\n{source.get('data') or ''}")
    if source.get("type") == "content":
        return text_block(f"{title}:\n\n{text_of(source.get('content'))}")
    dropped["document"] += 1
    return omission(
        title, str(source.get("media_type") or source.get("type") or "unknown"), "this model cannot read it"
    )


def search_result(block: Block) -> Block:
    return text_block(f"{block.get('title') or ''} ({block.get('source') or ''})\n\n{text_of(block.get('content'))}")


def tool_reference(block: Block) -> Block:
    return text_block(f"[the tool {block.get('tool_name') or ''} can be used now]")


def server_tool(block: Block) -> Block:
    """What a server-side tool was asked and what it found, readable for a model that has no such tool."""
    kind = str(block.get("type"))
    if kind in ("server_tool_use", "mcp_tool_use"):
        return text_block(f"[{block.get('name') or kind} was called with {dumps(block.get('input') or {}).decode()}]")
    if kind.endswith(RESULT_SUFFIX):
        return text_block(f"[{kind.removesuffix(RESULT_SUFFIX)} returned: {_findings(block.get('content'))}]")
    return text_block(text_of(block.get("content")) or f"[{kind} omitted]")


def _findings(content: Any) -> str:
    """Results without what only their maker can read."""
    if isinstance(content, list):
        return "\n".join(_findings(item) for item in content)
    if not isinstance(content, dict):
        return str(content)
    readable = {key: value for key, value in content.items() if not key.startswith("encrypted_") and key != "type"}
    return dumps(readable).decode()
