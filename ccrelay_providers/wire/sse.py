"""Server-sent events: an incremental decoder, an encoder, and the cut at event boundaries that pass-through needs.

Bytes in, bytes out: a character may be split over two reads. Lines end in LF, CRLF or CR (WHATWG HTML 9.2.5), never
at U+2028 and friends, so `bytes.splitlines` is not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .errors import UpstreamDisconnected

LONGEST_EVENT = 16 << 20  # bytes; what has no end by then is no event, and would fill the memory
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


class ServerSentEvent(NamedTuple):
    event: str
    data: str


def encode(event: str, data: bytes) -> bytes:
    """`data` has no line feed: JSON escapes them."""
    return b"event: %b\ndata: %b\n\n" % (event.encode("utf-8", "replace"), data)


class WholeEvents:
    """Cuts a stream after blank lines. `rest` is what of an event has come and has no end yet."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, piece: bytes) -> bytes:
        """The events that are whole with this piece, perhaps none; the piece itself if it is cut so already.

        CR and CRLF become LF: inside JSON data a raw CR cannot occur. Raises UpstreamDisconnected at an event that is
        longer than any.
        """
        if not self.rest and piece.endswith(b"\n\n") and b"\r" not in piece:
            return piece
        data = _line_feeds(self.rest + piece)
        if len(data) > LONGEST_EVENT:
            raise UpstreamDisconnected(f"an event is longer than {LONGEST_EVENT >> 20} MB")
        end = data.rfind(b"\n\n") + 2
        self.rest = data if end < 2 else data[end:]
        return b"" if end < 2 else data[:end]

    def end(self) -> bytes:
        """At the end of the stream: the last event, if its lines end in CR alone. One that never ended is left out."""
        return self.rest[:-1] + b"\n" if self.rest.endswith(b"\n\r") else b""


def whole_events(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes cut after blank lines: each item is one or more whole events."""
    events = WholeEvents()
    for piece in pieces:
        if block := events.feed(piece):
            yield block
    if block := events.end():
        yield block


def _line_feeds(data: bytes) -> bytes:
    """A CR at the very end stays: its LF may still come."""
    if b"\r" not in data:
        return data
    last = data[-1:] if data.endswith(b"\r") else b""
    return data[: len(data) - len(last)].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + last


def parse(event: bytes) -> ServerSentEvent:
    """One event without its blank line. An event without a name gets the name `message`; comments are left out."""
    if event.startswith(b"event: "):  # as Anthropic writes them: a line each for name and data
        first, _, rest = event[7:].partition(b"\ndata: ")
        if rest and b"\n" not in first and b"\n" not in rest:
            return ServerSentEvent(first.decode("utf-8", "replace") or "message", rest.decode("utf-8", "replace"))
    name, data = "message", []
    for line in event.decode("utf-8", "replace").split("\n"):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value or "message"
        elif field == "data":
            data.append(value)
    return ServerSentEvent(name, "\n".join(data))


def decode(pieces: Iterable[bytes]) -> Iterator[ServerSentEvent]:
    """All events that carry data."""
    for block in whole_events(pieces):
        for event in block.split(b"\n\n"):
            parsed = parse(event.strip(b"\n"))
            if parsed.data:
                yield parsed
