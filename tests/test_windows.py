"""A model that runs with a smaller window than it was asked for: one warning, no more."""

from __future__ import annotations

import json
import threading
import unittest
from collections.abc import Sequence

from ccrelay_providers.core.catalog import Candidate
from ccrelay_providers.core.relay import Answer
from ccrelay_providers.core.settings import Provider
from ccrelay_providers.core.windows import Windows
from ccrelay_providers.wire.errors import RelayError, UpstreamFailure
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.provider import Model, UpstreamRequest, UpstreamResponse

QWEN = Candidate(Provider("ollama", "ollama", num_ctx=65536), Model("qwen3:8b", context=40960))


class TestWindows(unittest.TestCase):
    def setUp(self) -> None:
        self.loaded: int | None = 4096
        self.asked = 0
        self.said: list[str] = []
        self.windows = Windows(self.ask, self.said.append)

    def ask(self, provider: Provider, requests: Sequence[UpstreamRequest]) -> list[UpstreamResponse | RelayError]:
        self.asked += 1
        if self.loaded is None:
            return [UpstreamFailure("down")]
        models = [{"model": "qwen3:8b", "context_length": self.loaded}]
        return [Answer(200, Headers(), json.dumps({"models": models}).encode())]

    def answered(self, candidate: Candidate = QWEN, later: float = 0.0) -> None:
        for name in self.windows._looked:
            self.windows._looked[name] -= later
        self.windows.answered(candidate, candidate.target())
        for thread in threading.enumerate():
            if thread.name == "window":
                thread.join(20)

    def test_one_warning(self) -> None:
        for _ in range(3):
            self.answered(later=1000)
        self.assertEqual((self.asked, len(self.said)), (1, 1))
        self.assertRegex(self.said[0], "^ollama/qwen3:8b runs with a window of 4096 tokens, not the 40960 it was asked")

    def test_as_it_was_asked_for(self) -> None:
        self.loaded = 40960
        self.answered()
        self.answered()
        self.assertEqual((self.asked, self.said), (1, []))
        self.loaded = 2048
        self.answered(later=1000)
        self.assertEqual(len(self.said), 1)

    def test_a_failure_is_not_told(self) -> None:
        self.loaded = None
        self.answered()
        self.assertEqual(self.said, [])

    def test_who_has_no_window_to_ask_for(self) -> None:
        self.answered(Candidate(Provider("zai", "zai"), Model("glm", context=1000)))
        self.assertEqual(self.asked, 0)


if __name__ == "__main__":
    unittest.main()
