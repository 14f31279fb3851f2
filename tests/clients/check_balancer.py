"""Two relays behind HAProxy, as docs/scaling.md sets it up, and one of them dies."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.request import urlopen

import anthropic

from tests.clients.claude import ClaudeCode
from tests.clients.stage import ROOT, TOKEN, Stage, address_in, expect, kill_group, wait_for

Check = tuple[str, Callable[[Stage], None]]

CONFIG = """
[routes]
talk = ["{name}/echo"]
[providers.{name}]
type = "echo"
"""
SESSIONS, TURNS, WORDS = 8, 5, 12
LAST = f"word{WORDS}"


def checks(claude: ClaudeCode) -> Iterator[Check]:
    """Every check with its name."""
    yield "two relays behind haproxy, one dies under the python sdk", sdk_sessions
    yield "two relays behind haproxy, one dies under claude -p", partial(claude_sessions, claude)


@dataclass
class Balanced:
    """Two relays and their ports, by the names that their providers have, and the address in front of them."""

    url: str = ""
    relays: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def kill(self, name: str) -> None:
        """As a machine dies: without a word."""
        self.relays[name].kill()


@contextmanager
def balanced(stage: Stage) -> Iterator[Balanced]:
    """Both relays and HAProxy, until the block ends."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    expect(program, "haproxy is not installed")
    with ExitStack() as stack:
        made = Balanced()
        ports = {"8080": free_port()}
        for name, port in (("one", "8787"), ("two", "8788")):
            made.relays[name], made.ports[name] = stack.enter_context(relay(stage, name))
            ports[port] = made.ports[name]
        config = stage.folder / "haproxy.cfg"
        config.write_text(documented(ports))
        with open(stage.folder / "haproxy.log", "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [str(program), "-db", "-f", str(config)], stdout=log, stderr=log, text=True, start_new_session=True
            )
        stack.callback(kill_group, process)
        made.url = f"http://127.0.0.1:{ports['8080']}"
        wait_for(lambda: answers(made.url), "haproxy's first answer")
        yield made


def documented(ports: dict[str, int]) -> str:
    """The configuration in docs/scaling.md, with other ports."""
    [config] = re.findall(r"```haproxy\n(.*?)```", (ROOT / "docs/scaling.md").read_text("utf-8"), re.DOTALL)
    for written, taken in ports.items():
        expect(config.count(f"127.0.0.1:{written}") == 1, f"docs/scaling.md: 127.0.0.1:{written} is expected once")
        config = config.replace(f"127.0.0.1:{written}", f"127.0.0.1:{taken}")
    return str(config)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def answers(url: str) -> bool:
    with suppress(OSError), urlopen(f"{url}/health", timeout=2) as answer:
        return bool(answer.status == 200)
    return False


@contextmanager
def relay(stage: Stage, name: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A relay whose provider has this name."""
    config, path = stage.folder / f"{name}.toml", stage.folder / f"{name}.log"
    config.write_text(CONFIG.format(name=name))
    command = [sys.executable, "ccrelay.py", "--config", str(config), "--port", "0"]
    with open(path, "w", encoding="utf-8") as log:
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "text": True}
        process = subprocess.Popen(command, cwd=ROOT, env=stage.env(), start_new_session=True, **options)
    try:
        url = wait_for(lambda: address_in(path, process), f"the 'listening on' of relay {name}")
        yield process, int(url.rpartition(":")[2])
    finally:
        kill_group(process)


# --- the Python SDK


@dataclass
class Session:
    """One conversation: who answered each turn, and which turns had to be repeated."""

    number: int
    answered_by: list[str] = field(default_factory=list)
    broken: int = 0


def sdk_sessions(stage: Stage) -> None:
    with balanced(stage) as relays, ThreadPoolExecutor(SESSIONS) as pool:
        sessions = [Session(number) for number in range(SESSIONS)]
        under_way = threading.Semaphore(0)
        done = [pool.submit(converse, relays.url, session, under_way) for session in sessions]
        for _ in range(SESSIONS * 2):  # most are in their second turn, or further
            under_way.acquire(timeout=30)
        homes = {session.number: session.answered_by[0] for session in sessions if session.answered_by}
        expect(set(homes.values()) == {"one", "two"}, f"sessions are not spread: {homes}")
        relays.kill("one")
        for future in done:
            future.result(timeout=90)
        judge(sessions, homes)


def judge(sessions: list[Session], homes: dict[int, str]) -> None:
    expect(any(session.broken for session in sessions), "no stream was broken")
    for session in sessions:
        said = f"session {session.number}: {session.answered_by}, {session.broken} broken"
        expect(len(session.answered_by) == TURNS, f"turns are missing; {said}")
        if homes.get(session.number) == "two":
            expect(set(session.answered_by) == {"two"} and not session.broken, f"disturbed for nothing; {said}")
        else:
            expect(session.answered_by[-1] == "two", f"still with the dead; {said}")


def converse(url: str, session: Session, under_way: threading.Semaphore) -> None:
    """Some turns of one session. A stream that breaks is repeated, as Claude Code does it."""
    headers = {"x-claude-code-session-id": f"session-{session.number}"}
    client = anthropic.Anthropic(base_url=url, auth_token=TOKEN, api_key=None, default_headers=headers, timeout=30)
    for _ in range(TURNS):
        while not whole_turn(client, session, under_way):
            session.broken += 1
            expect(session.broken < 10, f"session {session.number} is lost")


def whole_turn(client: anthropic.Anthropic, session: Session, under_way: threading.Semaphore) -> bool:
    text = ""
    prompt = f"echo:slow 0.1\necho:words {WORDS}"
    try:
        with client.messages.stream(
            model="talk", max_tokens=1000, messages=[{"role": "user", "content": prompt}]
        ) as stream:
            under_way.release()
            for piece in stream.text_stream:
                text += piece
            name = stream.response.headers["x-ccrelay-provider"]
    except Exception:  # the SDK, its HTTP client, its parser: a stream can break in many words
        return False
    if not text.strip().endswith(LAST):
        return False
    session.answered_by.append(name)
    return True


# --- Claude Code


def claude_sessions(claude: ClaudeCode, stage: Stage) -> None:
    """Four turns at once; whichever relay has most of them dies in the middle."""
    with balanced(stage) as relays, ThreadPoolExecutor(4) as pool:
        stage.url = relays.url
        prompt = f"echo:slow 0.4\necho:words {WORDS * 2}"
        done = [pool.submit(claude.print, stage, prompt, "--model", "talk") for _ in range(4)]
        wait_for(lambda: sum(map(running, relays.ports.values())) >= 4, "four running streams", timeout=60)
        relays.kill(max(relays.ports, key=lambda name: running(relays.ports[name])))
        for future in done:
            finished = future.result(timeout=120)
            expect(finished.code == 0 and f"word{WORDS * 2}" in finished.out, f"a turn is lost: {finished}")


def running(port: int) -> int:
    """How many requests the relay there is answering."""
    with urlopen(f"http://127.0.0.1:{port}/status", timeout=10) as answer:
        return int(json.load(answer)["running"])
