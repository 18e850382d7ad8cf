"""Lists of rules: what a list takes on a host, how long a look and a save take.

    python -m tests.bench.lists [--names 1000000] [--workers 4] [--rate 5000]

Runs in a network of its own, as root; prints JSON. `tests/unit/test_names_lists.py` and
`tests/system/test_rules.py` are the small forms that every test run has.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import tempfile
import time
import timeit
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from dnsfront.dns.names import qname_from_text
from dnsfront.dns.rules import names as names_module
from dnsfront.dns.rules.names import NameList
from dnsfront.dns.rules.text import read_list
from tests.bench.process import memory_of, tree
from tests.kern.queries import qname_of
from tests.namespaces import private_network
from tests.system.clients import nsid_query
from tests.system.front import FrontEnd
from tests.system.large_zone import ORIGIN, LargeZone, latencies_ms
from tests.system.steady import Names, SteadyLoad, owners_seen
from tests.waiting import eventually

_WITHIN_S = 600
#: Asked for at once, which fits any receive buffer.
_AT_ONCE: Final = 100
_PAUSE_S: Final = 0.005
_FIRST: Final = ("ads", "cdn", "m", "t")
_LAST: Final = ("com", "net", "ru")
#: What all processes together may take for a list, by its image.
_MOST: Final = 1.3


def main() -> int:
    """Measure, print, and say by the exit code whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rate", type=int, default=5000)
    arguments = parser.parse_args()
    with private_network(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "list"
        with path.open("w", encoding="ascii") as file:
            file.writelines(f"{text}\n" for text in _names(arguments.names))
        result = {
            "names": arguments.names,
            "file_octets": path.stat().st_size,
            "looks_us": _looks(min(arguments.names, 1_000_000)),
            **_served(folder, path, arguments.workers, arguments.rate),
        }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return not (result["copies"] <= _MOST and result["lost"] == result["wrong"] == 0)


def _names(count: int) -> Iterator[str]:
    """Yield so many names that look like those of lists, the same each time."""
    draw = random.Random(7)
    for number in range(count):
        bits = draw.getrandbits(48)
        own = f"{bits:x}"[: 5 + bits % 8]
        yield f"{_FIRST[bits % 4]}.{own}{number:x}.{_LAST[bits % 3]}"


def _looks(count: int) -> dict[str, Any]:
    """Return how long a look takes in this process, in microseconds."""
    octets = "\n".join(_names(count)).encode()
    began_at = time.monotonic()
    image = b"".join(read_list(octets).writer.pieces())
    read_s = time.monotonic() - began_at
    found = NameList(memoryview(image))
    asked = {
        "listed": next(_names(1)),
        "below a listed one": f"a.b.{next(_names(1))}",
        "three labels, not listed": "www.example.com",
        "seven labels, not listed": "a.b.c.d.e.example.com",
    }
    spent = {}
    for name, text in asked.items():
        qname = qname_from_text(text)
        spent[name] = timeit.timeit(partial(found.find, qname), number=50_000)
    return {
        "form": "pure" if str(names_module.__file__).endswith(".py") else "compiled",
        "in a list of": count,
        "read_s": round(read_s, 2),
        "octets a name": round(len(image) / count, 1),
        **{name: round(value * 20, 2) for name, value in spent.items()},
    }


def _served(folder: Path, path: Path, workers: int, rate: int) -> dict[str, Any]:
    names = Names(folder, 2000)
    zone = LargeZone(folder / "zone", names, 2000)
    base: dict[str, Any] = {
        "ring": {"workers": workers},
        "zones": [{"origin": ORIGIN, "file": str(zone.path)}],
        # What is dropped takes no room in caches, whose memory is not the list's.
        "rules": [{"match": {"suffixes": ["nowhere.example"]}, "action": "drop"}],
    }
    with FrontEnd(folder, **base) as front:
        owners_seen(front.address, names)
        without = _memory(front)
    rules = [{"match": {"suffixes": {"file": str(path)}}, "action": "drop"}]
    front = FrontEnd(folder, **{**base, "rules": rules})
    began_at = time.monotonic()
    front.launch()
    try:
        eventually(front.is_ready, within_s=_WITHIN_S)
        start_s = time.monotonic() - began_at
        owners_seen(front.address, names)
        dropped = _touch(front, path)
        memory = _memory(front)
        image = _octets_of_lists(front)
        wanted = _listed(front) + 1
        with SteadyLoad(front.address, names, rate) as load:
            with path.open("a", encoding="ascii") as file:
                file.write("one.more.example\n")
            saved_at = time.monotonic()
            eventually(lambda: _listed(front) == wanted, within_s=_WITHIN_S)
            save_s = time.monotonic() - saved_at
        front.stop()
    finally:
        front.program.end()
    waits = latencies_ms(load)
    taken = sum(memory.values()) - sum(without.values())
    return {
        "workers": workers,
        "start_s": round(start_s, 2),
        "asked_for_and_dropped": dropped,
        "image_mib": round(image / (1 << 20), 1),
        "pss_mib_without": without,
        "pss_mib": memory,
        "copies": round(taken * (1 << 20) / image, 3),
        "save_s": round(save_s, 2),
        "queries_meanwhile": len(load.records),
        "lost": len(load.lost()),
        "wrong": len(load.wrong()),
        "p99_ms": round(waits[int(len(waits) * 0.99)], 2),
        "slowest_ms": round(waits[-1], 1),
    }


def _touch(front: FrontEnd, path: Path) -> int:
    """Ask for a name in every few, so that all of the image has been looked at."""
    with path.open(encoding="ascii") as file:
        listed = [line.strip() for line in file]
    step = max(1, len(listed) // 100_000)
    asked = listed[::step]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(front.address)
        for at in range(0, len(asked), _AT_ONCE):
            for text in asked[at : at + _AT_ONCE]:
                client.send(nsid_query(qname_of(text), 1))
            time.sleep(_PAUSE_S)
    return front.metrics().counts()["rule_hits 1"]


def _octets_of_lists(front: FrontEnd) -> int:
    """Return the size of the largest memory that the supervisor shares."""
    folder = Path(f"/proc/{front.program.pid}/fd")
    return max(
        entry.stat().st_size
        for entry in folder.iterdir()
        if "dnsfront-zones" in str(entry.readlink())
    )


def _listed(front: FrontEnd) -> int:
    found = json.loads(front.command("status", "--json")[1])
    return int(found["rules"][0]["names"])


def _memory(front: FrontEnd) -> dict[str, float]:
    """Return the proportional memory of each process, shared pages divided up."""
    by_pid = {pid: name for name, pid in front.pids().items()}
    return {
        by_pid.get(pid, f"supervisor or nursery {pid}"): round(
            memory_of(pid).pss_bytes / (1 << 20), 1
        )
        for pid in tree(front.program.pid)
    }


if __name__ == "__main__":
    raise SystemExit(main())
