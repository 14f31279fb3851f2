"""Who presses Esc has the GPU back: the upstream is closed in under 100 ms, whatever Ollama is doing just then."""

from __future__ import annotations

import socket
import statistics
import time
import unittest
from collections.abc import Callable
from contextlib import ExitStack
from typing import ClassVar

from tests.relay import PATIENCE, Json, Relay, Stream, turn
from tests.upstreams import Upstream, reply

TABLES = """
[server]
ping_interval = 0.05

[routing]
first_event_patience = 0.05

[providers.local]
type = "ollama"
base_url = "{url}"
max_concurrent = 1

[providers.far]
type = "ollama"
base_url = "http://127.0.0.1:{full}"
models = ["m"]
"""
WORDS = "".join(
    f'{{"model":"m","created_at":"now","message":{{"role":"assistant","content":"{word} "}},"done":false}}\n'
    for word in ("one", "two")
)
TRIALS = 3


def answering(*pieces: str | Json, **fields: float) -> Json:
    """The beginning of an answer that never ends."""
    return reply(pieces, end="hang", **fields) | {"headers": {"content-type": "application/x-ndjson"}}


class Departure(unittest.TestCase):
    server: ClassVar[Upstream]
    relay: ClassVar[Relay]

    @classmethod
    def setUpClass(cls) -> None:
        stack = ExitStack()
        cls.addClassCleanup(stack.close)
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # a listener whose backlog is full answers no packet
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        cls.server = stack.enter_context(Upstream("ollama"))
        tables = TABLES.format(url=cls.server.url, full=full.getsockname()[1])
        cls.relay = stack.enter_context(Relay(tables))

    def median(self, trial: Callable[[], float]) -> None:
        self.assertLess(statistics.median(trial() for _ in range(TRIALS)), 0.1)

    def hung_up(self, script: Json, until: bytes = b"", model: str = "local/qwen3:8b", **fields: bool) -> float:
        """Seconds from the client's end to the upstream's, for a client that leaves when it has read `until`."""
        self.server.reset()
        self.server.script(script, match="/api/chat")
        stream = Stream(self.relay, {**turn(model), "stream": True, **fields})
        self.server.wait_for_requests(1)
        if until:
            stream.read_until(until)
        left = time.monotonic()
        stream.close()
        [closed] = self.server.wait_for_closed()
        return (closed.closed_at or 0.0) - left

    def told(self, stream: Stream) -> float:
        """Seconds from the client's end to the log line about it, where the upstream knows of nothing."""
        before, left = self.relay.log.count("left"), time.monotonic()
        stream.close()
        while self.relay.log.count("left") == before:
            self.assertLess(time.monotonic(), left + PATIENCE)
            time.sleep(0.001)
        return time.monotonic() - left

    def test_while_the_model_loads(self) -> None:
        self.median(lambda: self.hung_up(answering(delay=30)))

    def test_while_the_model_loads_and_pings_fill_the_time(self) -> None:
        self.median(lambda: self.hung_up(answering(delay=30), until=b"ping"))

    def test_while_it_reads_the_prompt(self) -> None:
        """Since 0.30 the head comes at once, and then nothing for as long as the prompt takes."""
        self.median(lambda: self.hung_up(answering({"pause": 0.01}), until=b"ping"))

    def test_in_the_answer(self) -> None:
        self.median(lambda: self.hung_up(answering(WORDS), until=b"two"))

    def test_in_an_answer_that_does_not_stop_for_breath(self) -> None:
        self.median(lambda: self.hung_up(answering(*[WORDS] * 5000, gap=0.002), until=b"two"))

    def test_before_and_in_an_answer_that_is_not_streamed(self) -> None:
        self.median(lambda: self.hung_up(answering(delay=30), stream=False))
        self.median(lambda: self.hung_up(answering(WORDS), stream=False))

    def test_in_line(self) -> None:
        def trial() -> float:
            self.server.reset()
            self.server.script(answering(WORDS), match="/api/chat")
            with self.relay.stream(turn("local/qwen3:8b")) as running:
                running.read_until(b"two")
                with self.relay.stream(turn("local/qwen3:8b", "the second")) as waiting:
                    waiting.read_until(b"ping")
                    seconds = self.told(waiting)
            self.server.wait_for_closed()
            self.assertEqual(len(self.server.requests()), 1)
            return seconds

        self.median(trial)

    def test_while_the_connection_is_being_made(self) -> None:
        def trial() -> float:
            stream = self.relay.stream(turn("far/m"))
            stream.read_until(b"ping")
            return self.told(stream)

        self.median(trial)


if __name__ == "__main__":
    unittest.main()
