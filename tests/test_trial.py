"""What is made of a model's answer to the message that `check --send` sends."""

from __future__ import annotations

import unittest

from ccrelay_providers.commands.trial import Trial, send
from tests.relay import ECHO, Relay


class TestTrial(unittest.TestCase):
    def test_through_a_relay(self) -> None:
        with Relay(ECHO) as relay:
            url = f"http://127.0.0.1:{relay.port}"
            done = send(url, "echo/echo", True, {})
            self.assertEqual((done.problem, done.answered_by, done.stop_reason), ("", "echo/echo", "tool_use"))
            self.assertEqual((done.tool, done.thought), (True, True))
            self.assertGreater(min(done.first, done.input_tokens, done.output_tokens), 0)
            plain = send(url, "echo/echo", False, {})
            self.assertEqual((plain.tool, plain.thought, plain.stop_reason), (None, False, "end_turn"))
            self.assertEqual(send(url, "nobody", False, {}).problem, "model: nobody")

    def test_nobody_there(self) -> None:
        self.assertIn("cannot connect", send("http://127.0.0.1:9", "m", False, {}).problem)

    def test_speed(self) -> None:
        self.assertEqual(Trial("m", first=1.0, total=3.0, output_tokens=40).speed, 20)
        self.assertIsNone(Trial("m", first=1.0, total=1.0, output_tokens=40).speed)


if __name__ == "__main__":
    unittest.main()
