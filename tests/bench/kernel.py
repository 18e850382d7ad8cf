"""Answers in the kernel beside dnsdist: ``python -m tests.bench.kernel``, as root.

What a query costs is the CPU time of the server's processes and of the programs that
answer, by the kernel's own count of both, its 50 to 75 ns a run for counting included.
What the network stack takes from whoever sends is the same for all. Where the generator
waits for answers, the CPU time of the whole machine is told as well, above that of a
reflector. All of it runs in a network of its own, over its lo.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Final

from dnsfront.kernel.maps import SCHED_CLS, XDP
from tests.bench import load
from tests.bench.lab import REFLECTOR, Lab, Round, Settings
from tests.bench.load import Load
from tests.bench.peers import COMPILED, DNSDIST, with_kernel_answers
from tests.bench.process import activity_of, machine_busy_s
from tests.bench.report import commit, default_directory, machine
from tests.bench.server import Server
from tests.bench.steering import counting, programs_of
from tests.namespaces import private_network

NAMES: Final = 20_000
#: Queries a second; 0 for as many as the generator can have answered.
RATES: Final = (2_000, 10_000, 40_000, 0)
MODES: Final = ("tc", "xdp")
_ZIPF: Final = ("--zipf", "1.0")
_ADMIN: Final = re.compile(r'^admin: {listen: "([^"]+)"', re.MULTILINE)
_HITS: Final = re.compile(r"^dnsfront_kernel_cache_hits_total{.*} (.+)$", re.MULTILINE)
#: A name is answered in the kernel from the second second on in which it was hit.
_PASSES: Final = 4
_BETWEEN_S: Final = 1.1


def main() -> int:
    """Measure, print, write the results."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kernel")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--seconds", type=float, default=5, metavar="S")
    parser.add_argument("--results", type=Path, default=default_directory())
    arguments = parser.parse_args()
    settings = Settings(arguments.rounds, arguments.seconds, (), edns=True, pin=True)
    load.build()
    with private_network(), Lab(settings, lambda _text: None) as lab:
        rounds = list(_measure(lab))
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


def _measure(lab: Lab) -> Iterator[Round]:
    names = lab.directory / "kernel-names"
    names.write_text("".join(f"host{n:05}.bench A\n" for n in range(NAMES)))
    for mode in MODES:
        ours = replace(
            with_kernel_answers(COMPILED, mode), name=f"{COMPILED.name} {mode}"
        )
        with lab.servers((DNSDIST, COMPILED, ours), reflector=True) as servers:
            for _ in range(_PASSES):
                for server in servers[1:]:
                    lab.warm(server, names, NAMES)
                time.sleep(_BETWEEN_S)
            for number in range(1, lab.settings.rounds + 1):
                for rate in RATES:
                    for server in servers:
                        told = {"round": number, "rate": rate, "beside": mode}
                        yield {**told, **_seen(lab, server, names, rate)}


def _seen(lab: Lab, server: Server, names: Path, rate: int) -> Round:
    arguments = [*_ZIPF, *(["--rate", str(rate)] if rate else ["--window", "128"])]
    wanted = lab.load(names, lab.settings.seconds, *arguments)
    hits, busy_s = _kernel_hits(lab, server), machine_busy_s()
    began = activity_of(server.pids())
    seen = lab.measure(server, wanted)
    ran_s = (activity_of(server.pids()) - began).ran_s
    busy_s = machine_busy_s() - busy_s
    share = (_kernel_hits(lab, server) - hits) / seen["answered"]
    program_us = _program_us(server, wanted) if share else 0.0
    return {
        **seen,
        "cost_us": ran_s * 1e6 / seen["answered"] + program_us,
        "program_us": program_us,
        "machine_us": busy_s * 1e6 / seen["answered"],
        "p50": seen["latency_us"]["p50"],
        "p99": seen["latency_us"]["p99"],
        "kernel_share": share,
    }


def _program_us(server: Server, wanted: Load) -> float:
    """Return what the programs cost a query, in a load of its own."""
    with counting():
        before_ns = _ran_ns(server)
        seen = wanted.run(server.port)
        return (_ran_ns(server) - before_ns) / 1000 / float(seen["answered"])


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
    """Yield the medians, and what they are of dnsdist's."""
    for mode, rate in product(MODES, RATES):
        here = [x for x in rounds if (x["beside"], x["rate"]) == (mode, rate)]
        yield f"{mode}, {rate or 'as many as are answered'}:"
        for name in dict.fromkeys(x["server"] for x in here):
            cost, of = (_median(here, x, "cost_us") for x in (name, DNSDIST.name))
            more = ""
            if not rate:
                above = _median(here, name, "machine_us")
                above -= _median(here, REFLECTOR, "machine_us")
                more = f", machine above the reflector {above:.2f} us"
            yield (
                f"  {name:22} {cost:6.2f} us a query ({cost / of:5.2f} of dnsdist's),"
                f" programs {_median(here, name, 'program_us'):.2f} us,"
                f" p50 {_median(here, name, 'p50'):6.1f},"
                f" p99 {_median(here, name, 'p99'):6.1f} us,"
                f" in the kernel {_median(here, name, 'kernel_share'):.1%}{more}"
            )


def _median(rounds: Sequence[Round], name: str, key: str) -> float:
    values: list[Any] = [x[key] for x in rounds if x["server"] == name]
    return float(median(values))


if __name__ == "__main__":
    sys.exit(main())
