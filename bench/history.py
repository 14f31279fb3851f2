"""What a history costs: one conversation of so many MB, prepared for each provider.

    python bench/history.py [--mb 1 4] [--runs 9]

`own` is Anthropic's alone, so that nothing needs repair; `mixed` has turns of Z.AI's in it, with its thinking and its
ids. All times are the best of the runs, in milliseconds:

    look      whether anything could need repair, from the bytes: all that `own` costs at Anthropic, without a parse
    parse     the one parse of a request, where it is needed
    history   the conversation as the provider takes it
    prepare   history, estimate where there is one, and the bytes to send
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ccrelay_providers import PROVIDERS
from ccrelay_providers.wire import history, plain, signs
from ccrelay_providers.wire.http1 import Headers
from ccrelay_providers.wire.messages import MessagesRequest, dumps
from ccrelay_providers.wire.provider import Model, Report, Target

HEADERS = Headers([("authorization", "Bearer x")])
PROSE = 'Some prose, a "quotation", a path /usr/lib/x.py:12,\n and now and then a café. ' * 12


def conversation(megabytes: float, mixed: bool) -> bytes:
    """Turns of a tool loop, like Claude Code's: a question, thinking and a call, a long result."""
    messages: list[Any] = []
    size = number = 0
    while size < megabytes * 2**20:
        number += 1
        foreign = mixed and number % 2
        made = f"call_{number:020}" if foreign else f"toolu_01{number:020}"
        signature = ("ccrelay:zai:" if foreign else "") + "Eq" * 150
        turn = [
            {"role": "user", "content": [{"type": "text", "text": PROSE}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": PROSE[:600], "signature": signature},
                    {"type": "text", "text": PROSE[:200]},
                    {"type": "tool_use", "id": made, "name": "Bash", "input": {"command": PROSE[:100]}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": made, "content": PROSE * 4}]},
        ]
        messages += turn
        size += len(dumps(turn))
    return dumps({"model": "claude-opus-5-5", "max_tokens": 1000, "messages": messages, "stream": True})


def best(work: Callable[[], object], runs: int) -> float:
    """Milliseconds."""
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times) * 1000


def measure(megabytes: float, mixed: bool, runs: int) -> None:
    raw = conversation(megabytes, mixed)
    request = MessagesRequest(raw, HEADERS, "req_1")
    first, again = best(lambda: looked_at_anew(raw), runs), best(lambda: signs.signs(raw), runs)
    parse = best(lambda: MessagesRequest(raw, HEADERS, "req_1").body, runs)
    kind = "mixed" if mixed else "own"
    print(f"{megabytes:g} MB {kind:6} look {first:6.2f}   look again {again:6.2f}   parse {parse:6.2f}")
    for name in ("anthropic", "zai", "ollama"):
        target = Target(name, name, "http://x", Model("m", context=10**9), api_key="k", num_ctx=10**9)
        alone = best(partial(changed, request, name), runs)
        whole = best(partial(prepared, request, target), runs)
        print(f"  {name:12} history {alone:6.2f}   prepare {whole:6.2f}")


def looked_at_anew(raw: bytes) -> None:
    signs._seen.clear()
    signs.signs(raw)


def changed(request: MessagesRequest, name: str) -> object:
    if name == "anthropic":
        return history.for_anthropic(request.body, Counter())
    return plain.for_other(request.body, name, frozenset(), Counter())


def prepared(request: MessagesRequest, target: Target) -> object:
    return PROVIDERS[target.type].prepare(request, target, Report())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, nargs="+", default=[1, 4])
    parser.add_argument("--runs", type=int, default=9)
    chosen = parser.parse_args()
    for megabytes in chosen.mb:
        for mixed in (False, True):
            measure(megabytes, mixed, chosen.runs)


if __name__ == "__main__":
    main()
