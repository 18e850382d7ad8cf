"""What `dnsfront simulate` says of a list of queries is what becomes of them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.system.clients import ask
from tests.system.front import FrontEnd
from tests.system.processes import DNSFRONT, output_of
from tests.system.upstream import Asked, FakeUpstream, Response

pytest.importorskip("dpkt", reason="dpkt is not installed: run `make setup`")

NAMES, QUERIES = 120, 900


def lasting_answer(asked: Asked) -> list[Response]:
    return [asked.response("3000 A 192.0.2.1")]


def test_owners_and_hits_are_as_simulated(tmp_path: Path) -> None:
    draw = random.Random(9)
    weights = [1 / rank for rank in range(1, NAMES + 1)]
    numbers = draw.choices(range(NAMES), weights, k=QUERIES)
    names = [f"n{number}.test" for number in numbers]
    queries = tmp_path / "queries"
    queries.write_text("".join(f"{name} A\n" for name in names))
    with FakeUpstream(lasting_answer) as upstream:
        sections = {
            "ring": {"seed": "our own", "workers": 3},
            "cache": {"max_entries": 20},
            "kernel_cache": {"mode": "off"},
            "upstreams": {"servers": [{"address": str(upstream.address)}]},
        }
        with FrontEnd(tmp_path, **sections) as front:
            before = front.metrics()
            for name in names:
                ask(front.address, name, payload=0)
            after = front.metrics()

    asked = after.by_worker("queries_total", transport="udp")
    hits = (after.counts() - before.counts())["cache_hits"]
    options = (
        "-c",
        str(front.path),
        "--workers",
        "3",
        "--ttl",
        "50m",
        "--json",
        "--kernel-size",
        "0B",
    )
    [row] = json.loads(output_of(*DNSFRONT, "simulate", str(queries), *options))[
        "workers"
    ]

    assert sum(asked.values()) == QUERIES
    assert row["ring"]["largest_share"] == max(asked.values()) / QUERIES
    # Which of those that were let go is remembered differs from process to process.
    assert abs(row["ring"]["hit_ratio"] - hits / QUERIES) < 0.02
    assert row["by_client"]["hit_ratio"] < row["ring"]["hit_ratio"] - 0.05
