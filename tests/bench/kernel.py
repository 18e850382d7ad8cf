"""Answers in the kernel beside dnsdist: ``python -m tests.bench.kernel``, as root.

What a query costs is the busy time of the whole machine, interrupts and generator
included, above that of a floor: a program at the same hook that sends queries back and
looks nothing up. One server is up at a time, over lo and over a cable (veth) from
clients in a network of their own. CPU time of the server's processes and of its
programs, by the kernel's own count, is told beside it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Final

from dnsfront.kernel.maps import SCHED_CLS, XDP
from tests.bench import load
from tests.bench.errors import BenchError
from tests.bench.floor import far_end, floor
from tests.bench.lab import Lab, Round, Settings
from tests.bench.load import Load
from tests.bench.peers import COMPILED, DNSDIST, Peer, at, with_kernel_answers
from tests.bench.process import Activity, Others, activity_of, machine_busy_s
from tests.bench.report import OTHERS_SHARE, commit, default_directory, machine
from tests.bench.server import Server
from tests.bench.steering import counting, programs_of
from tests.bench.wires import WIRES, Wire, wires

NAMES: Final = 20_000
#: Queries a second; 0 for as many as the generator can have answered.
RATES: Final = (2_000, 10_000, 40_000, 0)
MODES: Final = ("tc", "xdp")
_ZIPF: Final = ("--zipf", "1.0")
_ADMIN: Final = re.compile(r'^admin: {listen: "([^"]+)"', re.MULTILINE)
_HITS: Final = re.compile(r"^dnsfront_kernel_cache_hits_total{.*} (.+)$", re.MULTILINE)
#: A name is answered in the kernel from the second second on in which it was hit.
_PASSES: Final = 20
_BETWEEN_S: Final = 1.0
_WARM_SHARE: Final = 0.9
_STEP: Final = 0.01
_PROGRAM_LOAD_S: Final = 0.5


@dataclass(frozen=True)
class _Target:
    """What answers: a server, or in its absence the floor's program alone."""

    wire: Wire
    name: str
    mode: str
    port: int
    server: Server | None = None

    def activity(self) -> Activity:
        return activity_of(self.server.pids()) if self.server else Activity(0, 0)


def main() -> int:
    """Measure, print, write the results."""
    arguments = _arguments()
    settings = Settings(arguments.rounds, arguments.seconds, (), edns=True, pin=True)
    try:
        load.build()
        with wires() as ways, Lab(settings, _progress, (DNSDIST, COMPILED)) as lab:
            if lab.left_out:
                raise BenchError(str(lab.left_out))
            chosen = [ways[name] for name in arguments.wires]
            rounds = list(_measure(lab, chosen, arguments.rates, arguments.modes))
    except BenchError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 69
    now = datetime.now(UTC)
    path = arguments.results / f"kernel-{now:%Y-%m-%dT%H%M}-{commit()}.json"
    arguments.results.mkdir(parents=True, exist_ok=True)
    content = {
        "commit": commit(),
        "command": ["python", "-m", "tests.bench.kernel", *sys.argv[1:]],
        "machine": machine(),
        "rounds": rounds,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    for line in (*report(rounds), f"every round is in {path}"):
        sys.stdout.write(f"{line}\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kernel")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--seconds", type=float, default=2, metavar="S")
    for what, known, help_ in (
        ("rates", RATES, "queries a second; 0: as many as are answered"),
        ("modes", MODES, "where programs stand"),
        ("wires", WIRES, "ways of the queries"),
    ):
        parser.add_argument(
            f"--{what}", type=_some_of(known), default=known, help=f"{help_}; {known}"
        )
    parser.add_argument("--results", type=Path, default=default_directory())
    return parser.parse_args()


def _some_of(known: Sequence[Any]) -> Any:  # noqa: ANN401 - what argparse wants
    def chosen(text: str) -> list[Any]:
        values = [type(known[0])(part) for part in text.split(",")]
        if unknown := set(values) - set(known):
            raise argparse.ArgumentTypeError(f"got {unknown}, want some of {known}")
        return values

    return chosen


def _progress(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _measure(
    lab: Lab, ways: Sequence[Wire], rates: Sequence[int], modes: Sequence[str]
) -> Iterator[Round]:
    names = lab.directory / "kernel-names"
    names.write_text("".join(f"host{n:05}.bench A\n" for n in range(NAMES)))
    for number, wire in product(range(1, lab.settings.rounds + 1), ways):
        for target in _targets(lab, wire, modes, names):
            lab.say(f"round {number}, {wire.name}: {target.name}")
            for rate in rates:
                seen = _seen(lab, target, names, rate)
                yield {"round": number, "wire": wire.name, "rate": rate, **seen}


def _targets(
    lab: Lab, wire: Wire, modes: Sequence[str], names: Path
) -> Iterator[_Target]:
    """Yield what is measured, one at a time, up until the next one is wanted."""
    for mode in modes:
        with far_end(wire, mode), floor(wire, mode) as port:
            yield _Target(wire, _floor(mode), mode, port)
    for peer in (DNSDIST, COMPILED):
        with _running(lab, wire, peer) as server:
            lab.warm(server, names, NAMES)
            yield _Target(wire, peer.name, "", server.port, server)
    for mode in modes:
        peer = replace(with_kernel_answers(COMPILED, mode), name=_ours(mode))
        with far_end(wire, mode), _running(lab, wire, peer) as server:
            _warm_kernel(lab, wire, server, names)
            yield _Target(wire, peer.name, mode, server.port, server)


@contextmanager
def _running(lab: Lab, wire: Wire, peer: Peer) -> Iterator[Server]:
    with ExitStack() as stack:
        (server,) = stack.enter_context(
            lab.servers([at(peer, wire.host)], reflector=False)
        )
        yield server


def _floor(mode: str) -> str:
    return f"floor {mode}"


def _ours(mode: str) -> str:
    return f"{COMPILED.name} {mode}"


def _warm_kernel(lab: Lab, wire: Wire, server: Server, names: Path) -> None:
    """Ask for all names until the kernel has all of the answers that it takes."""
    share = 0.0
    for _ in range(_PASSES):
        before, had = _kernel_hits(lab, server), share
        with wire.clients():
            lab.warm(server, names, NAMES)
        share = (_kernel_hits(lab, server) - before) / NAMES
        if share > _WARM_SHARE and share < had + _STEP:
            return
        time.sleep(_BETWEEN_S)
    raise BenchError(f"{server.name}: the kernel has {share:.1%} of the answers")


def _seen(lab: Lab, target: _Target, names: Path, rate: int) -> Round:
    arguments = [*_ZIPF, *(["--rate", str(rate)] if rate else ["--window", "128"])]
    wanted = lab.load(names, lab.settings.seconds, *arguments)
    wire, server = target.wire, target.server

    def look() -> tuple[float, Activity]:
        return machine_busy_s(), target.activity()

    others = Others.now()
    hits = _kernel_hits(lab, server) if server else 0
    with wire.clients():
        seen, (busy_s, began), (busy_until_s, ended) = wanted.watched(
            target.port, wire.host, look
        )
    others_s = Others.now() - others
    answered = seen["answered"]
    if not answered:
        raise BenchError(f"{target.name} answered none of {seen['sent']} queries")
    share = (_kernel_hits(lab, server) - hits) / answered if server else 1
    program_us = _program_us(lab, target, wanted) if server and share else 0
    return {
        "server": target.name,
        "mode": target.mode,
        "machine_us": (busy_until_s - busy_s) * 1e6 / answered,
        "others_share": min(1, others_s / (busy_until_s - busy_s)),
        "cost_us": (ended - began).ran_s * 1e6 / answered + program_us,
        "program_us": program_us,
        "p50": seen["latency_us"]["p50"],
        "p99": seen["latency_us"]["p99"],
        "kernel_share": share,
        **{key: seen[key] for key in ("qps", "sent", "answered", "lost", "wrong")},
    }


def _program_us(lab: Lab, target: _Target, wanted: Load) -> float:
    """Return what the programs cost a query, in a load of its own."""
    assert target.server, "the floor has no process"
    short = replace(wanted, seconds=min(lab.settings.seconds, _PROGRAM_LOAD_S))
    with counting():
        before_ns = _ran_ns(target.server)
        with target.wire.clients():
            seen = short.run(target.port, target.wire.host)
        return (_ran_ns(target.server) - before_ns) / 1000 / float(seen["answered"])


def _ran_ns(server: Server) -> int:
    """Return how long the programs that answer ran so far."""
    wanted = {str(XDP), str(SCHED_CLS)}
    programs = programs_of(server.pid)
    return sum(int(x["run_time_ns"]) for x in programs if x["prog_type"] in wanted)


def _kernel_hits(lab: Lab, server: Server) -> float:
    """Return how many responses the kernel gave for *server* so far."""
    config = lab.directory / server.name / "dnsfront.yaml"
    if not config.exists():
        return 0
    match = _ADMIN.search(config.read_text())
    assert match, "every config has an admin endpoint"
    with urllib.request.urlopen(f"http://{match[1]}/metrics", timeout=10) as answer:
        return sum(map(float, _HITS.findall(answer.read().decode())))


def report(rounds: Sequence[Round]) -> Iterator[str]:
    """Yield the medians: busy time, and what of it is above the floor."""
    rows = dict.fromkeys((x["wire"], x["rate"]) for x in rounds)
    for wire, rate in rows:
        here = [x for x in rounds if (x["wire"], x["rate"]) == (wire, rate)]
        yield f"{wire}, {f'{rate:,} a second' if rate else 'as many as are answered'}:"
        for name in dict.fromkeys(x["server"] for x in here):
            yield _line([x for x in here if x["server"] == name], here)
    if (worst := max(x["others_share"] for x in rounds)) > OTHERS_SHARE:
        yield f"Note: other programs used up to {worst:.0%} of the busy CPU time."
    for name in dict.fromkeys(x["server"] for x in rounds if x["wrong"]):
        yield f"Note: {name} repeated questions wrongly."


def _line(own: Sequence[Round], here: Sequence[Round]) -> str:
    name = own[0]["server"]
    line = f"  {name:22} machine {_median(own, 'machine_us'):6.2f} us a query"
    if (mode := own[0]["mode"]) and name == _floor(mode):
        return line
    below = _floor(mode or next(x["mode"] for x in here if x["mode"]))
    floors = [x for x in here if x["server"] == below]
    theirs = [x for x in here if x["server"] == DNSDIST.name]
    above, over = _above(own, floors), _above(theirs, floors)
    cost = _median(own, "cost_us") / _median(theirs, "cost_us")
    return (
        f"{line}, above the {below} {median(above):6.2f}"
        f" ({median(above) / median(over):5.2f} of dnsdist's);"
        f" its own {_median(own, 'cost_us'):5.2f} ({cost:4.2f}),"
        f" programs {_median(own, 'program_us'):.2f};"
        f" p50 {_median(own, 'p50'):.1f}, p99 {_median(own, 'p99'):.1f},"
        f" in the kernel {_median(own, 'kernel_share'):.1%}"
    )


def _above(own: Sequence[Round], floors: Sequence[Round]) -> list[float]:
    """Return what is above the floor, round by round."""
    pairs = zip(own, floors, strict=True)
    return [mine["machine_us"] - least["machine_us"] for mine, least in pairs]


def _median(rounds: Sequence[Round], key: str) -> float:
    values: list[Any] = [x[key] for x in rounds]
    return float(median(values))


if __name__ == "__main__":
    sys.exit(main())
