"""Plots on logarithmic axes, written as SVG by hand: readable on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 420, 300  # of one panel
LEFT, RIGHT, TOP, BOTTOM = 52, 100, 34, 40  # around its axes; the names of the series stand to the right
SIGN_HEIGHT = 13.0

STYLE = """\
text { font: 11px sans-serif; fill: #333 }
.title { font-weight: bold; font-size: 12px }
.grid { stroke: #ddd; stroke-width: 1 }
.line { fill: none; stroke-width: 2 }
.s0 { stroke: #0b6bcb } .s1 { stroke: #c2410c } .s2 { stroke: #15803d } .s3 { stroke: #7e22ce }
circle { stroke-width: 2; fill: none }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd }
  .grid { stroke: #444 }
  .s0 { stroke: #6cb6ff } .s1 { stroke: #ff9b5e } .s2 { stroke: #57d38c } .s3 { stroke: #cf9bff }
}"""


@dataclass(frozen=True)
class Series:
    """A named line through points, both numbers above zero."""

    name: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One plot: its title and the units of its axes."""

    title: str
    x: str
    y: str
    series: list[Series]


class Axis:
    """Values from one power of ten to another, at places from `start` to `end`."""

    def __init__(self, values: list[float], start: float, end: float) -> None:
        self._low, self._high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        self._high += self._high == self._low
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def marks(self) -> list[float]:
        return [10.0**power for power in range(self._low, self._high + 1)]


def svg(panels: list[Panel]) -> str:
    """The panels side by side."""
    body = [line for place, panel in enumerate(panels) for line in drawn(panel, place * WIDTH)]
    size = f'width="{WIDTH * len(panels)}" height="{HEIGHT}" viewBox="0 0 {WIDTH * len(panels)} {HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    names = escape("; ".join(panel.title for panel in panels))
    return "\n".join([head, f"<title>{names}</title>", f"<style>{STYLE}</style>", *body, "</svg>", ""])


def drawn(panel: Panel, offset: int) -> Iterator[str]:
    points = [point for series in panel.series for point in series.points]
    x = Axis([point[0] for point in points], LEFT, WIDTH - RIGHT)
    y = Axis([point[1] for point in points], HEIGHT - BOTTOM, TOP)
    yield f'<g transform="translate({offset} 0)">'
    yield text(LEFT, 16, panel.title, kind="title")
    yield from grid(x, y)
    yield text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, panel.x, anchor="middle")
    yield text(LEFT - 6, TOP - 6, panel.y, anchor="end")
    yield from lines(panel, x, y)
    yield "</g>"


def grid(x: Axis, y: Axis) -> Iterator[str]:
    for value in x.marks():
        yield f'<line class="grid" x1="{x.at(value):.1f}" x2="{x.at(value):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        yield text(x.at(value), HEIGHT - BOTTOM + 15, f"{value:,g}", anchor="middle")
    for value in y.marks():
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.at(value):.1f}" y2="{y.at(value):.1f}"/>'
        yield text(LEFT - 6, y.at(value) + 4, f"{value:,g}", anchor="end")


def lines(panel: Panel, x: Axis, y: Axis) -> Iterator[str]:
    signs = apart([y.at(series.points[-1][1]) for series in panel.series])
    for number, (series, sign) in enumerate(zip(panel.series, signs, strict=True)):
        places = [(x.at(a), y.at(b)) for a, b in series.points]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        yield f'<polyline class="line s{number}" points="{path}"/>'
        yield from (f'<circle class="s{number}" cx="{a:.1f}" cy="{b:.1f}" r="2"/>' for a, b in places)
        yield text(x.at(series.points[-1][0]) + 8, sign + 4, series.name)


def apart(places: list[float]) -> list[float]:
    """The places moved down as far as needed for each sign to be readable, in the order given."""
    moved, last = dict[int, float](), -math.inf
    for number, place in sorted(enumerate(places), key=lambda pair: pair[1]):
        moved[number] = last = max(place, last + SIGN_HEIGHT)
    return [moved[number] for number in range(len(places))]


def text(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "label") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
