"""The line in front of a provider: who gets in, who waits, who is turned away."""

from __future__ import annotations

import json
import socket
import threading
import unittest
from collections.abc import Callable
from contextlib import ExitStack

from ccrelay_providers.core.exchange import ClientDeparted, Downstream
from ccrelay_providers.core.gate import Gate, in_background
from ccrelay_providers.wire.errors import Overloaded
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.messages import MessagesRequest

PATIENCE = 20.0
AGENT = ("x-claude-code-agent-id", "a1")


def asked(*headers: tuple[str, str], **fields: object) -> MessagesRequest:
    body = {"model": "m", "max_tokens": 1, "messages": [], **fields}
    return MessagesRequest(json.dumps(body).encode(), Headers(headers), "req_1")


class Visitor(threading.Thread):
    """Passes the gate in a thread of its own, and stays inside until told to leave."""

    def __init__(self, test: unittest.TestCase, gate: Gate, asked: MessagesRequest | None = None) -> None:
        super().__init__(daemon=True)
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            test.addCleanup(end.close)
        self.gate, self.downstream, self.asked = gate, Downstream(ours), asked
        self.ahead: int | None = None
        self.failure: BaseException | None = None
        self.inside, self.may_leave = threading.Event(), threading.Event()
        test.addCleanup(self.may_leave.set)

    def run(self) -> None:
        try:
            with self.gate.passing(self.downstream, self.asked) as self.ahead:
                self.inside.set()
                self.may_leave.wait(PATIENCE)
        except BaseException as failure:
            self.failure = failure

    def leave(self) -> None:
        self.may_leave.set()
        self.join(PATIENCE)


class TestGate(unittest.TestCase):
    def enter(self, gate: Gate) -> Visitor:
        visitor = Visitor(self, gate)
        visitor.start()
        self.assertTrue(visitor.inside.wait(PATIENCE))
        return visitor

    def queue(self, gate: Gate, asked: MessagesRequest | None = None) -> Visitor:
        """A visitor who stands in line."""
        waiting, visitor = gate.waiting, Visitor(self, gate, asked)
        visitor.start()
        self.until(lambda: gate.waiting == waiting + 1)
        return visitor

    def until(self, condition: Callable[[], bool]) -> None:
        pause = threading.Event()
        for _ in range(int(PATIENCE / 0.002)):
            if condition():
                return
            pause.wait(0.002)
        self.fail("it never came true")

    def test_no_limit_lets_everybody_in(self) -> None:
        gate = Gate("zai", 0, 0)
        self.assertEqual([self.enter(gate).ahead for _ in range(5)], [0] * 5)

    def test_the_limit_holds_and_a_place_is_handed_on(self) -> None:
        gate = Gate("zai", 2, 5)
        first, _ = self.enter(gate), self.enter(gate)
        third = self.queue(gate)
        self.assertFalse(third.inside.is_set())
        first.leave()
        self.assertTrue(third.inside.wait(PATIENCE))
        self.assertEqual(gate.waiting, 0)

    def test_first_come_first_served(self) -> None:
        gate = Gate("zai", 1, 5)
        inside = self.enter(gate)
        line = [self.queue(gate) for _ in range(3)]
        for number, visitor in enumerate(line):
            inside.leave()
            self.assertTrue(visitor.inside.wait(PATIENCE))
            self.assertFalse(any(later.inside.is_set() for later in line[number + 1 :]))
            inside = visitor
        self.assertEqual([visitor.ahead for visitor in line], [1, 2, 3])

    def test_a_turn_goes_before_background_calls(self) -> None:
        gate = Gate("ollama", 1, 5)
        inside = self.enter(gate)
        title, agent = self.queue(gate, asked()), self.queue(gate, asked(AGENT, tools=[{"name": "Bash"}]))
        turns = [self.queue(gate, asked(tools=[{"name": "Bash"}])) for _ in range(2)]
        for visitor in (*turns, title, agent):
            inside.leave()
            self.assertTrue(visitor.inside.wait(PATIENCE))
            inside = visitor
        self.assertEqual([visitor.ahead for visitor in (title, agent, *turns)], [1, 2, 1, 2])

    def test_what_runs_in_the_background(self) -> None:
        tools = {"tools": [{"name": "Bash"}]}
        for request, background in (
            (asked(**tools), False),
            (asked(), True),
            (asked(AGENT, **tools), True),
            (asked(("x-claude-code-request-class", "main")), False),
            (asked(("x-claude-code-request-class", "compaction")), False),
            (asked(("x-claude-code-request-class", "auxiliary"), **tools), True),
            (asked(("x-claude-code-request-class", "subagent"), AGENT, **tools), True),
        ):
            self.assertEqual(in_background(request), background)

    def test_a_full_line_is_refused_with_numbers(self) -> None:
        gate = Gate("zai", 1, 1)
        self.enter(gate)
        self.queue(gate)
        refused = Visitor(self, gate)
        refused.run()
        assert isinstance(refused.failure, Overloaded)
        self.assertEqual(refused.failure.message, "zai: 1 requests are running and 1 wait; try again")
        self.assertEqual(refused.failure.retry_after, 5)

    def test_without_a_line_the_next_is_refused_and_the_one_after_comes_in(self) -> None:
        gate = Gate("zai", 1, 0)
        inside, refused = self.enter(gate), Visitor(self, gate)
        refused.run()
        self.assertIsInstance(refused.failure, Overloaded)
        inside.leave()
        self.enter(gate)

    def test_who_goes_away_leaves_the_line(self) -> None:
        gate = Gate("zai", 1, 5)
        inside, staying, leaving = self.enter(gate), self.queue(gate), self.queue(gate)
        leaving.downstream.depart()
        leaving.join(PATIENCE)
        self.assertFalse(staying.inside.wait(0.05))
        self.assertIsInstance(leaving.failure, ClientDeparted)
        self.assertEqual(gate.waiting, 1)
        inside.leave()
        self.assertTrue(staying.inside.wait(PATIENCE))

    def test_a_place_handed_to_someone_gone_is_handed_on(self) -> None:
        """Departure and the handing over at the same moment, a hundred times: no place is lost, none is made."""
        gate = Gate("zai", 1, 5)
        for _ in range(100):
            inside, leaving = self.enter(gate), self.queue(gate)
            thread = threading.Thread(target=leaving.downstream.depart)
            thread.start()
            inside.leave()
            thread.join(PATIENCE)
            leaving.leave()
            self.assertFalse(leaving.is_alive())
        self.enter(gate)

    def test_a_failure_inside_gives_the_place_back(self) -> None:
        gate = Gate("zai", 1, 0)
        with self.assertRaises(ValueError), ExitStack() as stack:
            stack.enter_context(gate.passing(Visitor(self, gate).downstream))
            raise ValueError
        self.enter(gate)


if __name__ == "__main__":
    unittest.main()
