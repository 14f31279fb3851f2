"""How the cost of a request grows with its conversation, and what the relay keeps of it.

    python bench/growth.py                         the tables, and docs/performance.svg
    python bench/growth.py --json growth.json --svg other.svg
    python bench/growth.py repaired translated     these ways only
    python bench/growth.py --quick                 small conversations only: does it all work?

For each way through the relay (bytes passed on, history repaired, translated for Ollama), on one connection:

* size: 10 KB to 8 MB, with as many messages as such a conversation has;
* length: 10 to 5,000 messages in 2 MB, and 10 to 5,000 messages of 1 KB each;
* memory: what a fresh process takes at most above what it has when idle, in bodies; and what is still there after
  many requests, compared with few.

Times are those of the fastest request: whatever else the machine does only adds to them.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import linear_regression
from typing import Any

from plot import Panel, Series, svg
from processes import ROOT, BenchError, Server, cpu_seconds, forget_peak, interpreter, load, memory_mb, relay, upstream
from report import aligned, number
from run import job
from scenarios import KB, LOCAL, MB, Scenario

Json = dict[str, Any]

WAYS = {
    "passed-on": Scenario("", 1, 1, 0, 2),
    "repaired": Scenario("", 1, 1, 0, 2, foreign=True),
    "translated": Scenario("", 1, 1, 0, 2, model=f"ollama/{LOCAL}"),
}
SIZES = [10 * KB, 30 * KB, 100 * KB, 300 * KB, MB, 2 * MB, 4 * MB, 8 * MB]
LENGTHS = [10, 30, 100, 300, 1000, 2000, 5000]
SAME_SIZE, MESSAGE = 2 * MB, KB
Places = list[tuple[float, int, int]]
"""Where to measure: (value on the axis, the body's bytes, its messages; 0: as many as such a body has)."""

SEQUENCES: dict[str, tuple[str, Places]] = {  # name → (unit of the axis, where)
    "size": ("MB", [(size / MB, size, 0) for size in SIZES]),
    "length, 2 MB": ("messages", [(count, SAME_SIZE, count) for count in LENGTHS]),
    "length, 1 KB a message": ("messages", [(count, count * MESSAGE, count) for count in LENGTHS]),
}
PEAKS = [(100 * KB, 0), (MB, 0), (2 * MB, 5000), (4 * MB, 0), (8 * MB, 0)]  # (bytes of the body, its messages)
LINEAR = 1.15  # a slope, on logarithmic axes, up to which growth is called linear
STEEP_FROM = 0.1  # the part of a sequence, by its largest point, in which the slope is taken: below, fixed costs count
BODIES = 3.0  # bodies of memory that a request may take
ROUNDS = 3
KEPT_MB = 2.0  # what may differ between two looks at a process that keeps nothing


@dataclass(frozen=True)
class Point:
    """What one kind of request costs."""

    x: float
    body: int
    requests: int
    milliseconds: float
    cpu_ms: float | None


class Probe:
    """One relay, asked the same again and again on one connection."""

    def __init__(self, way: Scenario, server: Server, folder: Path, seconds: float) -> None:
        self._way, self._server, self._folder, self._seconds = way, server, folder, seconds
        self.ask(20 * KB, 0, 3)  # everything imported, every connection open

    def ask(self, size: int, messages: int, requests: int) -> tuple[Json, int]:
        """(what the client measured, the body's bytes). Raises BenchError if a stream is broken."""
        scenario = replace(self._way, body=size, messages=messages, requests=requests)
        asked = job(scenario, self._server, self._folder, direct=False)
        told = load(asked)
        if told["broken"]:
            raise BenchError(f"a broken stream: {told['broken'][0]}")
        return told, Path(asked.body).stat().st_size

    def point(self, x: float, size: int, messages: int) -> Point:
        """Enough requests to fill `seconds`, three at least."""
        told, _ = self.ask(size, messages, 1)
        requests = max(3, min(1000, int(self._seconds / told["wall_s"])))
        before = cpu_seconds(self._server.pid)
        told, body = self.ask(size, messages, requests)
        after = cpu_seconds(self._server.pid)
        cpu = None if before is None or after is None else 1000 * (after - before) / requests
        return Point(x, body, requests, told["total_us"]["min"] / 1000, cpu)

    def peak(self, size: int, messages: int) -> Json:
        """Memory at most, above that of the idle process, also as a multiple of the body. For a fresh process only."""
        forget_peak(self._server.pid)
        idle = memory_mb(self._server.pid, "VmRSS")
        _, body = self.ask(size, messages, 3)
        peak = memory_mb(self._server.pid, "VmHWM")
        bodies = None if peak is None or idle is None else (peak - idle) * MB / body
        return {"body_mb": body / MB, "messages": messages, "idle_mb": idle, "peak_mb": peak, "bodies": bodies}

    def kept(self, size: int, requests: int) -> Json:
        """Memory after each of several rounds of requests: what is kept of each would make the later ones larger.

        How much of its heap a process gives back differs from time to time, so the least of the rounds is compared.
        """
        levels = [self._level(size, requests) for _ in range(2 * ROUNDS)]
        known = [level for level in levels if level is not None]
        grown = min(known[ROUNDS:]) - min(known[:ROUNDS]) if known else None
        return {"requests": ROUNDS * requests, "body_mb": size / MB, "levels_mb": levels, "grown_mb": grown}

    def _level(self, size: int, requests: int) -> float | None:
        self.ask(size, 0, requests)
        time.sleep(0.1)
        return memory_mb(self._server.pid, "VmRSS")


def slope(points: list[Point]) -> float | None:
    """The exponent with which the time grows over the largest points: 1 is linear. None where they are too few."""
    steep = [point for point in points if point.x >= STEEP_FROM * points[-1].x]
    if len(steep) < 2:
        return None
    xs, ys = [math.log(point.x) for point in steep], [math.log(point.milliseconds) for point in steep]
    return linear_regression(xs, ys).slope


# ---- all of it ----


def measured(way: Scenario, options: argparse.Namespace) -> Json:
    """The points, the peaks and what is kept, of one way through the relay."""
    told: Json = {"sequences": {}, "peaks": []}
    with tempfile.TemporaryDirectory(prefix="ccrelay-bench-") as name:
        start = partial(probing, way, Path(name), options)
        for sequence, (_, places) in sequences(options.quick).items():
            with start() as fresh:
                told["sequences"][sequence] = [fresh.point(*place) for place in places]
        for size, messages in PEAKS[:1] if options.quick else PEAKS:
            with start() as fresh:
                told["peaks"].append(fresh.peak(size, messages))
        with start() as fresh:
            told["kept"] = fresh.kept(PEAKS[0][0], 1) if options.quick else fresh.kept(PEAKS[-1][0], 5)
    return told


@contextmanager
def probing(way: Scenario, folder: Path, options: argparse.Namespace) -> Iterator[Probe]:
    """A relay of its own, with its upstream."""
    with (
        upstream(way, folder, None) as up,
        relay(ROOT, options.python, up.port, False, folder) as server,
    ):
        yield Probe(way, server, folder, options.seconds)


def sequences(quick: bool) -> dict[str, tuple[str, Places]]:
    """Quick: two small bodies."""
    unit, places = SEQUENCES["size"]
    return {"size": (unit, places[:2])} if quick else SEQUENCES


def tables(told: dict[str, Json], quick: bool) -> Iterator[str]:
    for name, (unit, _) in sequences(quick).items():
        heading = [f"{name}: {unit}"]
        for way in told:
            heading += [f"{way}: ms", "CPU ms"]
        yield aligned([heading, *sequence_rows([told[way]["sequences"][name] for way in told])])
        yield "\n".join(verdict(way, told[way]["sequences"][name]) for way in told)
    yield aligned([["memory at most, in bodies", *told], *peak_rows([each["peaks"] for each in told.values()])])
    yield "\n".join(memory_verdict(way, each) for way, each in told.items())


def sequence_rows(columns: list[list[Point]]) -> Iterator[list[str]]:
    for points in zip(*columns, strict=True):
        cells = [number(points[0].x)]
        for point in points:
            cells += [number(point.milliseconds), number(point.cpu_ms)]
        yield cells


def verdict(way: str, points: list[Point]) -> str:
    exponent = slope(points)
    if exponent is None:
        return f"{way}: too few points to say how it grows"
    return f"{way}: grows with the power {exponent:.2f}{'' if exponent <= LINEAR else ': MORE THAN LINEAR'}"


def peak_rows(columns: list[list[Json]]) -> Iterator[list[str]]:
    for peaks in zip(*columns, strict=True):
        messages = f", {peaks[0]['messages']:,} messages" if peaks[0]["messages"] else ""
        yield [f"{number(peaks[0]['body_mb'])} MB{messages}", *(number(peak["bodies"]) for peak in peaks)]


def memory_verdict(way: str, told: Json) -> str:
    """A small body drowns in what a process takes anyway, so only those of 1 MB and more are judged."""
    kept, bodies = told["kept"], [peak["bodies"] for peak in told["peaks"] if peak["body_mb"] >= 0.9]
    if kept["grown_mb"] is None:
        return f"{way}: memory is missing: this system has no /proc"
    grown = f"{kept['grown_mb']:+.1f} MB after {kept['requests']} more requests"
    too_much = f"MORE THAN {BODIES:g} BODIES, " if max(bodies, default=0.0) > BODIES else ""
    return f"{way}: {too_much}{grown}{': SOMETHING IS KEPT' if kept['grown_mb'] > KEPT_MB else ''}"


def panels(told: dict[str, Json], quick: bool) -> list[Panel]:
    """A plot of milliseconds for each sequence."""
    return [
        Panel(
            title=f"Time of a request by {name}",
            x=unit,
            y="ms",
            series=[
                Series(way, [(p.x, p.milliseconds) for p in each["sequences"][name]]) for way, each in told.items()
            ],
        )
        for name, (unit, _) in sequences(quick).items()
    ]


def curve(points: list[Point]) -> list[tuple[float, float]]:
    return [(point.x, point.milliseconds) for point in points]


def as_json(told: dict[str, Json]) -> str:
    return json.dumps(told, indent=1, default=vars)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="the plot (docs/performance.svg; none with --quick)")
    parser.add_argument("--seconds", type=float, default=0.5, help="to spend on each point")
    parser.add_argument("--python", default=sys.executable, help="to run the relay with: program or version")
    parser.add_argument("--quick", action="store_true", help="small conversations only")
    options = parser.parse_args()
    if unknown := set(options.ways) - set(WAYS):
        parser.error(f"no way {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    return options


def main() -> int:
    options = arguments()
    try:
        options.python = interpreter(options.python)[0]
        options.seconds = 0.0 if options.quick else options.seconds
        told = {name: measured(WAYS[name], options) for name in options.ways or WAYS}
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print("\n\n".join(tables(told, options.quick)))
    plot = options.svg or (None if options.quick else ROOT / "docs" / "performance.svg")
    if plot:
        plot.write_text(svg(panels(told, options.quick)), "utf-8")
    if options.json:
        options.json.write_text(as_json(told), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
