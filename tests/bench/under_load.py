"""Hits, their latency, and misses: all servers up at once, loaded one after another.

Rounds are interleaved (A B C, A B C, ...), so that what the machine does meanwhile
falls on all alike.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Final

from tests.bench.counts import counted
from tests.bench.lab import HIT_NAMES, Lab, Round, is_compared
from tests.bench.load import Load
from tests.bench.peers import DNSDIST, DNSFRONT, UNBOUND
from tests.bench.server import Server

#: Popularity of names as seen at resolvers.
_ZIPF: Final = "1.0"
_CALIBRATION_S: Final = 1.0
#: Above this, hits were no hits.
_UPSTREAM_US: Final = 0.5

_COMPARED_FIRST: Final = {peer.name for peer in (DNSDIST, DNSFRONT, UNBOUND)}


def measure(lab: Lab) -> dict[str, list[Round]]:
    """Return the rounds of those of hit, latency, miss and counts that are wanted."""
    wanted = {"hit", "latency", "miss", "counts"} & set(lab.settings.only)
    rounds: dict[str, list[Round]] = {}
    if not wanted:
        return rounds
    with lab.servers(lab.peers, reflector="hit" in wanted) as running:
        resolving = [server for server in running if is_compared(server)]
        if wanted & {"hit", "latency", "counts"}:
            lab.say("filling the caches")
            for server in resolving:
                lab.warm(server, lab.hit_names, HIT_NAMES)
        if "hit" in wanted:
            rounds["hit"] = _hits(lab, running)
        if "latency" in wanted:
            rounds["latency"] = _latency(lab, resolving)
        # Last, because misses fill the caches with names that are never asked again.
        if "miss" in wanted:
            rounds["miss"] = _misses(lab, resolving)
        if "counts" in wanted:
            rounds["counts"] = _counts(lab, resolving)
    return rounds


def _hits(lab: Lab, servers: list[Server]) -> list[Round]:
    load = _hit_load(lab, lab.settings.seconds)
    rounds = _interleaved(lab, "hit", servers, lambda _server: load)
    leaky = {each["server"] for each in rounds if each["upstream_us"] > _UPSTREAM_US}
    for name in sorted(leaky):
        lab.say(f"{name}: the upstream was busy during hits; not all of them were hits")
    return rounds


def _latency(lab: Lab, servers: list[Server]) -> list[Round]:
    """Measure at one rate for all: half of what the slowest of three can take."""
    load = _hit_load(lab, _CALIBRATION_S)
    capacities = [
        lab.measure(server, load)["qps"]
        for server in servers
        if server.name in _COMPARED_FIRST
    ]
    rate = int(min(capacities) / 2)
    load = _hit_load(lab, lab.settings.seconds, "--rate", str(rate))
    rounds = _interleaved(lab, "latency", servers, lambda _server: load)
    return [{**each, "rate": rate} for each in rounds]


def _misses(lab: Lab, servers: list[Server]) -> list[Round]:
    load = _miss_load(lab)
    return _interleaved(lab, "miss", servers, lambda _server: load)


def _counts(lab: Lab, servers: list[Server]) -> list[Round]:
    """Return one row a server: what is counted does not vary as time does."""
    loads = {"hit": _hit_load(lab, 1), "miss": _miss_load(lab)}
    rounds = []
    for server in servers:
        lab.say(f"counts: {server.name}")
        seen: Round = {"server": server.name}
        for what, load in loads.items():
            seen |= {f"{what}_{k}": v for k, v in counted(server, load).items()}
        rounds.append(seen)
    return rounds


def _miss_load(lab: Lab) -> Load:
    return lab.load(lab.miss_names, lab.settings.seconds, "--random-label")


def _hit_load(lab: Lab, seconds: float, *arguments: str) -> Load:
    return lab.load(lab.hit_names, seconds, "--zipf", _ZIPF, *arguments)


def _interleaved(
    lab: Lab, what: str, servers: list[Server], load_of: Callable[[Server], Load]
) -> list[Round]:
    rounds = []
    for number in range(1, lab.settings.rounds + 1):
        lab.say(f"{what}: round {number} of {lab.settings.rounds}")
        for server in servers:
            seen = lab.measure(server, load_of(server))
            rounds.append({"round": number, **seen})
    return rounds


def median_of(rounds: list[Round], server: str, key: str) -> float:
    """Return the median over the rounds of *server*; *key* may lead into an object."""
    return median(values_of(rounds, server, key))


def values_of(rounds: list[Round], server: str, key: str) -> list[float]:
    """Return the values of *key*, `outer.inner` for a nested one, round by round."""
    outer, _, inner = key.partition(".")
    found = [each[outer] for each in rounds if each["server"] == server]
    return [value[inner] for value in found] if inner else found
