"""Which of several keys is next."""

from __future__ import annotations

import unittest
from unittest import mock

from ccrelay_providers.core import keys
from ccrelay_providers.core.keys import Keys
from ccrelay_providers.core.settings import Provider

ZAI = Provider("zai", "zai", api_keys=("k1", "k2", "k3"))


class TestKeys(unittest.TestCase):
    def test_the_least_used_comes_first(self) -> None:
        ring = Keys(sticky=True)
        asked = []
        for _ in range(7):
            asked.append(ring.order(ZAI, None, ())[0])
            ring.use(ZAI, asked[-1], None)
        self.assertEqual(asked, [0, 1, 2, 0, 1, 2, 0])
        self.assertEqual([ring.used(ZAI, number) for number in range(3)], [3, 2, 2])

    def test_a_session_keeps_its_key_and_keeps_the_one_it_moved_to(self) -> None:
        ring = Keys(sticky=True)
        ring.use(ZAI, 1, "s")
        self.assertEqual([ring.order(ZAI, session, ()) for session in ("s", "t")], [[1, 0, 2], [0, 2, 1]])
        ring.use(ZAI, 2, "s")
        self.assertEqual(ring.order(ZAI, "s", ()), [2, 0, 1])

    def test_not_if_sessions_do_not_stick(self) -> None:
        ring = Keys(sticky=False)
        ring.use(ZAI, 0, "s")
        self.assertEqual(ring.order(ZAI, "s", ()), [1, 2, 0])

    def test_one_that_was_tried_is_left_out(self) -> None:
        self.assertEqual(Keys(True).order(ZAI, None, {"zai (key 1 of 3)"}), [1, 2])

    def test_sessions_are_forgotten_oldest_first(self) -> None:
        ring = Keys(sticky=True)
        for number in range(keys.MAX_SESSIONS + 1):
            ring.use(ZAI, 2, f"s{number}")
        self.assertEqual([ring.order(ZAI, session, ())[0] for session in ("s0", "s1")], [0, 2])

    def test_one_that_goes_on_is_not_forgotten(self) -> None:
        ring = Keys(sticky=True)
        with mock.patch.object(keys, "MAX_SESSIONS", 2):
            for session in ("s0", "s1", "s0", "s2"):
                ring.use(ZAI, 2, session)
        self.assertEqual([ring.order(ZAI, session, ())[0] for session in ("s0", "s1")], [2, 0])


if __name__ == "__main__":
    unittest.main()
