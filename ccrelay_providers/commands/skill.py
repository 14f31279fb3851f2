"""skill: where the Claude Code skill that lists the models lies; with --install, a copy where Claude Code looks.

The command `/use` comes with it, unless a folder was named. Neither needs the configuration.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from .screen import program, short

NAME = "relay-models"
USE = """\
---
description: Another model for the rest of this session
argument-hint: MODEL | auto
disable-model-invocation: true
---
/use $ARGUMENTS
"""


def run(options: argparse.Namespace, config: None) -> int:
    """1 if the skill's files are not there, or cannot be written."""
    source = folder()
    if source is None:
        print(f"the skill's files are missing: there is no skill/{NAME} beside ccrelay; copy it there", file=sys.stderr)
        return 1
    target = (Path(options.to).expanduser() if options.to else skills_folder(os.environ)) / NAME
    if not options.install:
        print(f"{NAME} lists the relay's models in Claude Code. To install it for you: {program()} skill --install")
        print(f"It lies in {source}, and would be copied to {short(target)}")
        return 0
    try:
        for line in install(source, target):
            print(line)
        if not options.to:
            print(install_use(target.parent.parent / "commands" / "use.md"))
    except OSError as error:
        print(f"{short(Path(error.filename or target))}: cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print(f"Installed in {short(target)}. In a new Claude Code: /{NAME}")
    return 0


def folder() -> Traversable | None:
    """The skill as it was delivered: beside the package, in a zipapp too, or where pip put it."""
    package: Any = files("ccrelay_providers")  # a Path, or a path in an archive: both have a parent
    beside: Traversable = package.parent / "skill" / NAME
    return beside if beside.is_dir() else installed()


def installed() -> Path | None:
    """By the list of files that pip keeps, whatever the scheme."""
    try:
        found = metadata.files("ccrelay") or []
    except metadata.PackageNotFoundError:
        return None
    pages = (Path(str(file.locate())).resolve() for file in found if file.parts[-2:] == (NAME, "SKILL.md"))
    return next((page.parent for page in pages), None)


def skills_folder(environ: Mapping[str, str]) -> Path:
    """The user's own skills."""
    given = environ.get("CLAUDE_CONFIG_DIR")
    return (Path(given) if given else Path.home() / ".claude") / "skills"


def install(source: Traversable, target: Path) -> Iterator[str]:
    """Copies what is new; says of each file what became of it. What was changed is kept beside its successor."""
    target.mkdir(parents=True, exist_ok=True)
    for each in sorted(source.iterdir(), key=lambda one: one.name):
        here = target / each.name
        if each.is_dir():
            if each.name != "__pycache__":
                yield from install(each, here)
            continue
        data = each.read_bytes()
        if not here.exists():
            yield f"new        {short(here)}"
        elif here.read_bytes() == data:
            yield f"unchanged  {short(here)}"
            continue
        else:
            yield f"replaced   {short(here)}, which was different: kept as {set_aside(here).name}"
        here.write_bytes(data)


def install_use(path: Path) -> str:
    """What became of it. A command of that name that is the user's own stays as it is."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(USE, "utf-8")
        return f"new        {short(path)}: the command /use"
    if path.read_bytes() == USE.encode():
        return f"unchanged  {short(path)}"
    return f"kept       {short(path)}, which is different; what /use needs is in docs/switching.md"


def set_aside(path: Path) -> Path:
    """Renames a file to `NAME.old`, or `.old2` if there is one already."""
    names = (path.with_name(f"{path.name}.old{number if number > 1 else ''}") for number in range(1, 1000))
    kept = next(name for name in names if not name.exists())
    return path.rename(kept)
