"""How soon a client's departure reaches the upstream: python -m bench.departures [TRIALS]

The relay and the upstream are processes of their own. Time is counted from the client's close() to the moment at which
the upstream sees its connection end, both by the same monotonic clock. Each phase is tried alone and beside 50 streams
that are running.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from statistics import quantiles

from tests.relay import Json, Relay, Stream, turn
from tests.upstreams import Upstream, anthropic_error, anthropic_text_stream, reply

CONFIG = """
[routing]
sticky = false
[routes]
both = ["first/claude-a", "second/claude-a"]
[providers.first]
type = "anthropic"
base_url = "{first}"
models = ["claude-a"]
[providers.second]
type = "anthropic"
base_url = "{second}"
models = ["claude-a"]
"""
BESIDE = 50
LIFE: list[str | Json] = [{"pause": 0.05}, ": life\n\n"]
RUNNING: Json = reply([*anthropic_text_stream("words")[:3], *LIFE * 2000])


def trial(relay: Relay, upstream: Upstream, script: Json, body: Json, until: bytes = b"") -> float:
    """Seconds from the client's close() to the end that the upstream sees."""
    upstream.reset()
    upstream.script(script)
    stream = Stream(relay, body)
    upstream.wait_for_requests(1)
    if until:
        stream.read_until(until)
    time.sleep(0.005)
    left = time.monotonic()
    stream.close()
    [request] = upstream.wait_for_closed(1)
    assert request.closed_at is not None
    return request.closed_at - left


def phase(name: str, relay: Relay, upstream: Upstream, trials: int) -> list[float]:
    streaming, silent = turn("second/claude-a", stream=True), {"default": True, "delay": 60}
    begun = reply(anthropic_text_stream("words")[:3], end="hang")
    script, body, until = {
        "in the middle of a stream": (begun, streaming, b"content_block_start"),
        "before the first byte": (silent, streaming, b""),
        "without streaming": (silent, turn("second/claude-a"), b""),
        "at the second candidate": (silent, {**streaming, "model": "both"}, b""),
    }[name]
    return [trial(relay, upstream, script, body, until) for _ in range(trials)]


PHASES = ("in the middle of a stream", "before the first byte", "without streaming", "at the second candidate")


def tell(name: str, seconds: list[float]) -> None:
    cuts = quantiles(seconds, n=100, method="inclusive")
    print(f"{name:<48} n={len(seconds)}  p50 {cuts[49] * 1e3:.2f} ms  p99 {cuts[98] * 1e3:.2f} ms  "
          f"max {max(seconds) * 1e3:.2f} ms")  # fmt: skip


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with ExitStack() as stack:
        first, second = (stack.enter_context(Upstream("anthropic")) for _ in range(2))
        first.script(anthropic_error(529, "overloaded_error", "no", headers={"retry-after": "0"}), repeat=True)
        crowd = stack.enter_context(Upstream("anthropic"))
        crowd.script(RUNNING, repeat=True)
        other = CONFIG.format(first=first.url, second=second.url)
        other += f'[providers.crowd]\ntype = "anthropic"\nbase_url = "{crowd.url}"\nmodels = ["claude-b"]\n'
        relay = stack.enter_context(Relay(other))
        for name in PHASES:
            tell(name, phase(name, relay, second, trials))
        for _ in range(BESIDE):
            stream = stack.enter_context(relay.stream(turn("crowd/claude-b")))
            stream.read_until(b"content_block_start")
        for name in PHASES:
            tell(f"{name}, {BESIDE} others", phase(name, relay, second, trials))


if __name__ == "__main__":
    main()
