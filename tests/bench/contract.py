"""The figures to reach, and how far the measured ones are from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.bench import steering
from tests.bench.lab import Round
from tests.bench.peers import DNSDIST, DNSFRONT, UNBOUND, Peer
from tests.bench.under_load import median_of, values_of

_US: Final = DNSFRONT.name
#: Decimal, the stricter reading.
_MB: Final = 1_000_000


@dataclass(frozen=True)
class Line:
    """One figure of the contract.

    *low* and *high* are the extremes over rounds; *now* is what this version has to
    reach, *later* what the design asks for, None where nothing is asked.
    """

    what: str
    unit: str
    value: float
    low: float
    high: float
    now: float | None
    later: float | None

    def __str__(self) -> str:
        spread = f"({self.low:.2f} .. {self.high:.2f})"
        now, later = _verdict(self.value, self.now), _verdict(self.value, self.later)
        return (
            f"{self.what:<34} {self.value:>7.2f} {spread:<18} {self.unit:<10}"
            f" {now:<11} {later}"
        ).rstrip()


def heading() -> str:
    """Return the titles above the lines."""
    what = f"{'Contract: median (extremes)':<34} {'reached':>7} {'':<18} {'':<10}"
    return f"{what} {'target now':<11} target later"


def _verdict(value: float, target: float | None) -> str:
    if target is None:
        return "-"
    return f"{target:g}: {'yes' if value <= target else 'NO'}"


def lines(rounds: dict[str, list[Round]]) -> Iterator[Line]:
    """Yield a line for every figure that *rounds* can tell."""
    if "hit" in rounds:
        hits = rounds["hit"]
        yield from _ratio("CPU per hit", hits, "cpu_us", DNSDIST, 1.25, 0.95)
        yield from _ratio("CPU per hit", hits, "cpu_us", UNBOUND, None, 1.15)
    if "miss" in rounds:
        yield from _ratio("CPU per miss", rounds["miss"], "cpu_us", DNSDIST, 2, 1.25)
    if "latency" in rounds:
        for key in ("p50", "p99"):
            yield from _ratio(
                f"{key} of hits at half load",
                rounds["latency"],
                f"latency_us.{key}",
                DNSDIST,
                None,
                1.0,
            )
    if "start" in rounds:
        seconds = values_of(rounds["start"], _US, "start_s")
        yield _absolute("start to first answer", "s", seconds, 2, 1.5)
    if "memory" in rounds:
        yield from _memory(rounds["memory"])
    if "steering" in rounds:
        yield from _steering(rounds["steering"], rounds.get("hit"))


def _ratio(
    what: str,
    rounds: list[Round],
    key: str,
    peer: Peer,
    now: float | None,
    later: float | None,
) -> Iterator[Line]:
    """Yield our median over the peer's, unless the peer was not measured."""
    theirs = values_of(rounds, peer.name, key)
    if not theirs:
        return
    ratio = median_of(rounds, _US, key) / median(theirs)
    each = [a / b for a, b in zip(values_of(rounds, _US, key), theirs, strict=True)]
    yield Line(what, f"x {peer.name}", ratio, min(each), max(each), now, later)


def _absolute(
    what: str, unit: str, values: list[float], now: float | None, later: float | None
) -> Line:
    return Line(what, unit, median(values), min(values), max(values), now, later)


def _memory(rounds: list[Round]) -> Iterator[Line]:
    (seen,) = [each for each in rounds if each["server"] == _US]
    supervisor = [seen["full"]["supervisor"]["rss_bytes"] / _MB]
    worker = [seen["full"]["worker 1"]["rss_bytes"] / _MB]
    entries = seen["entries"]
    allowed = 40 + entries * 600 / _MB
    yield _absolute("supervisor, RSS", "MB", supervisor, 45, 45)
    what = f"worker with {entries} entries, RSS"
    yield _absolute(what, "MB", worker, allowed, allowed)


def _steering(rounds: list[Round], hits: list[Round] | None) -> Iterator[Line]:
    empty = values_of(rounds, steering.EMPTY, "ns_per_run")
    steer = values_of(rounds, steering.STEER, "ns_per_run")
    each = [(a - b) / 1000 for a, b in zip(steer, empty, strict=True)]
    net = (median(steer) - median(empty)) / 1000
    yield Line("steering a datagram", "us", net, min(each), max(each), None, 0.25)
    if hits:
        share = 100 / median_of(hits, _US, "cpu_us")
        yield Line(
            "steering, of the CPU per hit",
            "%",
            net * share,
            min(each) * share,
            max(each) * share,
            None,
            5,
        )
