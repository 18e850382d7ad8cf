"""Large zones: what a save costs those who ask, how long one loads, what it takes.

    python -m tests.bench.zones [--rate 10000] [--records 50000] [--large 1000000]

Runs in a network of its own, as root; prints JSON. `tests/system/test_zone_saved.py`
is the small form that every test run has.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.process import memory_of, tree
from tests.namespaces import private_network
from tests.system.front import DEMO_ZONE, FrontEnd
from tests.system.large_zone import ORIGIN, LargeZone, latencies_ms
from tests.system.steady import Names, SteadyLoad, owners_seen
from tests.waiting import eventually

_NAMES = 2000
_BASELINE_S = 5.0
_WITHIN_S = 240


def main() -> int:
    """Measure, print, and say by the exit code whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with private_network(), tempfile.TemporaryDirectory() as folder:
        result = {
            "rate": arguments.rate,
            "saved": _saved(Path(folder), arguments.records, arguments.rate, 5),
            "large": _saved(Path(folder), arguments.large, arguments.rate, 2),
        }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    saved, large = result["saved"], result["large"]
    return not (
        saved["lost"] == saved["wrong"] == large["lost"] == large["wrong"] == 0
        and saved["slowest_ms"] <= 150
        and max(large["start_s"], *large["saves_s"]) <= 60
    )


def _saved(folder: Path, records: int, rate: int, saves: int) -> dict[str, Any]:
    """Save a zone of so many *records* under load and return what became of it."""
    names = Names(folder, _NAMES)
    zone = LargeZone(folder / "zone", names, records)
    front = FrontEnd(folder, zones=[DEMO_ZONE])
    with front:
        without = _memory(front)
    front.configure(zones=[DEMO_ZONE, {"origin": ORIGIN, "file": str(zone.path)}])
    began_at = time.monotonic()
    front.launch()
    try:
        eventually(front.is_ready, within_s=_WITHIN_S)
        start_s = time.monotonic() - began_at
        owners_seen(front.address, names)
        with SteadyLoad(front.address, names, rate) as quiet:
            time.sleep(_BASELINE_S)
        taken = []
        with SteadyLoad(front.address, names, rate) as load:
            for _ in range(saves):
                zone.save()
                saved_at = time.monotonic()
                eventually(lambda: zone.is_served(front), within_s=_WITHIN_S)
                taken.append(round(time.monotonic() - saved_at, 2))
        memory = _memory(front)
        front.stop()
    finally:
        front.program.end()
    return {
        "records": records,
        "file_octets": zone.path.stat().st_size,
        "start_s": round(start_s, 2),
        "saves_s": taken,
        "queries": len(load.records),
        "lost": len(load.lost()),
        "wrong": len(load.wrong()),
        "slowest_ms": round(latencies_ms(load)[-1], 1),
        "p99_ms": _at(load, 0.99),
        "p50_ms": _at(load, 0.5),
        "quiet_slowest_ms": round(latencies_ms(quiet)[-1], 1),
        "quiet_p99_ms": _at(quiet, 0.99),
        "pss_mib_with_demo_zone_only": without,
        "pss_mib": memory,
    }


def _at(load: SteadyLoad, share: float) -> float:
    waits = latencies_ms(load)
    return round(waits[int(len(waits) * share)], 2)


def _memory(front: FrontEnd) -> dict[str, float]:
    """Return the proportional memory of each process, shared pages divided up."""
    by_pid = {pid: name for name, pid in front.pids().items()}
    return {
        by_pid.get(pid, "supervisor"): round(memory_of(pid).pss_bytes / (1 << 20), 1)
        for pid in tree(front.program.pid)
    }


if __name__ == "__main__":
    raise SystemExit(main())
