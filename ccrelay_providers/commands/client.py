"""What Claude Code on this machine is set to: which one it is, whom it calls, what it shows as its credential."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..core.config import is_loopback
from ..core.settings import Server
from .screen import short

NOT_INSTALLED = (
    "claude is not installed, or not in PATH: npm install -g @anthropic-ai/claude-code, or see "
    "https://claude.com/claude-code; CCRELAY_CLAUDE names one that is elsewhere"
)
OTHER_CLOUDS = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")
VERSION_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Setting:
    """One that holds, and the file (or `environment`) that it comes from."""

    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Client:
    """program: where it is, None if it is not installed. key_helper: the settings name a program that tells the key.
    picker: the user's own `modelPicker`."""

    program: str | None
    settings: Mapping[str, Setting]
    key_helper: bool = False
    logged_in: bool = False
    picker: Any = None
    unreadable: tuple[str, ...] = ()

    def value(self, name: str) -> str:
        setting = self.settings.get(name)
        return setting.value if setting else ""

    def source(self, name: str) -> str:
        return self.settings[name].source


def look(environ: Mapping[str, str], folder: Path) -> Client:
    """As Claude Code would find things if it were started in this folder."""
    settings = {name: Setting(value, "environment") for name, value in environ.items() if value}
    unreadable, helper, picker = [], False, None
    for number, path in enumerate(settings_files(environ, folder)):
        if not os.path.lexists(path):
            continue
        try:
            table = read(path, short(path))
        except ValueError as error:
            unreadable.append(str(error))
            continue
        helper = bool(table.get("apiKeyHelper", helper))
        picker = table.get("modelPicker") if number == 0 else picker  # a project's does not count
        variables = table.get("env") if isinstance(table.get("env"), dict) else {}
        settings |= {name: Setting(str(value), short(path)) for name, value in (variables or {}).items()}
    return Client(find_program(environ), settings, helper, logged_in(environ), picker, tuple(unreadable))


def find_program(environ: Mapping[str, str]) -> str | None:
    """$CCRELAY_CLAUDE, else `claude` on the PATH, else where its installer puts it."""
    if given := environ.get("CCRELAY_CLAUDE"):
        return shutil.which(given, path=environ.get("PATH"))
    installed = str(Path.home() / ".local" / "bin")
    return shutil.which("claude", path=environ.get("PATH")) or shutil.which("claude", path=installed)


def missing(client: Client) -> str:
    """Why there is no program, and what to do."""
    given = client.value("CCRELAY_CLAUDE")
    return f"CCRELAY_CLAUDE is {given}, which is no program; correct it, or unset it" if given else NOT_INSTALLED


def logged_in(environ: Mapping[str, str]) -> bool:
    """Whether there is a Claude login: in a variable, in a file, or, as on a Mac, elsewhere with its name in a file."""
    if environ.get("CLAUDE_CODE_OAUTH_TOKEN"):
        return True
    own = environ.get("CLAUDE_CONFIG_DIR")
    with suppress(ValueError):
        if "oauthAccount" in read((Path(own) if own else Path.home()) / ".claude.json", ".claude.json"):
            return True
    return ((Path(own) if own else Path.home() / ".claude") / ".credentials.json").exists()


def settings_files(environ: Mapping[str, str], folder: Path) -> Iterator[Path]:
    """From the weakest to the strongest; all of them hold over the environment."""
    own = environ.get("CLAUDE_CONFIG_DIR")
    yield (Path(own) if own else Path.home() / ".claude") / "settings.json"
    yield folder / ".claude" / "settings.json"
    yield folder / ".claude" / "settings.local.json"
    yield managed_folder() / "managed-settings.json"


def managed_folder() -> Path:
    """Where an administrator's settings lie."""
    if sys.platform == "darwin":
        return Path("/Library/Application Support/ClaudeCode")
    return Path(r"C:\Program Files\ClaudeCode") if sys.platform == "win32" else Path("/etc/claude-code")


def read(path: Path, name: str) -> dict[str, Any]:
    """The file's object. Raises ValueError with a sentence about what is called `name`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{name}: cannot be read: {error.strerror}") from None
    return parsed(data, name)


def parsed(text: str | bytes, name: str) -> dict[str, Any]:
    """As read()."""
    try:
        table = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{name}: not JSON: {error}") from None
    if not isinstance(table, dict):
        raise ValueError(f"{name}: expected a JSON object")
    return table


def version(program: str) -> str:
    """`2.1.330`; empty if it does not tell."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, timeout=VERSION_SECONDS, encoding="utf-8")
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return done.stdout.split(" ")[0].strip() if done.returncode == 0 else ""


def credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """The headers that Claude Code would make of the environment's variables."""
    token, key = environ.get("ANTHROPIC_AUTH_TOKEN"), environ.get("ANTHROPIC_API_KEY")
    return ({"authorization": f"Bearer {token}"} if token else {}) | ({"x-api-key": key} if key else {})


def calls(client: Client, server: Server) -> bool:
    """Whether it calls this relay."""
    try:
        url = urlsplit(client.value("ANTHROPIC_BASE_URL"))
        host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        return False
    here = host == server.host or (is_loopback(host) and (is_loopback(server.host) or server.host in ("0.0.0.0", "::")))
    return here and port == server.port


def warnings(client: Client, server: Server, passes_through: str | None) -> Iterator[str]:
    """What would surprise somebody who starts Claude Code now. passes_through: a provider that is sent the client's own
    credential."""
    yield from client.unreadable
    if client.program is None:
        yield missing(client)
    yield from _address(client, server)
    yield from _credential(client, server, passes_through)


def _address(client: Client, server: Server) -> Iterator[str]:
    name = "ANTHROPIC_BASE_URL"
    for cloud in OTHER_CLOUDS:
        if client.value(cloud) not in ("", "0", "false"):
            yield f"{cloud} is set ({client.source(cloud)}): Claude Code then calls that cloud, whatever {name} says"
    if not client.value(name):
        yield f"{name} is not set: Claude Code does not call the relay yet"
    elif server.port and not calls(client, server):
        yield f"{name} is {client.value(name)} ({client.source(name)}), which is not this relay"


def _credential(client: Client, server: Server, passes_through: str | None) -> Iterator[str]:
    token, key = "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"
    if client.value(token) and client.value(key):
        yield f"{token} ({client.source(token)}) and {key} ({client.source(key)}) are both set; Claude Code sends both"
    elif client.value(key) and passes_through:
        yield (
            f"{key} is set ({client.source(key)}) and takes the place of a Claude login: "
            f"what {passes_through} answers is billed to that key"
        )
    shows_token = server.token and server.token in (client.value(token), client.value(key))
    if server.token and not shows_token and "x-ccrelay-token" not in client.value("ANTHROPIC_CUSTOM_HEADERS").lower():
        yield f"server.token is set, and {token} is not that token: the relay will refuse Claude Code"
    if passes_through and shows_token:
        yield (
            f"Claude Code shows server.token and nothing else: {passes_through} needs an api_key, "
            "or send the token as x-ccrelay-token"
        )
    elif passes_through and client.value(token) and not client.value(token).startswith("sk-ant-"):
        yield (
            f"{token} ({client.source(token)}) takes the place of a Claude login, and does not look like "
            f"Anthropic's: {passes_through} will refuse it"
        )
