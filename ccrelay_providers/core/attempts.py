"""The tries of one request: which candidate, with which of its provider's keys, and when no more.

Each candidate is asked once, who is well before who is resting; a failure that is a key's alone lets the next key
answer. Health is told of every outcome here, and what all failures together mean is said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..wire.errors import KeyRefused, ModelRefused, RelayError, UpstreamDisconnected
from .catalog import Candidate
from .exchange import Downstream
from .health import Health
from .keys import Keys

SHORT_WAIT = 2.0  # seconds of retry-after that are waited out here, when nobody else can answer
MOST_USEFUL = (529, 429, 504)
"""Of several failures the one that tells most about when to try again gives status and type; a refusal comes last."""


def with_a_key(candidate: Candidate, session: str | None, health: Health, keys: Keys) -> Candidate:
    """With the key that would be asked next, for a request that is no turn and uses up none."""
    if len(candidate.provider.keys) < 2:
        return candidate
    numbers = keys.order(candidate.provider, session, ())
    well = (number for number in numbers if health.available(candidate.provider.key_name(number)))
    return replace(candidate, key=next(well, numbers[0]))


class Attempts:
    """Iterated over, it gives the next candidate to ask. Of each one failed() or succeeded() is told, and over().

    deadline: by the clock of Health; later nobody else is asked.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        session: str | None,
        deadline: float,
        health: Health,
        keys: Keys,
        downstream: Downstream,
    ) -> None:
        self._waiting, self._session, self.deadline = list(candidates), session, deadline
        self._health, self._keys, self._downstream = health, keys, downstream
        self._tried: set[str] = set()  # names of keys
        self._forced = False
        self._asked_at = 0.0
        self.failures: list[tuple[Candidate, RelayError]] = []

    @property
    def reason(self) -> str:
        """Why those who should have answered did not: what the first said now, or before its rest."""
        if self.failures:
            return self.failures[0][1].message
        names = [name for candidate in self._waiting if not candidate.fallback for name in candidate.names]
        return next((said for name in names if (said := self._health.state(name).reason)), "resting")

    def __iter__(self) -> Iterator[Candidate]:
        """If all failed, the first that only wanted a moment of patience comes once more."""
        while self._waiting and self._in_time():
            self._asked_at = self._health.clock()
            yield self._next()
        for candidate, error in list(self.failures):
            wait = self._health.retry_after(error)
            if error.status == 429 and wait is not None and wait <= SHORT_WAIT and self._in_time(wait):
                self._downstream.pause(wait)
                self._asked_at = self._health.clock()
                yield candidate
                return

    def _in_time(self, wait: float = 0.0) -> bool:
        return not self.failures or self._health.clock() + wait < self.deadline

    def _next(self) -> Candidate:
        """The first that can be asked; if nobody can, the first, though it rests."""
        self._forced = False
        for candidate in self._waiting:
            for number in self._keys_of(candidate):
                chosen = candidate if number == candidate.key else replace(candidate, key=number)
                if self._health.admit(chosen.names, self):
                    return self._chosen(candidate, chosen)
        self._forced = True
        first = self._waiting[0]
        soonest = min(self._keys_of(first), key=lambda number: self._rests_until(first, number))
        return self._chosen(first, replace(first, key=soonest))

    def _chosen(self, candidate: Candidate, chosen: Candidate) -> Candidate:
        self._waiting.remove(candidate)
        if len(chosen.provider.keys) > 1:
            self._tried.add(chosen.provider.key_name(chosen.key))
            self._keys.use(chosen.provider, chosen.key, self._session)
        return chosen

    def _keys_of(self, candidate: Candidate) -> Sequence[int]:
        if len(candidate.provider.keys) < 2:
            return (0,)
        return self._keys.order(candidate.provider, self._session, self._tried)

    def _rests_until(self, candidate: Candidate, number: int) -> float:
        return self._health.state(replace(candidate, key=number).names[-1]).resting_until

    def succeeded(self, candidate: Candidate) -> None:
        self._health.succeeded(candidate.names, self._asked_at)

    def failed(self, candidate: Candidate, error: RelayError) -> None:
        """What the error concerns rests. If that is one key of several, the others are asked before anybody else."""
        name_culprit(error, candidate)
        self.failures.append((candidate, error.let_go()))
        provider, several = candidate.provider, len(candidate.provider.keys) > 1
        if error.concerns == "model":
            self._health.failed(candidate.id, error, self._asked_at)
        elif error.concerns == "key" and several:
            self._health.failed(provider.key_name(candidate.key), error, self._asked_at)
            if not self._forced and self._keys_of(candidate):
                self._waiting.insert(0, candidate)
        elif error.concerns != "nothing":
            self._health.failed(provider.name, error, self._asked_at)

    def over(self, candidate: Candidate) -> None:
        """The attempt has ended, also if nothing is known of it: the client has left."""
        self._health.settle(candidate.names, self)


def name_culprit(error: RelayError, candidate: Candidate) -> None:
    """What broke below the provider's own code does not know whose answer it was; nobody there knows of other keys.

    Nor does an upstream know which words are secret: some repeat the key that they refuse.
    """
    provider = candidate.provider
    error.hide(provider.keys)
    if isinstance(error, UpstreamDisconnected) and not error.message.startswith(f"{provider.name}: "):
        error.message = f"{provider.name}: {error.message}"
    if error.concerns == "key" and len(provider.keys) > 1:
        rest = error.message.removeprefix(f"{provider.name}: ")
        rest = rest.replace(f"providers.{provider.name}.api_key ", f"providers.{provider.name}.api_keys ")
        error.message = f"{provider.key_name(candidate.key)}: {rest}"


def most_useful(failures: list[RelayError]) -> RelayError:
    """One error for all that went wrong: every provider's reason, with status and type of the most telling one."""
    if len(failures) == 1:
        return failures[0]
    best = min(failures, key=_rank)
    return RelayError(
        "no provider could answer: " + "; ".join(failure.message for failure in failures),
        status=best.status,
        type=best.type,
        retry_after=best.retry_after,
        resets_at=best.resets_at,
        should_retry=best.should_retry,
    )


def _rank(error: RelayError) -> int:
    if isinstance(error, KeyRefused | ModelRefused):
        return len(MOST_USEFUL) + 2
    if not error.try_next:
        return len(MOST_USEFUL) + 1
    return MOST_USEFUL.index(error.status) if error.status in MOST_USEFUL else len(MOST_USEFUL)
