"""A drawing of a slot table, as an SVG file that needs nothing else.

The outer band is the hash space as the slots lie in it, clockwise from the top; the
inner band sums up what each worker owns. Hundreds of arcs are enough for the eye, so
the file stays small however many slots there are.
"""

from __future__ import annotations

import colorsys
import math
from html import escape
from itertools import accumulate, count, groupby, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dnsfront.ring.placement import Member
    from dnsfront.ring.table import SlotTable

_ARCS = 720  # two per degree: finer ones blur into each other
_CENTRE = 320
_OUTER_RADIUS, _OUTER_WIDTH = 266, 64
_INNER_RADIUS, _INNER_WIDTH = 198, 40
_LEGEND_X, _LEGEND_WIDTH = 660, 360
_LEGEND_Y, _LEGEND_ROW = 80, 26
_LEGEND_ROWS = 22

_STYLE = """\
text { font: 15px system-ui, sans-serif; fill: #1b1f24; }
.title { font-size: 22px; font-weight: 600; }
.quiet { fill: #59636e; }
.figure { text-anchor: end; font-variant-numeric: tabular-nums; }
.centre { text-anchor: middle; }
.back { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f3f6; }
  .quiet { fill: #9ba4ae; }
  .back { fill: #14181d; }
}"""


def svg(table: SlotTable, *, title: str = "dnsfront ring") -> str:
    """Return the drawing of *table*: the ring, each worker's share, and a legend.

    The legend is exact. An arc of the outer band has the colour of the slot in its
    middle, for one arc may span many slots.
    """
    columns = math.ceil(len(table.workers) / _LEGEND_ROWS)
    width, height = _LEGEND_X + columns * _LEGEND_WIDTH, 2 * _CENTRE
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="back" width="{width}" height="{height}"/>',
        *_ring(table),
        *_centre(table),
        f'<text class="title" x="{_LEGEND_X}" y="46">{escape(title)}</text>',
        *_legend(table),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _ring(table: SlotTable) -> list[str]:
    """Return both bands, a group per worker, whose title shows under the mouse."""
    owned = table.slots_of()
    arcs = _arcs_of(table)
    parts = []
    for number, (name, sector) in enumerate(
        zip(owned, _sectors(owned.values()), strict=True)
    ):
        if owned[name]:
            share = f"{name}: {owned[name]:,} slots, {owned[name] / table.slots:.2%}"
            parts += [
                f'<g fill="none" stroke="{_colour(number)}">',
                f"<title>{escape(share)}</title>",
                _band(arcs[number], _OUTER_RADIUS, _OUTER_WIDTH),
                _band([sector], _INNER_RADIUS, _INNER_WIDTH),
                "</g>",
            ]
    return parts


def _arcs_of(table: SlotTable) -> dict[int, list[tuple[float, float]]]:
    """Return each worker's arcs, as parts of a turn, neighbours run together."""
    total = min(_ARCS, table.slots)
    owners = table.owners()
    seen = (owners[(2 * arc + 1) * table.slots // (2 * total)] for arc in range(total))
    arcs: dict[int, list[tuple[float, float]]] = {
        number: [] for number in range(len(table.workers))
    }
    at = 0
    for owner, run in groupby(seen):
        end = at + sum(1 for _ in run)
        # A little overlap, or hairlines of background shine through the seams.
        arcs[owner - 1].append((at / total, (end + 0.2) / total))
        at = end
    return arcs


def _sectors(owned: Iterable[int]) -> list[tuple[float, float]]:
    """Return one arc per worker, as long as its share, one after the other."""
    ends = list(accumulate(owned, initial=0))
    return [(start / ends[-1], end / ends[-1]) for start, end in pairwise(ends)]


def _band(arcs: Iterable[tuple[float, float]], radius: int, width: int) -> str:
    path = "".join(_arc(start, end, radius) for start, end in arcs)
    return f'<path stroke-width="{width}" d="{path}"/>'


def _arc(start: float, end: float, radius: int) -> str:
    """Return the path of an arc; SVG draws no arc whose ends meet, so turns halve."""
    if end - start > 0.5:
        middle = (start + end) / 2
        return _arc(start, middle, radius) + _arc(middle, end, radius)
    return f"M{_point(start, radius)}A{radius} {radius} 0 0 1 {_point(end, radius)}"


def _point(turn: float, radius: int) -> str:
    angle = 2 * math.pi * turn
    x = _CENTRE + radius * math.sin(angle)
    y = _CENTRE - radius * math.cos(angle)
    return f"{x:.1f} {y:.1f}"


def _centre(table: SlotTable) -> list[str]:
    lines = [
        ("title centre", f"{table.slots:,} slots"),
        ("centre", f"method {table.method}"),
        ("centre quiet", f"largest over mean {table.max_over_mean:.3f}"),
    ]
    return [
        f'<text class="{style}" x="{_CENTRE}" y="{y}">{text}</text>'
        for y, (style, text) in zip(count(_CENTRE - 20, 26), lines, strict=False)
    ]


def _legend(table: SlotTable) -> list[str]:
    owned = table.slots_of()
    parts = []
    for number, worker in enumerate(table.workers):
        column, row = divmod(number, _LEGEND_ROWS)
        x = _LEGEND_X + column * _LEGEND_WIDTH
        y = _LEGEND_Y + row * _LEGEND_ROW
        slots = owned[worker.name]
        share = f"{slots / table.slots:.2%}"
        patch = f'width="16" height="16" rx="3" fill="{_colour(number)}"'
        parts += [
            f'<rect x="{x}" y="{y - 13}" {patch}/>',
            f'<text x="{x + 26}" y="{y}">{_label(worker)}</text>',
            f'<text class="figure" x="{x + 270}" y="{y}">{share}</text>',
            f'<text class="figure quiet" x="{x + 336}" y="{y}">{slots:,}</text>',
        ]
    return parts


def _label(worker: Member) -> str:
    label = escape(_shortened(worker.name))
    if worker.weight != 1:
        label += f' <tspan class="quiet">weight {worker.weight}</tspan>'
    if worker.standby:
        label += ' <tspan class="quiet">standby</tspan>'
    return label


def _shortened(name: str) -> str:
    return name if len(name) <= 16 else name[:15] + "…"


def _colour(number: int) -> str:
    """Return a colour of which neighbours differ much: hues a golden angle apart."""
    hue = (0.58 + number * 0.6180339887) % 1
    lightness = (0.50, 0.62, 0.42)[number % 3]
    channels = colorsys.hls_to_rgb(hue, lightness, 0.58)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)
