"""JSON schemas for Ollama, which knows few keywords: what it would drop is said in another way, so the model sees it.

Kept there, in the root: type, items, required, properties. In a property: anyOf, type, items, description, enum,
properties, required (api/types.go). A property that is no object is refused.
"""

from __future__ import annotations

from typing import Any

from .messages import Json, dumps

Path = tuple[str, ...]
"""The $ref at each level from the root to a node, empty where there is none."""

_DEEPEST = 20
"""Levels that are followed; a tool's schema has 3 or 4."""
_REFERENCES = ("#/$defs/", "#/definitions/")
_KEPT = ("type", "description", "enum", "required")
_NOTED = (
    "default", "format", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    "minLength", "maxLength", "minItems", "maxItems",
)  # fmt: skip


def parameters(schema: Any) -> Json:
    """A tool's input schema, always with properties: api/types.go has no object without."""
    plain = _plain(schema, schema, ())
    return {**plain, "type": "object", "properties": plain.get("properties") or {}}


def _plain(node: Any, root: Any, path: Path) -> Json:
    """The node in kept keywords; `true`, and what lies too deep, as a schema that allows everything."""
    if not isinstance(node, dict) or len(path) > _DEEPEST:
        return {}
    reference = str(node.get("$ref") or "")
    if reference and reference in path:
        return {"description": f"{node.get('description') or ''} (again: {reference.rpartition('/')[2]})".strip()}
    node, path = _resolved(node, root), (*path, reference)
    plain = {key: node[key] for key in _KEPT if node.get(key) is not None}
    if "const" in node:
        plain["enum"] = [node["const"]]
    if properties := _dict(node, "properties"):
        plain["properties"] = {name: _plain(child, root, path) for name, child in properties.items()}
    if items := _dict(node, "items"):
        plain["items"] = _plain(items, root, path)
    if isinstance(choices := node.get("anyOf") or node.get("oneOf"), list):
        plain["anyOf"] = [_plain(choice, root, path) for choice in choices]
    if notes := ", ".join(f"{key}: {dumps(node[key]).decode()}" for key in _NOTED if key in node):
        plain["description"] = f"{plain.get('description') or ''} ({notes})".strip()
    return plain


def _resolved(node: Json, root: Any) -> Json:
    """The node with a local $ref and the parts of allOf merged into it; what it says itself counts more."""
    node = {**_referred(node, root), **node}
    parts = node.get("allOf")
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict):
            node = _merged({**_referred(part, root), **part}, node)
    return node


def _referred(node: Json, root: Any) -> Json:
    """What a local $ref stands for."""
    reference = str(node.get("$ref") or "")
    for prefix in _REFERENCES:
        if reference.startswith(prefix):
            return _dict(_dict(root, prefix[2:-1]), reference.removeprefix(prefix))
    return {}


def _merged(part: Json, node: Json) -> Json:
    merged = {**part, **node}
    if properties := {**_dict(part, "properties"), **_dict(node, "properties")}:
        merged["properties"] = properties
    required = [name for side in (part, node) if isinstance(side.get("required"), list) for name in side["required"]]
    return {**merged, "required": list(dict.fromkeys(required))} if required else merged


def _dict(node: Any, key: str) -> Json:
    value = node.get(key) if isinstance(node, dict) else None
    return value if isinstance(value, dict) else {}
