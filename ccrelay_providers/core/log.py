"""One line a request on stderr, for people or as JSON. No secret: bodies, headers and keys never come here."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, TextIO

from ..wire.provider import Report

_PAINTS = {"green": "\x1b[32m", "yellow": "\x1b[33m", "red": "\x1b[31m", "dim": "\x1b[2m", "off": "\x1b[0m"}
_NO_PAINTS = dict.fromkeys(_PAINTS, "")
_OF_SESSIONS = tuple(f"\x1b[{code}m" for code in (36, 35, 34, 33, 32, 96, 95, 94))
_USUAL = ("end_turn", "tool_use", None)  # reasons to stop that need no word


@dataclass(slots=True)
class Entry:
    """What is known of one request when it is over. Times are seconds since it was received."""

    request_id: str
    method: str
    path: str
    requested: str = ""
    answered_by: str = ""
    status: int = 0
    first_event: float | None = None
    total: float = 0.0
    attempts: int = 0
    fallback: str = ""
    """Why the models that were asked for could not answer, if one of routing.fallback was asked instead."""
    queued: int = 0
    session: str | None = None
    stream: bool = False
    failures: list[str] = field(default_factory=list)
    """A sentence for each attempt that failed, and for what went wrong after content was sent."""
    report: Report = field(default_factory=Report)
    departed: bool = False
    pin: str = ""
    """What the session was told to use."""


NAMES = 27  # columns for `claude-opus-5-5 → anthropic`
WHOLE = 4096  # bytes that a pipe takes in one piece (POSIX: PIPE_BUF); a terminal takes a line


def _descriptor(stream: TextIO) -> int | None:
    """Where whole lines can be written at once; None for what is no file, and for Windows' consoles."""
    try:
        return None if os.name == "nt" else stream.fileno()
    except (OSError, AttributeError, ValueError):
        return None


class Log:
    """Lines stay whole: short ones go out in one system call, the others under a lock.

    verbose: also say what did not go wrong. colour: whether the text is painted. names: how wide their column is.
    """

    def __init__(
        self,
        form: Literal["text", "json"],
        stream: TextIO | None = None,
        verbose: bool = False,
        colour: bool = False,
        names: int = NAMES,
    ) -> None:
        self._stream = stream or sys.stderr
        self._line_buffered = bool(getattr(self._stream, "line_buffering", False))
        self._json = form == "json"
        self._colour, self._names = colour, names
        self._paints = _PAINTS if colour else _NO_PAINTS
        self._clock = (0, "")  # the second that was written last: the lines of a burst share it
        self.verbose = verbose
        self._lock = threading.Lock()
        self._descriptor = _descriptor(self._stream)

    def say(self, text: str, **fields: object) -> None:
        """A line that belongs to no request."""
        if self._json:
            self._write(json.dumps({"time": _stamp(time.time()), "message": text, **fields}, ensure_ascii=False))
        else:
            self._write(f"{self._paints['dim']}{self._time()}{self._paints['off']} {text}")

    def request(self, entry: Entry) -> None:
        if not self.verbose and entry.status < 400 and not entry.failures and _is_aside(entry):
            return
        self._write(json.dumps(as_dict(entry), ensure_ascii=False) if self._json else self._text(entry))

    def _write(self, line: str) -> None:
        """Without a lock where the system keeps a line whole: a lock round a system call is what threads queue for."""
        data = (line + "\n").encode("utf-8", "backslashreplace")
        if self._descriptor is not None and len(data) <= WHOLE:
            with suppress(OSError):  # a closed terminal must not end the conversations that run through the relay
                os.write(self._descriptor, data)
            return
        with self._lock:
            try:
                self._stream.write(line + "\n")
                if not self._line_buffered:
                    self._stream.flush()
            except (OSError, ValueError):
                pass  # a closed terminal must not end the conversations that run through the relay

    def _text(self, entry: Entry) -> str:
        """Columns of one width first, so that they stand below each other; then names, and what was remarkable."""
        paints, dim, off = self._paints, self._paints["dim"], self._paints["off"]
        first = seconds(entry.first_event) if entry.stream and entry.first_event is not None else ""
        line = (
            f"{dim}{self._time()}{off} {paints[_verdict(entry)]}{'left' if entry.departed else entry.status:<4}{off}"
            f" {_mark(entry.session, self._colour)}{first:>6} {seconds(entry.total):>6} {_tokens(entry.report)}  "
        )
        remarks = _remarks(entry)
        line += f"{_what(entry):<{self._names}}  {dim}{remarks}{off}" if remarks else _what(entry)
        for failure in entry.failures:
            line += f"\n         {dim}{_one_line(failure)}{off}"
        return line

    def _time(self) -> str:
        now = int(time.time())
        if now != self._clock[0]:
            self._clock = (now, time.strftime("%H:%M:%S", time.localtime(now)))
        return self._clock[1]


def _is_aside(entry: Entry) -> bool:
    """Health checks, listings, counts: of interest only when they go wrong."""
    return not entry.requested or entry.path.endswith("/count_tokens")


def _verdict(entry: Entry) -> str:
    """The colour of a status."""
    if entry.departed:
        return "yellow"
    if entry.status >= 400 or (entry.failures and entry.report.stop_reason is None):
        return "red"
    return "yellow" if entry.failures else "green"


@lru_cache(1024)
def _mark(session: str | None, colour: bool) -> str:
    """Four signs of the session's id, and a plus for its subagents; with colours, each session has its own."""
    main, slash, _ = (session or "-").partition("/")
    mark = f"{_one_line(main[:4]) + ('+' if slash else ''):<5}"
    return f"{_OF_SESSIONS[zlib.crc32(main.encode()) % len(_OF_SESSIONS)]}{mark}\x1b[0m" if colour and session else mark


@lru_cache(1024)
def _names(requested: str, answered_by: str) -> str:
    """`asked → provider/model`, as short as it can be: `claude-opus-5-5 → anthropic`, `zai/glm-5.2`."""
    provider, _, model = answered_by.partition("/")
    if not answered_by or requested == answered_by or requested.endswith("/" + answered_by):
        return _one_line(answered_by or requested)
    return f"{_one_line(requested)} → {_one_line(provider if requested == model else answered_by)}"


def _what(entry: Entry) -> str:
    if not entry.requested:
        return _one_line(f"{entry.method} {entry.path}")
    names = _names(entry.requested, entry.answered_by)
    return f"count_tokens {names}" if entry.path.endswith("/count_tokens") else names


def _stamp(now: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))


def _one_line(text: str) -> str:
    """An upstream's sentence cannot start a line of its own, or move the cursor."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def seconds(value: float) -> str:
    """0.24s, 12.3s, 4m05s."""
    if value < 10:
        return f"{value:.2f}s"
    return f"{value:.1f}s" if value < 60 else f"{int(value // 60)}m{int(value % 60):02d}s"


def count(tokens: int) -> str:
    """532, 12.3k, 215k, 1.05M: five signs at most."""
    if tokens < 1000:
        return str(tokens)
    if tokens < 99_950:
        return f"{tokens / 1000:.1f}k"
    return f"{tokens / 1000:.0f}k" if tokens < 999_500 else f"{tokens / 1e6:.2f}M"


def _tokens(report: Report) -> str:
    if report.input_tokens is None and report.output_tokens is None:
        return " " * 17
    return f"in {count(report.prompt_tokens):>5} out {count(report.output_tokens or 0):>4}"


def _remarks(entry: Entry) -> str:
    report = entry.report
    remarks = []
    if report.cache_read:
        remarks.append(f"cached {count(report.cache_read)}")
    if report.stop_reason not in _USUAL:
        remarks.append(_one_line(str(report.stop_reason)))
    if entry.pin:
        remarks.append(f"pinned to {_one_line(entry.pin)}")
    if entry.attempts > 1:
        remarks.append(f"{entry.attempts} attempts")
    if entry.fallback:
        remarks.append(f"fallback, since {_one_line(entry.fallback)}")
    if entry.queued:
        remarks.append(f"queued behind {entry.queued}")
    if report.dropped:
        remarks.append(f"dropped {report.dropped_header()}")
    remarks += report.notes
    return "  ".join(remarks)


def as_dict(entry: Entry) -> dict[str, object]:
    """The line as JSON: the same facts under fixed names, None where there is nothing to say."""
    report = entry.report
    return {
        "time": _stamp(time.time()),
        "request_id": entry.request_id,
        "method": entry.method,
        "path": entry.path,
        "model": entry.requested or None,
        "answered_by": entry.answered_by or None,
        "pin": entry.pin or None,
        "status": entry.status,
        "client_left": entry.departed,
        "first_event_seconds": None if entry.first_event is None else round(entry.first_event, 4),
        "total_seconds": round(entry.total, 4),
        "input_tokens": report.prompt_tokens or None,
        "cached_tokens": report.cache_read,
        "output_tokens": report.output_tokens,
        "stop_reason": report.stop_reason,
        "attempts": entry.attempts,
        "fallback": entry.fallback or None,
        "queued_behind": entry.queued,
        "dropped": dict(report.dropped),
        "notes": report.notes,
        "failures": entry.failures,
        "session": entry.session,
    }
