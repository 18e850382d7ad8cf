"""How cost and hits go with size: ``python -m tests.bench.scale``.

What `dnsfront simulate` says of a list of queries is measured too, with real processes
that are asked the same queries; and how long the largest table takes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from dnsfront.errors import DnsfrontError
from dnsfront.kernel.steering import BpfSteering
from dnsfront.ring.placement import Member
from dnsfront.ring.table import build
from tests.bench import costs, load, report
from tests.bench.costs import RATE, WORKERS
from tests.bench.errors import BenchError
from tests.bench.lab import Lab, Settings
from tests.bench.peers import (
    DNSFRONT,
    Peer,
    with_cache,
    with_kernel_answers,
    with_workers,
)
from tests.bench.server import Server
from tests.bench.simulated import simulated
from tests.system.metrics import Metrics

_PARTS: Final = (
    "hits",
    "workers",
    "names",
    "entries",
    "upstreams",
    "zones",
    "networks",
    "table",
)
#: As in the target for kernel answers; caches that hold a fifth of the names.
_NAMES: Final = 20_000
_ENTRIES: Final = 4000
_QUERIES: Final = 100_000
_WARM_UP: Final = 40_000
_SEED: Final = 9
_TABLES: Final = 101
_TABLE_WORKERS: Final = 64
_TABLE_SLOTS: Final = 65536

Figures = dict[str, Any]


def main() -> int:
    """Measure, print, and write the results beside those of `make bench`."""
    arguments = _arguments()
    settings = Settings(
        arguments.rounds, arguments.seconds, arguments.only, edns=False, pin=True
    )
    measures: dict[str, Callable[[Lab], object]] = {
        "hits": _hits,
        "workers": costs.by_workers,
        "names": costs.by_names,
        "entries": costs.by_entries,
        "upstreams": costs.by_upstreams,
        "zones": costs.by_zones,
        "networks": costs.by_networks,
        "table": lambda _lab: _table(),
    }
    try:
        load.build()
        with Lab(settings, _progress) as lab:
            figures = {part: measures[part](lab) for part in arguments.only}
    except BenchError as error:
        sys.stderr.write(f"bench: {error}\n")
        return os.EX_UNAVAILABLE
    now, commit = datetime.now(UTC), report.commit()
    content = {
        "date": now.isoformat(timespec="seconds"),
        "commit": commit,
        "command": ["python", "-m", "tests.bench.scale", *sys.argv[1:]],
        "machine": report.machine(),
        "figures": figures,
    }
    path = arguments.results / f"scale-{now:%Y-%m-%dT%H%M%S}-{commit}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    sys.stdout.write(json.dumps(figures, indent=1) + f"\n{path}\n")
    return os.EX_OK


def _progress(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.scale", description=__doc__
    )
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=list(_PARTS),
        help=f"of {', '.join(_PARTS)}; default all",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--results", type=Path, default=report.default_directory())
    arguments = parser.parse_args()
    if unknown := set(arguments.only) - set(_PARTS):
        parser.error(f"got {unknown.pop()}, want some of {', '.join(_PARTS)}")
    return arguments


# -- hits and upstream load, simulated and measured


def _hits(lab: Lab) -> Figures:
    """Return what becomes of one list of queries, by number of workers.

    By client, each of N workers is asked one query in N: one such worker is measured.
    """
    draw = random.Random(_SEED)
    weights = [*accumulate(1 / rank for rank in range(1, _NAMES + 1))]
    numbers = draw.choices(range(_NAMES), cum_weights=weights, k=_QUERIES)
    lines = [f"host{number:05}.bench A\n" for number in numbers]
    queries = lab.directory / "queries"
    queries.write_text("".join(lines))
    found = simulated(
        queries, rate=RATE, warm_up=_WARM_UP, entries=_ENTRIES, seed="bench"
    )
    rows = []
    whole = [*enumerate(lines)]
    for workers in WORKERS:
        lab.say(f"hits: {workers} workers")
        part = [line for line in whole if draw.random() * workers < 1]
        ring = with_workers(with_cache(DNSFRONT, _ENTRIES), workers)
        alone = with_cache(DNSFRONT, _ENTRIES)
        rows.append(
            {
                "workers": workers,
                "ring": _asked(lab, ring, whole, RATE),
                "kernel": _asked(lab, with_kernel_answers(ring), whole, RATE),
                "by_client": _asked(lab, alone, part, RATE // workers),
            }
        )
    return {"simulated": found, "measured": rows}


def _asked(
    lab: Lab, peer: Peer, lines: Sequence[tuple[int, str]], rate: int
) -> Figures:
    """Return what was counted of *lines*, each with its number, after the warm-up."""
    with lab.servers([peer], reflector=False) as [server]:
        parts = [
            [text for number, text in lines if number < _WARM_UP],
            [text for number, text in lines if number >= _WARM_UP],
        ]
        counts = []
        for part in parts:
            counts.append(_counted(lab, server))
            names = lab.directory / "part"
            names.write_text("".join(part))
            arguments = ("--limit", str(len(part)), "--rate", str(rate))
            seen = lab.load(names, len(part) / rate + 10, *arguments).run(server.port)
        before, after = counts[-1], _counted(lab, server)
    asked = {key: after[key] - before.get(key, 0) for key in after}
    owned = _by_worker(asked, "queries ")
    in_kernel = _by_worker(asked, "kernel ")
    queries = asked["requests"]
    woken = [asked_of - in_kernel.get(w, 0) for w, asked_of in owned.items()]
    return {
        "queries": queries,
        "hit_ratio": asked["hits"] / queries,
        "kernel_ratio": sum(in_kernel.values()) / queries,
        "upstream_ratio": asked["upstream"] / queries,
        "largest_share": max(owned.values()) / sum(owned.values()),
        "largest_woken_share": max(woken) / sum(owned.values()),
        "lost": seen["lost"],
        "overflow": asked["overflow"],
    }


def _by_worker(counts: Figures, prefix: str) -> dict[str, float]:
    return {
        key.removeprefix(prefix): count
        for key, count in counts.items()
        if key.startswith(prefix)
    }


def _counted(lab: Lab, server: Server) -> dict[str, float]:
    """Return counters of a front end, which its config says where to find."""
    config = (lab.directory / server.name / "dnsfront.yaml").read_text()
    match = re.search(r'admin: \{listen: "([^"]+)"', config)
    assert match
    with urlopen(f"http://{match[1]}/metrics", timeout=10) as response:
        samples = Metrics.from_text(response.read().decode()).samples
    counts = dict.fromkeys(("hits", "requests", "upstream", "overflow"), 0.0)
    names = {
        "dnsfront_cache_hits_total": "hits",
        "dnsfront_cache_requests_total": "requests",
        "dnsfront_upstream_requests_total": "upstream",
    }
    by_worker = {
        "dnsfront_queries_total": "queries",
        "dnsfront_kernel_cache_hits_total": "kernel",
    }
    for sample in samples:
        if sample.name in names:
            counts[names[sample.name]] += sample.value
        elif sample.labels.get("outcome") == "overflow":
            counts["overflow"] += sample.value
        elif sample.name in by_worker:
            key = f"{by_worker[sample.name]} {sample.labels['worker']}"
            counts[key] = counts.get(key, 0) + sample.value
    return counts


# -- the largest table


def _table() -> Figures:
    """Time tables of 64 workers and 65,536 slots: made from nothing, and published.

    CPU time stands beside the time on the clock, which others on the machine lengthen.
    """
    figures: dict[str, list[float]] = {"build": [], "build_cpu": [], "switch": []}
    try:
        steering = BpfSteering(slots=_TABLE_SLOTS, hash_key=bytes(16))
        steering.wait_loaded()
    except DnsfrontError as exc:
        raise BenchError(f"table: {exc}") from exc
    for number in range(_TABLES):
        workers = [Member(f"w{number}-{i}") for i in range(_TABLE_WORKERS)]
        ids = {worker.name: i for i, worker in enumerate(workers, 1)}
        began_at, cpu_s = time.perf_counter(), time.process_time()
        octets = build(workers, slots=_TABLE_SLOTS).with_worker_ids(ids)
        built_at = time.perf_counter()
        figures["build"].append(built_at - began_at)
        figures["build_cpu"].append(time.process_time() - cpu_s)
        built_at = time.perf_counter()
        steering.publish(octets)
        figures["switch"].append(time.perf_counter() - built_at)
    steering.close()
    return {
        "workers": _TABLE_WORKERS,
        "slots": _TABLE_SLOTS,
        "tables": _TABLES,
        **{what: _spread_ms(values) for what, values in figures.items()},
    }


def _spread_ms(values_s: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values_s)
    return {
        "median_ms": round(statistics.median(ordered) * 1e3, 2),
        "p99_ms": round(ordered[len(ordered) * 99 // 100] * 1e3, 2),
        "max_ms": round(ordered[-1] * 1e3, 2),
    }


if __name__ == "__main__":
    sys.exit(main())
