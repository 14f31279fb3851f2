"""Who is asked first: a requested name's candidates, put in order by strategy, stickiness and availability.

One lock guards the counters of the strategies, the sessions' homes and the numbers of running requests.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from ..wire.errors import NotFound
from .catalog import Candidate, Catalog
from .settings import Routing

MAX_SESSIONS = 4096  # whose provider is remembered; a forgotten one costs a prompt cache, nothing else


class Router:
    """available: whether what has these names can be asked now, as Health knows."""

    def __init__(self, routing: Routing, catalog: Catalog, available: Callable[..., bool]) -> None:
        self._routing, self._catalog, self._available = routing, catalog, available
        self._lock = threading.Lock()
        self._turns: Counter[str] = Counter()
        self._credit: dict[str, Counter[str]] = {}
        self._decks: dict[str, list[str]] = {}
        self._running: Counter[str] = Counter()
        self._homes: OrderedDict[tuple[str, str], str] = OrderedDict()

    def candidates(self, name: str, session: str | None, turn: bool = True) -> list[Candidate]:
        """In the order to be tried. Who is resting is asked when nobody else can answer. Raises NotFound.

        turn: whether it is a turn of the conversation, which moves the strategy on; counting tokens does not.
        """
        found, route = self._catalog.resolve(name)
        if len(found) > 1:
            with self._lock:
                if home := self._home(found, (session or "", name)):
                    found = [home, *(candidate for candidate in found if candidate is not home)]
                elif turn:
                    strategy = (route.strategy if route else None) or self._routing.strategy
                    found = self._STRATEGIES[strategy](self, route.pattern if route else name, found)
        if self._routing.fallback and turn:
            found = [*found, *self._fallbacks(found)]
        ordered = sorted(found, key=lambda candidate: not self._free(candidate))
        return ordered[: self._routing.max_attempts] if self._routing.max_attempts else ordered

    def answered(self, candidate: Candidate, name: str, session: str | None) -> None:
        """The session stays where it was answered: prompt caches live there."""
        if session is None or not self._routing.sticky or candidate.fallback:
            return
        with self._lock:
            self._homes[session, name] = candidate.id
            self._homes.move_to_end((session, name))
            if len(self._homes) > MAX_SESSIONS:
                self._homes.popitem(last=False)

    def without(self, candidate: Candidate, ability: str) -> Candidate:
        """The candidate without an ability that its upstream denied; remembered."""
        return self._catalog.learn(candidate, ability)

    def running(self, candidate: Candidate) -> _Running:
        """Counts the request as the candidate's load while the body runs."""
        return _Running(self, candidate.id)

    def count(self, candidate: str, more: int) -> None:
        with self._lock:
            running = self._running.get(candidate, 0) + more
            if running:
                self._running[candidate] = running
            else:
                del self._running[candidate]  # an unknown claude-… name may be any

    def load(self, provider: str) -> int:
        """Requests that are running at a provider, or wait in its line."""
        with self._lock:
            return sum(count for id, count in self._running.items() if id.startswith(f"{provider}/"))

    def _home(self, found: list[Candidate], key: tuple[str, str]) -> Candidate | None:
        """Where the session was answered last, if it can be answered there: a provider that fails is left for good."""
        home = self._homes.get(key)
        return next((one for one in found if one.id == home and self._free(one)), None)

    def _free(self, candidate: Candidate) -> bool:
        """Whether it can be asked now: neither its provider, nor the model, nor every one of its keys rests."""
        provider, keys = candidate.provider, range(len(candidate.provider.keys))
        if not self._available(provider.name, candidate.id):
            return False
        return len(keys) < 2 or any(self._available(provider.key_name(number)) for number in keys)

    def _fallbacks(self, found: list[Candidate]) -> Iterator[Candidate]:
        """Who answers when nobody in `found` can. Of these, too, only those that exist now."""
        known = {candidate.id for candidate in found}
        for name in self._routing.fallback:
            with suppress(NotFound):
                for candidate in self._catalog.resolve(name)[0]:
                    if candidate.id not in known:
                        yield replace(candidate, fallback=True)

    # ---- strategies; each is called with the lock held ----

    def _failover(self, key: str, found: list[Candidate]) -> list[Candidate]:
        return found

    def _round_robin(self, key: str, found: list[Candidate]) -> list[Candidate]:
        turn = self._turns[key] % len(found)
        self._turns[key] += 1
        return found[turn:] + found[:turn]

    def _weighted(self, key: str, found: list[Candidate]) -> list[Candidate]:
        """Smooth weighted round-robin, as nginx does it: 3 to 1 gives a a b a, not a a a b."""
        credit = self._credit.setdefault(key, Counter())
        for candidate in found:
            credit[candidate.id] += candidate.weight
        first = max(found, key=lambda candidate: credit[candidate.id])
        credit[first.id] -= sum(candidate.weight for candidate in found)
        return [first, *(candidate for candidate in found if candidate is not first)]

    def _shuffle(self, key: str, found: list[Candidate]) -> list[Candidate]:
        """Dealt like cards: everyone once before anyone twice."""
        deck = self._decks.get(key) or []
        deck = [card for card in deck if any(card == candidate.id for candidate in found)]
        if not deck:
            deck = [candidate.id for candidate in found]
            random.shuffle(deck)
        card = deck.pop()
        self._decks[key] = deck
        return sorted(found, key=lambda candidate: candidate.id != card)

    def _least_busy(self, key: str, found: list[Candidate]) -> list[Candidate]:
        return sorted(found, key=lambda candidate: self._running[candidate.id])

    _STRATEGIES = {
        "failover": _failover,
        "round-robin": _round_robin,
        "weighted": _weighted,
        "shuffle": _shuffle,
        "least-busy": _least_busy,
    }


class _Running:
    """A context; a generator would cost as much again as what is done in it."""

    def __init__(self, router: Router, candidate: str) -> None:
        self._router, self._candidate = router, candidate

    def __enter__(self) -> None:
        self._router.count(self._candidate, 1)

    def __exit__(self, *exception: object) -> None:
        self._router.count(self._candidate, -1)
