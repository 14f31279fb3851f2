"""A stream that already speaks the Messages API: passed on event by event, watched, and repaired where it must be.

Deltas are not parsed. Events before the first content are held back, so that until then another candidate may answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from .errors import RelayError, UpstreamDisconnected
from .messages import Json, dumps, loads_first, loads_object
from .provider import Report
from .sse import WholeEvents, encode, parse

Repair = Callable[[str, Json], bool | Json]
"""(event name, its data) → whether the data was changed in place, or an event that is to go before it."""

_DELTA = b"event: content_block_delta\n"
_START = b'event: content_block_start\ndata: {"type":"content_block_start",'
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop",'
_MESSAGE_START = b'event: message_start\ndata: {"type":"message_start","message":{'
_MESSAGE_DELTA = re.compile(
    rb'event: message_delta\ndata: \{"type":"message_delta","delta":\{"stop_reason":"([a-z_]+)"'
)
_USAGE = b'"usage":'
_PING = b'event: ping\ndata: {"type": "ping"}'
MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}'
_MANY = 4096  # bytes from which a run of deltas is skipped as a whole


class Passthrough:
    """One stream. `model` is the name the client asked for; `repair` sees every event that `watches` finds.

    watches: bytes that a delta must contain to be parsed and shown to `repair`; None: no delta is.
    error: what an error event's data means.
    """

    def __init__(
        self,
        model: str,
        report: Report,
        error: Callable[[bytes], RelayError],
        repair: Repair | None = None,
        watches: bytes | None = None,
    ) -> None:
        self._model, self._report, self._error = model, report, error
        self._named = _name(model)
        self._repair, self._watches = repair, watches
        self._held: list[bytes] = []  # events before the first content
        self._committed = self._started = False
        self._open_blocks = 0

    def stream(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """SSE for the client. Raises what an error event means, or UpstreamDisconnected at an early end.

        What came before an error in the same read is sent, unless nothing was yet: then another candidate may answer.
        """
        events = WholeEvents()
        for piece in pieces:
            if self._committed and not events.rest and self._only_plain_deltas(piece):
                yield piece
                continue
            yield from self._looked_at(events.feed(piece))
            if self._report.ended:
                return
        yield from self._looked_at(events.end())
        if not self._report.ended:
            yield self._missing_end()

    def _looked_at(self, block: bytes) -> Iterator[bytes]:
        out, failure = self._block(block)
        if failure is not None and not self._started:
            raise failure
        if not self._committed:
            self._held.append(out)
        elif out:
            yield b"".join([*self._held, out]) if self._held else out
            self._held.clear()
            self._started = True
        if failure is not None:
            raise failure

    def _only_plain_deltas(self, piece: bytes) -> bool:
        """The common case, told apart quickly. No line of JSON ends in the words that name a delta, or has a CR."""
        if not piece.startswith(_DELTA) or b"\r" in piece or (self._watches is not None and self._watches in piece):
            return False
        if piece.find(b"\n\n") == len(piece) - 2:
            return True
        return piece.endswith(b"\n\n") and piece.count(_DELTA) == piece.count(b"\n\n")

    def _missing_end(self) -> bytes:
        """A stop reason and no open block: only message_stop is missing, and nothing of the answer."""
        if self._report.stop_reason is None or self._open_blocks:
            raise UpstreamDisconnected("the stream ended before message_stop")
        self._report.notes.append("message_stop was missing")
        self._report.ended = True
        return MESSAGE_STOP + b"\n\n"

    def _block(self, block: bytes) -> tuple[bytes, RelayError | None]:
        """Whole events as they go on, and what ended the stream among them."""
        if self._watches is not None or len(block) < _MANY:
            return self._events(block)
        before, deltas, after = _deltas_apart(block)
        out, failure = self._events(before)
        if failure is not None or self._report.ended:
            return out, failure
        rest, failure = self._events(after)
        return (block if out is before and rest is after else out + deltas + rest), failure

    def _events(self, block: bytes) -> tuple[bytes, RelayError | None]:
        events = block.split(b"\n\n")
        changed = False
        for number, event in enumerate(events):
            if not event or (not self._report.ended and self._needs_no_look(event)):
                continue
            try:
                replaced = self._event(event)
            except RelayError as failure:
                return _joined(events[:number]), failure
            changed = changed or replaced is not event
            events[number] = replaced
        return (_joined(events) if changed else block), None

    def _needs_no_look(self, event: bytes) -> bool:
        """A delta that nobody watches; the bounds of a block and of the answer in Anthropic's own spelling. As JSON
        they would take 5 to 10 us each."""
        if event.startswith(_DELTA):
            return not (self._watches and self._watches in event)
        if self._repair is not None:
            return False
        if event.startswith(_START):
            self._open_blocks += 1
            self._committed = True
        elif event.startswith(_STOP):
            self._open_blocks -= 1
        elif event == MESSAGE_STOP:
            self._committed = self._report.ended = True
        elif event.startswith(_MESSAGE_START):
            return self._named in event and event.count(b'"model"') == 1 and self._counted(event)
        elif (stop := _MESSAGE_DELTA.match(event)) and self._counted(event):
            self._committed = True
            self._report.stop_reason = stop[1].decode()
        else:
            return False
        return True

    def _counted(self, event: bytes) -> bool:
        """Reads the one `usage` of an event that is as usual, and nothing else of it."""
        place = event.find(_USAGE)
        if place < 0 or event.count(_USAGE) != 1:
            return False
        try:
            self._report.usage(loads_first(event[place + len(_USAGE) :]))
        except ValueError:
            return False
        return True

    def _event(self, event: bytes) -> bytes:
        """The event as it goes on: itself, the very object, if nothing in it changes; empty if it goes nowhere."""
        if event == _PING:
            return event if self._committed and not self._report.ended else b""
        name, text = parse(event.strip(b"\n"))
        if not text:
            return event if self._committed else b""
        if self._report.ended:
            return b""  # `data: [DONE]` and the like: the answer is complete
        data = event_data(name, text)
        kind = str(data.get("type") or name)
        if kind == "error" or data.get("error"):
            raise self._error(text.encode())
        if kind == "ping" and not self._committed:
            return b""
        changed = self._watch(kind, data) or kind != name
        repaired = self._repair(kind, data) if self._repair is not None else False
        before = encode(str(repaired["type"]), dumps(repaired)) if isinstance(repaired, dict) else b""
        if changed or repaired is True:
            return before + encode(kind, dumps(data)).rstrip(b"\n")
        return before + event if before else event

    def _watch(self, kind: str, data: Json) -> bool:
        """Keeps the state of the stream; True if the data was changed."""
        if kind == "message_start":
            return self._message_start(data.get("message"))
        if kind == "content_block_start":
            self._open_blocks += 1
            self._committed = True
        elif kind == "content_block_stop":
            self._open_blocks -= 1
        elif kind == "message_delta":
            self._committed = True
            self._report.usage(data.get("usage"))
            if isinstance(delta := data.get("delta"), dict):
                self._report.stopped(delta.get("stop_reason"))
        elif kind == "message_stop":
            self._committed = self._report.ended = True
        return False

    def _message_start(self, message: Any) -> bool:
        if not isinstance(message, dict):
            raise UpstreamDisconnected("message_start carries no message")
        self._report.usage(message.get("usage"))
        return rename(message, self._model)


def event_data(name: str, text: str) -> Json:
    """The data of an event. Raises UpstreamDisconnected if it is no object."""
    data = loads_object(text)
    if data is None:
        raise UpstreamDisconnected(f"the data of a {name} event is not a JSON object")
    return data


@lru_cache(256)
def _name(model: str) -> bytes:
    """As Anthropic writes it in message_start."""
    return b'"model":%b' % dumps(model)


def _deltas_apart(block: bytes) -> tuple[bytes, bytes, bytes]:
    """What stands before, in and behind a run of deltas: a fast upstream sends dozens in one read."""
    start, last = block.find(_DELTA), block.rfind(_DELTA)
    end = block.find(b"\n\n", last) + 2
    if start < 0 or not (start == 0 or block.startswith(b"\n\n", start - 2)):
        return block, b"", b""
    deltas = block[start:end]
    if deltas.count(_DELTA) != deltas.count(b"\n\n"):
        return block, b"", b""
    return block[:start], deltas, block[end:]


def _joined(events: list[bytes]) -> bytes:
    return b"".join(event + b"\n\n" for event in events if event)


def rename(message: Json, model: str) -> bool:
    """The answer names the model the client asked for: Claude Code ties signed thinking to it."""
    if message.get("model") == model:
        return False
    message["model"] = model
    return True
