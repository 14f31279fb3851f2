"""The models of all providers: what there is, what it is called, and which one a requested name means.

One lock guards what discovery found. The list is answered from memory; the upstreams are asked in the background.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from .. import PROVIDERS
from ..wire.errors import NotFound, RelayError
from ..wire.provider import Listing, Model, Target, UpstreamRequest, UpstreamResponse, Version
from ..wire.provider import Provider as ProviderModule
from .settings import PICKER, Config, Provider, Route

FRESH, FRESH_AFAR = 5.0, 300.0  # seconds that a list is good enough to be shown; of an upstream over the internet
FIRST_LOOK = 2.0  # seconds that a request waits for the first list of all
RETRY = 1.0  # seconds before an upstream that was down is asked again, if somebody wants to know
POLL = 25.0  # seconds between looks when nobody wants to know: a model that was pulled appears within 30
AT_ONCE = 8  # questions to one upstream
MAX_RESOLVED = 256  # names whose meaning is remembered until something new is learned
Fetch = Callable[[Provider, UpstreamRequest], UpstreamResponse]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may answer, and its provider. Made once, asked often."""

    provider: Provider
    model: Model
    weight: int = 1
    version: Version = ()
    key: int = 0
    """Which of its provider's keys is used."""
    fallback: bool = False
    """Whether it answers for another model, which the client asked for."""
    id: str = field(init=False, repr=False, compare=False)
    """The public id."""
    names: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """What may rest: the provider, the model, and one of several keys."""
    module: ProviderModule = field(init=False, repr=False, compare=False)
    _target: Target = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        provider, model = self.provider, self.model
        window = min(filter(None, (provider.num_ctx, model.context)), default=None)
        target = Target(
            provider.name,
            provider.type,
            provider.base_url,
            model,
            provider.keys[self.key] if provider.keys else None,
            window,
            provider.keep_alive,
            version=self.version,
        )
        object.__setattr__(self, "id", f"{provider.name}/{model.id}")
        names = (provider.name, self.id)
        several = len(provider.keys) > 1
        object.__setattr__(self, "names", (*names, provider.key_name(self.key)) if several else names)
        object.__setattr__(self, "module", PROVIDERS[provider.type])
        object.__setattr__(self, "_target", target)

    def target(self, calibration: float = 1.0) -> Target:
        return self._target if calibration == 1.0 else replace(self._target, calibration=calibration)

    @property
    def window(self) -> int | None:
        """Tokens that fit, as this provider runs the model."""
        return self.module.window(self._target)


@dataclass(slots=True)
class _Found:
    """What discovery knows of one provider. error: why the last look failed."""

    listing: Listing = field(default_factory=Listing)
    error: str | None = None
    asked_at: float = -FRESH_AFAR
    next_look: float = 0.0
    """When it is asked though nobody wants to know, by time.monotonic()."""
    looking: threading.Lock = field(default_factory=threading.Lock)


def _afar(provider: Provider) -> bool:
    return provider.base_url.startswith("https:")


def _known(provider: Provider) -> Provider:
    """With what is usual for its type filled in where the configuration leaves a model's abilities open."""
    usual = PROVIDERS[provider.type].ABILITIES
    models = []
    for model in provider.models:
        open_ones = {name: value for name, value in usual.items() if getattr(model, name) is None}
        models.append(replace(model, **open_ones))  # type: ignore[arg-type]  # the names are bool | None fields
    return replace(provider, models=tuple(models))


def _completed(model: Model, found: tuple[Model, ...]) -> Model:
    """A configured model, with what the upstream tells of it where the configuration says nothing."""
    same = next((each for each in found if each.id in (model.id, f"{model.id}:latest")), model)
    told = {each.name: getattr(same, each.name) for each in fields(Model) if getattr(model, each.name) is None}
    return replace(model, **told)


class Catalog:
    """fetch: sends a request to a provider and reads the whole answer; raises RelayError. say: writes a log line."""

    def __init__(self, config: Config, fetch: Fetch, say: Callable[[str], None] = lambda text: None) -> None:
        self.providers = [_known(provider) for provider in config.providers if provider.off is None]
        self._off = {provider.name: provider.off for provider in config.providers if provider.off is not None}
        self._would_have = {model.id: each.name for each in config.providers if each.off for model in each.models}
        self._routes = config.routes
        self._fetch, self._say = fetch, say
        self._lock = threading.Lock()
        first = time.monotonic() + POLL
        self._found = {each.name: _Found(next_look=first) for each in self.providers if each.tells}
        self._resolved: dict[str, tuple[list[Candidate], Route | None]] = {}
        self._lessons: dict[str, dict[str, bool]] = {}  # by public id: what a model turned out not to be able to do

    # ---- what there is ----

    def models(self, provider: Provider) -> tuple[Model, ...]:
        found = self._found.get(provider.name)
        if found is None:
            return provider.models
        told = found.listing.models
        return tuple(_completed(model, told) for model in provider.models) if provider.models else told

    def _candidate(self, provider: Provider, model: Model, weight: int = 1) -> Candidate:
        """With all that was learned of the model and its server."""
        found = self._found.get(provider.name)
        lessons: dict[str, Any] | None = self._lessons.get(f"{provider.name}/{model.id}")
        model = replace(model, **lessons) if lessons else model
        return Candidate(provider, model, weight, found.listing.version if found else ())

    def learn(self, candidate: Candidate, ability: str) -> Candidate:
        """The candidate as it is from now on: without an ability that its upstream denied."""
        with self._lock:
            lessons = {**self._lessons.get(candidate.id, {}), ability: False}
            self._lessons[candidate.id] = lessons
            self._resolved = {}
        known = self._candidate(candidate.provider, candidate.model, candidate.weight)
        return replace(known, key=candidate.key, fallback=candidate.fallback)

    def listed(self) -> Iterator[Candidate]:
        """What stands in lists, in the order of the configuration."""
        for provider in self.providers:
            if provider.listed:
                for model in self.models(provider):
                    yield self._candidate(provider, model)

    def discovery_error(self, provider: Provider) -> str | None:
        found = self._found.get(provider.name)
        return found.error if found else None

    def refresh(self, wait: float = 0.0) -> None:
        """Asks, in the background, the upstreams whose list is not fresh. wait: seconds to wait for their answers."""
        threads = []
        for provider in self.providers:
            found = self._found.get(provider.name)
            if not found or (found.looking.locked() and not wait):
                continue
            if time.monotonic() - found.asked_at >= self._holds(provider, found):
                threads.append(self._look_in_background(provider))
        deadline = time.monotonic() + wait
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _look_in_background(self, provider: Provider) -> threading.Thread:
        thread = threading.Thread(target=self.look, args=(provider,), name=f"discover {provider.name}", daemon=True)
        thread.start()
        return thread

    @staticmethod
    def _holds(provider: Provider, found: _Found) -> float:
        """Seconds until the list is to be asked for again."""
        if found.error:
            return RETRY
        return FRESH_AFAR if _afar(provider) else FRESH

    # ---- what the heartbeat calls: what is installed later appears by itself ----

    def due(self) -> float:
        return min((found.next_look for found in self._found.values()), default=float("inf"))

    def beat(self, now: float) -> None:
        """Starts the looks that are due: one wake-up for all providers, and no thread that waits for it."""
        for provider in self.providers:
            found = self._found.get(provider.name)
            if found and now >= found.next_look:
                found.next_look = now + (FRESH_AFAR if _afar(provider) else POLL)
                if not found.looking.locked():
                    self._look_in_background(provider)

    def look(self, provider: Provider) -> None:
        """Asks one upstream what it has, unless somebody just did."""
        found = self._found[provider.name]
        with found.looking:
            if time.monotonic() - found.asked_at < RETRY:
                return
            listing, error = found.listing, None
            try:
                target = Candidate(provider, Model("")).target()
                listing = PROVIDERS[provider.type].models(partial(self.ask, provider), target, found.listing)
            except RelayError as failure:
                failure.hide(provider.keys)
                error = failure.message
            with self._lock:
                was, first = found.error, found.asked_at < 0
                found.listing, found.error, found.asked_at = listing, error, time.monotonic()
                self._resolved = {}
        if bool(error) != bool(was) and not first:  # the first look is told by the page of the start
            self._say(f"{error}; asked again until it answers" if error else f"{provider.name}: is back")

    def ask(self, provider: Provider, requests: Sequence[UpstreamRequest]) -> list[UpstreamResponse | RelayError]:
        """What came of each request; all are sent at the same time."""

        def one(request: UpstreamRequest) -> UpstreamResponse | RelayError:
            try:
                return self._fetch(provider, request)
            except RelayError as failure:
                return failure.let_go()

        def work() -> None:
            with suppress(IndexError):
                while True:
                    number = waiting.popleft()
                    answers[number] = one(requests[number])

        answers: dict[int, UpstreamResponse | RelayError] = {}
        waiting = deque(range(len(requests)))
        # no ThreadPoolExecutor: the interpreter's end would wait for one that asks a server that hangs
        threads = [threading.Thread(target=work, daemon=True) for _ in requests[1:AT_ONCE]]
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
        return [answers[number] for number in range(len(requests))]

    # ---- what a name means ----

    def resolve(self, name: str) -> tuple[list[Candidate], Route | None]:
        """The candidates for a requested name in order, and the route that gave them. Raises NotFound."""
        memory = self._resolved  # another one, if something new is learned meanwhile
        known = memory.get(name)
        if known is None:
            known = self._resolve(name)
            if len(memory) < MAX_RESOLVED and not any(self.discovery_error(one.provider) for one in known[0]):
                memory[name] = known
        return known

    def _resolve(self, name: str) -> tuple[list[Candidate], Route | None]:
        plain = name[: -len("[1m]")] if name.lower().endswith("[1m]") else name
        if plain.startswith(PICKER + "/"):
            plain = plain.removeprefix(PICKER + "/")
        if exact := self._exact(plain):
            return [exact], None
        for route in self._routes:
            if fnmatchcase(plain, route.pattern):
                return self._targets(route), route
        if candidates := self._bare(plain) or self._claude(plain):
            return candidates, None
        raise NotFound(f"model: {name}{self._why_not(plain)}")

    def _exact(self, name: str) -> Candidate | None:
        """`provider/model`, if the provider has it or may have it."""
        provider_name, _, model_id = name.partition("/")
        provider = next((provider for provider in self.providers if provider.name == provider_name), None)
        if provider is None or not model_id:
            return None
        if provider.discover:
            self._await_first_look(provider)
        model = self._model(provider, model_id)
        if model is None and provider.discover and not self._in_doubt(provider):
            self.look(provider)
            model = self._model(provider, model_id)
        if model is None and self._may_have(provider, model_id):
            model = Model(model_id)
        return self._candidate(provider, model) if model else None

    def _model(self, provider: Provider, model_id: str) -> Model | None:
        """By id; without a tag Ollama means `:latest`."""
        models = self.models(provider)
        same = [model for model in models if model.id == model_id]
        latest = [model for model in models if provider.type == "ollama" and model.id == f"{model_id}:latest"]
        return next(iter(same + latest), None)

    def _may_have(self, provider: Provider, model_id: str) -> bool:
        """New Claude models work without a new relay.toml; what an upstream that is down has is not known."""
        if provider.type == "anthropic":
            return model_id.startswith("claude-")
        return provider.discover and (model_id.endswith("cloud") or self._in_doubt(provider))

    def _await_first_look(self, provider: Provider) -> None:
        """At the start, for a moment: who guesses a window has the model loaded twice."""
        found = self._found[provider.name]
        if found.asked_at < 0 and found.looking.acquire(timeout=FIRST_LOOK):
            found.looking.release()

    def _in_doubt(self, provider: Provider) -> bool:
        """Its upstream did not answer, or is being asked just now. No request waits for that: it is asked to answer."""
        found = self._found[provider.name]
        if found.error is not None:
            self.refresh()
        return found.error is not None or found.looking.locked()

    def _targets(self, route: Route) -> list[Candidate]:
        """The route's targets that exist now. Raises NotFound if none does."""
        candidates = []
        for target in route.targets:
            candidates += [replace(candidate, weight=target.weight) for candidate in self.offered(target.model)]
        if not candidates:
            targets = ", ".join(target.model for target in route.targets)
            raise NotFound(
                f"model: the route {route.pattern!r} leads to {targets}, which no provider that is on offers"
            )
        return candidates

    def offered(self, name: str) -> list[Candidate]:
        """Who has a model, or may have it, by its own name: no route is looked at."""
        exact = self._exact(name)
        return [exact] if exact else self._bare(name) or self._claude(name)

    def _bare(self, name: str) -> list[Candidate]:
        found = [(provider, self._model(provider, name)) for provider in self.providers]
        return [self._candidate(provider, model) for provider, model in found if model is not None]

    def _claude(self, name: str) -> list[Candidate]:
        """An unknown Claude model is Anthropic's. Without Anthropic its name stands for the first model there is:
        Claude Code's background calls ask for `claude-haiku-…` and must not fail."""
        if not name.startswith("claude-"):
            return []
        for provider in self.providers:
            if provider.type == "anthropic":
                return [self._candidate(provider, Model(name))]
        everything = [
            self._candidate(provider, model) for provider in self.providers for model in self.models(provider)
        ]
        return everything[:1]

    def _why_not(self, name: str) -> str:
        """Its provider is off, or the name is nearly right."""
        provider = name.partition("/")[0]
        provider = provider if provider in self._off else self._would_have.get(name, "")
        if provider in self._off:
            return f"; the provider {provider} is off: {self._off[provider]}"
        ids = [candidate.id for candidate in self.listed()]
        bare = {candidate.model.id: candidate.id for candidate in self.listed()}
        near = get_close_matches(name, ids, 3, 0.5) or [bare[match] for match in get_close_matches(name, bare, 3, 0.5)]
        return f"; did you mean {' or '.join(near)}?" if near else ""
