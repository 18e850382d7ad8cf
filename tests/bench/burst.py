"""A burst of new names at default settings: ``python -m tests.bench.burst``, as root.

The generator sends as fast as it can, and waits five seconds for what is missing. The
upstream has the socket buffers of its authors, so that it loses queries itself. Runs in
a network of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tests.bench import load
from tests.bench.lab import Lab, Round, Settings
from tests.bench.peers import (
    COMPILED,
    DNSDIST,
    DNSFRONT,
    PLAIN_UPSTREAM,
    UNBOUND,
    UPSTREAM,
    Peer,
    with_workers,
)
from tests.bench.report import commit, machine
from tests.namespaces import private_network

NAMES: Final = 20_000
_PEERS: Final = (DNSDIST, UNBOUND, DNSFRONT, COMPILED)
_WORKERS: Final = (1, 4)
_PATIENCE_S: Final = 5
_WITHIN_S: Final = 30


def main() -> int:
    """Measure, and print it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.burst")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    arguments = parser.parse_args()
    settings = Settings(arguments.rounds, 1, (), edns=True, pin=False)
    load.build()
    found = {}
    for what, upstream in (("4 MiB", UPSTREAM), ("its default", PLAIN_UPSTREAM)):
        with (
            private_network(),
            Lab(settings, lambda _text: None, _PEERS, upstream) as lab,
        ):
            found[f"receive buffer of the upstream: {what}"] = [*_measure(lab)]
    said = {"commit": commit(), "machine": machine(), "names": NAMES, "rounds": found}
    sys.stdout.write(json.dumps(said, indent=1) + "\n")
    return 0


def _measure(lab: Lab) -> Iterator[Round]:
    for peer in _variants(lab.peers):
        with lab.servers([peer], reflector=False) as [server]:
            for number in range(lab.settings.rounds):
                names = lab.directory / "burst"
                lines = (f"b{number}x{name}.bench A\n" for name in range(NAMES))
                names.write_text("".join(lines))
                arguments = ("--limit", str(NAMES), "--window", str(NAMES))
                burst = lab.load(
                    names, _WITHIN_S, *arguments, "--timeout", str(_PATIENCE_S)
                )
                seen = burst.run(server.port)
                yield {
                    "server": peer.name,
                    **{key: seen[key] for key in ("sent", "answered", "lost")},
                    "no_answer": seen["answered"] - seen["rcodes"].get("0", 0),
                    "p99_ms": round(seen["latency_us"]["p99"] / 1000),
                }


def _variants(peers: list[Peer]) -> Iterator[Peer]:
    for peer in peers:
        if peer in (DNSDIST, UNBOUND):
            yield peer
            continue
        for workers in _WORKERS:
            name = f"{peer.name} x {workers}"
            yield replace(with_workers(peer, workers), name=name)


if __name__ == "__main__":
    sys.exit(main())
