"""Inputs without end for everything that reads what others wrote: `python -m tests.fuzz --inputs 1000000 [--seed N]`.

For development. Whatever comes, a reader answers, or raises the errors that it says it raises; and it ends. Where the
standard library reads the same, both read the same, or ours refuses. A failure prints its seed, which repeats it.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
import traceback
from types import FrameType

from tests.fuzz.cases import CASES, Case

LONGEST = 5  # seconds for one input


def run(inputs: int, seed: int) -> dict[str, int]:
    """How many inputs each case had. Raises what went wrong, with a note that repeats it."""
    weights, cases = zip(*CASES, strict=True)
    picks, counts = random.Random(seed), dict.fromkeys((case.__name__ for _, case in CASES), 0)
    for number in range(inputs):
        [case] = picks.choices(cases, weights)
        once(case, seed, number)
        counts[case.__name__] += 1
    return counts


def once(case: Case, seed: int, number: int) -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(LONGEST)
    try:
        case(random.Random(f"{seed}/{number}"))
    except BaseException as error:
        error.add_note(f"{case.__name__}(random.Random('{seed}/{number}'))")
        raise
    finally:
        if hasattr(signal, "alarm"):
            signal.alarm(0)


def hung(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"an input took more than {LONGEST} s")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, hung)
    began = time.monotonic()
    print(f"seed {options.seed}", flush=True)
    try:
        counts = run(options.inputs, options.seed)
    except BaseException:
        traceback.print_exc(limit=-6)
        return 1
    for name, count in counts.items():
        print(f"{count:>9,}  {name}")
    print(f"{sum(counts.values()):>9,}  inputs in {time.monotonic() - began:.0f} s, no crash, no hang")
    return 0


if __name__ == "__main__":
    sys.exit(main())
