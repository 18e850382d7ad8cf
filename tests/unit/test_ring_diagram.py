"""The drawing of a ring: well-formed, small, and true to the table."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from dnsfront.ring.diagram import svg
from dnsfront.ring.placement import Member
from dnsfront.ring.table import build

SVG = "{http://www.w3.org/2000/svg}"


def texts(drawing: str) -> list[str]:
    # The drawing is our own, so nothing in it can harm the parser.
    root = ET.fromstring(drawing)  # noqa: S314
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def groups(drawing: str) -> list[ET.Element]:
    return list(ET.fromstring(drawing).iter(f"{SVG}g"))  # noqa: S314 - our own


def test_legend_names_every_worker_with_its_share() -> None:
    table = build(
        [Member("w1", 2), Member("w2"), Member("spare", standby=True)], slots=3000
    )
    owned = table.slots_of()

    legend = texts(svg(table, title="ns1"))

    assert legend[:2] == ["3,000 slots", "method ring"]
    assert legend[3:7] == ["ns1", "spare standby", "0.00%", "0"]
    assert legend[7:] == [
        "w1 weight 2",
        f"{owned['w1'] / 3000:.2%}",
        f"{owned['w1']:,}",
        "w2",
        f"{owned['w2'] / 3000:.2%}",
        f"{owned['w2']:,}",
    ]


def test_workers_that_own_nothing_have_no_arc() -> None:
    drawing = svg(build([Member("w1"), Member("spare", standby=True)], slots=64))

    (group,) = groups(drawing)

    assert group.findtext(f"{SVG}title") == "w1: 64 slots, 100.00%"
    assert len(group.findall(f"{SVG}path")) == 2


@pytest.mark.parametrize("slots", [1, 2, 719, 65536])
def test_arcs_of_all_workers_close_the_circle(slots: int) -> None:
    drawing = svg(build([Member("a"), Member("b")], slots=slots, vnodes=3))

    paths = [group[1].attrib["d"] for group in groups(drawing)]

    starts = {arc.split("A")[0] for path in paths for arc in path.split("M")[1:]}
    assert "320.0 54.0" in starts


def test_drawing_of_the_largest_ring_stays_small() -> None:
    table = build([Member(f"worker-{number}") for number in range(64)])

    assert len(svg(table)) < 64_000


def test_names_are_text_and_long_ones_are_cut() -> None:
    drawing = svg(build([Member("<&>"), Member("a-name-of-many-letters")], slots=8))

    legend = texts(drawing)

    assert "<&>" in legend
    assert "a-name-of-many-…" in legend
