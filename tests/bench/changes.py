"""Time the changes of a running front end: ``python -m tests.bench.changes``.

In a private network, at a steady load of Zipf-distributed names: how long a death or a
hang is noticed by clients, how long a take-over makes datagrams wait, what one hot name
does to latency, and what the largest table costs. Needs root; some two minutes.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dnsfront.kernel.steering import BpfSteering
from dnsfront.ring.placement import Member
from dnsfront.ring.table import build
from tests.bench import report
from tests.namespaces import private_network
from tests.system.faults import Death, end
from tests.system.front import FrontEnd
from tests.system.resolver import Unbound
from tests.system.steady import Names, SteadyLoad, owners_seen
from tests.system.throttle import throttled

_PER_SECOND: Final = 20_000
_NAMES: Final = 5000
_KILLS: Final = 20
_HANGS: Final = 5
_TAKEOVERS: Final = 10
_LOAD_S: Final = 5.0
_HOT: Final = ("--zipf", "2")
_EVEN: Final = ("--zipf", "0")

Figures = dict[str, Any]


def main() -> None:
    """Measure, print, and write the results beside those of `make bench`."""
    figures: Figures = {}
    with private_network(), tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        figures["table"] = _table()
        names = Names(folder, _NAMES)
        with Unbound(folder, names.zone()) as unbound:
            with _front(folder, unbound, workers=8, bounded_load=0) as front:
                figures["faults"] = _faults(front, names)
            with _front(folder, unbound, workers=4) as front:
                figures["take-over"] = _takeovers(front, names)
                figures["hot name"] = _hot_name(front, names)
    now, commit = datetime.now(UTC), report.commit()
    content = {
        "date": now.isoformat(timespec="seconds"),
        "commit": commit,
        "command": ["python", "-m", "tests.bench.changes"],
        "machine": report.machine(),
        "per_second": _PER_SECOND,
        "figures": figures,
    }
    path = report.default_directory() / f"changes-{now:%Y-%m-%dT%H%M}-{commit}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    sys.stdout.write(json.dumps(figures, indent=1) + f"\n{path}\n")


@contextmanager
def _front(folder: Path, unbound: Unbound, **ring: object) -> Iterator[FrontEnd]:
    upstreams = {"servers": [{"address": str(unbound.address)}]}
    with FrontEnd(folder, ring=ring, upstreams=upstreams) as front:
        yield front


def _ms(values_s: list[float]) -> dict[str, float]:
    return {
        "median_ms": round(statistics.median(values_s) * 1e3, 2),
        "max_ms": round(max(values_s) * 1e3, 2),
    }


def _timed(work: Callable[[], object]) -> float:
    began_at = time.perf_counter()
    work()
    return time.perf_counter() - began_at


def _table() -> Figures:
    """Time a table of 64 workers and 65,536 slots: made from nothing, and published."""
    builds, switches = [], []
    steering = BpfSteering(slots=65536, hash_key=bytes(16))
    steering.wait_loaded()
    for number in range(7):
        workers = [Member(f"w{number}-{i}") for i in range(64)]
        tables = []
        builds.append(
            _timed(lambda: tables.append(build(workers, slots=65536)))  # noqa: B023 - called at once
        )
        ids = {worker.name: i for i, worker in enumerate(workers, 1)}
        octets = tables[0].with_worker_ids(ids)
        switches.append(_timed(lambda: steering.publish(octets)))  # noqa: B023 - called at once
    steering.close()
    return {"build": _ms(builds), "switch": _ms(switches)}


def _faults(front: FrontEnd, names: Names) -> Figures:
    """Time from the signal to the first answer that another worker gives."""
    owners = owners_seen(front.address, names)
    found: Figures = {}
    workers = sorted(front.pids())
    for what, number, count in (
        ("kill", signal.SIGKILL, _KILLS),
        ("hang", signal.SIGSTOP, _HANGS),
    ):
        victims = [workers[i % len(workers)] for i in range(count)]
        random.Random(number).shuffle(victims)
        with SteadyLoad(front.address, names, _PER_SECOND) as load:
            deaths = [end(front, victim, number) for victim in victims]
        found[what] = {
            **_ms([_first_by_others_s(death, load, owners) for death in deaths]),
            "sent": len(load.records),
            "lost": len(load.lost()),
        }
    return found


def _first_by_others_s(death: Death, load: SteadyLoad, owners: dict[int, str]) -> float:
    answered_ns = min(
        x.answered_ns
        for x in load.records
        if x.sent_ns > death.signalled_ns
        and owners[x.name] == death.worker
        and x.nsid not in ("", death.worker)
    )
    return (answered_ns - death.signalled_ns) / 1e9


def _takeovers(front: FrontEnd, names: Names) -> Figures:
    owners_seen(front.address, names)
    with SteadyLoad(front.address, names, _PER_SECOND) as load:
        for _ in range(_TAKEOVERS):
            front.take_over()
    pauses = re.findall(r"taken_over .* pause_ms=([\d.]+)", front.log())
    return {
        "pause": _ms([float(pause) / 1e3 for pause in pauses]),
        "sent": len(load.records),
        "lost": len(load.lost()),
        "latency_us": load.report["latency_us"],
    }


def _hot_name(front: FrontEnd, names: Names) -> Figures:
    """Compare latencies: even load, one name with three fifths of it, bound or not."""
    found: Figures = {}
    for bound in (1.25, 0):
        front.configure(ring={"workers": 4, "bounded_load": bound})
        assert front.command("reload")[0] == 0
        owner = owners_seen(front.address, names)[0]
        for what, skew in (("even", _EVEN), ("hot", _HOT)):
            found[f"{what}, bounded_load {bound}"] = _under(front, names, skew)
        with throttled(front.pids()[owner], 5):
            found[f"hot, its owner at 5 % CPU, bounded_load {bound}"] = _under(
                front, names, _HOT
            )
    return found


def _under(front: FrontEnd, names: Names, skew: tuple[str, ...]) -> Figures:
    before = front.metrics().counts()
    with SteadyLoad(
        front.address, names, _PER_SECOND, *skew, "--seconds", str(_LOAD_S)
    ) as load:
        load.finish()
    change = front.metrics().counts() - before
    return {
        "latency_us": load.report["latency_us"],
        "sent": len(load.records),
        "lost": len(load.lost()),
        "overflow": change["steering overflow"],
    }


if __name__ == "__main__":
    if os.geteuid():
        sys.exit("bench: root is missing: it makes a network of its own")
    main()
