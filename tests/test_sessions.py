"""Who answered a session last: what is remembered, for how long, and that a title does not change it."""

from __future__ import annotations

import unittest
from typing import Any
from unittest import mock

from ccrelay_providers.core import sessions
from ccrelay_providers.core.pins import Pins
from ccrelay_providers.core.sessions import Sessions
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.messages import GLANCE_FROM, MessagesRequest, dumps

TOOLS: list[dict[str, Any]] = [{"name": "Bash", "input_schema": {"type": "object"}}]


def asked(session: str | None, text: str = "hi", **fields: Any) -> MessagesRequest:
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": text}], **fields}
    headers = Headers([("x-claude-code-session-id", session)] if session else [])
    return MessagesRequest(dumps(body), headers, "req_1")


class SessionsTest(unittest.TestCase):
    def setUp(self) -> None:
        self.pins = mock.Mock(spec=Pins)
        self.pins.model.return_value = None
        self.sessions = Sessions(self.pins)

    def by(self, session: str) -> Any:
        return self.sessions.told(session)["answered_by"]

    def test_the_last_turn_and_the_pin(self) -> None:
        self.assertEqual(self.sessions.told("s"), {"model": None, "answered_by": None})
        for provider in ("a/one", "b/two"):
            self.sessions.answered(asked("s", tools=TOOLS), "cheap", provider)
        self.assertEqual(self.sessions.told("s"), {"model": "cheap", "answered_by": "b/two"})
        self.pins.model.return_value = "pinned"
        self.assertEqual(self.sessions.told("s"), {"model": "pinned", "answered_by": "b/two"})

    def test_a_title_does_not_change_it(self) -> None:
        self.sessions.answered(asked("s"), "small", "a/small")
        self.assertEqual(self.by("s"), "a/small")
        self.sessions.answered(asked("s", tools=TOOLS), "large", "a/large")
        self.sessions.answered(asked("s"), "small", "a/small")
        self.assertEqual(self.by("s"), "a/large")

    def test_a_large_body_is_not_parsed_for_it(self) -> None:
        large = asked("s", "x" * GLANCE_FROM, stream=True)
        with mock.patch.object(MessagesRequest, "_parse", side_effect=AssertionError):
            self.sessions.answered(large, "m", "a/m")
        self.assertEqual(self.by("s"), "a/m")

    def test_memory_is_bounded(self) -> None:
        with mock.patch.object(sessions, "MAX_SESSIONS", 2):
            for session in ("1", "2", "1", "3", None, "x" * 201):
                self.sessions.answered(asked(session, tools=TOOLS), "m", "a/m")
        self.assertEqual([self.by(session) for session in ("1", "2", "3", "x" * 201)], ["a/m", None, "a/m", None])


if __name__ == "__main__":
    unittest.main()
