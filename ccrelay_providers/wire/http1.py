"""HTTP/1.1 on the wire: heads, header lists, chunked framing (RFC 9112). Strict where requests could be smuggled.

The standard library's parsers go through `email.parser`, 53 µs a head; these take 5. The tests hold them against it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from .errors import InvalidRequest, RelayError, RequestTooLarge, UpstreamDisconnected

MAX_HEAD = 65536  # the standard library's limit for one line; Claude Code's head has 1.5 KB
MAX_HEADERS = 100  # http.client's _MAXHEADERS
HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    "transfer-encoding upgrade".split()
)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")
_PLAIN_CONNECTION = ("", "keep-alive", "close")
_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/1\.([01])\Z")
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: .*)?\Z")
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TEXT = bytes(byte for byte in range(256) if byte == 9 or (byte >= 32 and byte != 127))  # all but control characters
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")


Field = tuple[str, str]


class Headers(list[Field]):
    """Header fields in order, their names in the case they came in; complete when made. `get` asks by lower-case name.

    Of a field given twice `get` knows the first. lowered: the same fields with lower-case names, if they are known.
    """

    def __init__(self, fields: Iterable[Field] = (), lowered: Sequence[Field] | None = None) -> None:
        super().__init__(fields)
        if lowered is None:
            lowered = [(_lower(name), value) for name, value in self]
        self._first = dict(reversed(lowered))
        self.made: dict[object, Any] = {}
        """What somebody made of these fields alone, by who made it: a client's next request has them again."""

    def get(self, name: str, default: str | None = None) -> str | None:
        return self._first.get(name, default)

    @property
    def repeats(self) -> bool:
        """Whether any name stands there twice."""
        return len(self._first) < len(self)

    def all(self, name: str) -> list[str]:
        if name not in self._first:
            return []
        return [value for key, value in self if _lower(key) == name] if self.repeats else [self._first[name]]

    def hop_by_hop(self) -> frozenset[str]:
        """Lower-case names that concern this connection only, those that `Connection` lists included."""
        listed = ",".join(self.all("connection")).lower()
        if listed in _PLAIN_CONNECTION:
            return HOP_BY_HOP
        return HOP_BY_HOP.union(name.strip() for name in listed.split(","))

    def with_length(self, position: int, length: str) -> Headers:
        """The same fields but for content-length, which stands at `position`."""
        headers = Headers.__new__(Headers)
        headers.extend(self)
        headers[position] = (self[position][0], length)
        headers._first = {**self._first, "content-length": length}
        headers.made = self.made
        return headers


class Fields(tuple[Field, ...]):
    """Header fields to be sent, perhaps again and again: they are rendered once."""

    rendered: bytes

    def __new__(cls, fields: Sequence[Field]) -> Fields:
        made = super().__new__(cls, fields)
        made.rendered = render_fields(fields)
        return made


class RequestHead(NamedTuple):
    method: str
    target: str
    version: int
    """1 for HTTP/1.1, 0 for HTTP/1.0."""
    headers: Headers


class ResponseHead(NamedTuple):
    status: int
    version: int
    headers: Headers


def parse_request(head: bytes) -> RequestHead:
    """`head` ends before its blank line. Raises InvalidRequest."""
    first, headers = _split(head, InvalidRequest)
    match = _REQUEST_LINE.match(first)
    if match is None:
        raise InvalidRequest("the request line is not `METHOD target HTTP/1.1`")
    return RequestHead(match[1], match[2], int(match[3]), headers)


_LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*([0-9]{1,15})(?=\r\n|\Z)")


class RequestHeads:
    """Parses the heads that come on one connection. A client's heads differ in content-length alone: what is as it was
    in the last one is compared, not parsed again.
    """

    def __init__(self) -> None:
        self._last: RequestHead | None = None
        self._before = self._behind = b""  # of the last head, what stands around its length

    def parse(self, head: bytes) -> RequestHead:
        """`head` ends before its blank line. Raises InvalidRequest."""
        length = head[len(self._before) : len(head) - len(self._behind)]
        if self._last is None or not (
            length.isdigit() and len(length) <= 15 and head.startswith(self._before) and head.endswith(self._behind)
        ):
            return self._parsed(head)
        method, target, version, headers = self._last
        return RequestHead(method, target, version, headers.with_length(self._position, length.decode()))

    def _parsed(self, head: bytes) -> RequestHead:
        parsed = parse_request(head)
        match = _LENGTH.search(head)
        self._last = parsed if match and not parsed.headers.repeats else None
        if match:
            self._before, self._behind = head[: match.start(1)], head[match.end(1) :]
            self._position = self._before.count(b"\r\n") - 1
        return parsed


def parse_response(head: bytes) -> ResponseHead:
    """`head` ends before its blank line. Raises UpstreamDisconnected."""
    first, headers = _split(head, UpstreamDisconnected)
    match = _STATUS_LINE.match(first)
    if match is None:
        raise UpstreamDisconnected("what came back is not HTTP")
    return ResponseHead(int(match[2]), int(match[1]), headers)


def _split(head: bytes, error: type[RelayError]) -> tuple[str, Headers]:
    """The first line and the fields. Bare CR and LF, control characters and folded lines are refused."""
    first, *lines = head.split(b"\r\n")
    if len(lines) > MAX_HEADERS:
        raise error(f"more than {MAX_HEADERS} header fields")
    if first.translate(None, _TEXT):
        raise error("the first line is malformed")
    pairs = [_known.get(line) or _checked(line, error) for line in lines]
    return first.decode("latin-1"), Headers([pair[0] for pair in pairs], [pair[1] for pair in pairs])


MAX_LINES, MAX_LINE = 1024, 256
_known: dict[bytes, tuple[Field, Field]] = {}
"""Lines that were checked once, as fields: nearly all of a head stood in the one before it. No credential is kept."""
_UNKEPT = frozenset(
    "authorization proxy-authorization x-api-key x-ccrelay-token cookie set-cookie content-length".split()
)


def _checked(line: bytes, error: type[RelayError]) -> tuple[Field, Field]:
    """A line's field, and the same with its name in lower case."""
    name, colon, value = line.decode("latin-1").partition(":")
    lower = _lower(name) if colon else ""
    if not lower or line.translate(None, _TEXT):
        raise error("a header field is malformed")
    value = value.strip(" \t")
    pair = (name, value), (lower, value)
    if len(line) <= MAX_LINE and lower not in _UNKEPT:
        if len(_known) >= MAX_LINES:
            _known.clear()
        _known[line] = pair
    return pair


@lru_cache(256)
def _lower(name: str) -> str:
    """A field's name in lower case; empty if it is not made of a name's characters. A few are sent again and again."""
    return name.lower() if _NAME.match(name) else ""


def body_length(headers: Headers, version: int = 1) -> int | None:
    """Length of a request's body in bytes; None if it is chunked. What could be read in two ways is refused."""
    lengths, codings = headers.all("content-length"), headers.all("transfer-encoding")
    if lengths and codings:
        raise InvalidRequest("content-length and transfer-encoding exclude each other")
    if len(lengths) > 1 or len(codings) > 1:
        raise InvalidRequest("content-length or transfer-encoding is given twice")
    if codings:
        if not version:
            raise InvalidRequest("transfer-encoding: HTTP/1.0 has none")
        if codings[0].lower() != "chunked":
            raise InvalidRequest(f"transfer-encoding: expected chunked, got {codings[0]!r}")
        return None
    if not lengths:
        return 0
    if not (lengths[0].isascii() and lengths[0].isdigit()) or len(lengths[0]) > 15:
        raise InvalidRequest(f"content-length: expected a number of bytes, got {lengths[0][:40]!r}")
    return int(lengths[0])


MAX_SIZES, MAX_SIZE_LINE = 1024, 24
_sizes: dict[bytes, int] = {}
"""Size lines that were checked once: the events of a stream come in few sizes."""


class ChunkedDecoder:
    """Takes chunked framing off, whatever pieces it comes in. `ended` after the last chunk and its trailers."""

    def __init__(self, error: type[RelayError] = UpstreamDisconnected) -> None:
        self.ended = False
        self.rest = b""
        """What followed the end: nothing, from a server that answers one request at a time."""
        self._error = error
        self._left = 0  # bytes of the current chunk still to come
        self._line = b""  # a line that has not ended yet
        self._on_line: Callable[[ChunkedDecoder, bytes], None] = ChunkedDecoder._size  # bound, it would hold its owner
        self._trailers = 0
        self._between = True  # a size line is next, and none of it has come

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`. Raises the error given at the start if the framing is broken."""
        if self._between:
            size, _, rest = data.partition(b"\r\n")
            if _sizes.get(size) == len(rest) - 2 and rest.endswith(b"\r\n"):
                return rest[:-2]
            last = data.endswith(_LAST)
            payload = _whole_chunks(data[: -len(LAST_CHUNK)] if last else data)
            if payload is not None:
                self.ended, self._between = last, not last
                return payload
        payload = self._feed(data)
        self._between = not (self._left or self._line or self.ended) and self._on_line is ChunkedDecoder._size
        return payload

    def _feed(self, data: bytes) -> bytes:
        out: list[bytes] = []
        position, end = 0, len(data)
        while position < end and not self.ended:
            if self._left:
                taken = data[position : position + self._left]
                out.append(taken)
                self._left -= len(taken)
                position += len(taken)
            else:
                position = self._read_line(data, position)
        if self.ended:
            self.rest += data[position:]
        return b"".join(out)

    def _read_line(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position) + 1
        line = self._line + data[position : end or len(data)]
        if len(line) > 4096:
            raise self._error("a line of the chunked framing is too long")
        if not end:
            self._line = line
            return len(data)
        self._line = b""
        if not line.endswith(b"\r\n"):
            raise self._error("the chunked framing is broken")
        self._on_line(self, line)
        return end

    def _size_of(self, line: bytes) -> int:
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise self._error("the chunked framing is broken")
        size = int(match[1], 16)
        if size and len(_sizes) < MAX_SIZES and len(line) < MAX_SIZE_LINE:
            _sizes[line[:-2]] = size
        return size

    def _size(self, line: bytes) -> None:
        self._left = self._size_of(line)
        self._on_line = ChunkedDecoder._closing if self._left else ChunkedDecoder._trailer

    def _closing(self, line: bytes) -> None:
        if line != b"\r\n":
            raise self._error("the chunked framing is broken")
        self._on_line = ChunkedDecoder._size

    def _trailer(self, line: bytes) -> None:
        self._trailers += len(line)
        if self._trailers > MAX_HEAD:
            raise self._error("the trailers of the chunked framing are too long")
        self.ended = line == b"\r\n"


LAST_CHUNK = b"0\r\n\r\n"
_LAST = b"\r\n" + LAST_CHUNK


def _whole_chunks(data: bytes) -> bytes | None:
    """The payload of chunks that are whole, of known sizes and without a CRLF inside, as those of events are.

    A size that is as long as what stands up to the next CRLF leaves no other way to read it. None for the rest.
    """
    parts = data.split(b"\r\n")
    sizes = [*map(_sizes.get, parts[:-1:2])]
    if parts[-1] or not all(sizes) or sizes != [*map(len, parts[1::2])]:
        return None
    return b"".join(parts[1::2])


class LengthDecoder:
    """A body of a known length, or, with None, one that ends with the connection."""

    def __init__(self, length: int | None) -> None:
        self._left = length
        self.ended = length == 0
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        if self._left is None:
            return data
        taken, self.rest = data[: self._left], data[self._left :]
        self._left -= len(taken)
        self.ended = self._left == 0
        return taken


def response_decoder(head: ResponseHead, method: str) -> ChunkedDecoder | LengthDecoder:
    """What tells where a response's body ends (RFC 9112, 6.3)."""
    if method == "HEAD" or head.status in (204, 304):
        return LengthDecoder(0)
    coding = head.headers.get("transfer-encoding", "")
    if coding:
        if coding.lower() != "chunked":
            raise UpstreamDisconnected(f"transfer-encoding {coding!r} is not understood")
        return ChunkedDecoder()
    length = head.headers.get("content-length")
    if length is None:
        return LengthDecoder(None)
    if not (length.isascii() and length.isdigit()) or len(length) > 15:
        raise UpstreamDisconnected("content-length is not a number")
    return LengthDecoder(int(length))


def render_head(first: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """A request's or response's head, its blank line included.

    first: the first line, or several that are known to be well-formed.
    """
    return b"%b\r\n%b\r\n" % (first.encode("latin-1", "replace"), render_fields(headers))


def render_fields(headers: Iterable[Field]) -> bytes:
    """Fields, each with its CRLF. A value cannot start a new line."""
    if isinstance(headers, Fields):
        return headers.rendered
    lines = [f"{name}: {value}" for name, value in headers]
    if not "".join(lines).isprintable():
        lines = [_BAD_VALUE.sub(" ", line) for line in lines]
    return "\r\n".join([*lines, ""]).encode("latin-1", "replace")


def chunk(payload: bytes, last: bool = False) -> bytes:
    """A chunk; the last with the end of the body behind it."""
    return b"%x\r\n%b\r\n%b" % (len(payload), payload, LAST_CHUNK if last else b"")


def check_head_size(head: bytes | bytearray) -> None:
    if len(head) > MAX_HEAD:
        raise RequestTooLarge(f"the request's head is larger than {MAX_HEAD} bytes", status=431)


def path_and_query(target: str) -> tuple[str, str]:
    """`/v1/messages`, `beta=true` of a request target, absolute form included."""
    if target.startswith(("http://", "https://")):
        target = "/" + target.split("://", 1)[1].partition("/")[2]
    path, _, query = target.partition("?")
    return path, query


def media_types(value: str | None) -> Iterator[str]:
    for part in (value or "").split(","):
        yield part.partition(";")[0].strip().lower()
