"""Whether a model really runs with the window it was asked to: another client of the same Ollama may have loaded it.

One lock guards what was looked at. Nothing depends on it but a warning, said once a model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from ..wire.errors import RelayError
from ..wire.provider import Target, UpstreamRequest, UpstreamResponse
from .catalog import Candidate
from .settings import Provider

AGAIN = 300.0  # seconds between two looks at a model
Ask = Callable[[Provider, Sequence[UpstreamRequest]], "list[UpstreamResponse | RelayError]"]


class Windows:
    """ask: sends requests to a provider. say: writes a log line."""

    def __init__(self, ask: Ask, say: Callable[[str], None]) -> None:
        self._ask, self._say = ask, say
        self._lock = threading.Lock()
        self._looked: dict[str, float] = {}

    def answered(self, candidate: Candidate, target: Target) -> None:
        """Looks in the background after a model's first answer, and now and then later, until there was a warning."""
        if not candidate.provider.tells or not target.num_ctx:
            return
        with self._lock:
            if time.monotonic() < self._looked.get(candidate.id, 0.0):
                return
            self._looked[candidate.id] = time.monotonic() + AGAIN
        threading.Thread(target=self._look, args=(candidate, target), name="window", daemon=True).start()

    def _look(self, candidate: Candidate, target: Target) -> None:
        try:
            loaded = candidate.module.loaded_window(lambda requests: self._ask(candidate.provider, requests), target)
        except RelayError:
            return  # what is wrong there, the next request will say
        if loaded is None or target.num_ctx is None or loaded >= target.num_ctx:
            return
        with self._lock:
            self._looked[candidate.id] = float("inf")
        self._say(
            f"{candidate.id} runs with a window of {loaded} tokens, not the {target.num_ctx} it was asked for: another "
            f"client loaded it so, or memory is short; providers.{candidate.provider.name}.num_ctx = {loaded} ends that"
        )
