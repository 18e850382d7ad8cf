"""A line chart as an SVG file that needs nothing else, readable in the dark too."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH: Final = 760
_HEIGHT: Final = 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 530, 56, 340
_LEGEND_X: Final = 556
_COLOURS: Final = ("#2f6fd0", "#d0632f", "#2f9e5b", "#8a4fc4", "#7a828c")

_STYLE: Final = """\
text { font: 13px system-ui, sans-serif; fill: #1b1f24; }
.title { font-size: 17px; font-weight: 600; }
.quiet { fill: #59636e; }
.middle { text-anchor: middle; }
.end { text-anchor: end; }
.grid { stroke: #d1d9e0; }
.back { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f3f6; }
  .quiet { fill: #9ba4ae; }
  .grid { stroke: #3d444d; }
  .back { fill: #14181d; }
}"""


@dataclass(frozen=True)
class Series:
    """Points of one kind: joined by a line, or dots without one."""

    name: str
    points: Sequence[tuple[float, float]]
    is_dots: bool = False
    #: Its colour is that of the series with this number; by default its own.
    colour: int | None = None


@dataclass(frozen=True)
class Chart:
    """Series over one axis that doubles or grows tenfold; the other begins at zero."""

    title: str
    x_title: str
    y_title: str
    series: Sequence[Series]
    #: Whether values are parts of one, shown as percents.
    is_share: bool = False

    def svg(self) -> str:
        """Return the drawing."""
        size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(self.title)}</title>",
            f"<style>\n{_STYLE}\n</style>",
            f'<rect class="back" width="{_WIDTH}" height="{_HEIGHT}"/>',
            _text(_LEFT, 28, self.title, "title"),
            *self._axes(),
            *self._lines(),
            *self._legend(),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _xs(self) -> list[float]:
        return sorted({x for series in self.series for x, _ in series.points})

    def _top(self) -> float:
        """Return the end of the upright axis: a round number over all values."""
        highest = max(y for series in self.series for _, y in series.points)
        if self.is_share and highest > 0.5:
            return 1.0
        step = 10 ** math.floor(math.log10(highest or 1)) / 2
        return math.ceil(highest * 1.02 / step) * step

    def _x(self, value: float) -> float:
        first, last = self._xs()[0], self._xs()[-1]
        beside = 0 if first else 1  # nothing has no logarithm
        low, high = math.log(first + beside), math.log(last + beside)
        part = (math.log(value + beside) - low) / (high - low) if high > low else 0.5
        return _LEFT + part * (_RIGHT - _LEFT)

    def _y(self, value: float) -> float:
        return _BOTTOM - value / self._top() * (_BOTTOM - _TOP)

    def _axes(self) -> Iterator[str]:
        for number in range(6):
            value = self._top() * number / 5
            y = self._y(value)
            yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>'
            text = f"{value:.0%}" if self.is_share else f"{value:g}"
            yield _text(_LEFT - 8, y + 4, text, "end quiet")
        for value in self._xs():
            yield _text(self._x(value), _BOTTOM + 20, f"{value:,.0f}", "middle quiet")
        yield _text((_LEFT + _RIGHT) / 2, _BOTTOM + 44, self.x_title, "middle")
        yield _text(_LEFT, _TOP - 10, self.y_title, "quiet")

    def _lines(self) -> Iterator[str]:
        for number, series in enumerate(self.series):
            colour = _colour(number, series)
            places = [(self._x(x), self._y(y)) for x, y in series.points]
            yield f"<g><title>{escape(series.name)}</title>"
            if not series.is_dots:
                path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
                stroke = f'fill="none" stroke="{colour}" stroke-width="2"'
                yield f'<path {stroke} d="M{path}"/>'
            for x, y in places:
                yield _dot(x, y, colour, is_large=series.is_dots)
            yield "</g>"

    def _legend(self) -> Iterator[str]:
        for number, series in enumerate(self.series):
            y = _TOP + 10 + 24 * number
            colour = _colour(number, series)
            if series.is_dots:
                yield _dot(_LEGEND_X + 8, y - 4, colour, is_large=True)
            else:
                yield (
                    f'<path stroke="{colour}" stroke-width="2"'
                    f' d="M{_LEGEND_X} {y - 4}h16"/>'
                )
            yield _text(_LEGEND_X + 24, y, series.name, "")


def _colour(number: int, series: Series) -> str:
    chosen = number if series.colour is None else series.colour
    return _COLOURS[chosen % len(_COLOURS)]


def _dot(x: float, y: float, colour: str, *, is_large: bool) -> str:
    form = f'r="5" fill="none" stroke="{colour}" stroke-width="2"'
    if not is_large:
        form = f'r="2.5" fill="{colour}"'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" {form}/>'


def _text(x: float, y: float, text: str, style: str) -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
