"""An answer that was received, checked byte for byte and timed. What is not whole is an error, never a number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wire import TOKEN, TOKEN_SIZE

BEFORE = ["message_start", "content_block_start"]
AFTER = ["content_block_stop", "message_delta", "message_stop"]

Pieces = list[tuple[int, bytes]]
"""What each receive brought, with the time.monotonic_ns() at which it was there."""


class BrokenStream(Exception):
    """An answer that is not what the upstream sent: one sentence."""


@dataclass(frozen=True)
class Timing:
    """Nanoseconds: from the request to the first event, to the end, and of each event from the upstream to here."""

    first: int
    total: int
    delays: list[int]


def timing(asked: int, pieces: Pieces, events: int, translated: bool) -> Timing:
    """The times of a whole answer with so many events.

    translated: the answer may also be Ollama's lines, as the upstream itself sends them. Raises BrokenStream.
    """
    body = payload(pieces)
    lines = translated and body[0][1].startswith(b"{")
    texts = list(ollama_texts(body) if lines else messages_texts(body))
    arrivals = checked(texts, events)
    return Timing(arrivals[0][0] - asked, pieces[-1][0] - asked, [here - sent for here, sent in arrivals])


def checked(texts: list[tuple[int, str]], events: int) -> list[tuple[int, int]]:
    """(arrived, sent) of every event. An answer may hold several events in one text, never a part of one."""
    arrivals: list[tuple[int, int]] = []
    for here, text in texts:
        found = TOKEN.findall(text)
        if len(text) != len(found) * TOKEN_SIZE:
            raise BrokenStream(f"text that was never sent: {text[:80]!r}")
        for number, sent in found:
            if int(number) != len(arrivals):
                raise BrokenStream(f"event {int(number)} came where {len(arrivals)} was expected")
            arrivals.append((here, int(sent)))
    if len(arrivals) != events:
        raise BrokenStream(f"{len(arrivals)} of {events} events came")
    return arrivals


# ---- HTTP ----


def payload(pieces: Pieces) -> Pieces:
    """The body without its chunk framing. Raises BrokenStream for any answer but a whole 200."""
    head, end, rest = b"".join(piece for _, piece in pieces).partition(b"\r\n\r\n")
    if not end or not head.startswith(b"HTTP/1.1 200 "):
        raise BrokenStream(f"the answer is {(head + end + rest)[:300].decode('utf-8', 'replace')!r}")
    if b"transfer-encoding: chunked" not in head.lower():
        raise BrokenStream("the answer is not chunked")
    return list(unchunked(pieces, len(head) + len(end)))


def unchunked(pieces: Pieces, skip: int) -> Iterator[tuple[int, bytes]]:
    """The data of each chunk, with the time at which the whole chunk was there."""
    buffer, ended = b"", False
    for here, piece in pieces:
        buffer += piece
        if skip:
            cut = min(skip, len(buffer))
            buffer, skip = buffer[cut:], skip - cut
        while not ended and not skip and (found := first_chunk(buffer)):
            data, buffer = found
            ended = not data
            if data:
                yield here, data
    if not ended or buffer:
        raise BrokenStream("the stream has no end" if not ended else "bytes follow the end of the stream")


def first_chunk(buffer: bytes) -> tuple[bytes, bytes] | None:
    """(its data, what follows it), None if it is not there whole."""
    size, newline, rest = buffer.partition(b"\r\n")
    if not newline:
        return None
    try:
        length = int(size, 16)
    except ValueError:
        raise BrokenStream(f"a chunk's size is {size[:20]!r}") from None
    if len(rest) < length + 2:
        return None
    if rest[length : length + 2] != b"\r\n":
        raise BrokenStream("a chunk does not end where its size says")
    return rest[:length], rest[length + 2 :]


def split(body: Pieces, mark: bytes) -> Iterator[tuple[int, bytes]]:
    """Whole records, with the time at which each was there."""
    buffer = b""
    for here, data in body:
        *records, buffer = (buffer + data).split(mark)
        yield from ((here, record) for record in records)
    if buffer:
        raise BrokenStream(f"the stream ends within an event: {buffer[:80]!r}")


# ---- what stands in it ----


def messages_texts(body: Pieces) -> Iterator[tuple[int, str]]:
    """The text of every delta of a Messages API stream whose events are all there, in their order."""
    names = []
    for here, record in split(body, b"\n\n"):
        event = parsed_event(record)
        if event is None or event["type"] == "ping":
            continue
        names.append(event["type"])
        if event["type"] == "content_block_delta":
            yield here, event["delta"]["text"]
        elif event["type"] == "error":
            raise BrokenStream(f"an error event: {event['error'].get('message')}")
    if [name for name in names if name != "content_block_delta"] != BEFORE + AFTER or names[-3:] != AFTER:
        raise BrokenStream(f"the events are {' '.join(names[:4])} … {' '.join(names[-4:])}")


def parsed_event(record: bytes) -> dict[str, Any] | None:
    """None for a comment."""
    fields = dict(line.split(b": ", 1) for line in record.split(b"\n") if not line.startswith(b":"))
    if not fields:
        return None
    try:
        event: dict[str, Any] = json.loads(fields[b"data"])
        if event["type"].encode() == fields[b"event"]:
            return event
    except (KeyError, ValueError):
        pass
    raise BrokenStream(f"a malformed event: {record[:120]!r}")


def ollama_texts(body: Pieces) -> Iterator[tuple[int, str]]:
    """The text of every line of an answer of Ollama that came to its end."""
    line = {}
    for here, record in split(body, b"\n"):
        line = json.loads(record)
        if content := line["message"]["content"]:
            yield here, content
    if not line.get("done"):
        raise BrokenStream("the answer has no last line")
