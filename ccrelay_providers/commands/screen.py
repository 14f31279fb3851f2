"""What the start of the relay looks like."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

from .. import __version__
from ..core.catalog import Catalog
from ..core.settings import Config, Provider, Server
from .running import address, url
from .terminal import Terminal


def announce(config: Config, catalog: Catalog, port: int, terminal: Terminal) -> None:
    """What is on, what is off and why, where it listens, and what to type next."""
    say, paint = terminal.line, terminal.paint
    say(f"{paint('bold', 'ccrelay')} {__version__}  {paint('dim', short(config.path))}")
    terminal.table([_row(provider, catalog, config.server, terminal) for provider in config.providers])
    for warning in config.warnings:
        terminal.table([(paint("yellow", "warning:"), warning)])
    say(f"listening on {paint('cyan', address(config.server.host, port, bool(config.server.tls_cert)))}")
    for words, line in next_steps(config.server, port):
        say(f"  {paint('dim', f'{words:<26}')} {line}")
    say()


def _row(provider: Provider, catalog: Catalog, server: Server, terminal: Terminal) -> tuple[str, str, str]:
    on, words = state(provider, catalog, bool(server.token))
    if not on:
        return provider.name, terminal.paint("dim", "off"), terminal.paint("dim", words)
    return provider.name, terminal.paint("yellow" if catalog.discovery_error(provider) else "green", "on"), words


def state(provider: Provider, catalog: Catalog, token: bool = False) -> tuple[bool, str]:
    """`True, "4 models"`, or `False, "ZAI_API_KEY is not set"`."""
    if provider.off:
        return False, provider.off
    if error := catalog.discovery_error(provider):
        return True, f"but {error.removeprefix(provider.name + ': ')}"
    count = len(catalog.models(provider))
    words = number(count, "model")
    if provider.discover and not count:
        words = "no models found yet"
    if provider.type == "anthropic" and not provider.keys:
        words += ", with the credential that Claude Code sends" + (" beside x-ccrelay-token" if token else "")
    if provider.listed:
        return True, words
    if provider.type == "echo" and provider.models:
        return True, f"not listed: {provider.name}/{provider.models[0].id} answers offline"
    return True, f"{words}, not listed"


def next_steps(server: Server, port: int) -> list[tuple[str, str]]:
    """What to type now, with what it is for."""
    here = url(server.host, port, bool(server.tls_cert))
    export = f'$env:ANTHROPIC_BASE_URL="{here}"' if os.name == "nt" else f"export ANTHROPIC_BASE_URL={here}"
    steps = [("point Claude Code here:", export)]
    if server.token:
        steps.append(("and show it server.token:", "ANTHROPIC_AUTH_TOKEN=…"))
    again = f"{program()} {options(server, port)}".rstrip()
    return [("start Claude Code:", f"{again} claude"), *steps, ("something is wrong?", f"{again} check")]


def options(server: Server, port: int) -> str:
    """Those that this program was started with; in place of port 0 the one that it took, so that others find it."""
    given = " ".join(shlex.quote(word) for word in sys.argv[1:] if word != "serve")
    if server.port:
        return given
    return f"{re.sub(r'--port[ =]0+(?= |$)', '', given)} --port {port}".replace("  ", " ").lstrip()


def program() -> str:
    """How this program was called, as it can be typed again."""
    called = sys.argv[0]
    if not called.endswith((".py", ".pyz")):
        return Path(called).stem
    return f"{Path(sys.executable).stem} {shlex.quote(called)}"


def number(count: int, noun: str) -> str:
    """`1 model`, `4 models`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def short(path: Path) -> str:
    """With ~ for the user's home."""
    try:
        return "~" + os.sep + str(path.absolute().relative_to(Path.home()))
    except (ValueError, RuntimeError):  # elsewhere, or nobody's home
        return str(path.absolute())
