"""Which provider failed, and until when it rests.

Passive: judged by real requests, never by a 4xx or a client's hang-up. One lock guards what is known of each provider.
Nothing forgets by a timer: times are compared when somebody asks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..wire.errors import KeyRefused, RateLimited, RelayError

FIRST_REST, LONGEST_REST = 1.0, 60.0
LONGEST_WAIT = 31 * 86400.0  # quotas reset by the month; whatever says more is no time
REFUSED_REST = 3600.0  # a refused key or an empty balance does not mend by waiting; one probe an hour costs nothing


@dataclass(frozen=True, slots=True)
class State:
    """failures: in a row. resting_until: by the clock of Health. reason: the last failure's sentence."""

    failures: int = 0
    resting_until: float = 0.0
    reason: str = ""


class Health:
    """clock and wall_clock: monotonic seconds and seconds since the epoch; given, so that tests own time."""

    def __init__(self, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._clock, self._wall_clock = clock, wall_clock
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}

    def available(self, provider: str) -> bool:
        return self._clock() >= self.state(provider).resting_until

    def state(self, provider: str) -> State:
        with self._lock:
            return self._states.get(provider, State())

    def succeeded(self, provider: str) -> None:
        with self._lock:
            if provider in self._states:
                del self._states[provider]

    def failed(self, provider: str, error: RelayError) -> None:
        """Lets the provider rest as the error demands. A request's own fault says nothing about the provider."""
        if not error.try_next:
            return
        with self._lock:
            state = self._states.get(provider, State())
            rest = self._rest(error, state.failures)
            until = max(state.resting_until, self._clock() + rest)
            self._states[provider] = replace(
                state, failures=state.failures + 1, resting_until=until, reason=error.message
            )

    def _rest(self, error: RelayError, failures: int) -> float:
        if (wait := self.retry_after(error)) is not None:
            return wait
        if isinstance(error, KeyRefused):
            return REFUSED_REST
        if isinstance(error, RateLimited):
            return FIRST_REST
        return min(LONGEST_REST, FIRST_REST * 2.0 ** min(failures, 10))

    def retry_after(self, error: RelayError) -> float | None:
        """Seconds until the upstream wants to be asked again, if it said so; a month at most."""
        wait = error.retry_after if error.resets_at is None else error.resets_at - self._wall_clock()
        return None if wait is None else min(max(0.0, wait), LONGEST_WAIT)
