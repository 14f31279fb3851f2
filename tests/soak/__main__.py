"""Many streams for a long time, and everything fails at random: `python -m tests.soak --streams 200 --minutes 10`.

For development. One relay before three flaky upstreams, which are also killed and frozen; clients that leave at random.
Every answer has to be whole, or to say that it is not; and at the end the relay has to be as small as at the start.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.relay import PATIENCE, Answer, Relay, Stream, parse_events, text_of, turn
from tests.upstreams import Upstream

CONFIG = """
[server]
ping_interval = 1
max_connections = 2000
[routing]
first_event_patience = 1
[routes]
any = ["anthropic/claude-m", "zai/glm-m", "ollama/m"]
spread = {{ targets = ["anthropic/claude-m", "zai/glm-m", "ollama/m"], strategy = "round-robin" }}
[providers.anthropic]
type = "anthropic"
base_url = "{anthropic}"
api_key = "k"
models = ["claude-m"]
idle_timeout = 3
[providers.zai]
type = "zai"
base_url = "{zai}"
api_key = "k"
models = ["glm-m"]
idle_timeout = 3
max_concurrent = 80
max_queue = 500
[providers.ollama]
type = "ollama"
base_url = "{ollama}"
models = [{{ id = "m", context = 100000, tools = true }}]
idle_timeout = 3
"""
MODELS = ("any", "any", "spread", "spread", "anthropic/claude-m", "zai/glm-m", "ollama/m")
IDLE = 32.0  # seconds until the relay has closed the connections that it kept


class DishonestError(Exception):
    """An answer that is neither whole nor says that it is not."""


class Soak:
    """Clients before one relay. `outcomes` counts how their requests ended, `wrong` says what should not have been."""

    def __init__(self, relay: Relay, seed: int) -> None:
        self.relay, self._seed = relay, seed
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.left: dict[str, float] = {}
        self.frozen: list[tuple[float, float]] = []
        self.times: list[float] = []
        """Seconds from a client's leaving to the closing of its upstream connection, where an upstream was awake."""
        self.over = threading.Event()

    def client(self, number: int) -> None:
        """One client: request after request, until it is over."""
        rng = random.Random(f"{self._seed}/{number}")
        for request in range(1_000_000):
            if self.over.is_set():
                return
            name = f"c{number}r{request}"
            try:
                outcome = self._one(name, rng)
            except Exception as error:
                outcome = "WRONG"
                self.wrong.append(f"{name}: {type(error).__name__}: {error}")
            self.outcomes[outcome] += 1

    def _one(self, name: str, rng: random.Random) -> str:
        words = rng.randrange(5, 80)
        asked = turn(rng.choice(MODELS), f"count {name} {words}")
        headers = {"x-api-key": "c", "anthropic-version": "2023-06-01", "x-claude-code-session-id": name[:4]}
        if rng.random() < 0.15:
            return judged_message(self.relay.messages(asked, headers), name, words)
        with self.relay.stream(asked, headers) as stream:
            if rng.random() < 0.2:
                stream.connection.settimeout(rng.uniform(0.05, 4.0))
                if self._leaves(stream, name, rng.randrange(0, words)):
                    return "left"
                stream.connection.settimeout(PATIENCE)
            return judged_stream(stream, name, words)

    def _leaves(self, stream: Stream, name: str, after: int) -> bool:
        """Reads some of the answer, and closes in the middle; False if the answer has come to its end before."""
        try:
            stream.read_head()
            if stream.status != 200:
                return False
            for number, _ in enumerate(stream.chunks()):
                if number >= after:
                    break
            else:
                return False
        except TimeoutError:
            pass
        stream.close()
        self.left[name] = time.monotonic()
        return True

    def look(self, upstreams: list[Upstream]) -> None:
        """Takes from the upstreams what they remember."""
        for upstream in upstreams:
            for request in upstream.requests():
                words = request.body.partition(b"count ")[2].split(b" ", 1)
                at, closed = self.left.get(words[0].decode()), request.closed_at
                asleep = at is not None and any(began - 0.1 < at < ended for began, ended in self.frozen)
                if at is not None and closed is not None and closed >= at - 0.05 and not asleep:
                    self.times.append(max(0.0, closed - at))
            upstream.reset()


def judged_stream(stream: Stream, name: str, words: int) -> str:
    stream.read_head()
    if stream.status != 200:
        stream.body = stream._file.read(int(stream.headers["content-length"]))
        return failed(stream.status or 0, stream.body)
    if not stream.ended:
        stream.read()
    events = parse_events(stream.body)
    types = [event["type"] for event in events if event["type"] != "ping"]
    counted(text_of(events), name, words, whole=types[-1] == "message_stop")
    if types[-1] == "message_stop" and types.count("message_stop") == 1 and "error" not in types:
        return "whole"
    if types[-1] == "error" and types.count("error") == 1 and "message_stop" not in types:
        return "failed in the stream"
    raise DishonestError(f"the events end with {types[-3:]}")


def judged_message(answer: Answer, name: str, words: int) -> str:
    if answer.status != 200:
        return failed(answer.status, answer.body)
    counted(answer.text, name, words, whole=True)
    return "whole, at once"


def failed(status: int, body: bytes) -> str:
    if b'"type": "error"' not in body and b'"type":"error"' not in body:
        raise DishonestError(f"status {status} with {body[:200]!r}")
    return f"failed with {status}"


def counted(text: str, name: str, words: int, whole: bool) -> None:
    """All the words in order, or, of an answer that is not whole, the first of them; of one answer only."""
    expected = [f"{name}:{number}" for number in range(words + 1)]
    got = text.split()
    if got != (expected if whole else expected[: len(got)]):
        raise DishonestError(f"expected {words + 1} words, got {len(got)}: …{text[-60:]!r}")


# --- what goes wrong besides


def trouble(upstreams: list[Upstream], run: Soak, seed: int, counts: Counter[str]) -> None:
    """Kills an upstream every few seconds, or freezes it."""
    over = run.over
    rng = random.Random(seed)
    while not over.wait(rng.uniform(2.0, 6.0)):
        upstream, kind = rng.choice(upstreams), rng.choice(("killed", "frozen"))
        counts[kind] += 1
        if kind == "killed":
            run.look([upstream])  # what it remembers dies with it
            upstream.kill()
            over.wait(rng.uniform(0.1, 1.5))
            upstream.start()
        else:
            began = time.monotonic()
            upstream.freeze()
            over.wait(rng.uniform(0.5, 5.0))
            upstream.thaw()
            run.frozen.append((began, time.monotonic()))


def size(relay: Relay) -> dict[str, int]:
    """Threads, descriptors, sockets among them, and resident memory in KB of the relay's process."""
    process = Path(f"/proc/{relay.process.pid}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    return {
        "threads": int(status["Threads"]),
        "descriptors": len(list((process / "fd").iterdir())),
        "KB": int(status["VmRSS"].split()[0]),
    }


def soak(streams: int, seconds: float, seed: int, gap: float = 0.15) -> dict[str, Any]:
    """Runs it; what came of it."""
    with ExitStack() as stack:
        upstreams = [
            stack.enter_context(Upstream("flaky", "--seed", str(seed + n), "--gap", str(gap))) for n in range(3)
        ]
        urls = {name: one.url for name, one in zip(("anthropic", "zai", "ollama"), upstreams, strict=True)}
        relay = stack.enter_context(Relay(CONFIG.format(**urls)))
        run = Soak(relay, seed)
        clients = [threading.Thread(target=run.client, args=(number,)) for number in range(streams)]
        troubles: Counter[str] = Counter()
        ruin = threading.Thread(target=trouble, args=(upstreams, run, seed, troubles))
        before = size(relay)
        for thread in (*clients, ruin):
            thread.start()
        sizes = watched(relay, seconds)
        run.over.set()
        for thread in (*clients, ruin):
            thread.join()
        run.look(upstreams)
        time.sleep(IDLE if seconds > IDLE else 0.5)
        return {
            "outcomes": run.outcomes, "wrong": run.wrong, "troubles": troubles, "departures": sorted(run.times),
            "before": before, "sizes": sizes, "after": size(relay), "tracebacks": relay.log.count("Traceback"),
        }  # fmt: skip


def watched(relay: Relay, seconds: float) -> list[dict[str, int]]:
    """The relay's size once a minute while it lasts."""
    end, sizes = time.monotonic() + seconds, []
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(60.0, left))
        sizes.append(size(relay))
        if seconds > 60:
            print(f"  {sizes[-1]}", flush=True)
    return sizes


def report(found: dict[str, Any]) -> bool:
    """Prints it; whether all is well."""
    total = sum(found["outcomes"].values())
    for outcome, count in sorted(found["outcomes"].items()):
        print(f"{count:>8,}  {outcome}")
    print(f"{total:>8,}  requests; {dict(found['troubles'])}")
    for sentence in found["wrong"][:20]:
        print("  WRONG", sentence)
    times = found["departures"]
    if times:
        middle, late = (1e3 * times[int(len(times) * part)] for part in (0.5, 0.99))
        print(f"a client's leaving reached its upstream in p50 {middle:.1f} ms, p99 {late:.1f} ms ({len(times)} seen)")
    print(f"before {found['before']}\nafter  {found['after']}\ntracebacks {found['tracebacks']}")
    back = all(found["after"][name] <= found["before"][name] + 2 for name in ("threads", "descriptors"))
    return back and not found["wrong"] and not found["tracebacks"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    return 0 if report(soak(options.streams, options.minutes * 60, options.seed)) else 1


if __name__ == "__main__":
    sys.exit(main())
