"""Rows for Claude Code's /model picker: the models that it does not know, with the window it is to assume for each.

`modelPicker` is a setting of Claude Code, which takes the ids verbatim. `behavesAs` names a model that it does know,
whose window and abilities it then assumes (2.1.287 and later). Without it an unknown model has a window of a million
tokens, or that of CLAUDE_CODE_MAX_CONTEXT_TOKENS.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from ..core.settings import Config, Provider, Route
from .lineup import Json

KNOWN = ((1_000_000, "claude-opus-4-8"), (200_000, "claude-opus-4-6"))  # windows that Claude Code 2.1.330 assumes
TIERS = {  # what Claude Code's own rows stand for, with the windows it assumes, largest first
    "OPUS": (("claude-opus-5-5", 1_000_000), ("claude-opus-4-6", 200_000)),
    "SONNET": (("claude-sonnet-5-5", 1_000_000), ("claude-sonnet-4-5", 200_000)),
    "HAIKU": (("claude-haiku-5-5", 1_000_000), ("claude-haiku-4-5", 200_000)),
    "FABLE": (("claude-fable-5-2", 1_000_000),),
}


def behaves_as(window: int | None) -> str | None:
    """The model with the largest window that is not above this one; None if all are above it, or it is not known."""
    return next((name for known, name in KNOWN if window and known <= window), None)


def model_picker(models: Sequence[Json], config: Config) -> Json:
    """The setting. Where nobody offers Claude's models, the client's own rows are hidden: they would lead nowhere."""
    rows = [*route_rows(models, config), *(row for model in models if (row := model_row(model, config)))]
    offers_claude = any(provider.type == "anthropic" and not provider.off for provider in config.providers)
    return {"options": rows, **({} if offers_claude else {"replaceBuiltInOptions": True})}


def foreign(models: Iterable[Json], config: Config) -> list[Json]:
    """What Claude Code has no row for: all but the models of the first provider of type anthropic."""
    return [model for model in models if not _own(model, config)]


def model_row(model: Json, config: Config) -> Json | None:
    if _own(model, config):
        return None
    return _row(model["id"], model["display_name"], model.get("description") or "", model.get("max_input_tokens"))


def route_rows(models: Sequence[Json], config: Config) -> Iterator[Json]:
    """A route with a plain name is something to choose, too."""
    for route in config.routes:
        if not any(sign in route.pattern for sign in "*?[") and not route.pattern.startswith("claude-"):
            targets = ", ".join(target.model for target in route.targets)
            yield _row(route.pattern, route.pattern, f"route to {targets}"[:100], window_of(route, models))


def tier_slots(models: Sequence[Json], config: Config) -> Iterator[tuple[str, str, Route]]:
    """(tier, name, route) of the client's rows that a route answers: the name is one that the route catches, whose
    assumed window is the nearest not above that of the route's models."""
    for tier, names in TIERS.items():
        caught = [(name, window, route) for name, window in names if (route := _route(name, config))]
        fitting = [each for each in caught if each[1] <= (window_of(each[2], models) or each[1])]
        for name, _, route in fitting[:1] or caught[-1:]:
            yield tier, name, route


def window_of(route: Route, models: Sequence[Json]) -> int | None:
    """The smallest among the models that may answer; None if none is known."""
    windows = [model.get("max_input_tokens") for target in route.targets for model in named(target.model, models)]
    return min(filter(None, windows), default=None)


def named(name: str, models: Iterable[Json]) -> list[Json]:
    """By public id or by bare name."""
    return [model for model in models if name in (model["id"], model["id"].partition("/")[2])]


def _row(model: str, label: str, description: str, window: int | None) -> Json:
    known = behaves_as(window)
    return {"model": model, "label": label, "description": description, **({"behavesAs": known} if known else {})}


def _own(model: Json, config: Config) -> bool:
    provider, _, name = str(model["id"]).partition("/")
    return _first_anthropic(config) == provider and name.startswith("claude-")


def _first_anthropic(config: Config) -> str | None:
    def offers(provider: Provider) -> bool:
        return provider.type == "anthropic" and provider.listed and not provider.off

    return next((provider.name for provider in config.providers if offers(provider)), None)


def _route(name: str, config: Config) -> Route | None:
    return next((route for route in config.routes if fnmatchcase(name, route.pattern)), None)
