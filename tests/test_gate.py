"""The line in front of a provider: who gets in, who waits, who is turned away."""

from __future__ import annotations

import json
import socket
import threading
import time
import unittest
from collections.abc import Callable
from contextlib import ExitStack
from typing import ClassVar

from ccrelay_providers.core.exchange import ClientDeparted, Downstream
from ccrelay_providers.core.gate import HEAD_START, Gate, in_background
from ccrelay_providers.wire.errors import Overloaded, QueueFull
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.messages import MessagesRequest
from tests.relay import CLIENT, Relay, Stream, turn
from tests.upstreams import Upstream

PATIENCE = 20.0
AGENT = ("x-claude-code-agent-id", "a1")


def asked(*headers: tuple[str, str], **fields: object) -> MessagesRequest:
    body = {"model": "m", "max_tokens": 1, "messages": [], **fields}
    return MessagesRequest(json.dumps(body).encode(), Headers(headers), "req_1")


def turn_of(session: str) -> MessagesRequest:
    return asked(("x-claude-code-session-id", session), tools=[{"name": "Bash"}])


class Visitor(threading.Thread):
    """Passes the gate in a thread of its own, and stays inside until told to leave."""

    def __init__(
        self,
        test: unittest.TestCase,
        gate: Gate,
        asked: MessagesRequest | None = None,
        deadline: float | None = None,
    ) -> None:
        super().__init__(daemon=True)
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            test.addCleanup(end.close)
        self.gate, self.downstream, self.asked, self.deadline = gate, Downstream(ours), asked, deadline
        self.ahead: int | None = None
        self.failure: BaseException | None = None
        self.inside, self.may_leave = threading.Event(), threading.Event()
        test.addCleanup(self.may_leave.set)

    def run(self) -> None:
        try:
            with self.gate.passing(self.downstream, self.asked, self.deadline) as self.ahead:
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

    def served(self, gate: Gate, inside: Visitor, *line: Visitor) -> list[int]:
        """The order in which those in line get their places, by number."""
        order: list[int] = []
        for _ in line:
            inside.leave()
            self.until(lambda: sum(visitor.inside.is_set() for visitor in line) == len(order) + 1)
            [number] = [n for n, visitor in enumerate(line) if visitor.inside.is_set() and n not in order]
            order.append(number)
            inside = line[number]
        return order

    def test_sessions_take_turns(self) -> None:
        gate = Gate("zai", 1, 20)
        inside = self.enter(gate)
        line = [self.queue(gate, turn_of(session)) for session in "aaaabcb"]
        self.assertEqual(self.served(gate, inside, *line), [0, 4, 5, 1, 6, 2, 3])

    def test_new_sessions_starve_no_old_one(self) -> None:
        gate = Gate("zai", 1, 20)
        inside = self.enter(gate)
        first, second = (self.queue(gate, turn_of("a")) for _ in range(2))
        line = [first, second]
        for number in range(3):
            line.append(self.queue(gate, turn_of(f"new {number}")))
            inside.leave()
            self.until(lambda done=number + 1: sum(each.inside.is_set() for each in line) == done)  # type: ignore[misc]
            inside = next(each for each in line if each.inside.is_set() and not each.may_leave.is_set())
        self.assertTrue(second.inside.is_set())

    def test_background_calls_wait_long_but_not_for_ever(self) -> None:
        gate = Gate("ollama", 1, 99)
        inside = self.enter(gate)
        title = self.queue(gate, asked())
        ahead = 0
        while not title.inside.is_set():
            newcomers = [self.queue(gate, turn_of(f"s{ahead}"))]
            inside.leave()
            self.until(lambda now=newcomers[0]: now.inside.is_set() or title.inside.is_set())  # type: ignore[misc]
            inside, ahead = newcomers[0], ahead + 1
            self.assertLess(ahead, 3 * HEAD_START)
        self.assertEqual(ahead, HEAD_START + 1)

    def test_who_waits_longer_than_the_request_has_patience_is_told(self) -> None:
        gate = Gate("zai", 1, 5)
        self.enter(gate)
        late = Visitor(self, gate, deadline=time.monotonic() + 0.05)
        late.run()
        assert isinstance(late.failure, QueueFull)
        self.assertIn("no place came free in time", late.failure.message)
        self.assertEqual(gate.waiting, 0)

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
        self.assertEqual(refused.failure.message, "zai: 1 request is running and 1 waits; try again")
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


CONFIG = """
[server]
ping_interval = 0.1
[routing]
first_event_patience = 0.1
sticky = false
[routes]
both = ["claude/claude-a", "echo/echo"]
[providers.claude]
type = "anthropic"
base_url = "{url}"
max_concurrent = 1
max_queue = 3
models = ["claude-a"]
[providers.echo]
type = "echo"
"""


class TestThroughTheSocket(unittest.TestCase):
    upstream: ClassVar[Upstream]
    relay: ClassVar[Relay]

    @classmethod
    def setUpClass(cls) -> None:
        stack = ExitStack()
        cls.addClassCleanup(stack.close)
        cls.upstream = stack.enter_context(Upstream("anthropic"))
        cls.relay = stack.enter_context(Relay(CONFIG.format(url=cls.upstream.url)))

    def setUp(self) -> None:
        self.upstream.reset()
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)

    def stream(self, session: str, text: str = "hi", **more: object) -> Stream:
        """A turn that somebody waits for, running or in line by now."""
        before = self.load()
        tools = [{"name": "Bash", "input_schema": {"type": "object"}}]
        headers = {**CLIENT, "x-claude-code-session-id": session}
        stream = self.stack.enter_context(
            self.relay.stream(turn("claude/claude-a", text, tools=tools, **more), headers)
        )
        for _ in range(2000):
            if self.load() > before:
                return stream
        raise AssertionError("it did not arrive")

    def load(self) -> int:
        status = self.relay.request("GET", "/status").json
        return int(status["running"] + status["queued"])

    def test_sessions_take_turns(self) -> None:
        self.upstream.script({"default": True, "delay": 2.0})  # the first: the others have to be in line by then
        streams = [self.stream(session, text) for session, text in ("a0", "a1", "a2", "b1")]
        for stream in streams:
            stream.read()
        asked = [request.json["messages"][0]["content"] for request in self.upstream.requests()]
        self.assertEqual(asked, ["0", "1", "1", "2"])
        sessions = [request.header("x-claude-code-session-id") for request in self.upstream.requests()]
        self.assertEqual(sessions, ["a", "a", "b", "a"])

    def test_who_waits_gets_pings(self) -> None:
        self.upstream.script({"default": True, "delay": 0.6})
        self.stream("a")
        events = self.stream("b").read()
        self.assertGreaterEqual(sum(event["type"] == "ping" for event in events), 2)
        self.assertEqual((events[0]["type"], events[-1]["type"]), ("ping", "message_stop"))
        self.relay.wait_for_log("queued behind 1")

    def test_a_full_line_is_529_and_says_nothing_about_the_provider(self) -> None:
        self.upstream.script({"default": True, "delay": 0.6})
        waiting = [self.stream(session) for session in "abcd"]
        refused = self.relay.messages(turn("claude/claude-a"))
        self.assertEqual((refused.status, refused.json["error"]["type"]), (529, "overloaded_error"))
        self.assertEqual(refused.headers["retry-after"], "5")
        self.assertIn("claude: 1 request is running and 3 wait", refused.json["error"]["message"])
        self.assertEqual(self.relay.messages(turn("both")).headers["x-ccrelay-provider"], "echo")
        self.assertEqual(self.relay.request("GET", "/status").json["providers"][0]["health"], "well")
        for stream in waiting:
            self.assertEqual(stream.read()[-1]["type"], "message_stop")


if __name__ == "__main__":
    unittest.main()
