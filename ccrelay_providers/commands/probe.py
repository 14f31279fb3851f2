"""Whether the providers can be used, found out without asking a model anything."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from .. import PROVIDERS
from ..core.catalog import Candidate, Catalog
from ..core.settings import Provider
from ..wire.errors import RelayError, UpstreamFailure
from ..wire.messages import loads
from ..wire.provider import Model, UpstreamResponse

HINTS = {"ollama": "start Ollama, or set providers.{}.enabled = false"}


@dataclass(frozen=True, slots=True)
class Probe:
    """What is known of one provider now.

    seconds: until it answered, None if nobody was asked. key: whose it is shown, and what it thinks of it.
    problem: a sentence, if it cannot be used; warning: if it can.
    """

    provider: Provider
    models: tuple[Model, ...] = ()
    seconds: float | None = None
    key: str = "no key"
    problem: str = ""
    warning: str = ""


def probes(providers: Sequence[Provider], catalog: Catalog) -> list[Probe]:
    """All are asked at the same time; in the order of the configuration."""
    found: dict[str, Probe] = {}

    def look(provider: Provider) -> None:
        found[provider.name] = probe(provider, catalog)

    threads = [threading.Thread(target=look, args=(provider,), daemon=True) for provider in catalog.providers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found.get(provider.name) or Probe(provider) for provider in providers]


def probe(provider: Provider, catalog: Catalog) -> Probe:
    if provider.tells:
        return _listed(provider, catalog)
    target, models = Candidate(provider, Model("")).target(), catalog.models(provider)
    question = PROVIDERS[provider.type].probe(target)
    if question is None:
        return Probe(provider, models)
    began = time.monotonic()
    [answer] = catalog.ask(provider, [question])
    seconds = time.monotonic() - began
    if isinstance(answer, RelayError):
        return Probe(provider, models, problem=answer.message)
    body = answer.read()
    if answer.status == 200 and _is_object(body):
        return Probe(provider, models, seconds, "key accepted" if provider.api_key else "no key")
    error = PROVIDERS[provider.type].error(answer.status, answer.headers, body, target)
    error.hide(provider.keys)
    return _refused(Probe(provider, models, seconds), answer, error)


def _listed(provider: Provider, catalog: Catalog) -> Probe:
    """Its models are what it was asked for."""
    began = time.monotonic()
    catalog.look(provider)
    seconds = time.monotonic() - began
    if error := catalog.discovery_error(provider):
        hint = HINTS.get(provider.type, "").format(provider.name)
        return Probe(provider, problem=f"{error}; {hint}" if hint else error)
    models = catalog.models(provider)
    nothing = "" if models else f"{provider.name}: no model is installed; one would be: ollama pull qwen3:8b"
    return Probe(provider, models, seconds, warning=nothing)


def _refused(found: Probe, answer: UpstreamResponse, error: RelayError) -> Probe:
    """It answered, but not with what was asked for."""
    provider, seconds = found.provider, found.seconds
    if answer.status == 401 and not provider.api_key:
        return Probe(provider, found.models, seconds, "client's key")
    if answer.status == 429:
        return Probe(provider, found.models, seconds, "key accepted", warning=error.message)
    if isinstance(error, UpstreamFailure) and answer.status not in (404, 405):
        return Probe(provider, found.models, seconds, problem=error.message)
    words = f"{provider.name}: has no list of models ({answer.status}); is base_url right?"
    return Probe(provider, found.models, seconds, "key not tried", warning=words)


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(loads(body), dict)
    except ValueError:
        return False
