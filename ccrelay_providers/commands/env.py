"""env: the lines that point a shell's Claude Code at the relay, each with its reason."""

from __future__ import annotations

import argparse
import io
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from ..core.settings import Config
from .client import Client, look
from .lineup import Lineup, lineup
from .picker import behaves_as, foreign
from .running import url
from .screen import program
from .wiring import Variable, shared_window, variables

ASK_SECONDS = 1.0  # a shell that starts up waits for this
USE = {  # other shells take what sh takes
    "sh": 'eval "$({} env)"',
    "fish": "{} env --shell fish | source",
    "powershell": "{} env --shell powershell | Out-String | Invoke-Expression",
}


def run(options: argparse.Namespace, config: Config) -> int:
    if os.name != "nt" and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # values are bytes to a shell, whatever a terminal can show
    shell = options.shell or ("powershell" if os.name == "nt" else "sh")
    offered = lineup(config, ASK_SECONDS)
    address = url(config.server.host, config.server.port, bool(config.server.tls_cert))
    print(f"# Claude Code, pointed at the relay. To use it: {USE.get(shell, USE['sh']).format(program())}")
    if offered.relay is None:
        missing = f"no relay listens on {address} yet; `{program()}` starts one"
        print(f"# {missing}")
        if not sys.stdout.isatty():  # a shell that takes the lines over shows none of them
            print(f"ccrelay: {missing}", file=sys.stderr)
    for variable in lines(offered, config, address, look(os.environ, Path.cwd())):
        print(f"# {_comment(variable.reason)}")
        print(("" if variable.live else "# ") + written(variable, shell))
    sys.stdout.flush()
    return 0


def lines(offered: Lineup, config: Config, address: str, client: Client) -> Iterator[Variable]:
    yield from variables(offered, config, address, client)
    yield discovery(client)
    windows = [model.get("max_input_tokens") for model in foreign(offered.models, config)]
    if shared := shared_window([window for window in windows if not behaves_as(window)]):
        alone = not any(behaves_as(window) for window in windows)
        reason = "the smallest window of the models that Claude Code does not know; "
        reason += "one number holds for all of them" + ("" if alone else ", so it is for sessions with small ones")
        yield Variable("CLAUDE_CODE_MAX_CONTEXT_TOKENS", str(shared), reason, live=alone)


def discovery(client: Client) -> Variable:
    reason = "the relay's models in the /model picker"
    if client.value("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"):
        reason += "; not as long as CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC is set"
    return Variable("CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY", "1", reason)


def written(variable: Variable, shell: str) -> str:
    """A line for the shell. Values may hold anything: quotes, blanks, line ends."""
    name, value = variable.name, variable.value
    if shell == "fish":
        return f"set -e {name}" if value is None else f"set -gx {name} {_fish(value)}"
    if shell == "powershell":
        if value is None:
            return f"Remove-Item Env:{name} -ErrorAction SilentlyContinue"
        return f"$env:{name} = {_powershell(value)}"
    return f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}"


def _fish(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _powershell(value: str) -> str:
    """PowerShell takes typographic quotes for plain ones."""
    return "'" + "".join(2 * sign if sign in "'‘’‚‛" else sign for sign in value) + "'"


def _comment(text: str) -> str:
    """In one line: a name from an upstream must not end the comment."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
