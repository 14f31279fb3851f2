"""A terminal that a program runs in and a check types into: tmux, on a socket of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.clients.stage import CheckError, expect, wait_for

SIZE = ("-x", "150", "-y", "60")


class Screen:
    """What stands on the terminal, and the keys to it."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def text(self) -> str:
        """The screen without its empty lines."""
        return "\n".join(line.rstrip() for line in self._tmux("capture-pane", "-p").splitlines() if line.strip())

    def styled(self) -> list[str]:
        """The lines of the screen with the codes of their colours, without what is empty at its end."""
        return self._tmux("capture-pane", "-p", "-e").rstrip().splitlines()

    def press(self, *keys: str) -> None:
        """Presses keys by name, one after the other."""
        for key in keys:
            self._tmux("send-keys", key)
            time.sleep(0.2)

    def type(self, line: str) -> None:
        """Types a line, waits until it stands there, and enters it."""
        self._tmux("send-keys", "-l", line)
        self.wait(re.escape(line[-40:]))
        time.sleep(0.3)
        self.press("Enter")

    def wait(self, pattern: str, timeout: float = 30.0) -> str:
        """Waits until the pattern is on the screen; gives the whole screen."""
        try:
            wait_for(lambda: re.search(pattern, self.text()), f"/{pattern}/ on the screen", timeout)
        except CheckError as error:
            raise CheckError(f"{error}; it shows:\n{self.text()}") from error
        return self.text()

    def wait_change(self, text: str, timeout: float = 5.0) -> str:
        """Waits until something else is on the screen, or the time is up; gives the screen."""
        with suppress(CheckError):
            wait_for(lambda: self.text() != text, "another screen", timeout)
        return self.text()

    def end(self) -> None:
        """Ends the program at once, so that it writes nothing more, and the terminal."""
        with suppress(CheckError, ProcessLookupError, PermissionError):
            os.killpg(int(self._tmux("list-panes", "-F", "#{pane_pid}")), signal.SIGKILL)
        subprocess.run([*self._command, "kill-server"], capture_output=True, timeout=10)

    def start(self, command: Sequence[str], env: dict[str, str], cwd: Path) -> None:
        """Starts the program with this environment and no other."""
        clean = ["env", "-i", *(f"{name}={value}" for name, value in env.items())]
        self._tmux("new-session", "-d", *SIZE, "-c", str(cwd), *clean, *command)

    @property
    def _command(self) -> list[str]:
        return ["tmux", "-u", "-S", str(self._socket), "-f", "/dev/null"]

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run([*self._command, *arguments], capture_output=True, encoding="utf-8", timeout=10)
        expect(done.returncode == 0, f"tmux {arguments[0]}: {done.stderr.strip()} (did the program end?)")
        return done.stdout


@contextmanager
def screen(command: Sequence[str], env: dict[str, str], cwd: Path, socket: Path) -> Iterator[Screen]:
    """A program in a terminal; both end with the block."""
    expect(shutil.which("tmux"), "tmux is not installed")
    terminal = Screen(socket)
    try:
        terminal.start(command, env, cwd)
        yield terminal
    finally:
        terminal.end()
