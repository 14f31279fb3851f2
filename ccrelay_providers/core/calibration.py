"""How many true tokens an estimated token of a model is: learned from the counts that come with its answers.

One lock guards the factors. They are a refinement, not state that a second copy of the relay would need.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

LOWEST, HIGHEST = 0.4, 3.0  # beyond that the count is not of the prompt that was sent (truncated, or cached in part)
WORTH_LEARNING = 200  # estimated tokens; below, a chat template's own tokens would rule


class _Learned(NamedTuple):
    """factor: true tokens per estimated one. size: estimated tokens of the prompts that taught it."""

    factor: float
    size: float


class Calibration:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._learned: dict[str, _Learned] = {}

    def factor(self, model: str) -> float:
        learned = self._learned.get(model)
        return learned.factor if learned else 1.0

    def learn(self, model: str, estimated: int, counted: int) -> None:
        """estimated: without any factor. counted: the upstream's, cached tokens included.

        Prompts of equal size pull halfway, so that two turns bring a factor within a quarter of the truth. A small one
        pulls less: the title of a session says little about its turns, which are mostly tools.
        """
        if estimated < WORTH_LEARNING or not LOWEST <= (ratio := counted / estimated) <= HIGHEST:
            return
        with self._lock:
            old = self._learned.get(model) or _Learned(ratio, estimated)
            pull = estimated / (estimated + old.size)
            self._learned[model] = _Learned(
                old.factor + pull * (ratio - old.factor), old.size + pull * (estimated - old.size)
            )
