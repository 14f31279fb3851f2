"""JSON schemas in the few keywords Ollama knows. A whole one is in transcripts/ollama/schema-keywords.txt."""

from __future__ import annotations

import unittest
from typing import Any

from ccrelay_providers.wire.ollama_schema import parameters

EMPTY: dict[str, Any] = {"type": "object", "properties": {}}


def plain(node: Any, **root: Any) -> Any:
    """What becomes of a property."""
    return parameters({"type": "object", "properties": {"p": node}, **root})["properties"]["p"]


class SchemaTests(unittest.TestCase):
    def test_there_is_always_an_object(self) -> None:
        schemas: list[Any] = [None, {}, True, [], {"type": "object"}, {"type": "object", "properties": None}]
        for schema in schemas:
            with self.subTest(schema):
                self.assertEqual(parameters(schema), EMPTY)

    def test_what_would_be_dropped_is_said(self) -> None:
        lines = {"type": "integer", "default": 3, "description": "Lines"}
        self.assertEqual(plain(lines)["description"], "Lines (default: 3)")
        self.assertEqual(plain({"type": "string", "pattern": "^ü"})["description"], '(pattern: "^ü")')

    def test_const_is_an_enum_of_one(self) -> None:
        self.assertEqual(plain({"const": None}), {"enum": [None]})

    def test_one_of_is_any_of(self) -> None:
        self.assertEqual(plain({"oneOf": [{"type": "string"}, True]}), {"anyOf": [{"type": "string"}, {}]})

    def test_references_are_followed(self) -> None:
        for place in ("$defs", "definitions"):
            node = {"$ref": f"#/{place}/N", "description": "Mine"}
            found = plain(node, **{place: {"N": {"type": "string", "description": "Its"}}})
            self.assertEqual(found, {"type": "string", "description": "Mine"})

    def test_references_that_lead_nowhere_allow_everything(self) -> None:
        for reference in ("#/$defs/none", "https://example.com/x", 5, "#"):
            self.assertEqual(plain({"$ref": reference}), {})

    def test_a_tree_ends_where_it_repeats(self) -> None:
        tree = {"properties": {"left": {"$ref": "#/$defs/T"}, "right": {"$ref": "#/$defs/T"}}}
        again = {"description": "(again: T)"}
        found = plain({"$ref": "#/$defs/T"}, **{"$defs": {"T": tree}})
        self.assertEqual(found, {"properties": {"left": again, "right": again}})

    def test_all_of_is_merged(self) -> None:
        parts = [
            {"properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {}}, "required": ["b"]},
            None,
        ]
        merged = plain({"allOf": parts, "required": ["c"]})
        self.assertEqual(set(merged["properties"]), {"a", "b"})
        self.assertEqual(sorted(merged["required"]), ["a", "b", "c"])

    def test_nesting_ends_somewhere(self) -> None:
        node: dict[str, Any] = {"type": "string"}
        for _ in range(300):
            node = {"type": "array", "items": node}
        self.assertEqual(plain(node)["type"], "array")

    def test_the_schema_itself_is_not_changed(self) -> None:
        schema = {"type": "object", "properties": {"p": {"default": 1, "description": "P"}}}
        parameters(schema)
        self.assertEqual(schema["properties"], {"p": {"default": 1, "description": "P"}})


if __name__ == "__main__":
    unittest.main()
