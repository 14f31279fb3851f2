"""ccrelay_providers/wire/signs.py: no sign is overlooked, wherever it stands, whether looked for or remembered."""

from __future__ import annotations

import json
import random
import unittest
from typing import Any
from unittest import mock

from ccrelay_providers.wire import history, signs, use_lines
from ccrelay_providers.wire.signs import BLOCK, Signs
from tests.turns import CLAUDES, GLMS, UNSIGNED, assistant, call, result, text, user

SEARCH: dict[str, Any] = {"type": "server_tool_use", "id": "zai_1", "name": "analyze_image", "input": {"of": "x.png"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "zai_1", "content": [{"type": "web_search_result"}]}
SPACES = "\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2028\u202f\u205f\u3000"  # beyond those that JSON has words for
FOREIGN: tuple[list[dict[str, Any]], ...] = (
    [GLMS], [UNSIGNED], [{"type": "thinking", "thinking": "x"}], [{**UNSIGNED, "signature": None}],
    [CLAUDES, {"type": "thinking", "thinking": "x"}], [result("functions.Bash:0")], [result("call_1")],
    [result("toolu_1"), result("toolu_1")], [text("")], [text(" \n\t")],
    [text(" " * 2000)], [SEARCH], [{**FOUND, "tool_use_id": "x"}],
    [{"type": "redacted_thinking", "data": history.mark("zai", "x")}], *([text(f" {space}")] for space in SPACES),
    [{**SEARCH, "id": "srvtoolu_a-b"}], [result("toolu_" + "a" * 59)],
)  # fmt: skip
LINES = (
    "/use a", "  /use a", "\n\t /use", "/use\n", "\n" * 1000 + "/use a",
    *(f"{space} /use a" for space in SPACES), *(f"/use{space}" for space in SPACES),
)  # fmt: skip
SHAPES = ((",", ":"), (", ", ": "))


def looked_at(raw: bytes) -> Signs:
    """Both times: looked for, and remembered."""
    signs._seen.clear()
    first = signs.signs(raw)
    assert first == signs.signs(raw) == signs.signs(bytearray(raw))
    return first


class SignsTests(unittest.TestCase):
    def test_what_needs_repair_is_never_overlooked(self) -> None:
        for content in FOREIGN:
            for separators in SHAPES:
                for escaped in (True, False):
                    with self.subTest(content=content, separators=separators, escaped=escaped):
                        body = {"messages": [user(*content)]}
                        raw = json.dumps(body, separators=separators, ensure_ascii=escaped).encode()
                        self.assertEqual((False, True), looked_at(raw))

    def test_thinking_that_is_enabled_is_a_sign(self) -> None:
        for separators in SHAPES:
            body = {"messages": [], "thinking": {"budget_tokens": 1024, "type": "enabled"}}
            self.assertTrue(looked_at(json.dumps(body, separators=separators).encode()).foreign)

    def test_a_conversation_of_anthropics_has_none(self) -> None:
        own = {**SEARCH, "id": "srvtoolu_1"}
        turns = [assistant(CLAUDES, own, {**FOUND, "tool_use_id": "srvtoolu_1"}, call("toolu_01"))]
        body = {"messages": [*turns, user(result("toolu_01"), text("  a:b"))], "thinking": {"type": "adaptive"}}
        self.assertEqual((False, False), looked_at(json.dumps(body).encode()))

    def test_every_line_is_found(self) -> None:
        for words in LINES:
            for content, escaped in ((words, True), (words, False), ([text(words)], True)):
                body = {"messages": [{"role": "user", "content": content}]}
                raw = json.dumps(body, ensure_ascii=escaped).encode()
                self.assertIsNotNone(use_lines.find(body))
                self.assertTrue(looked_at(raw).use_line, raw)
                self.assertTrue(looked_at(raw.replace(b"/", rb"\/")).use_line, raw)

    def test_every_white_space_is_known(self) -> None:
        self.assertEqual({place for place in range(0x10000) if chr(place).isspace()}, set(signs._WHITE))

    def test_paths_are_no_lines(self) -> None:
        for words in ("/users/me", "see /use a", "cat /use", "/user", "x\n/use a", "é/use a", "\u2713/use a"):
            self.assertFalse(looked_at(json.dumps({"role": "user", "content": words}).encode()).use_line, words)


class BlockTests(unittest.TestCase):
    def test_a_sign_is_found_at_every_place_around_the_end_of_a_block(self) -> None:
        for sign in ({"text": " \n"}, {"tool_use_id": "call_{1}"}, {"tool_use_id": "toolu_{1}"}, {"signature": None},
                     {"type": "thinking"}, {"thinking": {"type": "enabled"}}, {"content": "  /use a"}):  # fmt: skip
            for separators in SHAPES:
                written = json.dumps(sign, separators=separators).encode()
                for place in range(BLOCK - len(written) - 1, BLOCK + 2):
                    raw = b"x" * place + written + b"x" * BLOCK + b"{" + b"x" * BLOCK
                    self.assertNotEqual((False, False), looked_at(raw), (sign, place))

    def test_a_sign_may_be_long(self) -> None:
        for sign in (
            rb'"text" : "' + rb"\n" * BLOCK + b'"',
            b'"tool_use_id" : "' + b"c" * BLOCK,
            b'"thinking" : {' + b" " * BLOCK + b'"type" : "enabled"',
            b'"' + rb"\n" * 250 + b"/use a",
        ):
            self.assertNotEqual((False, False), looked_at(b"x" * (BLOCK - 1) + sign), sign)

    def test_what_belongs_together_is_seen_together(self) -> None:
        far = "x" * BLOCK
        own = [{"type": "thinking", "thinking": far, "signature": "EqQB"}, call("toolu_1"), call("toolu_2")]
        results = [result("toolu_1", far), result("toolu_2", far)]
        body = {"messages": [assistant(*own), user(*results)]}
        self.assertEqual((False, False), looked_at(json.dumps(body).encode()))
        twice = {"messages": [assistant(*own), user(results[0], results[0])]}
        self.assertTrue(looked_at(json.dumps(twice).encode()).foreign)
        unsigned = {"messages": [assistant({"type": "thinking", "thinking": far})]}
        self.assertTrue(looked_at(json.dumps(unsigned).encode()).foreign)

    def test_a_conversation_that_grows_is_as_one_that_is_new(self) -> None:
        rng = random.Random(5)
        parts = [json.dumps(text("y" * rng.randrange(3000))), *(json.dumps(part) for [part, *_] in FOREIGN[:8])]
        for _ in range(40):
            raw = b""
            for _ in range(rng.randrange(1, 12)):
                raw += rng.choices(parts, weights=[30, *[1] * 8])[0].encode()
                grown = signs.signs(raw)
                with mock.patch.object(signs, "_seen", {}):
                    self.assertEqual(grown, signs.signs(raw))

    def test_an_old_block_is_not_looked_at_again(self) -> None:
        raw = b"z" * BLOCK * 4
        looked_at(raw)
        with mock.patch.object(signs, "_look", wraps=signs._look) as look:
            signs.signs(raw + json.dumps(text("")).encode())
        self.assertLess(look.call_count, 3)  # the block that has grown, and what follows it

    def test_of_what_is_foreign_no_more_is_remembered_than_that_it_is(self) -> None:
        with mock.patch.object(signs, "_seen", {}):
            signs.signs(b'"tool_use_id":"%b","tool_use_id":"toolu_1"' % (b"c" * BLOCK))
            self.assertEqual([signs._Seen(foreign=True)], list(signs._seen.values()))

    def test_no_more_is_remembered_than_there_is_room_for(self) -> None:
        with mock.patch.object(signs, "MAX_BLOCKS", 3), mock.patch.object(signs, "_seen", {}):
            for number in range(10):
                signs.signs(str(number).encode() * BLOCK * 2)
                self.assertLessEqual(len(signs._seen), 3)


if __name__ == "__main__":
    unittest.main()
