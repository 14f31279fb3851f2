"""ccrelay_providers/wire/sse.py: the examples of WHATWG HTML 9.2, in all line endings and at every split."""

from __future__ import annotations

import json
import random
import re
import unittest
from collections.abc import Iterator

from ccrelay_providers.wire.sse import PING, ServerSentEvent, decode, encode, parse, whole_events

PARTS = (
    b"data", b"event", b"id", b":", b" ", b"x", b"\n", b"\r", b"\r\n", b"\n\n", b"\xc3\xa9", b"\xe2\x80", b"data: 1\n",
)  # fmt: skip
ENDINGS = ("\n", "\r\n", "\r")
CASES: list[tuple[str, list[tuple[str, str]]]] = [
    ("data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10")]),
    (": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
     [("message", "first event"), ("message", "second event"), ("message", " third event")]),
    ("data\n\ndata\ndata\n\ndata:", [("message", "\n")]),  # events of nothing but an empty line of data are left out
    ("data:test\n\ndata: test\n\n", [("message", "test"), ("message", "test")]),
    ("event: add\ndata: 7\n\nevent: remove\ndata: 2\n\n", [("add", "7"), ("remove", "2")]),
    ("event: add\n\ndata: 7\n\n", [("message", "7")]),  # a name without data is forgotten
    ("event: a\nevent: b\ndata: 7\n\n", [("b", "7")]),
    ("event: a\nevent\ndata: 7\n\n", [("message", "7")]),
    ("data: a:b: c\n\n", [("message", "a:b: c")]),
    (" data: 7\ndatax: 7\nDATA: 7\nunknown\n\n", []),
    ("data: cut off\n", []),
    ("\n\n\ndata: 1\n\n\n\n\ndata: 2\n\n", [("message", "1"), ("message", "2")]),
    ("data: \u2028\x85\x0b\x0c\x1c é 日 😀\n\n", [("message", "\u2028\x85\x0b\x0c\x1c é 日 😀")]),
    (":\n\n", []),
    ("", []),
]  # fmt: skip


def cut(raw: bytes, rng: random.Random) -> list[bytes]:
    places = sorted(rng.choices(range(len(raw) + 1), k=rng.randrange(8)))
    return [raw[start:end] for start, end in zip([0, *places], [*places, len(raw)], strict=True)]


def standard(raw: bytes) -> Iterator[ServerSentEvent]:
    """The algorithm of the standard, on the whole stream, less events without data."""
    name, data = "", ""
    for line in re.split("\r\n|\r|\n", raw.decode("utf-8", "replace"))[:-1]:
        field, _, value = line.partition(":")
        if not line:
            if data.removesuffix("\n"):
                yield ServerSentEvent(name or "message", data.removesuffix("\n"))
            name, data = "", ""
        elif field == "data":
            data += value.removeprefix(" ") + "\n"
        elif field == "event":
            name = value.removeprefix(" ")


class DecodeTests(unittest.TestCase):
    def test_the_cases_in_all_line_endings(self) -> None:
        for text, expected in CASES:
            for ending in ENDINGS:
                with self.subTest(text=text, ending=ending):
                    self.assertEqual(expected, list(decode([text.replace("\n", ending).encode()])))

    def test_any_split_gives_the_same_events(self) -> None:
        for text, expected in CASES:
            for ending in ENDINGS:
                raw = text.replace("\n", ending).encode()
                self.assertEqual(expected, list(decode([bytes([byte]) for byte in raw])))
                for place in range(len(raw)):
                    self.assertEqual(expected, list(decode([raw[:place], b"", raw[place:]])))

    def test_it_is_the_algorithm_of_the_standard(self) -> None:
        rng = random.Random(1)
        for _ in range(3000):
            raw = b"".join(rng.choices(PARTS, k=rng.randrange(20)))
            self.assertEqual(list(standard(raw)), list(decode(cut(raw, rng))), raw)

    def test_an_encoded_event_is_decoded(self) -> None:
        data = json.dumps({"text": "a\r\n\n\u2028é"}, ensure_ascii=False)
        self.assertEqual([("x", data)], list(decode([encode("x", data.encode()), b""])))

    def test_a_name_that_utf_8_has_not_is_no_reason_to_fail(self) -> None:
        self.assertEqual(b"event: ?\ndata: {}\n\n", encode("\ud83d", b"{}"))

    def test_a_ping(self) -> None:
        self.assertEqual(ServerSentEvent("ping", '{"type": "ping"}'), parse(PING.strip()))


class WholeEventsTests(unittest.TestCase):
    def test_unbroken_bytes_go_on_as_the_same_object(self) -> None:
        piece = PING * 2
        self.assertIs(piece, next(whole_events([piece])))

    def test_an_event_leaves_as_soon_as_it_is_whole(self) -> None:
        taken: list[bytes] = []

        def pieces() -> Iterator[bytes]:
            for piece in (b"data: 1\n", b"\ndata: 2", b"\n\ndata: 3\n\ndata: 4\n\ndat", b"a: 5\n\n"):
                taken.append(piece)
                yield piece

        blocks = ((block, len(taken)) for block in whole_events(pieces()))
        expected = [(b"data: 1\n\n", 2), (b"data: 2\n\ndata: 3\n\ndata: 4\n\n", 3), (b"data: 5\n\n", 4)]
        self.assertEqual(expected, list(blocks))

    def test_no_byte_is_lost_but_those_of_a_cut_event(self) -> None:
        rng = random.Random(2)
        for _ in range(1000):
            raw = b"".join(rng.choices((b"data: 1", b"\n", b"\n\n", b": c"), k=rng.randrange(20)))
            whole = raw[: raw.rfind(b"\n\n") + 2] if b"\n\n" in raw else b""
            self.assertEqual(whole.rstrip(b"\n"), b"".join(whole_events(cut(raw, rng))).rstrip(b"\n"))

    def test_line_endings_become_line_feeds(self) -> None:
        for raw in (b"data: 1\r\n\r\ndata: 2\r\n\r\n", b"data: 1\r\rdata: 2\r\r", b"data: 1\n\rdata: 2\r\n\r"):
            for place in range(len(raw)):
                self.assertEqual(b"data: 1\n\ndata: 2\n\n", b"".join(whole_events([raw[:place], raw[place:]])))


if __name__ == "__main__":
    unittest.main()
