"""How many true tokens an estimated token of a model is: learned from the counts that come with its answers.

One lock guards the factors. They are a refinement, not state that a second copy of the relay would need.
"""

from __future__ import annotations

import threading

LOWEST, HIGHEST = 0.4, 3.0  # beyond that the count is not of the prompt that was sent (truncated, or cached in part)
WEIGHT = 0.5  # of the newest count: two turns bring a factor within a quarter of the truth
WORTH_LEARNING = 200  # estimated tokens; below, a chat template's own tokens would rule


class Calibration:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._factors: dict[str, float] = {}

    def factor(self, model: str) -> float:
        with self._lock:
            return self._factors.get(model, 1.0)

    def learn(self, model: str, estimated: int, counted: int) -> None:
        """estimated: without any factor. counted: the upstream's, cached tokens included."""
        if estimated < WORTH_LEARNING or not LOWEST <= (ratio := counted / estimated) <= HIGHEST:
            return
        with self._lock:
            old = self._factors.get(model)
            self._factors[model] = ratio if old is None else old + WEIGHT * (ratio - old)
