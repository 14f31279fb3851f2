"""skill: where the Claude Code skill that lists the models lies; with --install, a copy where Claude Code looks."""

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

from ..core.settings import Config
from .screen import program, short

NAME = "relay-models"


def run(options: argparse.Namespace, config: Config) -> int:
    """1 if the skill's files are not there, or cannot be written."""
    source = folder()
    if source is None:
        print(f"the skill's files are missing: there is no skill/{NAME} beside ccrelay", file=sys.stderr)
        return 1
    target = (Path(options.to).expanduser() if options.to else skills_folder(os.environ)) / NAME
    if not options.install:
        print(f"{NAME} lists the relay's models in Claude Code. To install it for you: {program()} skill --install")
        print(f"It lies in {source}, and would be copied to {short(target)}")
        return 0
    try:
        for line in install(source, target):
            print(line)
    except OSError as error:
        print(f"{short(target)}: cannot be written: {error.strerror}", file=sys.stderr)
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


def set_aside(path: Path) -> Path:
    """Renames a file to `NAME.old`, or `.old2` if there is one already."""
    names = (path.with_name(f"{path.name}.old{number if number > 1 else ''}") for number in range(1, 1000))
    kept = next(name for name in names if not name.exists())
    return path.rename(kept)
