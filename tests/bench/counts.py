"""What the kernel and the CPU count of a server while it has a load.

`perf stat` counts it; what this machine does not count is not a number.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Final

from tests.bench.load import Load
from tests.bench.server import Server

#: Keys of the results, and the events that they are counts of.
EVENTS: Final = {
    "system_calls": "raw_syscalls:sys_enter",
    "context_switches": "context-switches",
    "migrations": "cpu-migrations",
    "page_faults": "page-faults",
    "cycles": "cycles",
    "instructions": "instructions",
}
_SECONDS: Final = 0.5
_NAN: Final = float("nan")
_WITHIN_S: Final = 60


def counted(server: Server, load: Load) -> dict[str, float]:
    """Return each count a query, in a load of its own: counting costs the server time.

    What `perf` does not see of it is left to who sends: the work of the stack.
    """
    keys = [key for key, event in EVENTS.items() if event in _events()]
    nothing = dict.fromkeys(EVENTS, _NAN)
    if not keys:
        return nothing
    short = Load(load.names, load.arguments, _SECONDS, load.cpus)
    events = ",".join(EVENTS[key] for key in keys)
    pids = ",".join(map(str, server.pids()))
    done = subprocess.run(
        [
            *("perf", "stat", "-x", ";", "-e", events, "-p", pids),
            *short.command(server.port, server.host),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=_WITHIN_S,
    )
    if done.returncode:
        return nothing
    answered = json.loads(done.stdout)["answered"]
    return nothing | {
        key: count / answered
        for key in keys
        if (count := _count(done.stderr, EVENTS[key])) is not None and answered
    }


def missing() -> Iterator[str]:
    """Yield a sentence for what is not counted here."""
    if shutil.which("perf") is None:
        yield "perf is not installed, so system calls and cycles are not counted"
    elif os.geteuid():
        yield "only root may count system calls and cycles, so they are not counted"
    elif lacking := [k for k, event in EVENTS.items() if event not in _events()]:
        yield f"this machine does not count {' and '.join(lacking)}: it shows no PMU"


@cache
def _events() -> frozenset[str]:
    """Return those of the events that this machine counts for us."""
    if shutil.which("perf") is None or os.geteuid():
        return frozenset()
    command = ["perf", "stat", "-x", ";", "-e", ",".join(EVENTS.values()), "true"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_WITHIN_S
    )
    return frozenset(
        event for event in EVENTS.values() if _count(done.stderr, event) is not None
    )


def _count(said: str, event: str) -> int | None:
    """Return what a line of `perf stat -x` has for *event*, None for no number."""
    for line in said.splitlines():
        value, _unit, name, *_more = [*line.split(";"), "", ""]
        if name in {event, f"{event}:u"} and value.isdigit():
            return int(value)
    return None
