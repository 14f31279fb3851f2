"""ccrelay_providers/wire/tokens.py: estimates that are never zero and grow with what is sent."""

from __future__ import annotations

import unittest
from typing import Any

from ccrelay_providers.wire.tokens import IMAGE, estimate

TEXT = {"type": "text", "text": "word " * 100}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 400_000}}


def of(*content: Any) -> int:
    return estimate({"messages": [{"role": "user", "content": list(content)}]})


class EstimateTests(unittest.TestCase):
    def test_it_is_never_zero(self) -> None:
        bodies: list[dict[str, Any]] = [
            {},
            {"messages": []},
            {"messages": [{"content": ""}]},
            {"system": None, "tools": None},
        ]
        for body in bodies:
            self.assertGreaterEqual(estimate(body), 1)

    def test_prose_is_about_four_characters_a_token(self) -> None:
        self.assertAlmostEqual(500 / 4, of(TEXT), delta=10)

    def test_digits_and_signs_count_more_than_letters(self) -> None:
        """Data needs twice the tokens of prose, a schema hardly more than prose."""
        prose, schema, numbers = (
            of({"type": "text", "text": text})
            for text in (
                "word " * 800,
                '{"type":"string","description":"The name of it"},' * 80,
                "[1, 2.5, 37]\n" * 308,
            )
        )
        self.assertTrue(1.1 * prose < schema < 1.6 * prose < 1.8 * prose < numbers, (prose, schema, numbers))

    def test_a_long_text_is_judged_by_a_sample(self) -> None:
        for piece in ("def f(x): return {x: 1.25}\n", "0001 7f 45 4c 46 02 01 |.ELF..|\n", "Grüße, 世界! "):
            short, long = (of({"type": "text", "text": piece * count}) for count in (200, 5000))
            self.assertAlmostEqual(25, long / short, delta=0.5)

    def test_text_and_a_block_of_it_are_the_same(self) -> None:
        self.assertEqual(estimate({"messages": [{"role": "user", "content": TEXT["text"]}]}), of(TEXT))
        self.assertEqual(estimate({"system": TEXT["text"]}), estimate({"system": [TEXT]}))

    def test_system_tools_and_messages_count(self) -> None:
        tool = {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}
        body: dict[str, Any] = {}
        counts = [
            estimate(body := {**body, **part})
            for part in ({"system": [TEXT]}, {"tools": [tool]}, {"messages": [{"content": [TEXT]}]})
        ]
        self.assertEqual(sorted(set(counts)), counts)

    def test_every_kind_of_block_counts(self) -> None:
        nothing = of()
        for block in (
            {"type": "thinking", "thinking": "x" * 400, "signature": ""},
            {"type": "tool_use", "id": "a", "name": "b", "input": {"c": "x" * 400}},
            {"type": "tool_result", "tool_use_id": "a", "content": "x" * 400},
            {"type": "tool_result", "content": [TEXT]},
            {"type": "future", "data": "x" * 400}, "x" * 400,
            {"type": "document", "source": {"type": "text", "data": "x" * 400}},
            {"type": "document", "source": {"type": "content", "content": [TEXT]}},
        ):  # fmt: skip
            with self.subTest(block=block):
                self.assertGreaterEqual(of(block), nothing + 100)

    def test_an_image_counts_the_same_however_many_bytes_it_has(self) -> None:
        for block in (PICTURE, {"type": "image", "source": {"type": "url", "url": "https://x"}}):
            self.assertEqual(of() + IMAGE, of(block))
        self.assertAlmostEqual(of(PICTURE), of({"type": "tool_result", "content": [PICTURE]}), delta=8)

    def test_a_provider_may_count_images_in_its_own_way(self) -> None:
        pictures = {"messages": [{"content": [PICTURE, {"type": "tool_result", "content": [PICTURE]}]}]}
        self.assertEqual(estimate(pictures) - estimate(pictures, 768), 2 * (IMAGE - 768))

    def test_a_document_counts_by_its_size_but_no_less_than_an_image(self) -> None:
        def pdf(size: int) -> int:
            return of({"type": "document", "source": {"type": "base64", "data": "A" * size}})

        self.assertEqual(of() + IMAGE, pdf(10))
        self.assertEqual(of() + 75_000, pdf(4_000_000))
        self.assertEqual(of() + IMAGE, of({"type": "document", "source": {"type": "file", "file_id": "f"}}))

    def test_a_signature_does_not_count(self) -> None:
        thinking = {"type": "thinking", "thinking": "x", "signature": ""}
        self.assertEqual(of(thinking), of({**thinking, "signature": "x" * 10_000}))

    def test_letters_of_more_bytes_count_more(self) -> None:
        self.assertGreater(of({"type": "text", "text": "日" * 100}), of({"type": "text", "text": "a" * 100}))

    def test_what_is_odd_is_no_reason_to_fail(self) -> None:
        for block in ("\ud83d", {"type": "text", "text": 5}, {"type": "tool_result", "content": {"a": "\ud83d"}},
        None, 5,
                      {"type": "document", "source": "x"}, {"type": ["x"]}):  # fmt: skip
            self.assertGreaterEqual(of(block), 1)


if __name__ == "__main__":
    unittest.main()
