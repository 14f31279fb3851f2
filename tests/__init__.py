"""The tests. `python -m unittest` runs half of their modules in a second process: they wait more than they work."""

from __future__ import annotations

import re
import subprocess
import sys
import unittest
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
LONG = "relay failover faults ollama_versions distribution tls attacks claude serve soak switching check ccrelay server"
"""Modules that take seconds, longest first: dealt out before the others, so that both halves take as long."""


def load_tests(loader: unittest.TestLoader, tests: unittest.TestSuite, pattern: str | None) -> unittest.TestSuite:
    """Called for a run of everything. One module, class or test that is named on the command line runs as ever."""
    long = {f"tests.test_{name}": position for position, name in enumerate(LONG.split())}
    names = sorted(f"tests.{path.stem}" for path in FOLDER.glob(pattern or "test*.py"))
    names.sort(key=lambda name: long.get(name, len(long)))
    return Halves(loader, names[::2], names[1::2])


class Halves(unittest.TestSuite):
    def __init__(self, loader: unittest.TestLoader, here: Sequence[str], elsewhere: Sequence[str]) -> None:
        super().__init__(loader.loadTestsFromNames(here))
        chosen = [f"-k{each}" for each in loader.testNamePatterns or ()]
        self._command = [sys.executable, "-m", "unittest", *chosen, *elsewhere]

    def run(self, result: unittest.TestResult, debug: bool = False) -> unittest.TestResult:
        output = subprocess.PIPE
        with subprocess.Popen(self._command, cwd=FOLDER.parent, stderr=output, text=True) as other:
            super().run(result, debug)
            told = other.communicate()[1]
        ran, skipped = (re.search(words, told) for words in (r"Ran (\d+) tests?", r"skipped=(\d+)"))
        result.testsRun += int(ran[1]) if ran else 0
        result.skipped += [(self, "")] * (int(skipped[1]) if skipped else 0)  # type: ignore[list-item]
        if other.returncode and other.returncode != 5:  # 5: -k chose none of them
            result.errors.append((self, told))  # type: ignore[arg-type]
        return result

    def __str__(self) -> str:
        """What a failure of the other process is headed by; its own words follow."""
        return "the other half of the tests"

    def shortDescription(self) -> None:
        """As a test case has it."""
