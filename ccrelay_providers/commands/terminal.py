"""What commands write on: colours where they are wanted, and tables that fit."""

from __future__ import annotations

import re
import shutil
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

NO_END = 10_000  # columns of a pipe or a file: who reads those wants whole lines
_ESCAPES = re.compile("\x1b\\[[0-9;]*m")
_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Terminal:
    """Where a command's words go. `live`: somebody looks on, so a line may be written over."""

    def __init__(self, out: TextIO, environ: Mapping[str, str]) -> None:
        self.out, self.live = out, out.isatty() and environ.get("TERM") != "dumb"
        self.colour = colours(out, environ)
        self.width = shutil.get_terminal_size().columns if out.isatty() else NO_END

    def paint(self, colour: str, text: str) -> str:
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.colour and text else text

    def line(self, text: str = "") -> None:
        """An encoding that lacks a sign must not end a command."""
        encoding = getattr(self.out, "encoding", None) or "utf-8"
        print(text.encode(encoding, "replace").decode(encoding), file=self.out, flush=True)

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """A line that says what takes so long, and for how long already. Gone at the end; only where somebody looks."""
        over = threading.Event()
        thread = threading.Thread(target=self._tick, args=(what, over), daemon=True)
        if self.live:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if self.live:
                thread.join()

    def _tick(self, what: str, over: threading.Event) -> None:
        began, shown = time.monotonic(), ""
        while not over.wait(0.2 if not shown else 1.0):
            shown = f"  {what} … {time.monotonic() - began:.0f} s"[: self.width - 1]
            self._over(shown)
        self._over(" " * len(shown), end="\r")

    def _over(self, text: str, end: str = "") -> None:
        print(f"\r{text}", end=end, file=self.out, flush=True)

    def table(self, rows: Sequence[Sequence[str]], indent: int = 2) -> None:
        for line in columns(rows, self.width - indent):
            self.line(" " * indent + line)


def colours(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """On a terminal that knows them, unless NO_COLOR is set (no-color.org)."""
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb" or not stream.isatty():
        return False
    return _understood(stream)


def _understood(stream: TextIO) -> bool:
    """Windows' consoles take escape sequences once they are told to, since Windows 10."""
    if sys.platform != "win32":
        return True
    import ctypes
    import msvcrt

    kernel, mode = ctypes.windll.kernel32, ctypes.c_uint32()
    handle = ctypes.c_void_p(msvcrt.get_osfhandle(stream.fileno()))
    return bool(kernel.GetConsoleMode(handle, ctypes.byref(mode)) and kernel.SetConsoleMode(handle, mode.value | 4))


def cells(text: str) -> int:
    """The columns that a text takes on a terminal: two for a wide sign, none for a colour or a combining one."""
    text = _ESCAPES.sub("", text)
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(sign) else 1 + (unicodedata.east_asian_width(sign) in "WF") for sign in text)


def pad(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


def columns(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Lines of a table, two blanks between its columns. The last column goes on below itself where it is too long; so
    does the last cell of a shorter row, which may run below the columns that it has not.
    """
    widths = [0] * max(map(len, rows), default=0)
    for row in rows:
        for number, cell in enumerate(row[:-1]):
            widths[number] = max(widths[number], cells(cell))
    for row in rows:
        head = "".join(pad(cell, widths[number]) + "  " for number, cell in enumerate(row[:-1]))
        first, *more = wrap(row[-1], max(24, width - cells(head))) or [""]
        yield (head + first).rstrip()
        yield from (" " * cells(head) + line for line in more)


def wrap(text: str, width: int) -> list[str]:
    """Lines of whole words; a longer word stands alone."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and cells(lines[-1]) + 1 + cells(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines
