"""claude: Claude Code, wired to the relay that runs, or to one of its own that ends with it.

The relay of its own listens on a free port, never on the configured one: no other session can come to depend on it.
What Claude Code is told stands in its environment and in a settings file of this session; the user's files stay as
they are.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from ..core.log import Log
from ..core.settings import Config
from ..wire.errors import RelayError
from .client import Client, look, missing, parsed, read
from .lineup import Json, Lineup, of_catalog, told_by
from .picker import behaves_as, foreign, model_picker
from .running import RunningRelay, find, url
from .screen import program
from .serve import build
from .wiring import Variable, shared_window, variables

ASK_SECONDS = 2.0  # what an Ollama has to say what it has: its models' rows are worth waiting for


def run(options: argparse.Namespace, config: Config) -> int:
    """Claude Code's own exit code; 1 if it is not there or no relay can be had, 2 for settings that cannot be read."""
    client = look(os.environ, Path.cwd())
    if client.program is None:
        print(missing(client), file=sys.stderr)
        return 1
    try:
        arguments, given = split_settings(options.arguments)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ccrelay-", ignore_cleanup_errors=True)))
        offered = stack.enter_context(relay(config, folder / "relay.log"))
        if offered is None or offered.relay is None:
            return 1
        told = list(wiring(offered, config, offered.relay.url, client, option(arguments, "--model") or ""))
        settings = session_settings(told, model_picker(offered.models, config), client.picker, given)
        path = folder / "settings.json"
        write_privately(path, json.dumps(settings))
        try:
            code = attend([client.program, "--settings", str(path), *arguments], environment(told, os.environ))
        except OSError as error:
            advice = "install it anew, or name another one with CCRELAY_CLAUDE"
            print(f"ccrelay: {client.program} cannot be started ({error.strerror}); {advice}", file=sys.stderr)
            return 1
    if sys.stdout.isatty() and not {"-p", "--print", "--version"} & set(arguments):
        # Claude Code names the settings file in its own advice, and that is gone
        print(f"ccrelay: to resume the session wired to the relay: {program()} claude -c", file=sys.stderr)
    return code


# --- the relay


@contextmanager
def relay(config: Config, log: Path) -> Iterator[Lineup | None]:
    """The models of the relay that runs, or of one that runs as long as the block."""
    try:
        offered: Lineup | None = told_by(find(config.server))
    except RelayError as error:
        with own_relay(config, log, error.message) as offered:
            yield offered
    else:
        yield offered


@contextmanager
def own_relay(config: Config, log: Path, reason: str) -> Iterator[Lineup | None]:
    """None if it cannot listen; that is said."""
    private = replace(config.server, host="127.0.0.1", port=0, tls_cert=None, tls_key=None)
    config = replace(config, server=private)
    with log.open("w", encoding="utf-8", buffering=1) as lines:
        server, catalog = build(config, Log(config.server.log, lines))
        if server is None:
            yield None
            return
        address = url(config.server.host, server.port)
        print(f"ccrelay: {reason}; this session has a relay of its own on {address}, log in {log}", file=sys.stderr)
        thread = threading.Thread(target=server.run, name="relay")
        thread.start()
        try:
            catalog.refresh(ASK_SECONDS)
            yield replace(of_catalog(catalog), relay=RunningRelay(address, config.server.token))
        finally:
            server.stop()
            thread.join()
            server.drain(0.0)


# --- what Claude Code is told


def wiring(offered: Lineup, config: Config, address: str, client: Client, wanted: str) -> Iterator[Variable]:
    """The variables that hold. Rows stand in the picker by a setting, so nothing has to be discovered."""
    yield from (each for each in variables(offered, config, address, client, wanted) if each.live)
    yield Variable("CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY", None, "every model would stand there twice")
    windows = {model["id"]: model.get("max_input_tokens") for model in foreign(offered.models, config)}
    small = {name: window for name, window in windows.items() if not behaves_as(window)}
    first = [small[wanted]] if wanted in small else list(small.values())
    if not client.value("CLAUDE_CODE_MAX_CONTEXT_TOKENS") and (shared := shared_window(first)):
        yield Variable("CLAUDE_CODE_MAX_CONTEXT_TOKENS", str(shared), "the window of the small models")


def environment(told: Sequence[Variable], environ: Mapping[str, str]) -> dict[str, str]:
    gone = {each.name for each in told if each.value is None}
    kept = {name: value for name, value in environ.items() if name not in gone}
    return kept | {each.name: each.value for each in told if each.value is not None}


def session_settings(told: Sequence[Variable], picker: Json, users: Any, given: Json) -> Json:
    """`given`, what came with --settings, with what the relay needs. Its rows come first, or else the user's own: of
    several `modelPicker` Claude Code takes one. `env` stands here too, since the user's settings beat the shell."""
    own = given.get("modelPicker") or users
    own = own if isinstance(own, dict) else {}
    first = own["options"] if isinstance(own.get("options"), list) else []
    taken = {row.get("model") for row in first if isinstance(row, dict)}
    options = [*first, *(row for row in picker["options"] if row["model"] not in taken)]
    env = given.get("env") if isinstance(given.get("env"), dict) else {}
    ours = {each.name: each.value or "" for each in told}
    return {**given, "env": {**(env or {}), **ours}, "modelPicker": {**picker, **own, "options": options}}


def split_settings(arguments: Sequence[str]) -> tuple[list[str], Json]:
    """(the arguments without --settings, what it says). Raises ValueError with a sentence if that cannot be read."""
    rest: list[str] = []
    given: str | None = None
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--settings":
            given = next(words, "")
        elif word.startswith("--settings="):
            given = word.partition("=")[2]
        else:
            rest.append(word)
    return rest, {} if given is None else settings_of(given)


def settings_of(given: str) -> Json:
    """Of the value of --settings: JSON, or the name of a file with it."""
    if given.lstrip().startswith("{"):
        return parsed(given, "--settings")
    return read(Path(given).expanduser(), f"--settings {given}")


def option(arguments: Sequence[str], name: str) -> str | None:
    """The value of an option of Claude Code's."""
    for number, argument in enumerate(arguments):
        if argument == name:
            return next(iter(arguments[number + 1 :]), None)
        if argument.startswith(name + "="):
            return argument.partition("=")[2]
    return None


def write_privately(path: Path, text: str) -> None:
    """For nobody else to read: a token may stand in it."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


# --- its process


def attend(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs Claude Code to its end. Its exit code; as shells have it, 128 and the number of the signal that ended it.
    Raises OSError if it cannot be started."""
    process = subprocess.Popen(command, env=environ)
    with signals_passed_to(process):
        code = process.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def signals_passed_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """What the relay's process is sent is meant for Claude Code."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT or not _at_terminal():
            process.send_signal(number)

    names = [name for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in (getattr(signal, name) for name in names)}
    taken = {number: old for number, old in before.items() if old is not signal.SIG_IGN}  # nohup stays nohup
    for number in taken:
        signal.signal(number, pass_on)
    try:
        yield
    finally:
        for number, old in taken.items():
            signal.signal(number, old)


def _at_terminal() -> bool:
    """Then Ctrl-C has reached both already; a second one would end Claude Code where one only interrupts."""
    return os.name == "nt" or any(os.isatty(descriptor) for descriptor in range(3))
