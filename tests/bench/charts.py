"""Draw what `tests.bench.scale` measured: ``python -m tests.bench.charts FILE...``.

Of several files the later ones say more; each writes the charts of the parts it has.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench.chart import Chart, Series
from tests.bench.server import ROOT

CHARTS: Final = ROOT / "docs" / "charts"
_WORKERS: Final = "workers"
_COSTS: Final = {
    "workers": (
        "hit",
        "by workers, 10,000 queries a second",
        "workers (dnsdist: one thread)",
    ),
    "names": ("hit", "by names asked for, full load", "distinct names, all cached"),
    "entries": (
        "hit",
        "by entries, full load",
        "entries in the cache, 10,000 asked for",
    ),
    "upstreams": ("miss", "by upstreams, full load", "servers, dnsdist's as well"),
    "zones": ("miss", "by local zones, full load", "zones; dnsdist has none"),
    "networks": (
        "hit",
        "by networks of clients, full load",
        "networks more in access.allow, and in dnsdist's ACL",
    ),
}
_COMPARED: Final = ("dnsfront", "dnsfront compiled", "reflector")


def main(paths: Sequence[str]) -> None:
    """Write every chart that the results in *paths* have figures for."""
    figures: dict[str, Any] = {}
    for path in paths:
        figures |= json.loads(Path(path).read_text("utf-8"))["figures"]
    CHARTS.mkdir(parents=True, exist_ok=True)
    for name, chart in charts(figures):
        path = CHARTS / f"{name}.svg"
        path.write_text(chart.svg(), encoding="utf-8")
        sys.stdout.write(f"{path}\n")


def charts(figures: Mapping[str, Any]) -> Iterator[tuple[str, Chart]]:
    """Yield names and charts of the parts that *figures* has."""
    if "hits" in figures:
        yield from _of_hits(figures["hits"])
    for part, (query, what, x_title) in _COSTS.items():
        if part in figures:
            title = f"CPU a {query} next to dnsdist's, {what}"
            series = [
                Series(name, points)
                for name in _COMPARED
                if (points := _costs(figures[part], part, name))
            ]
            yield (
                f"cost-by-{part}",
                Chart(title, x_title, "times dnsdist's, same round", series),
            )


def _costs(
    rows: Sequence[Mapping[str, Any]], key: str, server: str
) -> list[tuple[float, float]]:
    return [(row[key], row[server]["over_dnsdist"]) for row in rows if server in row]


def _of_hits(hits: Mapping[str, Any]) -> Iterator[tuple[str, Chart]]:
    simulated, measured = hits["simulated"], hits["measured"]

    def line(name: str, placed: str, key: str) -> Series:
        return Series(name, [(row[_WORKERS], row[placed][key]) for row in simulated])

    def dots(name: str, placed: str, key: str, colour: int) -> Series:
        points = [(row[_WORKERS], row[placed][key]) for row in measured]
        return Series(name, points, is_dots=True, colour=colour)

    yield (
        "hits",
        Chart(
            "Hits, caches of 4,000 entries a worker, 20,000 names",
            _WORKERS,
            "of all queries",
            [
                line("by owner", "ring", "hit_ratio"),
                line("by client", "by_client", "hit_ratio"),
                line("by owner, in the kernel", "ring", "kernel_ratio"),
                dots("by owner, measured", "kernel", "hit_ratio", 0),
                dots("by client, measured", "by_client", "hit_ratio", 1),
                dots("in the kernel, measured", "kernel", "kernel_ratio", 2),
            ],
            is_share=True,
        ),
    )
    yield (
        "upstream",
        Chart(
            "Questions asked of upstreams, the same run",
            _WORKERS,
            "for each query",
            [
                line("by owner", "ring", "upstream_ratio"),
                line("by client", "by_client", "upstream_ratio"),
                dots("by owner, measured", "kernel", "upstream_ratio", 0),
                dots("by client, measured", "by_client", "upstream_ratio", 1),
            ],
            is_share=True,
        ),
    )
    yield (
        "busiest",
        Chart(
            "The busiest worker, the same run",
            _WORKERS,
            "its part of all queries",
            [
                line("owns", "ring", "largest_share"),
                line("by client", "by_client", "largest_share"),
                line("answers itself", "ring", "largest_woken_share"),
                dots("owns, measured", "kernel", "largest_share", 0),
                dots("answers, measured", "kernel", "largest_woken_share", 2),
            ],
            is_share=True,
        ),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
