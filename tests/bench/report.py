"""The tables for people, and the file that keeps every round."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.bench import rates
from tests.bench.contract import Line
from tests.bench.counts import missing
from tests.bench.lab import Lab, Round
from tests.bench.peers import DNSDIST, doubts
from tests.bench.server import ROOT
from tests.bench.under_load import median_of

_RESULTS: Final = Path(__file__).resolve().parent / "results"
#: What others did on the machine is told from this share of its busy time on.
OTHERS_SHARE: Final = 0.05

#: Per measurement: column title, key of the round, digits after the point.
_COLUMNS: Final[dict[str, Sequence[tuple[str, str, int]]]] = {
    "hit": (
        ("CPU us/query", "cpu_us", 2),
        ("user", "user_us", 2),
        ("system", "system_us", 2),
        ("queries/s", "qps", 0),
        ("lost", "lost", 0),
    ),
    "latency": (
        ("p50 us", "latency_us.p50", 1),
        ("p99 us", "latency_us.p99", 1),
        ("CPU us/query", "cpu_us", 2),
        ("queries/s", "qps", 0),
        ("lost", "lost", 0),
        ("sent late us", "lag_us.p99", 1),
    ),
    "counts": (
        ("sys calls/hit", "hit_system_calls", 2),
        ("switches", "hit_context_switches", 3),
        ("cycles", "hit_cycles", 0),
        ("sys calls/miss", "miss_system_calls", 2),
        ("switches", "miss_context_switches", 3),
        ("cycles", "miss_cycles", 0),
    ),
    "rates": (
        ("CPU us/query", "cpu_us", 2),
        ("p50 us", "latency_us.p50", 1),
        ("p99 us", "latency_us.p99", 1),
        ("switches/q", "switches", 2),
        ("sys calls/q", "system_calls", 2),
        ("lost", "lost", 0),
    ),
    "rest": (("CPU ms/s", "idle_ms", 2), ("wake-ups/s", "wake_ups", 1)),
    "start": (("seconds", "start_s", 2),),
    "memory": (
        ("bytes/entry", "bytes_per_entry", 0),
        ("MB in all", "full_rss_mb", 1),
    ),
    "steering": (("ns/run", "ns_per_run", 0), ("runs", "runs", 0)),
}

_TITLES: Final = {
    "hit": "Hits: 10,000 names, Zipf 1.0, all cached, closed loop",
    "latency": "Latency of hits at {rate} queries/s, open loop",
    "miss": "Misses: random names, one upstream, closed loop",
    "rates": "Hits at {rate} queries/s, open loop; dnsfront with {workers} workers",
    "rest": "At rest; dnsfront with {workers} workers",
    "counts": "Counts a query, closed loop",
    "start": "From start to first answer",
    "memory": "A cache with {entries} responses of 100 octets",
    "steering": "Steering programs; counting itself adds some 50 ns to each",
}


def tables(rounds: dict[str, list[Round]]) -> Iterator[str]:
    """Yield the lines of a table of medians for each measurement."""
    for what, seen in _parts(rounds):
        yield ""
        yield _TITLES[what].format_map(seen[0])
        yield from _table(seen, _COLUMNS["hit" if what == "miss" else what])


def _parts(rounds: dict[str, list[Round]]) -> Iterator[tuple[str, list[Round]]]:
    """Yield each measurement; that at fixed rates by number of workers and rate."""
    for what, seen in rounds.items():
        if what != "rates":
            yield what, seen
            continue
        rows = dict.fromkeys((each["workers"], each["rate"]) for each in seen)
        for workers, rate in rows:
            yield (
                "rest" if rate == rates.IDLE else what,
                rates.rows(seen, workers, rate),
            )


def _table(
    rounds: list[Round], columns: Sequence[tuple[str, str, int]]
) -> Iterator[str]:
    """Yield a row a server, its first column also as a ratio to the base's."""
    servers = list(dict.fromkeys(each["server"] for each in rounds))
    base = DNSDIST.name if DNSDIST.name in servers else servers[0]
    titles = [columns[0][0], f"x {base}", *(title for title, _, _ in columns[1:])]
    yield f"  {'':<18}" + "".join(f"{title:>16}" for title in titles)
    for server in servers:
        values = [
            f"{median_of(rounds, server, key):.{digits}f}" for _, key, digits in columns
        ]
        first = columns[0][1]
        over = median_of(rounds, base, first)
        ratio = median_of(rounds, server, first) / over if over else float("nan")
        values.insert(1, f"{ratio:.2f}")
        yield f"  {server:<18}" + "".join(f"{value:>16}" for value in values)


def remarks(rounds: dict[str, list[Round]]) -> Iterator[str]:
    """Yield a sentence for everything that makes the figures doubtful."""
    yield from doubts()
    if "counts" in rounds or "rates" in rounds:
        yield from missing()
    for what, seen in rounds.items():
        shares = [each["others_share"] for each in seen if "others_share" in each]
        if shares and (worst := max(shares)) > OTHERS_SHARE:
            yield f"{what}: other programs used up to {worst:.0%} of the busy CPU time"
        for server in dict.fromkeys(each["server"] for each in seen):
            mine = [each for each in seen if each["server"] == server]
            if wrong := sum(each.get("wrong", 0) for each in mine):
                yield f"{what}: {server} repeated the question wrongly {wrong} times"
            failed = sum(
                count
                for each in mine
                for rcode, count in each.get("rcodes", {}).items()
                if rcode != "0"
            )
            if failed:
                yield f"{what}: {server} answered {failed} queries with an error"


def write(
    lab: Lab, rounds: dict[str, list[Round]], found: Sequence[Line], directory: Path
) -> Path:
    """Write everything to a new file below *directory* and return its path."""
    now = datetime.now(UTC)
    checkout = commit()
    content = {
        "date": now.isoformat(timespec="seconds"),
        "commit": checkout,
        "command": ["python", "-m", "tests.bench", *sys.argv[1:]],
        "machine": machine(),
        "versions": {peer.name: peer.version() for peer in lab.peers},
        "left_out": lab.left_out,
        "settings": asdict(lab.settings),
        "contract": [asdict(line) for line in found],
        "remarks": list(remarks(rounds)),
        "rounds": rounds,
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{now:%Y-%m-%dT%H%M}-{checkout}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def default_directory() -> Path:
    return _RESULTS


def commit() -> str:
    """Return the commit of the checkout, with `-dirty` when it has been changed."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
        )
        return done.stdout.strip()

    dirty = "-dirty" if git("status", "--porcelain", "-uno") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + dirty


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "cpu": _first_value(Path("/proc/cpuinfo"), "model name"),
        "cpus": os.cpu_count(),
        "memory": _first_value(Path("/proc/meminfo"), "MemTotal"),
        "load": os.getloadavg(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _first_value(path: Path, key: str) -> str:
    for line in path.read_text().splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip()
    return "unknown"
