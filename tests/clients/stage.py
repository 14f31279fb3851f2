"""What every check stands on: scripted upstreams, a relay of its own, a home that is empty, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.upstreams import RecordedRequest, Upstream

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "client-token-that-only-anthropic-may-see"
START_TIMEOUT = 20.0
CLIENT_TIMEOUT = 90.0

CLAUDE, GLM, QWEN, ECHO = "claude-sonnet-5-5", "zai/glm-5.2", "ollama/qwen3:8b", "echo/echo"

CONFIG = """
[providers.anthropic]
type = "anthropic"
base_url = "{anthropic}"
models = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"]

[providers.zai]
type = "zai"
base_url = "{zai}/api/anthropic"
api_key = "zai-key-of-the-relay"
models = [
  {{ id = "glm-5.2", context = 1000000, max_output = 131072, name = "GLM-5.2" }},
  {{ id = "glm-4.7", context = 204800, max_output = 131072, name = "GLM-4.7" }},
]

[providers.ollama]
type = "ollama"
base_url = "{ollama}"

[providers.echo]
type = "echo"
listed = false

[routes]
anywhere = ["anthropic/claude-sonnet-5-5", "zai/glm-5.2", "ollama/qwen3:8b"]
"""

T = TypeVar("T")


class CheckError(Exception):
    """A client, or what came of it, is not as it should be."""


def expect(condition: object, reason: str) -> None:
    """Fails the check with a reason unless the condition holds."""
    if not condition:
        raise CheckError(reason)


def wait_for(probe: Callable[[], T], what: str, timeout: float = START_TIMEOUT) -> T:
    """The first true value that the probe gives."""
    deadline = time.monotonic() + timeout
    while not (value := probe()):
        if time.monotonic() > deadline:
            raise CheckError(f"{what}: not within {timeout:.0f} s")
        time.sleep(0.05)
    return value


@dataclass(frozen=True)
class Finished:
    """How a client's process ended, and what it printed."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit {self.code}, stdout {self.out.strip()!r}, stderr {self.err.strip()[-600:]!r}"


def run(
    command: Sequence[str], env: dict[str, str], cwd: Path, *, feed: str = "", timeout: float = CLIENT_TIMEOUT
) -> Finished:
    """Runs a client to its end; whatever it started ends with it."""
    pipe = subprocess.PIPE
    options: dict[str, Any] = {"text": True, "encoding": "utf-8", "start_new_session": True}
    with subprocess.Popen(command, env=env, cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe, **options) as process:
        try:
            out, err = process.communicate(feed, timeout)
        except subprocess.TimeoutExpired as error:
            raise CheckError(f"{Path(command[0]).name} did not end within {timeout:.0f} s") from error
        finally:
            kill_group(process)
    return Finished(process.returncode, out, err)


def kill_group(process: subprocess.Popen[str]) -> None:
    """Ends a process that was started as the leader of its own group, and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@dataclass
class Stage:
    """The relay under test with its upstreams, and the folders that the client lives in."""

    folder: Path
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    url: str = ""

    @property
    def anthropic(self) -> Upstream:
        return self.upstreams["anthropic"]

    @property
    def zai(self) -> Upstream:
        return self.upstreams["zai"]

    @property
    def ollama(self) -> Upstream:
        return self.upstreams["ollama"]

    @property
    def home(self) -> Path:
        """The client's home folder."""
        return self.folder / "home"

    @property
    def work(self) -> Path:
        """The folder that the client works in."""
        return self.folder / "work"

    @property
    def log(self) -> Path:
        """Everything that the relay printed."""
        return self.folder / "relay.log"

    def env(self, **more: str) -> dict[str, str]:
        """A clean environment: nothing of the machine's but its PATH."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "TERM": "xterm-256color", "LANG": "C.UTF-8", **more}

    def upstream_of(self, model: str) -> Upstream:
        """The upstream behind a model's name."""
        return self.upstreams[model.partition("/")[0] if "/" in model else "anthropic"]


@contextmanager
def stage() -> Iterator[Stage]:
    """Upstreams, a relay in front of them, and empty folders."""
    with ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="ccrelay-", ignore_cleanup_errors=True))
        built = Stage(Path(temporary).resolve())
        built.home.mkdir()
        built.work.mkdir()
        for kind in ("anthropic", "zai", "ollama"):
            built.upstreams[kind] = stack.enter_context(Upstream(kind))
        built.url = stack.enter_context(relay(built))
        yield built


@contextmanager
def relay(built: Stage, name: str = "relay", more: str = "") -> Iterator[str]:
    """The relay as a user starts it, with more in its configuration; gives its address."""
    config, log_file = built.folder / f"{name}.toml", built.folder / f"{name}.log"
    config.write_text(CONFIG.format(**{kind: upstream.url for kind, upstream in built.upstreams.items()}) + more)
    config.chmod(0o600)
    command = [sys.executable, "ccrelay.py", "--config", str(config), "--port", "0"]
    with open(log_file, "w", encoding="utf-8") as log:
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "text": True}
        process = subprocess.Popen(command, cwd=ROOT, env=built.env(), start_new_session=True, **options)
    try:
        yield wait_for(lambda: address_in(log_file, process), "the relay's 'listening on'")
    finally:
        kill_group(process)


def address_in(log: Path, process: subprocess.Popen[str]) -> str:
    """The address that the relay said it listens on; empty as long as it has not."""
    said = log.read_text("utf-8")
    if process.poll() is not None:
        raise CheckError(f"the relay ended with {process.returncode}: {said.strip()[-600:]}")
    found = re.search(r"^listening on (http://\S+)$", said, re.MULTILINE)
    return found[1] if found else ""


# --- what the upstreams saw


def asked(upstream: Upstream) -> list[RecordedRequest]:
    """The requests for an answer that an upstream got, without probes, counts and lists."""
    paths = ("/v1/messages", "/api/anthropic/v1/messages", "/api/chat")
    return [request for request in upstream.requests() if request.path.partition("?")[0] in paths]


def last_asked(upstream: Upstream) -> str:
    """The messages of the last such request, as text."""
    requests = asked(upstream)
    expect(requests, f"{upstream.kind} was not asked")
    return str(requests[-1].json["messages"])


def expect_discretion(built: Stage) -> None:
    """The client's credential went to nobody but Anthropic."""
    for upstream in (built.zai, built.ollama):
        for request in upstream.requests():
            expect(TOKEN not in repr(request), f"{upstream.kind} was shown the client's credential")
