"""CPU a query by size: workers, names, entries, upstreams, zones and access rules."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, Final

from tests.bench.lab import HIT_NAMES, Lab
from tests.bench.load import Load
from tests.bench.peers import (
    DNSDIST,
    FORMS,
    Peer,
    with_networks,
    with_upstreams,
    with_workers,
    with_zones,
)
from tests.bench.server import Server

WORKERS: Final = (1, 2, 4, 8)
#: Queries a second of what is not at full load.
RATE: Final = 10_000
_NAME_COUNTS: Final = (100, 1000, 10_000, 100_000)
_ENTRY_COUNTS: Final = (10_000, 50_000, 100_000, 200_000)
_UPSTREAM_COUNTS: Final = (1, 4, 16)
_ZONE_COUNTS: Final = (0, 10, 1000)
_NETWORK_COUNTS: Final = (0, 100, 10_000)

Figures = dict[str, Any]


def by_workers(lab: Lab) -> list[Figures]:
    """Return what a hit costs at a fixed rate."""
    load = _hits(lab, "--rate", str(RATE))
    rows = []
    for workers in WORKERS:
        peers = [with_workers(peer, workers) for peer in _forms(lab)]
        rows.append({"workers": workers, **_of_hits(lab, [DNSDIST, *peers], load)})
    return rows


def by_names(lab: Lab) -> list[Figures]:
    """Return what a hit costs at full load."""
    rows = []
    for count in _NAME_COUNTS:
        names = lab.directory / f"names{count}"
        names.write_text("".join(f"n{number:06}.bench A\n" for number in range(count)))
        asked = lab.load(names, lab.settings.seconds, "--zipf", "1")
        with lab.servers([DNSDIST, *_forms(lab)], reflector=True) as servers:
            for server in servers[1:]:
                lab.warm(server, names, count)
            rows.append({"names": count, **_costs(lab, servers, asked)})
    return rows


def by_entries(lab: Lab) -> list[Figures]:
    """Return what a hit costs while the cache has ever more that nobody asks for."""
    rows = []
    asked = _hits(lab)
    with lab.servers([DNSDIST, *_forms(lab)], reflector=True) as servers:
        there = 0
        for count in _ENTRY_COUNTS:
            fills = lab.directory / f"fills{count}"
            more = range(there, count - HIT_NAMES)
            fills.write_text("".join(f"{number:016x}.fills TXT\n" for number in more))
            there = count - HIT_NAMES
            for server in servers[1:]:
                if more:
                    lab.warm(server, fills, len(more))
                lab.warm(server, lab.hit_names, HIT_NAMES)
            rows.append({"entries": count, **_costs(lab, servers, asked)})
    return rows


def by_upstreams(lab: Lab) -> list[Figures]:
    """Return what a miss costs, by how many servers there are to choose from."""
    return _of_misses(lab, "upstreams", _UPSTREAM_COUNTS, with_upstreams)


def by_zones(lab: Lab) -> list[Figures]:
    """Return what a miss costs, of a name that is in none of so many local zones.

    A hit meets no zone.
    """
    return _of_misses(lab, "zones", _ZONE_COUNTS, with_zones, DNSDIST)


def by_networks(lab: Lab) -> list[Figures]:
    """Return what a hit costs, by how many networks of clients there are besides."""
    rows = []
    for count in _NETWORK_COUNTS:
        peers = [with_networks(peer, count) for peer in (DNSDIST, *_forms(lab))]
        rows.append({"networks": count, **_of_hits(lab, peers, _hits(lab))})
    return rows


def _of_hits(lab: Lab, peers: Sequence[Peer], asked: Load) -> Figures:
    with lab.servers(peers, reflector=True) as servers:
        for server in servers[1:]:
            lab.warm(server, lab.hit_names, HIT_NAMES)
        return _costs(lab, servers, asked)


def _of_misses(
    lab: Lab,
    what: str,
    counts: Sequence[int],
    having: Callable[[Peer, int], Peer],
    *as_is: Peer,
) -> list[Figures]:
    """Return a row a count; peers that are *as_is* know nothing of it."""
    asked = lab.load(lab.miss_names, lab.settings.seconds, "--random-label")
    rows = []
    for count in counts:
        peers = [
            peer if peer in as_is else having(peer, count)
            for peer in (DNSDIST, *_forms(lab))
        ]
        with lab.servers(peers, reflector=False) as servers:
            rows.append({what: count, **_costs(lab, servers, asked)})
    return rows


def _hits(lab: Lab, *more: str) -> Load:
    return lab.load(lab.hit_names, lab.settings.seconds, "--zipf", "1", *more)


def _forms(lab: Lab) -> list[Peer]:
    there = {peer.name for peer in lab.peers}
    return [peer for peer in FORMS if peer.name in there]


def _costs(lab: Lab, servers: Sequence[Server], asked: Load) -> Figures:
    """Return CPU microseconds a query, medians of interleaved rounds.

    What it is over dnsdist's is the median of the ratios round by round.
    """
    rounds = [
        {server.name: lab.measure(server, asked) for server in servers}
        for _ in range(lab.settings.rounds)
    ]
    return {
        server.name: {
            "cpu_us": statistics.median(x[server.name]["cpu_us"] for x in rounds),
            "over_dnsdist": statistics.median(
                x[server.name]["cpu_us"] / x[DNSDIST.name]["cpu_us"] for x in rounds
            ),
            "upstream_us": max(x[server.name]["upstream_us"] for x in rounds),
            "others_share": max(x[server.name]["others_share"] for x in rounds),
        }
        for server in servers
    }
