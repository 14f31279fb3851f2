"""models: what can be asked for, and what is known of it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from ..core.endpoints import window_words
from ..core.settings import Config
from .lineup import Json, Lineup, lineup
from .terminal import Terminal, cells

ASK_SECONDS = 5.0  # what an Ollama has to say what it has
ABILITIES = {"tools": "tool_use", "vision": "image_input", "thinking": "thinking"}


def run(options: argparse.Namespace, config: Config) -> int:
    """1 if no model is found."""
    offered = lineup(config, ASK_SECONDS)
    rows = [row(model, offered, config) for model in offered.models]
    chosen = matching(rows, options.filter)
    if options.json:
        print(json.dumps(chosen, ensure_ascii=True, indent=2))
    elif chosen:
        terminal = Terminal(sys.stdout, os.environ)
        terminal.table(grid(chosen, terminal.width), indent=0)
    sys.stdout.flush()
    if not chosen:
        print(nothing(options.filter, len(rows)), file=sys.stderr)
    if not chosen or not options.filter:
        off = [f"{each.name} is off: {each.off}" for each in config.providers if each.off]
        for note in (*offered.notes, *off):
            print(note, file=sys.stderr)
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
        "health": offered.health.get(name) or offered.health.get(provider),
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


def grid(rows: Sequence[Json], width: int) -> list[tuple[str, ...]]:
    """The lines of the table, its head first; without the columns that say nothing about any model."""
    shown = {title: column for title, column in _columns(rows).items() if any(column)}
    if sum(2 + max(cells(each) for each in (title, *column)) for title, column in shown.items()) - 2 > width:
        shown.pop("NAME", None)  # the id says nearly the same
    return [tuple(shown), *zip(*shown.values(), strict=True)]


def _columns(rows: Sequence[Json]) -> dict[str, list[str]]:
    return {
        "MODEL": [each["id"] for each in rows],
        "NAME": [each["name"] or "" for each in rows],
        "WINDOW": [_tokens(each["context"]) for each in rows],
        "OUTPUT": [_tokens(each["max_output"]) for each in rows],
        "ABILITIES": [" ".join(word for word in ABILITIES if each[word]) for each in rows],
        "HEALTH": [each["health"] or "" for each in rows],
        "ROUTES": [" ".join(each["routes"]) for each in rows],
    }


def _tokens(count: Any) -> str:
    return window_words(count) if count else ""
