"""Processes that start at once: forked from one that has read the modules already.

A Python that starts takes a fifth of a second, and the tests start some three hundred relays and upstreams. What a
user's start does is tried where it matters, in test_ccrelay, test_distribution and test_screen. Elsewhere than on
Linux each process is started as usual.
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import types
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

ROOT = Path(__file__).resolve().parents[1]
PRELOADED = [
    *map("ccrelay_providers.commands.".__add__, ("serve", "check", "skill", "claude")),
    *map("tests.upstreams.".__add__, ("anthropic", "zai", "ollama")),
]
LARGEST = 1 << 20  # bytes of a command with its environment


class Forked:
    """A process as subprocess.Popen has it, as far as the tests need that. One without `stderr` writes to ours."""

    def __init__(self, command: Sequence[str], env: dict[str, str], cwd: Path, stdin: bool, stderr: bool) -> None:
        (source, write), (read, out), (read_err, err) = os.pipe(), os.pipe(), os.pipe()
        self.stdin, self.stdout, self.stderr = os.fdopen(write, "w"), output(read), output(read_err)
        self.returncode: int | None = None
        question = {"start": list(command), "env": env, "cwd": str(cwd), "stdin": stdin}
        self.pid = cast(int, nursery().ask(question, (source, out, err if stderr else 2)))
        for descriptor in (source, out, err):
            os.close(descriptor)

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = nursery().ask({"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (timeout or 3600)
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(0.002)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self) -> tuple[str, str]:
        return self.stdout.read(), self.stderr.read()


def output(descriptor: int) -> TextIO:
    return os.fdopen(descriptor, encoding="utf-8", errors="backslashreplace")


Process = Forked | subprocess.Popen[str]


def start(
    command: Sequence[str],
    env: dict[str, str] | None = None,
    cwd: Path = ROOT,
    *,
    stdin: bool = False,
    stderr: bool = True,
) -> Process:
    """`[sys.executable, FILE | -m MODULE | -c CODE, ARGUMENTS…]`, its output in pipes."""
    env = dict(os.environ if env is None else env)
    if sys.platform == "linux":
        return Forked(command, env, cwd, stdin, stderr)
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=pipe if stdin else subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe if stderr else None,
        encoding="utf-8",
        errors="backslashreplace",
    )


def run(
    command: Sequence[str], env: dict[str, str], cwd: Path = ROOT, timeout: float = 20.0
) -> subprocess.CompletedProcess[str]:
    """As start(), to its end. Output of more than a pipe holds (64 KB) must be on stdout. Killed after the timeout."""
    process = start(command, env, cwd)
    limit = threading.Timer(timeout, process.kill)
    limit.start()
    out, err = process.communicate()
    code = process.wait()
    limit.cancel()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()
    return subprocess.CompletedProcess(command, code, out, err)


# --- the tests' end of the nursery


class Nursery:
    """One question at a time: a lock guards the socket."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
        self._lock, self._socket = threading.Lock(), ours
        command = [sys.executable, "-m", "tests.nursery", str(theirs.fileno())]
        self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
        theirs.close()
        atexit.register(self.close)

    def ask(self, question: dict[str, Any], descriptors: Sequence[int] = ()) -> int | None:
        with self._lock:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            self._socket.sendmsg([json.dumps(question).encode()], rights)
            answer: int | None = json.loads(self._socket.recv(1024))
            return answer

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


_first = threading.Lock()


def nursery() -> Nursery:
    with _first:  # two threads that ask at once must get the same one
        return _nursery()


@cache
def _nursery() -> Nursery:
    return Nursery()


# --- the process that forks


def tend(commands: socket.socket) -> None:
    """Until the tests are gone: starts a process, or tells how one ended."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(commands, LARGEST, 3)
        if not message:
            return
        question = json.loads(message)
        if "start" in question:
            answer: int | None = fork(question, descriptors, commands)
        else:
            pid, status = os.waitpid(question["ended"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        commands.send(json.dumps(answer).encode())


def fork(question: dict[str, Any], descriptors: list[int], commands: socket.socket) -> int:
    if not (pid := os.fork()):
        commands.close()
        os.chdir(question["cwd"])
        become(question["start"], question["env"], descriptors if question["stdin"] else [None, *descriptors[1:]])
    for descriptor in descriptors:
        os.close(descriptor)
    return pid


def become(command: list[str], env: dict[str, str], descriptors: Sequence[int | None]) -> NoReturn:
    """The rest of a child's life."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(os.open(os.devnull, os.O_RDONLY) if descriptor is None else descriptor, number)
    os.closerange(3, 64)
    os.environ.clear()
    os.environ.update(env)
    encoding = env.get("PYTHONIOENCODING")
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w", 1, encoding)
    sys.stderr = os.fdopen(2, "w", 1, encoding, errors="replace")
    code = 0
    try:
        execute(command[1:])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os._exit(code)


def execute(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.modules.pop(arguments[1], None)
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(arguments[1], main.__dict__)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    for module in PRELOADED:
        importlib.import_module(module)
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    tend(socket.socket(fileno=int(sys.argv[1])))
