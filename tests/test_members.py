"""ccrelay_providers/wire/members.py: what it finds in a body is what a parser finds, and where it says."""

from __future__ import annotations

import json
import random
import unittest
from typing import Any, cast

from ccrelay_providers.wire.members import in_bytes, parse, parse_long
from tests.turns import CLAUDES, assistant, call, result, text, user

NESTED = {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "model": "n"}
TURNS: tuple[dict[str, Any], ...] = (
    user(text("é → ✓ 😀 \ud800")), user(text('},{"role":"user"')), assistant(CLAUDES, call("toolu_1")),
    user(result("toolu_1", "],\n")), {"role": "user", "content": "x"}, {"content": "y", "role": "user"},
    assistant({"type": "tool_use", "id": "toolu_2", "name": "Send", "input": NESTED}),
)  # fmt: skip
REST: tuple[dict[str, Any], ...] = ({}, {"max_tokens": 5, "stream": True}, {"tools": [NESTED]}, {"model": "b"})


def written(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def conversation(rng: random.Random) -> bytes:
    body = {"model": "m", "messages": rng.choices(TURNS, k=rng.randrange(1, 6))}
    raw = json.dumps(body, separators=(",", ":")) if rng.random() < 0.5 else written(body).decode(errors="replace")
    rest = rng.choice(REST)
    return (raw[:-1] + ("," + json.dumps(rest)[1:] if rest else "}")).encode()


class LongTests(unittest.TestCase):
    def test_it_is_what_a_parser_finds_or_nothing(self) -> None:
        rng, found = random.Random(3), 0
        for _ in range(400):
            raw = conversation(rng)
            if rng.random() < 0.5:
                place = rng.randrange(len(raw))
                raw = (
                    raw[:place]
                    + rng.choice((b"", b",", b"]", b"}", b"{", b'"', b"\\"))
                    + raw[place + rng.randrange(2) :]
                )
            long = parse_long(raw)
            if long is None:
                continue
            found += 1
            self.assertEqual(json.loads(raw), long.body, raw)
            self.assertEqual(list(json.loads(raw)), list(long.body))
            self.assertEqual([json.loads(raw[slice(*span)]) for span in long.messages], long.body["messages"])
            self.assertEqual([json.loads(raw[slice(*span)]) for span in long.model], [long.body["model"]])
        self.assertGreater(found, 50)

    def test_the_usual_is_found(self) -> None:
        raw = written(
            {"model": "zai/glm-5.2[1m]", "messages": [*TURNS[2:4]] * 3, "system": [text("a")], "stream": True}
        )
        bodies: tuple[bytes, ...] = (raw, cast(bytes, bytearray(raw)))
        for body in bodies:
            long = parse_long(body)
            assert long is not None
            self.assertEqual(6, len(long.messages))

    def test_what_is_nested_ends_no_message(self) -> None:
        for turn in (TURNS[6], {"role": "user", "content": [NESTED]}):
            long = parse_long(written({"model": "m", "messages": [turn, TURNS[4]], "stream": True}))
            self.assertIn(long and long.body["messages"], (None, [turn, TURNS[4]]))

    def test_another_order_or_spelling_is_left_to_others(self) -> None:
        good = {"model": "m", "messages": [TURNS[4]], "max_tokens": 1}
        for raw in (
            json.dumps(good).encode(), written(dict(reversed(good.items()))), written({**good, "messages": []}),
            written({"model": "é", **good} | {"model": "é"}), written(good)[:-1], written(good) + b"x", b"", b"[]",
            written({**good, "messages": [TURNS[4], 5]}), written({"model": "m", "messages": [TURNS[4]]})[:-1] + b",}",
            written(good).replace(b"}],", b"}],]"), written(good).replace(b"}],", b"}]],"),
        ):  # fmt: skip
            self.assertIsNone(parse_long(raw), raw)


class ParseTests(unittest.TestCase):
    def test_the_model_is_found_wherever_it_stands(self) -> None:
        body, spans = parse(source := '{"é": 1, "model": "a", "x": {"model": 5}, "model" : "b"}')
        self.assertEqual(json.loads(source), body)
        self.assertEqual(['"a"', '"b"'], [source[slice(*span)] for span in spans])
        raw = source.encode()
        self.assertEqual([b'"a"', b'"b"'], [raw[slice(*span)] for span in in_bytes(source, spans)])

    def test_what_is_broken_is_refused(self) -> None:
        for broken in ("", "[]", "{", "{a:1}", '{"a" 1}', '{"a":1,}', '{"a":1} x', '{"a":1 "b":2}', '{"a":[1,]}'):
            with self.subTest(broken), self.assertRaises(ValueError):
                parse(broken)


if __name__ == "__main__":
    unittest.main()
