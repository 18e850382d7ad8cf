from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from tests.bench.chart import Chart, Series
from tests.bench.charts import charts

_SVG = "{http://www.w3.org/2000/svg}"


def drawn(chart: Chart) -> ET.Element:
    return ET.fromstring(chart.svg())  # noqa: S314 - our own


def test_every_point_is_drawn_and_every_series_named() -> None:
    chart = Chart(
        "<title>",
        "workers",
        "hits",
        [
            Series("a & b", [(1, 0.5), (4, 0.75), (16, 0.9)]),
            Series("dots", [(1, 0.5), (64, 0.1)], is_dots=True),
        ],
    )

    image = drawn(chart)

    # Dots have one more in the legend.
    assert len(list(image.iter(f"{_SVG}circle"))) == 3 + 2 + 1
    texts = [text.text for text in image.iter(f"{_SVG}text")]
    assert {"<title>", "workers", "hits", "a & b", "dots", "1", "64"} <= set(texts)


def test_larger_is_higher_and_further_to_the_right() -> None:
    chart = Chart("t", "x", "y", [Series("s", [(1, 2.0), (10, 1.0), (100, 3.0)])])

    circles = [*drawn(chart).iter(f"{_SVG}circle")]

    xs = [float(circle.attrib["cx"]) for circle in circles]
    ys = [float(circle.attrib["cy"]) for circle in circles]
    assert xs[0] < xs[1] < xs[2]
    assert xs[1] - xs[0] == xs[2] - xs[1]  # tenfold each time
    assert ys[2] < ys[0] < ys[1]


def test_nothing_is_a_place_of_its_own_to_the_left() -> None:
    chart = Chart("t", "x", "y", [Series("s", [(0, 1.0), (10, 1.0), (1000, 1.0)])])

    xs = [float(circle.attrib["cx"]) for circle in drawn(chart).iter(f"{_SVG}circle")]

    assert xs[0] < xs[1] < xs[2]


def test_charts_are_of_the_parts_that_were_measured() -> None:
    ratios = dict.fromkeys(
        ("hit_ratio", "kernel_ratio", "upstream_ratio", "largest_share"), 0.5
    )
    row = {**ratios, "largest_woken_share": 0.5}
    hits = [
        {"workers": n, "ring": row, "by_client": row, "kernel": row} for n in (1, 2)
    ]
    costs = [{"names": n, "dnsfront": {"over_dnsdist": 1.5}} for n in (10, 100)]
    figures: dict[str, Any] = {
        "hits": {"simulated": hits, "measured": hits},
        "names": costs,
        "table": {},
    }

    found = dict(charts(figures))

    assert list(found) == ["hits", "upstream", "busiest", "cost-by-names"]
    for chart in found.values():
        drawn(chart)
