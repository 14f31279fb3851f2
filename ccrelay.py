#!/usr/bin/env python3
"""ccrelay: all models behind one address for Claude Code. `python ccrelay.py --help` says how to start it."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import NoReturn

if sys.version_info < (3, 11):  # noqa: UP036  # said in a sentence, before tomllib is missed
    sys.exit(f"ccrelay needs Python 3.11 or later; this is {sys.version.split()[0]}")

from ccrelay_providers import __version__
from ccrelay_providers.core.config import ConfigError, load
from ccrelay_providers.core.settings import Config

__all__ = ["main"]

SHELLS = ("sh", "bash", "zsh", "fish", "powershell")
NEED_NO_CONFIGURATION = ("skill",)  # these work with a broken one, too
CLAUDE = "Claude Code, wired to the relay; what stands behind it is Claude Code's"


def main(argv: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console that lacks a sign is no reason to end
    options = parse(sys.argv[1:] if argv is None else argv)
    try:
        config = None if options.command in NEED_NO_CONFIGURATION else load_for(options)
    except ConfigError as error:
        for sentence in error.errors:
            given = options.host is not None and ": server.host: " in sentence
            print("--host: " + sentence.partition(": server.host: ")[2] if given else sentence, file=sys.stderr)
        return 2
    command = import_module(f"ccrelay_providers.commands.{options.command}")
    try:
        exit_code: int = command.run(options, config)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130  # as shells say it
    except BrokenPipeError:  # `| head` has seen enough; what is left must not be tried again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return exit_code


def load_for(options: argparse.Namespace) -> Config:
    return load(config_path(options.config), os.environ, host=options.host, port=options.port)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """`[OPTIONS] [COMMAND [OPTIONS]]`: an option that all commands take may stand before the command, or behind it."""
    parser, commands = command_line()
    chosen = parser
    try:
        options, unknown = parser.parse_known_args(argv)
        chosen = commands.get(options.command, parser)
    except argparse.ArgumentError as error:
        if error.argument_name != "COMMAND":
            parser.error(str(error))
        unknown = common_options().parse_known_args(argv)[1]  # an option that is none comes before what stands behind
    if unknown:
        known = [*commands, *re.findall("--[a-z]+", parser.format_help() + chosen.format_help())]
        near = get_close_matches(unknown[0].partition("=")[0], known, 1)
        advice = f"did you mean {near[0]}?" if near else "--help shows what there is"
        chosen.error(f"unknown argument {unknown[0]}; {advice}")
    return options


def command_line() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of it all, and that of each command."""
    parser = argparse.ArgumentParser(
        prog="ccrelay",
        description="One address for all models that Claude Code may use.",
        parents=[common_options()],
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("--version", action="version", version=f"ccrelay {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def command(name: str, says: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[common_options()], help=says, description=says)

    command("serve", "listen and answer; what happens without a command")
    check = command("check", "what is configured, what answers, how Claude Code is set")
    check.add_argument(
        "--send",
        nargs="*",
        metavar="MODEL",
        help="send one real message, which may cost something, to these models (patterns are fine); "
        "without any: to the first of each provider",
    )
    skill = command("skill", "the Claude Code skill that lists the models")
    skill.add_argument("--install", action="store_true", help="copy it to where Claude Code looks for skills")
    skill.add_argument("--to", metavar="DIR", help="a folder of skills; default: ~/.claude/skills")
    models = command("models", "what can be asked for, and what is known of it")
    models.add_argument("filter", nargs="?", metavar="FILTER", help="a part of a model's id or name")
    models.add_argument("--json", action="store_true", help="for other programs")
    env = command("env", "the lines that point a shell's Claude Code at the relay")
    env.add_argument("--shell", choices=SHELLS, help="default: sh, on Windows powershell")
    claude = commands.add_parser("claude", help=CLAUDE, description=CLAUDE, prefix_chars="\0", add_help=False)
    claude.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGS")
    parser.set_defaults(command="serve", config=None, host=None, port=None, verbose=False)
    return parser, dict(commands.choices or {})


def common_options() -> argparse.ArgumentParser:
    """New ones for each parser: they are changed by its defaults."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS, allow_abbrev=False)
    common.add_argument("--config", metavar="FILE", help="default: $CCRELAY_CONFIG, else relay.toml beside ccrelay.py")
    common.add_argument("--host", help="the address to listen on (server.host)")
    common.add_argument("--port", type=port, help="the port to listen on; 0 picks a free one (server.port)")
    common.add_argument("--verbose", action="store_true", help="log listings and health checks too")
    return common


def port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, got {text!r}")
    return int(text)


def config_path(given: str | None) -> Path:
    chosen = given or os.environ.get("CCRELAY_CONFIG")
    return Path(chosen) if chosen else default_config(Path(__file__).resolve().parent)


def default_config(here: Path) -> Path:
    """relay.toml beside the program; beside the archive that the program is in, or inside it; installed with it."""
    own = here / "relay.toml"
    if here.is_file():
        beside = here.with_name("relay.toml")
        return beside if beside.is_file() else own
    return own if own.is_file() else installed_config() or own


def installed_config() -> Path | None:
    """Where pip put it: by the list of files that it keeps, whatever the scheme."""
    from importlib import metadata

    try:
        files = metadata.files("ccrelay") or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())).resolve() for file in files if file.name == "relay.toml"), None)


def console() -> NoReturn:
    """For what drops the value of main(), as the archives of zipapp do."""
    sys.exit(main())


if __name__ == "__main__":
    console()
