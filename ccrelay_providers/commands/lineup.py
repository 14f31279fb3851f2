"""The models there are to choose from: told by the relay that runs, else by the configuration and what answers."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..core.catalog import Catalog
from ..core.endpoints import describe
from ..core.settings import Config
from ..wire.errors import RelayError
from .running import RunningRelay, fetch, find

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Lineup:
    """models: as `GET /v1/models` describes them. relay: who told, None if none runs. health: by provider, a word or
    a sentence where there is something to say. notes: what could not be asked."""

    models: tuple[Json, ...]
    relay: RunningRelay | None = None
    health: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def lineup(config: Config, wait: float) -> Lineup:
    """wait: seconds that an upstream which is asked for its models has to answer."""
    with suppress(RelayError):
        return told_by(find(config.server))
    return configured(config, wait)


def told_by(relay: RunningRelay) -> Lineup:
    return Lineup(tuple(relay.get("/v1/models")["data"]), relay)


def configured(config: Config, wait: float) -> Lineup:
    """Without a relay: an Ollama is asked, the others offer what the configuration says."""
    catalog = Catalog(config, fetch)
    catalog.refresh(wait)
    return of_catalog(catalog)


def of_catalog(catalog: Catalog) -> Lineup:
    errors = tuple(error for provider in catalog.providers if (error := catalog.discovery_error(provider)))
    return Lineup(tuple(describe(candidate) for candidate in catalog.listed()), notes=errors)
