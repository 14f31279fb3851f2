"""Several keys of one provider: which is asked next. The least used one; a session keeps its key, for its caches' sake.

One lock guards the counts and the sessions' keys. A provider with one key, or none, is never looked up.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Container

from .settings import Provider

MAX_SESSIONS = 4096  # whose key is remembered; a forgotten one costs a prompt cache, nothing else


class Keys:
    """sticky: whether a session keeps its key."""

    def __init__(self, sticky: bool) -> None:
        self._sticky = sticky
        self._lock = threading.Lock()
        self._used: Counter[str] = Counter()
        self._homes: OrderedDict[tuple[str, str], int] = OrderedDict()

    def order(self, provider: Provider, session: str | None, tried: Container[str]) -> list[int]:
        """The numbers of the keys not tried yet: the session's own, then the least used first."""
        with self._lock:
            home = self._homes.get((session or "", provider.name))
            numbers = sorted(
                range(len(provider.keys)),
                key=lambda number: (number != home, self._used[provider.key_name(number)]),
            )
        return [number for number in numbers if provider.key_name(number) not in tried]

    def use(self, provider: Provider, number: int, session: str | None) -> None:
        """The key is being asked."""
        with self._lock:
            self._used[provider.key_name(number)] += 1
            if session is None or not self._sticky:
                return
            self._homes[session, provider.name] = number
            self._homes.move_to_end((session, provider.name))
            if len(self._homes) > MAX_SESSIONS:
                self._homes.popitem(last=False)

    def used(self, provider: Provider, number: int) -> int:
        """How many requests it was asked."""
        return self._used[provider.key_name(number)]
