"""ccrelay_providers/wire/blocks.py: blocks in words."""

from __future__ import annotations

import unittest
from collections import Counter
from typing import Any

from ccrelay_providers.wire import blocks

PNG = frozenset({"image/png"})


class TextTests(unittest.TestCase):
    def test_text_is_found_at_any_depth(self) -> None:
        nested = [{"type": "text", "text": "a"}, {"type": "x", "content": [{"type": "text", "text": "b"}, "c"]}]
        self.assertEqual("a\n\nb\n\nc", blocks.text_of(nested))

    def test_nothing_is_no_text(self) -> None:
        for nothing in (None, 5, [], {}, {"text": None}, [{"text": " "}]):
            self.assertEqual("", blocks.text_of(nothing))


class MediaTests(unittest.TestCase):
    def image(self, source: Any, accepted: frozenset[str] = PNG) -> tuple[dict[str, Any], Counter[str]]:
        dropped: Counter[str] = Counter()
        return blocks.image({"type": "image", "source": source, "cache_control": {}}, accepted, dropped), dropped

    def document(self, **fields: Any) -> tuple[dict[str, Any], Counter[str]]:
        dropped: Counter[str] = Counter()
        [block] = blocks.document({"type": "document", **fields}, PNG, dropped)
        return block, dropped

    def test_an_accepted_image_is_kept_without_its_extras(self) -> None:
        source = {"type": "base64", "media_type": "image/png", "data": "AA"}
        self.assertEqual(({"type": "image", "source": source}, Counter()), self.image(source))

    def test_any_other_is_stated(self) -> None:
        for source, accepted, words in (
            (
                {"type": "base64", "media_type": "image/png"},
                frozenset[str](),
                "image/png; this model cannot see images",
            ),
            ({"type": "base64", "media_type": "image/bmp"}, PNG, "image/bmp; this model gets no image of this kind"),
            ({"type": "url", "url": "u"}, PNG, "url; this model gets no image of this kind"),
            (None, PNG, "unknown; this model gets no image of this kind"),
        ):
            with self.subTest(source=source):
                block, dropped = self.image(source, accepted)
                self.assertEqual((f"[image omitted: {words}]", {"image": 1}), (block["text"], dropped))

    def test_a_text_document_is_read_out(self) -> None:
        block, dropped = self.document(title="notes.txt", source={"type": "text", "data": "abc"})
        self.assertEqual(("notes.txt:\n\nabc", 0), (block["text"], dropped["document"]))
        parts = {"type": "content", "content": [{"type": "text", "text": "x"}]}
        self.assertEqual("document:\n\nx", self.document(source=parts)[0]["text"])

    def test_a_pdf_is_stated(self) -> None:
        block, dropped = self.document(source={"type": "base64", "media_type": "application/pdf", "data": "AA"})
        self.assertEqual("[document omitted: application/pdf; this model cannot read it]", block["text"])
        self.assertEqual(1, dropped["document"])


class ToolTests(unittest.TestCase):
    def words(self, block: dict[str, Any]) -> str:
        return str(blocks.server_tool(block)["text"])

    def test_calls_and_findings_are_told(self) -> None:
        self.assertEqual(
            '[ls was called with {"p":1}]', self.words({"type": "mcp_tool_use", "name": "ls", "input": {"p": 1}})
        )
        found = {"type": "web_fetch_tool_result", "content": {"type": "x", "url": "u", "encrypted_index": "e"}}
        self.assertEqual('[web_fetch returned: {"url":"u"}]', self.words(found))
        self.assertEqual("[mcp returned: plain]", self.words({"type": "mcp_tool_result", "content": "plain"}))

    def test_the_unknown_keeps_its_text(self) -> None:
        self.assertEqual("words", self.words({"type": "novel", "content": [{"type": "text", "text": "words"}]}))
        self.assertEqual("[novel omitted]", self.words({"type": "novel", "x": 1}))

    def test_a_reference_names_its_tool(self) -> None:
        self.assertIn("WebFetch", blocks.tool_reference({"tool_name": "WebFetch"})["text"])

    def test_a_search_result_names_its_source(self) -> None:
        block = {"title": "T", "source": "https://x", "content": [{"type": "text", "text": "c"}]}
        self.assertEqual("T (https://x)\n\nc", blocks.search_result(block)["text"])


if __name__ == "__main__":
    unittest.main()
