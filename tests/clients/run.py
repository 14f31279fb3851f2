"""The real clients against the relay: `python -m tests.clients.run --npm FOLDER [NAME…]`.

Claude Code and both SDKs, each check with a relay and upstreams of its own. The closing line is `N passed, N failed`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.clients import (
    check_balancer,
    check_claude_code,
    check_launch,
    check_python_sdk,
    check_skill,
    check_typescript_sdk,
)
from tests.clients.claude import ClaudeCode
from tests.clients.stage import CheckError, Stage, stage

Check = tuple[str, Callable[[Stage], None]]


@dataclass(frozen=True)
class Outcome:
    """How a check went: no reason if well."""

    name: str
    seconds: float
    reason: str = ""
    log: str = ""

    def __str__(self) -> str:
        if not self.reason:
            return f"ok  {self.name}  ({self.seconds:.1f} s)"
        log = "".join(f"\n    relay: {line}" for line in self.log.splitlines()[-12:])
        return f"FAIL {self.name}: {self.reason}{log}"


def main() -> int:
    """Runs the checks that were asked for, several at once."""
    options = arguments().parse_args()
    chosen = [check for check in all_checks(options.npm) if all(word in check[0] for word in options.words)]
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = [announced(outcome) for outcome in pool.map(attempt, chosen)]
    failed = sum(bool(outcome.reason) for outcome in outcomes)
    print(f"{len(outcomes) - failed} passed, {failed} failed", flush=True)
    return 1 if failed or not outcomes else 0


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients.run", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="only checks whose names contain every word")
    parser.add_argument("--npm", type=Path, required=True, help="the folder that the npm packages are installed in")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="how many checks run at once")
    return parser


def all_checks(npm: Path) -> list[Check]:
    """Every check with its name."""
    claude = ClaudeCode(npm)
    return list(
        itertools.chain(
            check_claude_code.checks(claude),
            check_launch.checks(claude),
            check_skill.checks(claude),
            check_python_sdk.checks(),
            check_typescript_sdk.checks(npm),
            check_balancer.checks(claude),
        )
    )


def attempt(check: Check) -> Outcome:
    """One check on a stage of its own; whatever goes wrong is its outcome."""
    name, function = check
    began = time.monotonic()
    reason = log = ""
    try:
        with stage() as built:
            try:
                function(built)
            finally:
                log = built.log.read_text("utf-8")
    except CheckError as error:
        reason = str(error)
    except Exception:
        reason = traceback.format_exc(limit=-3).strip()
    return Outcome(name, time.monotonic() - began, reason, log)


def announced(outcome: Outcome) -> Outcome:
    """Says how a check went."""
    print(outcome, flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
