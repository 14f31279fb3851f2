"""models: what can be asked for, and what is known of it."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from ..core.endpoints import window_words
from ..core.settings import Config
from .lineup import Json, Lineup, lineup

ASK_SECONDS = 5.0  # what an Ollama has to say what it has
ABILITIES = {"tools": "tool_use", "vision": "image_input", "thinking": "thinking"}
Column = tuple[str, list[str]]


def run(options: argparse.Namespace, config: Config) -> int:
    """1 if no model is found."""
    offered = lineup(config, ASK_SECONDS)
    rows = [row(model, offered, config) for model in offered.models]
    chosen = matching(rows, options.filter)
    if options.json:
        print(json.dumps(chosen, ensure_ascii=True, indent=2))
    elif chosen:
        print("\n".join(table(chosen, width(), plain=not sys.stdout.isatty())))
    sys.stdout.flush()
    if not chosen:
        print(nothing(options.filter, len(rows)), file=sys.stderr)
    if not chosen or not options.filter:
        print(*offered.notes, sep="\n", end="\n" if offered.notes else "", file=sys.stderr)
    return 0 if chosen else 1


def row(model: Json, offered: Lineup, config: Config) -> Json:
    """What is shown of a model. None: not known."""
    name, provider = model["id"], model["id"].partition("/")[0]
    known = model.get("capabilities") or {}
    return {
        "id": name,
        "name": model.get("display_name"),
        "provider": provider,
        "context": model.get("max_input_tokens"),
        "max_output": model.get("max_tokens"),
        **{word: known.get(key, {}).get("supported") for word, key in ABILITIES.items()},
        "health": dict(offered.health).get(provider),
        "routes": routes_to(name, config),
    }


def routes_to(name: str, config: Config) -> list[str]:
    """The patterns whose requests this model may answer."""
    bare = name.partition("/")[2]
    return [route.pattern for route in config.routes if any(each.model in (name, bare) for each in route.targets)]


def matching(rows: Sequence[Json], wanted: str | None) -> list[Json]:
    """Whose id or name contains it; if none does, those with a name much like it."""
    if not wanted:
        return list(rows)
    word = wanted.lower()
    found = [each for each in rows if word in each["id"].lower() or word in (each["name"] or "").lower()]
    if found:
        return found
    near = get_close_matches(word, [name for each in rows for name in names(each)], 5, 0.6)
    return [each for each in rows if any(name in near for name in names(each))]


def names(model: Json) -> tuple[str, str]:
    return model["id"].lower(), model["id"].partition("/")[2].lower()


def nothing(wanted: str | None, count: int) -> str:
    if not count:
        return "no provider that is on lists a model; `check` says what is on"
    return f"no model is called like {wanted!r}; without a filter `models` shows all {count}"


# --- the table


def width() -> int:
    return shutil.get_terminal_size((80, 24)).columns


def table(rows: Sequence[Json], columns: int, plain: bool) -> list[str]:
    """Lines; what says nothing about any model is left out. plain: whole and for other programs, however wide."""
    shown = [column for column in _columns(rows) if any(column[1])]
    if not plain and sum(_wide(column) + 2 for column in shown) - 2 > columns:
        shown = [column for column in shown if column[0] != "name"]  # the id says nearly the same
    lines = [_line(shown, [title.upper() for title, _ in shown])]
    lines += [_line(shown, cells) for cells in zip(*(cells for _, cells in shown), strict=True)]
    return lines if plain else [_cut(line, columns) for line in lines]


def _columns(rows: Sequence[Json]) -> list[Column]:
    return [
        ("model", [each["id"] for each in rows]),
        ("name", [each["name"] or "" for each in rows]),
        ("window", [_tokens(each["context"]) for each in rows]),
        ("output", [_tokens(each["max_output"]) for each in rows]),
        ("abilities", [" ".join(word for word in ABILITIES if each[word]) for each in rows]),
        ("health", [each["health"] or "" for each in rows]),
        ("routes", [" ".join(each["routes"]) for each in rows]),
    ]


def _wide(column: Column) -> int:
    return max(len(cell) for cell in (column[0], *column[1]))


def _line(columns: Iterable[Column], cells: Iterable[str]) -> str:
    padded = (f"{cell:<{_wide(column)}}" for column, cell in zip(columns, cells, strict=True))
    return "  ".join(padded).rstrip()


def _cut(line: str, columns: int) -> str:
    return line if len(line) <= columns else line[: columns - 1] + "…"


def _tokens(count: Any) -> str:
    return window_words(count) if count else ""
