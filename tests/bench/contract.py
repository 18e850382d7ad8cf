"""The figures to reach, and how far the measured ones are from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.bench import rates, steering
from tests.bench.lab import Round
from tests.bench.peers import COMPILED, DNSDIST, DNSFRONT, FORMS, UNBOUND, Peer
from tests.bench.under_load import median_of, values_of

#: Of the compiled form: workers, queries a second, and CPU a hit over dnsdist's.
_AT_RATES: Final = ((1, 2_000, 1.3), (1, 10_000, 1.3), (4, 10_000, 2))
#: Milliseconds of CPU a second of a supervisor and four workers without a query.
_AT_REST_MS: Final = 1

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
            f"{self.what:<44} {self.value:>7.2f} {spread:<18} {self.unit:<10}"
            f" {now:<11} {later}"
        ).rstrip()


def heading() -> str:
    """Return the titles above the lines."""
    what = f"{'Contract: median (extremes)':<44} {'reached':>7} {'':<18} {'':<10}"
    return f"{what} {'target now':<11} target later"


def _verdict(value: float, target: float | None) -> str:
    if target is None:
        return "-"
    return f"{target:g}: {'yes' if value <= target else 'NO'}"


@dataclass(frozen=True)
class _Targets:
    """What one form of the front end has to reach, as ratios to dnsdist."""

    hit_now: float | None
    hit_later: float
    miss_now: float | None
    miss_later: float


_TARGETS: Final = {
    DNSFRONT.name: _Targets(1.25, 0.95, 2, 1.25),
    COMPILED.name: _Targets(None, 0.95, None, 1),
}


def lines(rounds: dict[str, list[Round]]) -> Iterator[Line]:
    """Yield a line for every figure that *rounds* can tell."""
    for form in FORMS:
        seen = {
            what: each
            for what, each in rounds.items()
            if any(one["server"] == form.name for one in each)
        }
        yield from _under_load(form.name, seen)
        if "rates" in seen:
            yield from _at_rates(form.name, seen["rates"])
        if "start" in seen:
            seconds = values_of(seen["start"], form.name, "start_s")
            what = f"{form.name}: start to first answer"
            yield _absolute(what, "s", seconds, 0.35, 0.35)
        if "memory" in seen:
            yield from _memory(form.name, seen["memory"])
    if "steering" in rounds:
        yield from _steering(rounds["steering"], rounds.get("hit"))


def _under_load(form: str, rounds: dict[str, list[Round]]) -> Iterator[Line]:
    to_reach = _TARGETS[form]
    if hits := rounds.get("hit"):
        what = f"{form}: CPU per hit"
        now, later = to_reach.hit_now, to_reach.hit_later
        yield from _ratio(what, hits, "cpu_us", form, DNSDIST, now, later)
        yield from _ratio(what, hits, "cpu_us", form, UNBOUND, None, 1.15)
    if misses := rounds.get("miss"):
        what = f"{form}: CPU per miss"
        now, later = to_reach.miss_now, to_reach.miss_later
        yield from _ratio(what, misses, "cpu_us", form, DNSDIST, now, later)
    if latency := rounds.get("latency"):
        for part in ("p50", "p99"):
            what, key = f"{form}: {part} of hits, half load", f"latency_us.{part}"
            yield from _ratio(what, latency, key, form, DNSDIST, None, 1)


def _at_rates(form: str, rounds: list[Round]) -> Iterator[Line]:
    for workers, rate, most in _AT_RATES:
        what = f"{form}: CPU per hit, {workers} w, {rate}/s"
        row = rates.rows(rounds, workers, rate)
        to_reach = most if form == COMPILED.name else None
        yield from _ratio(what, row, "cpu_us", form, DNSDIST, to_reach, to_reach)
    at_rest = values_of(rates.rows(rounds, 4, rates.IDLE), form, "idle_ms")
    what = f"{form}: at rest, four workers"
    yield _absolute(what, "ms/s", at_rest, _AT_REST_MS, _AT_REST_MS)


def _ratio(
    what: str,
    rounds: list[Round],
    key: str,
    form: str,
    peer: Peer,
    now: float | None,
    later: float | None,
) -> Iterator[Line]:
    """Yield our median over the peer's, unless the peer was not measured."""
    ours, theirs = values_of(rounds, form, key), values_of(rounds, peer.name, key)
    if not theirs:
        return
    ratio = median(ours) / median(theirs)
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    yield Line(what, f"x {peer.name}", ratio, min(each), max(each), now, later)


def _absolute(
    what: str, unit: str, values: list[float], now: float | None, later: float | None
) -> Line:
    return Line(what, unit, median(values), min(values), max(values), now, later)


def _memory(form: str, rounds: list[Round]) -> Iterator[Line]:
    (seen,) = [each for each in rounds if each["server"] == form]
    supervisor = [seen["full"]["supervisor"]["rss_bytes"] / _MB]
    worker = [seen["full"]["worker 1"]["rss_bytes"] / _MB]
    entries = seen["entries"]
    allowed = 40 + entries * 600 / _MB
    yield _absolute(f"{form}: supervisor, RSS", "MB", supervisor, 45, 45)
    what = f"{form}: worker, {entries} entries"
    yield _absolute(what, "MB", worker, allowed, allowed)


def _steering(rounds: list[Round], hits: list[Round] | None) -> Iterator[Line]:
    empty = values_of(rounds, steering.EMPTY, "ns_per_run")
    steer = values_of(rounds, steering.STEER, "ns_per_run")
    each = [(a - b) / 1000 for a, b in zip(steer, empty, strict=True)]
    net = (median(steer) - median(empty)) / 1000
    yield Line("steering a datagram", "us", net, min(each), max(each), None, 0.25)
    if hits:
        share = 100 / median_of(hits, DNSFRONT.name, "cpu_us")
        yield Line(
            "steering, of the CPU per hit",
            "%",
            net * share,
            min(each) * share,
            max(each) * share,
            None,
            5,
        )
