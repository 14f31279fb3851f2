"""What failed, and until when it rests: a provider, one of its keys, or one of its models, each under its own name.

Passive: judged by real requests, never by a 4xx or a client's hang-up. After a rest one request is let through, and
who asks meanwhile goes elsewhere until it was answered. One lock guards what is known of what failed; while nothing
did, nobody takes it. Nothing forgets by a timer: times are compared when somebody asks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ..wire.errors import AccountRefused, KeyRefused, RateLimited, RelayError

FIRST_REST, LONGEST_REST = 1.0, 60.0
LONGEST_WAIT = 31 * 86400.0  # quotas reset by the month; whatever says more is no time
ACCOUNT_REST = 3600.0  # an empty balance does not mend by waiting; one probe an hour costs nothing
REFUSED_REST = float("inf")  # a refused key: until the configuration changes, which is read at the start


@dataclass(frozen=True, slots=True)
class State:
    """failures: in a row. resting_until, failed_at: by the clock of Health. reason: the last failure's sentence.

    probe: whoever is asking since the rest was over.
    """

    failures: int = 0
    resting_until: float = 0.0
    failed_at: float = 0.0
    reason: str = ""
    probe: object = None


class Health:
    """clock and wall_clock: monotonic seconds and seconds since the epoch; given, so that tests own time."""

    def __init__(self, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self.clock, self._wall_clock = clock, wall_clock
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}

    def state(self, name: str) -> State:
        return self._states.get(name, _WELL)

    def available(self, *names: str) -> bool:
        """Whether one may ask now: none of the names rests, or waits for its probe."""
        return not self._states or all(self._free(self.state(name)) for name in names)

    def _free(self, state: State) -> bool:
        return state is _WELL or (state.probe is None and self.clock() >= state.resting_until)

    def admit(self, names: Iterable[str], probe: object) -> bool:
        """Whether one may ask; who is the first after a rest is its `probe`, and the only one until settle()."""
        if not self._states:
            return True
        with self._lock:
            known = {name: self._states[name] for name in names if name in self._states}
            if not all(map(self._free, known.values())):
                return False
            for name, state in known.items():
                self._states[name] = replace(state, probe=probe)
            return True

    def settle(self, names: Iterable[str], probe: object) -> None:
        """The probe is over, whatever came of it."""
        if not self._states:
            return
        with self._lock:
            for name in names:
                state = self._states.get(name)
                if state is not None and state.probe is probe:
                    self._states[name] = replace(state, probe=None)

    def succeeded(self, names: Iterable[str], asked_at: float) -> None:
        """An answer came, which ends every rest. One that was asked for before the failure says nothing about it."""
        if not self._states:
            return
        with self._lock:
            for name in names:
                if name in self._states and self._states[name].failed_at <= asked_at:
                    del self._states[name]

    def failed(self, name: str, error: RelayError, asked_at: float | None = None) -> None:
        """Lets it rest as the error demands. Requests that failed at the same time are one failure, not many."""
        if error.concerns == "nothing":
            return
        now = self.clock()
        with self._lock:
            state = self._states.get(name, _WELL)
            again = state is _WELL or asked_at is None or asked_at >= state.failed_at
            rest = self._rest(error, state.failures if again else max(0, state.failures - 1))
            until = max(state.resting_until, now + rest)
            self._states[name] = State(state.failures + again, until, now, error.message)

    def _rest(self, error: RelayError, failures: int) -> float:
        if (wait := self.retry_after(error)) is not None:
            return wait
        if isinstance(error, KeyRefused):
            return ACCOUNT_REST if isinstance(error, AccountRefused) else REFUSED_REST
        if isinstance(error, RateLimited):
            return FIRST_REST
        return min(LONGEST_REST, FIRST_REST * 2.0 ** min(failures, 10))

    def retry_after(self, error: RelayError) -> float | None:
        """Seconds until the upstream wants to be asked again, if it said so; a month at most."""
        wait = error.retry_after if error.resets_at is None else error.resets_at - self._wall_clock()
        return None if wait is None else min(max(0.0, wait), LONGEST_WAIT)


_WELL = State()
