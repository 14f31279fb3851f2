"""ccrelay_providers/wire/http1.py: held against the standard library's parsers, and strict where they are not."""

from __future__ import annotations

import http.client
import io
import random
import socket
import unittest
from collections.abc import Callable
from typing import cast
from unittest import mock

from ccrelay_providers.wire import http1
from ccrelay_providers.wire.errors import InvalidRequest, RequestTooLarge, UpstreamDisconnected
from ccrelay_providers.wire.http1 import ChunkedDecoder, Headers, LengthDecoder, ResponseHead, response_decoder

TOKEN = "!#$%&'*+-.^_`|~0123456789abcXYZ"
VALUE = "".join(chr(code) for code in (9, *range(0x20, 0x7F), *range(0x80, 0x100)))
ROUNDS = 200


class Played:
    """What http.client takes for a socket: bytes that are already there."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._raw)


def standard(raw: bytes) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(cast(socket.socket, Played(raw)))
    response.begin()
    return response


def any_headers(rng: random.Random) -> bytes:
    """Header fields as they may be, each with its CRLF."""
    lines = []
    for _ in range(rng.randrange(6)):
        name = "x-" + "".join(rng.choices(TOKEN, k=rng.randrange(6)))
        value = "".join(rng.choices(VALUE, k=rng.randrange(12)))
        lines.append(f"{name}:{rng.choice(('', ' ', chr(9)))}{value}\r\n")
    return "".join(lines).encode("latin-1")


def any_chunks(rng: random.Random) -> bytes:
    """A body in chunked framing with all that RFC 9112 allows: capital digits, leading zeros, extensions, trailers."""
    framed = b""
    for _ in range(rng.randrange(5)):
        payload = rng.choice((b"\r\n", b"0\r\n\r\n", rng.randbytes(rng.randrange(1, 40)), b"a" * 300))
        size = b"%x" % len(payload)
        size = b"0" * rng.randrange(3) + rng.choice((size, size.upper()))
        framed += size + rng.choice((b"", b";a", b" ;a=b", b';a="1;2"')) + b"\r\n" + payload + b"\r\n"
    return framed + rng.choice((b"0", b"000", b"0;end")) + b"\r\n" + any_headers(rng) + b"\r\n"


def splits(raw: bytes) -> list[list[bytes]]:
    """Whole, byte by byte, and in two at every place."""
    return [[raw], [bytes([byte]) for byte in raw], *([raw[:cut], raw[cut:]] for cut in range(1, len(raw)))]


class AgainstTheStandardLibrary(unittest.TestCase):
    def test_header_fields(self) -> None:
        rng = random.Random(1)
        for _ in range(ROUNDS):
            raw = any_headers(rng)
            expected = [
                (name, value.strip(" \t"))
                for name, value in http.client.parse_headers(io.BytesIO(raw + b"\r\n")).items()
            ]
            head = b"HTTP/1.1 200 OK\r\n" + raw
            self.assertEqual(expected, http1.parse_response(head.removesuffix(b"\r\n")).headers)
            head = b"GET / HTTP/1.1\r\n" + raw
            self.assertEqual(expected, http1.parse_request(head.removesuffix(b"\r\n")).headers)

    def test_status_lines(self) -> None:
        for line in (
            b"HTTP/1.1 200 OK",
            b"HTTP/1.0 404 Not Found",
            b"HTTP/1.1 529 ",
            b"HTTP/1.1 503",
            b"HTTP/1.1 200 \xe9",
        ):
            expected = standard(line + b"\r\n\r\n")
            head = http1.parse_response(line)
            self.assertEqual((expected.status, expected.version - 10), (head.status, head.version))

    def test_chunked_bodies_whole_and_at_every_split(self) -> None:
        rng = random.Random(2)
        for _ in range(ROUNDS // 4):
            framed = any_chunks(rng)
            expected = standard(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + framed).read()
            for pieces in splits(framed):
                decoder = ChunkedDecoder()
                self.assertEqual(expected, b"".join(map(decoder.feed, pieces)), pieces)
                self.assertEqual((True, b""), (decoder.ended, decoder.rest))

    def test_where_a_body_ends(self) -> None:
        for fields, body in (
            ([], b"until the end"), ([("Content-Length", "5")], b"12345"), ([("Content-Length", "0")], b""),
            ([("Transfer-Encoding", "Chunked"), ("Content-Length", "3")], b"2\r\nab\r\n0\r\n\r\n"),
        ):  # fmt: skip
            raw = http1.render_head("HTTP/1.1 200 OK", fields) + body
            for pieces in splits(body) if body else [[]]:
                decoder = response_decoder(ResponseHead(200, 1, Headers(fields)), "POST")
                self.assertEqual(standard(raw).read(), b"".join(map(decoder.feed, pieces)))

    def test_what_is_rendered_is_read_back(self) -> None:
        rng = random.Random(3)
        for _ in range(ROUNDS):
            fields = http1.parse_response((b"HTTP/1.1 200 OK\r\n" + any_headers(rng)).removesuffix(b"\r\n")).headers
            raw = http1.render_head("HTTP/1.1 200 OK", fields)
            self.assertEqual(fields, [(name, value.strip(" \t")) for name, value in standard(raw).getheaders()])

    def test_chunks_are_read_back(self) -> None:
        raw = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + http1.chunk(b"a" * 300) + http1.LAST_CHUNK
        self.assertEqual(b"a" * 300, standard(raw).read())


class ChunkTests(unittest.TestCase):
    def test_what_follows_the_end_is_kept_apart(self) -> None:
        raw = b"3\r\nabc\r\n0\r\nx: y\r\n\r\n"
        for cut in range(len(raw)):
            decoder = ChunkedDecoder()
            self.assertEqual(b"abc", decoder.feed(raw[:cut]) + decoder.feed(raw[cut:] + b"GET /"))
            self.assertEqual((True, b"GET /"), (decoder.ended, decoder.rest))

    def test_what_looks_like_chunks_inside_of_one_is_payload(self) -> None:
        ChunkedDecoder().feed(b"5\r\nhello\r\n")  # a size that is known from now on
        for inside in (b"5\r\nhello\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"):
            decoder = ChunkedDecoder()
            pieces = [b"%x\r\n" % len(inside), inside, b"\r\n0\r\n\r\n"]
            self.assertEqual(b"".join(map(decoder.feed, pieces)), inside)
            self.assertTrue(decoder.ended)

    def test_the_sizes_that_are_remembered_are_few_and_short(self) -> None:
        with mock.patch.dict(http1._sizes, clear=True):
            ChunkedDecoder().feed(b"1;%b\r\na\r\n" % (b"x" * http1.MAX_SIZE_LINE))
            self.assertEqual(http1._sizes, {})
            for number in range(1, http1.MAX_SIZES + 9):
                ChunkedDecoder().feed(b"%x\r\n" % number)
            self.assertEqual(len(http1._sizes), http1.MAX_SIZES)

    def test_broken_framing_is_refused_at_every_split(self) -> None:
        for raw in (
            b"3\nabc\r\n", b"3\r\nabcd\r\n", b"3\r\nabc\n", b"3\r\nabcX\n", b"-3\r\nabc\r\n", b"0x3\r\nabc\r\n",
            b"+3\r\nabc\r\n",
            b" 3\r\nabc\r\n", b"\r\n", b"zz\r\n", b"3;a\rb\r\nabc\r\n", b"1_0\r\n", b"f" * 16 + b"\r\n",
            b"3;" + b"a" * 4096 + b"\r\n",
            b"0\r\nx: y\n\r\n", "٣".encode() + b"\r\nabc\r\n",
        ):  # fmt: skip
            for pieces in ([raw], [bytes([byte]) for byte in raw]):
                with self.subTest(raw=raw, pieces=len(pieces)), self.assertRaises(InvalidRequest):
                    decoder = ChunkedDecoder(InvalidRequest)
                    for piece in pieces:
                        decoder.feed(piece)

    def test_trailers_end_somewhere(self) -> None:
        decoder = ChunkedDecoder(InvalidRequest)
        decoder.feed(b"0\r\n")
        with self.assertRaisesRegex(InvalidRequest, "trailers"):
            for _ in range(20):
                decoder.feed(b"x: y\r\n" * 1000)

    def test_an_end_that_is_missing_is_no_end(self) -> None:
        decoder = ChunkedDecoder()
        self.assertEqual(b"abc", decoder.feed(b"3\r\nabc\r\n"))
        self.assertFalse(decoder.ended)
        decoder.feed(b"0\r\n")
        self.assertFalse(decoder.ended)

    def test_a_size_beyond_its_chunk_gives_what_is_there(self) -> None:
        decoder = ChunkedDecoder()
        self.assertEqual([b"ab", b"cd", b"e"], [decoder.feed(piece) for piece in (b"ffff\r\nab", b"cd", b"e")])


class RequestTests(unittest.TestCase):
    def test_a_request(self) -> None:
        head = http1.parse_request(b"POST /v1/messages?beta=true HTTP/1.1\r\nHost: h\r\nX:\t y ")
        self.assertEqual(("POST", "/v1/messages?beta=true", 1), head[:3])
        self.assertEqual([("Host", "h"), ("X", "y")], head.headers)
        self.assertEqual(0, http1.parse_request(b"GET / HTTP/1.0").version)

    def test_what_is_ambiguous_is_refused(self) -> None:
        for head in (
            b"GET / HTTP/1.1\r\nA : b", b"GET / HTTP/1.1\r\n A: b", b"GET / HTTP/1.1\r\nA: b\r\n c",
            b"GET / HTTP/1.1\r\nA",
            b"GET / HTTP/1.1\r\n: b", b"GET / HTTP/1.1\r\nA: b\nC: d", b"GET / HTTP/1.1\r\nA: b\rC: d",
            b"GET / HTTP/1.1\r\nA: \0",
            b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b"GET / HTTP/2.0", b"GET / HTTP/1.10", b"GET /", b"",
            b"GET /a b HTTP/1.1",
            b"G(T / HTTP/1.1", b"GET /\xe9 HTTP/1.1", b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\n\xe9: b",
            b"GET\t/\tHTTP/1.1",
        ):  # fmt: skip
            with self.subTest(head=head), self.assertRaises(InvalidRequest):
                http1.parse_request(head)

    def test_heads_of_one_connection_are_read_as_if_each_were_the_first(self) -> None:
        rng = random.Random(6)
        lines = [
            b"Host: h", b"content-type: a", b"Content-Length: 7", b"CONTENT-LENGTH:12", b"content-length: x",
            b"content-length: 7 ", b"x: content-length: 9", b"transfer-encoding: chunked", b"X-Api-Key: k", b"a:\0",
        ]  # fmt: skip
        for _ in range(ROUNDS):
            heads, chosen = http1.RequestHeads(), rng.choices(lines, k=rng.randrange(5))
            for _ in range(6):
                if rng.random() < 0.3:
                    chosen = rng.choices(lines, k=rng.randrange(5))
                head = b"\r\n".join([rng.choice((b"POST /a HTTP/1.1", b"GET /b HTTP/1.0")), *chosen])
                head = head.replace(b"7", rng.choice((b"0", b"41", b"4141", b"-1", b"4 1", b"9" * 16)))
                self.assertEqual(self.read(http1.parse_request, head), self.read(heads.parse, head), head)

    def read(self, parse: Callable[[bytes], http1.RequestHead], head: bytes) -> object:
        try:
            parsed = parse(head)
        except InvalidRequest as error:
            return error.message
        return parsed, parsed.headers.get("content-length"), parsed.headers.all("content-length")

    def test_only_the_length_is_read_when_the_rest_is_as_it_was(self) -> None:
        heads = http1.RequestHeads()
        first = heads.parse(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nAccept: a")
        with mock.patch.object(http1, "parse_request", side_effect=AssertionError):
            second = heads.parse(b"POST / HTTP/1.1\r\nContent-Length: 4711\r\nAccept: a")
        self.assertEqual([("Content-Length", "4711"), ("Accept", "a")], second.headers)
        self.assertEqual(("4711", "5"), (second.headers.get("content-length"), first.headers.get("content-length")))
        self.assertIs(first.headers.made, second.headers.made)

    def test_credentials_and_long_lines_are_not_remembered(self) -> None:
        names = "Authorization", "x-api-key", "Cookie", "x-ccrelay-token", "Proxy-Authorization"
        secret = "\r\n".join(f"{name}: s3cret" for name in names).encode()
        http1.parse_request(b"GET / HTTP/1.1\r\n" + secret + b"\r\nx: s3cret" + b"y" * http1.MAX_LINE)
        http1.parse_response(b"HTTP/1.1 200 OK\r\nSet-Cookie: s3cret")
        self.assertFalse([line for line in http1._known if b"s3cret" in line])

    def test_of_a_line_that_is_no_field_nothing_is_remembered(self) -> None:
        before = http1._lower.cache_info().misses, len(http1._known)
        with self.assertRaises(InvalidRequest):
            http1.parse_request(b"GET / HTTP/1.1\r\nAuthorization Bearer s3cret-3141592")
        self.assertEqual(before, (http1._lower.cache_info().misses, len(http1._known)))

    def test_no_more_lines_are_remembered_than_there_is_room_for(self) -> None:
        known: dict[bytes, object] = {}
        with mock.patch.object(http1, "MAX_LINES", 5), mock.patch.object(http1, "_known", known):
            for number in range(20):
                self.assertEqual([("x", str(number))], http1.parse_request(b"GET / HTTP/1.1\r\nx: %d" % number).headers)
                self.assertLessEqual(len(known), 5)

    def test_too_much_is_refused(self) -> None:
        most = b"GET / HTTP/1.1" + b"\r\na: b" * http1.MAX_HEADERS
        self.assertEqual(http1.MAX_HEADERS, len(http1.parse_request(most).headers))
        with self.assertRaises(InvalidRequest):
            http1.parse_request(most + b"\r\na: b")
        with self.assertRaises(RequestTooLarge) as caught:
            http1.check_head_size(bytes(http1.MAX_HEAD + 1))
        self.assertEqual(431, caught.exception.status)
        http1.check_head_size(bytes(http1.MAX_HEAD))

    def test_the_length_of_a_body(self) -> None:
        for fields, length in (
            ([], 0), ([("Content-Length", "12")], 12), ([("Transfer-Encoding", "Chunked")], None),
            ([("content-length", "007")], 7),
        ):  # fmt: skip
            self.assertEqual(length, http1.body_length(Headers(fields)))

    def test_a_length_that_could_be_read_in_two_ways_is_refused(self) -> None:
        length, coding = "content-length", "transfer-encoding"
        for fields in (
            [(length, "1"), (length, "1")], [(length, "1"), (coding, "chunked")],
            [(coding, "chunked"), (coding, "chunked")],
            [(coding, "gzip, chunked")], [(coding, "identity")], [(coding, "xchunked")], [(length, "")],
            [(length, "+1")],
            [(length, "-1")], [(length, "1,1")], [(length, "0x1")], [(length, "1 ")], [(length, "\xb2")],
            [(length, "9" * 16)],
        ):  # fmt: skip
            with self.subTest(fields=fields), self.assertRaises(InvalidRequest):
                http1.body_length(Headers(fields))

    def test_a_target(self) -> None:
        for target, expected in (
            ("/v1/messages?beta=true", ("/v1/messages", "beta=true")), ("/a?b?c", ("/a", "b?c")), ("/", ("/", "")),
            ("http://relay:8787/v1/models?limit=1", ("/v1/models", "limit=1")), ("https://relay", ("/", "")),
            ("*", ("*", "")),
        ):  # fmt: skip
            self.assertEqual(expected, http1.path_and_query(target))


class ResponseTests(unittest.TestCase):
    def test_what_is_not_http_is_a_failure_of_the_upstream(self) -> None:
        for head in (b"", b"SSH-2.0", b"HTTP/2 200", b"HTTP/1.1 20", b"HTTP/1.1 999 X", b"HTTP/1.1 200 OK\r\nbroken"):
            with self.subTest(head=head), self.assertRaises(UpstreamDisconnected):
                http1.parse_response(head)

    def test_no_body(self) -> None:
        for status, method in ((204, "POST"), (304, "GET"), (200, "HEAD")):
            decoder = response_decoder(ResponseHead(status, 1, Headers([("content-length", "5")])), method)
            self.assertTrue(decoder.ended)

    def test_a_body_whose_end_nobody_knows_is_a_failure(self) -> None:
        for name, value in (
            ("transfer-encoding", "gzip"), ("content-length", "1, 1"), ("content-length", "-1"),
            ("content-length", "\xb2"),
            ("content-length", "9" * 5000),
        ):  # fmt: skip
            with self.subTest(value=value[:20]), self.assertRaises(UpstreamDisconnected):
                response_decoder(ResponseHead(200, 1, Headers([(name, value)])), "POST")

    def test_what_follows_a_length_is_kept_apart(self) -> None:
        decoder = LengthDecoder(3)
        self.assertEqual([b"a", b"bc"], [decoder.feed(b"a"), decoder.feed(b"bcd")])
        self.assertEqual((True, b"d"), (decoder.ended, decoder.rest))


class HeadersTests(unittest.TestCase):
    def test_names_are_asked_for_without_regard_to_case(self) -> None:
        headers = Headers([("Accept", "a"), ("ACCEPT", "b")])
        self.assertEqual(
            ("a", ["a", "b"], None, "d"),
            (headers.get("accept"), headers.all("accept"), headers.get("x"), headers.get("x", "d")),
        )

    def test_what_connection_lists_goes_no_further(self) -> None:
        self.assertEqual(http1.HOP_BY_HOP, Headers().hop_by_hop())
        headers = Headers([("Connection", "close, X-One"), ("connection", " x-two")])
        self.assertLessEqual({"x-one", "x-two", "connection", "te", "upgrade"}, headers.hop_by_hop())

    def test_a_value_cannot_start_a_line(self) -> None:
        head = http1.render_head("HTTP/1.1 200 OK", [("x", "a\r\nset-cookie: b"), ("y", "a\nb\0")])
        self.assertEqual(b"HTTP/1.1 200 OK\r\nx: a  set-cookie: b\r\ny: a b \r\n\r\n", head)

    def test_a_character_that_no_head_can_hold_becomes_a_mark(self) -> None:
        self.assertIn(b"x: caf\xe9 ?\r\n", http1.render_head("HTTP/1.1 200 OK", [("x", "café 日")]))

    def test_media_types(self) -> None:
        self.assertEqual(["text/html", "a/b"], list(http1.media_types("Text/HTML; q=1, a/b")))


if __name__ == "__main__":
    unittest.main()
