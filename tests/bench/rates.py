"""Hits at fixed rates, far below what a server can take, and servers at rest.

At such rates a round of a server's loop holds a datagram or two, so what a round and a
wake-up cost shows. Every row is of one rate and one number of workers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from tests.bench.counts import counted
from tests.bench.lab import HIT_NAMES, Lab, Round
from tests.bench.load import Load
from tests.bench.peers import DNSDIST, FORMS, Peer, with_workers
from tests.bench.process import activity_of
from tests.bench.server import Server

#: Queries a second.
RATES: Final = (500, 2_000, 10_000, 40_000)
#: What a row at rest has in place of a rate.
IDLE: Final = 0

_ZIPF: Final = "1.0"


def measure(lab: Lab) -> list[Round]:
    """Return the rounds of all rates; servers of one number of workers run at once."""
    rounds: list[Round] = []
    for workers in lab.settings.workers:
        with lab.servers(_peers(lab, workers), reflector=False) as servers:
            lab.say(f"rates: filling the caches, {workers} workers")
            for server in servers:
                lab.warm(server, lab.hit_names, HIT_NAMES)
            for number in range(1, lab.settings.rounds + 1):
                lab.say(f"rates: {workers} workers, round {number}")
                rounds += _round(lab, servers, workers, number)
    return rounds


def rows(rounds: list[Round], workers: int, rate: int) -> list[Round]:
    """Return those of *rounds* that are of so many *workers* and this *rate*."""
    return [x for x in rounds if (x["workers"], x["rate"]) == (workers, rate)]


def _round(
    lab: Lab, servers: Sequence[Server], workers: int, number: int
) -> list[Round]:
    shared = {"workers": workers, "round": number}
    rounds = [{**shared, "rate": IDLE, **each} for each in _at_rest(lab, servers)]
    for rate in RATES:
        arguments = ["--zipf", _ZIPF, "--rate", str(rate)]
        load = lab.load(lab.hit_names, lab.settings.seconds, *arguments)
        rounds += [
            {**shared, "rate": rate, **_under(lab, server, load)} for server in servers
        ]
    return rounds


def _peers(lab: Lab, workers: int) -> list[Peer]:
    ours = [*FORMS, *lab.against]
    taking_part = {peer.name for peer in lab.peers}
    return [
        peer if peer == DNSDIST else with_workers(peer, workers)
        for peer in (DNSDIST, *ours)
        if peer.name in taking_part
    ]


def _under(lab: Lab, server: Server, load: Load) -> Round:
    began = activity_of(server.pids())
    seen = lab.measure(server, load)
    used = activity_of(server.pids()) - began
    answered = seen["answered"]
    return {
        **seen,
        # Finer than the ticks of /proc/PID/stat, which are coarse for so little.
        "cpu_us": used.ran_s * 1e6 / answered,
        "switches": used.switches / answered,
        **counted(server, load),
    }


def _at_rest(lab: Lab, servers: Sequence[Server]) -> list[Round]:
    """Return how many milliseconds of CPU a second each server takes without a query.

    They rest side by side, so it costs the time of one.
    """
    began = [activity_of(server.pids()) for server in servers]
    began_at = time.monotonic()
    time.sleep(max(1.0, lab.settings.seconds))
    rested_s = time.monotonic() - began_at
    rounds = []
    for server, before_it in zip(servers, began, strict=True):
        used = activity_of(server.pids()) - before_it
        rounds.append(
            {
                "server": server.name,
                "idle_ms": used.ran_s * 1000 / rested_s,
                "wake_ups": used.switches / rested_s,
            }
        )
    return rounds
