"""One line a request on stderr, for people or as JSON. No secret: bodies, headers and keys never come here."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, TextIO

from ..wire.provider import Report

_GREEN, _YELLOW, _RED, _DIM, _OFF = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


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
    queued: int = 0
    session: str | None = None
    stream: bool = False
    failures: list[str] = field(default_factory=list)
    """A sentence for each attempt that failed, and for what went wrong after content was sent."""
    report: Report = field(default_factory=Report)
    departed: bool = False


WHOLE = 4096  # bytes that a pipe takes in one piece (POSIX: PIPE_BUF); a terminal takes a line


def _descriptor(stream: TextIO) -> int | None:
    """Where whole lines can be written at once; None for what is no file, and for Windows' consoles."""
    try:
        return None if os.name == "nt" else stream.fileno()
    except (OSError, AttributeError, ValueError):
        return None


class Log:
    """Lines stay whole: short ones go out in one system call, the others under a lock.

    verbose: also say what did not go wrong.
    """

    def __init__(self, form: Literal["text", "json"], stream: TextIO | None = None, verbose: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._line_buffered = bool(getattr(self._stream, "line_buffering", False))
        self._json = form == "json"
        self._colour = not self._json and self._stream.isatty()
        self.verbose = verbose
        self._lock = threading.Lock()
        self._descriptor = _descriptor(self._stream)

    def say(self, text: str, **fields: object) -> None:
        """A line that belongs to no request."""
        now = time.time()
        if self._json:
            self._write(json.dumps({"time": _stamp(now), "message": text, **fields}, ensure_ascii=False))
        else:
            self._write(f"{time.strftime('%H:%M:%S', time.localtime(now))} {text}")

    def request(self, entry: Entry) -> None:
        if not entry.requested and not self.verbose and entry.status < 400:
            return  # health checks and listings
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
        name = _one_line(entry.requested or f"{entry.method} {entry.path}")
        if entry.path.endswith("/count_tokens"):
            name = f"count_tokens {name}"
        if entry.answered_by and entry.answered_by != entry.requested:
            name += f" → {_one_line(entry.answered_by)}"
        parts = [time.strftime("%H:%M:%S"), self._status(entry), name, _times(entry), _tokens(entry.report)]
        parts += [entry.report.stop_reason or "", *_remarks(entry)]
        line = "  ".join(part for part in parts if part)
        return line + "".join(self._paint(_DIM, f"\n          {_one_line(failure)}") for failure in entry.failures)

    def _status(self, entry: Entry) -> str:
        if entry.departed:
            return self._paint(_YELLOW, "left")
        broken = entry.status >= 400 or (entry.failures and entry.report.stop_reason is None)
        return self._paint(_RED if broken else _YELLOW if entry.failures else _GREEN, str(entry.status))

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_OFF}" if self._colour else text


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
    """532, 12.3k, 1.05M."""
    if tokens < 1000:
        return str(tokens)
    return f"{tokens / 1000:.1f}k" if tokens < 999_950 else f"{tokens / 1e6:.2f}M"


def _times(entry: Entry) -> str:
    total = seconds(entry.total)
    return f"{seconds(entry.first_event)}/{total}" if entry.first_event is not None and entry.stream else total


def _tokens(report: Report) -> str:
    if report.input_tokens is None and report.output_tokens is None:
        return ""
    text = f"in {count(report.prompt_tokens)}"
    if report.cache_read:
        text += f" (cached {count(report.cache_read)})"
    return f"{text}  out {count(report.output_tokens or 0)}"


def _remarks(entry: Entry) -> list[str]:
    return [
        f"{entry.attempts} attempts" if entry.attempts > 1 else "",
        f"queued behind {entry.queued}" if entry.queued else "",
        f"dropped {entry.report.dropped_header()}" if entry.report.dropped else "",
        *entry.report.notes,
    ]


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
        "status": entry.status,
        "client_left": entry.departed,
        "first_event_seconds": None if entry.first_event is None else round(entry.first_event, 4),
        "total_seconds": round(entry.total, 4),
        "input_tokens": report.prompt_tokens or None,
        "cached_tokens": report.cache_read,
        "output_tokens": report.output_tokens,
        "stop_reason": report.stop_reason,
        "attempts": entry.attempts,
        "queued_behind": entry.queued,
        "dropped": dict(report.dropped),
        "notes": report.notes,
        "failures": entry.failures,
        "session": entry.session,
    }
