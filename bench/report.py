"""Figures of a run, as a table for people: medians over the repetitions, ratios of what ran side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Run = dict[str, Any]
Runs = dict[str, list[Run]]
"""The repetitions of each target: `direct`, the relay, perhaps the relay of another revision."""


@dataclass(frozen=True)
class Figure:
    """One figure of a run: its name and unit, and where it stands."""

    name: str
    path: str
    more_is_better: bool = False

    def of(self, run: Run) -> float | None:
        value: Any = run
        for key in self.path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return float(value) if value is not None else None


FIGURES = [
    Figure("first event, p50 µs", "first_us.p50"),
    Figure("first event, p99 µs", "first_us.p99"),
    Figure("delay per event, p50 µs", "delay_us.p50"),
    Figure("delay per event, p99 µs", "delay_us.p99"),
    Figure("whole answer, p50 µs", "total_us.p50"),
    Figure("requests per second", "requests_s", more_is_better=True),
    Figure("CPU per request, ms", "cpu_request_ms"),
    Figure("CPU per event, µs", "cpu_event_us"),
    Figure("peak memory, MB", "peak_mb"),
    Figure("start to first answer, ms", "start_ms"),
    Figure("memory when idle, MB", "idle_mb"),
    Figure("wake-ups per second when idle", "wakeups_s"),
    Figure("TLS handshakes per request", "handshakes_request"),
]

CLEARLY = 1.02  # memory hardly differs between repetitions, and a page more is no news
MEMORY = {"peak_mb", "idle_mb"}  # one of them is in every run of a relay where the system tells


def middle(figure: Figure, runs: Sequence[Run]) -> float | None:
    """The median of the repetitions; None if none of them has this figure."""
    values = [value for run in runs if (value := figure.of(run)) is not None]
    return median(values) if values else None


def ratio(figure: Figure, runs: Sequence[Run], base: Sequence[Run]) -> float | None:
    """The median of the ratios of runs that were made one after the other."""
    pairs = [(figure.of(run), figure.of(other)) for run, other in zip(runs, base, strict=False)]
    ratios = [mine / theirs for mine, theirs in pairs if mine is not None and theirs]
    return median(ratios) if ratios else None


def slower(figure: Figure, now: Sequence[Run], then: Sequence[Run]) -> bool:
    """Whether it got worse by more than the repetitions differ: now's best is clearly worse than then's worst.

    One repetition says nothing.
    """
    mine = [value for run in now if (value := figure.of(run)) is not None]
    theirs = [value for run in then if (value := figure.of(run)) is not None]
    if len(mine) < 2 or len(theirs) < 2:
        return False
    if figure.more_is_better:
        return max(mine) * CLEARLY < min(theirs)
    return min(mine) > max(theirs) * CLEARLY


# ---- the tables ----


def rows(runs: Runs, against: str | None) -> list[list[str]]:
    """A heading, then a row a figure: each target's median and its ratio to `direct`, and now to then."""
    targets = [name for name in runs if name != "direct"]
    direct = runs.get("direct", [])
    heading = ["", *(["direct"] if direct else [])]
    for name in targets:
        heading += [name, *(["× direct"] if direct else [])]
    table = [heading + (["now / then", ""] if against else [])]
    shown = [figure for figure in FIGURES if any(middle(figure, runs[name]) is not None for name in targets)]
    return table + [row(figure, runs, targets, against) for figure in shown]


def row(figure: Figure, runs: Runs, targets: list[str], against: str | None) -> list[str]:
    direct = runs.get("direct", [])
    cells = [figure.name, *([number(middle(figure, direct))] if direct else [])]
    for name in targets:
        cells.append(number(middle(figure, runs[name])))
        cells += [number(ratio(figure, runs[name], direct))] if direct else []
    if against:
        now, then = runs[targets[0]], runs[against]
        cells += [number(ratio(figure, now, then)), "slower" if slower(figure, now, then) else ""]
    return cells


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def aligned(table: list[list[str]]) -> str:
    """The first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for cells in table:
        first, *others = (
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def broken(runs: Runs) -> list[str]:
    """A sentence for each target and each way in which its streams broke."""
    told = []
    for name, repetitions in runs.items():
        lost = sum(run.get("requests", 0) - run.get("whole", 0) for run in repetitions)
        reasons = sorted({reason for run in repetitions for reason in run.get("broken", [])})
        if lost:
            told.append(f"{name}: {lost} broken streams: {'; '.join(reasons[:3])}")
    return told


def noise(runs: Runs) -> float:
    """The share of a core that other processes took, in the worst run."""
    return max((run.get("others_cores") or 0.0 for repetitions in runs.values() for run in repetitions), default=0.0)


def section(name: str, about: str, runs: Runs, against: str | None) -> str:
    """One scenario: a line about it, the table, and what is wrong."""
    lines = [f"{name}: {about}", aligned(rows(runs, against))]
    lines += [f"BROKEN {sentence}" for sentence in broken(runs)]
    if noise(runs) > 0.15:
        lines.append(f"noisy: other processes took {noise(runs):.1f} cores")
    if all(MEMORY.isdisjoint(run) for each in runs.values() for run in each):
        lines.append("CPU and memory are missing: this system has no /proc")
    return "\n".join(lines)
