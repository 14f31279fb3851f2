"""Content blocks of the Messages API in words, for models that do not know them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from .messages import dumps

Block = dict[str, Any]

RESULT_SUFFIX = "_tool_result"
CALLS = ("server_tool_use", "mcp_tool_use")


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


def is_blank(block: Any) -> bool:
    """Whether it is a text block that says nothing: no API takes one."""
    return isinstance(block, dict) and block.get("type") == "text" and not str(block.get("text") or "").strip()


def omission(kind: str, media_type: str, reason: str) -> Block:
    return text_block(f"[{kind} omitted: {media_type}; {reason}]")


def image(block: Block, accepted: frozenset[str], dropped: Counter[str]) -> Block:
    """The image if its source is base64 data of an accepted media type, else a stated omission."""
    source = _source(block)
    media_type = str(source.get("media_type") or source.get("type") or "unknown")
    if source.get("type") == "base64" and media_type in accepted:
        return {"type": "image", "source": source}
    dropped["image"] += 1
    return omission(
        "image", media_type, "this model gets no image of this kind" if accepted else "this model cannot see images"
    )


def document(block: Block, accepted: frozenset[str], dropped: Counter[str]) -> Iterator[Block]:
    """A document of text as text, with its title and context, and its images as images; else a stated omission."""
    source = _source(block)
    title = str(block.get("title") or "document")
    heading = "\n\n".join(filter(None, (f"{title}:", str(block.get("context") or ""))))
    if source.get("type") == "text":
        yield text_block(f"{heading}\n\n{source.get('data') or ''}")
    elif source.get("type") == "content":
        content = source.get("content")
        yield text_block(f"{heading}\n\n{text_of(content)}")
        parts = content if isinstance(content, list) else []
        yield from (image(part, accepted, dropped) for part in parts if _is_image(part))
    else:
        dropped["document"] += 1
        media_type = str(source.get("media_type") or source.get("type") or "unknown")
        yield omission(title, media_type, "this model cannot read it")


def _source(block: Block) -> Block:
    source = block.get("source")
    return source if isinstance(source, dict) else {}


def _is_image(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "image"


def search_result(block: Block) -> Block:
    return text_block(f"{block.get('title') or ''} ({block.get('source') or ''})\n\n{text_of(block.get('content'))}")


def tool_name(block: Block) -> str:
    """The name in a reference to a tool: as a search found it, or as a system turn adds or removes it."""
    definition = block.get("definition")
    named = definition if isinstance(definition, dict) else block
    return str(named.get("tool_name") or named.get("name") or named.get("mcp_server_name") or "")


def tool_reference(block: Block) -> Block:
    return text_block(f"[the tool {tool_name(block)} can be used now]")


def tool_change(block: Block) -> Block:
    """A tool that a system turn adds or removes."""
    tool = block.get("tool")
    name = tool_name(tool if isinstance(tool, dict) else {})
    return text_block(
        f"[the tool {name} can {'be used now' if block['type'] == 'tool_addition' else 'no longer be used'}]"
    )


def compaction(block: Block) -> Block:
    return text_block(f"[summary of the conversation so far]\n\n{text_of(block.get('content')) or '(none)'}")


def server_tool(block: Block) -> Block:
    """What a server-side tool was asked and what it found, readable for a model that has no such tool."""
    kind = str(block.get("type"))
    if kind in CALLS:
        return text_block(f"[{block.get('name') or kind} was called with {dumps(block.get('input') or {}).decode()}]")
    if kind.endswith(RESULT_SUFFIX):
        return text_block(f"[{kind.removesuffix(RESULT_SUFFIX)} returned: {_findings(block.get('content'))}]")
    return text_block(text_of(block.get("content")) or f"[{kind} omitted]")


def _findings(content: Any) -> str:
    """Results without what only their maker can read."""
    if isinstance(content, list):
        return "\n".join(_findings(item) for item in content)
    return dumps(_readable(content)).decode() if isinstance(content, dict) else str(content)


def _readable(value: Any) -> Any:
    """Without types, what is encrypted, and files in base64."""
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "base64":
        return f"[{value.get('media_type') or 'data'} omitted]"
    return {key: _readable(item) for key, item in value.items() if not key.startswith("encrypted_") and key != "type"}
