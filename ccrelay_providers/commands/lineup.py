"""The models there are to choose from: told by the relay that runs, else by the configuration and what answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ..core.catalog import Catalog
from ..core.endpoints import describe
from ..core.settings import Config
from ..wire.errors import RelayError
from .running import RunningRelay, fetch, find

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Lineup:
    """models: as `GET /v1/models` describes them. relay: who told, None if none runs. health: a few words, by a model's
    id or its provider's name. notes: what could not be asked."""

    models: tuple[Json, ...]
    relay: RunningRelay | None = None
    health: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def lineup(config: Config, wait: float) -> Lineup:
    """wait: seconds that an upstream which is asked for its models has to answer."""
    with suppress(RelayError):
        return told_by(find(config.server))
    return configured(config, wait)


def told_by(relay: RunningRelay) -> Lineup:
    """Raises RelayError if it does not answer."""
    models = tuple(relay.get("/v1/models")["data"])
    try:
        providers = relay.get("/status")["providers"]
    except RelayError:  # one of an older version
        return Lineup(models, relay)
    notes = tuple(each["unreachable"] for each in providers if each["unreachable"])
    return Lineup(models, relay, dict(health_words(providers)), notes)


def health_words(providers: Iterable[Json]) -> Iterator[tuple[str, str]]:
    """Of what `/status` tells. A model that is well says nothing of its own: its provider may not be."""
    for provider in providers:
        yield provider["name"], "unreachable" if provider["unreachable"] else _words(provider)
        yield from ((model["id"], _words(model)) for model in provider["models"] if model["health"] != "well")


def _words(row: Json) -> str:
    if row["health"] != "resting":
        return str(row["health"])
    seconds = row["resting_seconds"]
    return "rests until a restart" if seconds is None else f"rests {seconds} s"


def configured(config: Config, wait: float) -> Lineup:
    """Without a relay: an Ollama is asked, the others offer what the configuration says."""
    catalog = Catalog(config, fetch)
    catalog.refresh(wait)
    return of_catalog(catalog)


def of_catalog(catalog: Catalog) -> Lineup:
    errors = {each.name: error for each in catalog.providers if (error := catalog.discovery_error(each))}
    models = tuple(describe(candidate) for candidate in catalog.listed())
    return Lineup(models, health=dict.fromkeys(errors, "unreachable"), notes=tuple(errors.values()))
