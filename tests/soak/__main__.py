"""Run the model and the real server side by side: `make soak MINUTES=60`.

Exit code 0 says that nothing was found, 1 that something was, and the report tells what
and how to see it again: `make soak SEED=... OPS=FILE`, the file being what was printed.
"""

# ruff: noqa: T201 - what is found is printed

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import Final

from tests.soak import (
    jail,
    op_config,
    op_haste,
    op_network,
    op_processes,
    op_zones,
)
from tests.soak.episode import Outcome, drawn, run
from tests.soak.operations import Operation, from_json
from tests.soak.report import Found, Report
from tests.soak.shrink import shrink

_CATALOGUE: Final = (op_config, op_haste, op_network, op_processes, op_zones)
_RESULTS: Final = Path(__file__).parent / "results"
_LONGEST_SHRINK_S: Final = 300.0
_LONGEST_REPLAY_S: Final = 60.0
_SHARE_OF_SHRINKING: Final = 0.25


def main() -> int:
    """Run with the arguments of the process; return the exit code."""
    arguments = _parse()
    if arguments.list:
        for operation, _ in zip(drawn(arguments.seed), range(50), strict=False):
            print(json.dumps(operation.to_json()))
        return 0
    return jail.confine(lambda: _run(arguments))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--ops", type=Path, help="operations to do, a JSON line each")
    parser.add_argument("--limit", type=int, help="operations a server, at most")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    parser.add_argument("--failures", type=int, default=8, help="failures to stop at")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--list", action="store_true", help="only draw, and print")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> int:
    report = Report(arguments.results.absolute(), arguments.seed, arguments.minutes)
    report.write()
    try:
        _fill(report, arguments)
        report.ending = "ended"
    except KeyboardInterrupt:
        report.ending = "interrupted"
    finally:
        report.write()
        print(report.text(), flush=True)
    return 1 if report.found else 0


def _fill(report: Report, arguments: argparse.Namespace) -> None:
    host = jail.Host()
    over_at = time.monotonic() + arguments.minutes * 60
    seed = arguments.seed
    while len(report.found) < arguments.failures and time.monotonic() < over_at:
        operations = _operations(arguments, seed)
        outcome = Outcome(seed)
        report.outcomes.append(outcome)
        run(host, outcome, operations, over_at, report.write)
        if outcome.invariant:
            print(f"{outcome.invariant}: {outcome.text[:1000]}", flush=True)
            found = Found(outcome, outcome.operations)
            report.found.append(found)
            report.write()
            if not arguments.no_shrink:
                share_s = arguments.minutes * 60 * _SHARE_OF_SHRINKING
                _shorten(host, found, report, min(share_s, _LONGEST_SHRINK_S))
        report.write()
        if arguments.ops or arguments.limit:
            return
        seed += 1


def _operations(arguments: argparse.Namespace, seed: int) -> list[Operation]:
    if arguments.ops:
        lines = arguments.ops.read_text("utf-8").splitlines()
        return [from_json(json.loads(line)) for line in lines if line.strip()]
    limit = arguments.limit or 10_000
    return [x for x, _ in zip(drawn(seed), range(limit), strict=False)]


def _shorten(host: jail.Host, found: Found, report: Report, within_s: float) -> None:
    over_at = time.monotonic() + within_s

    def is_broken(operations: list[Operation]) -> bool:
        if time.monotonic() >= over_at:
            return False
        outcome = Outcome(found.outcome.seed)
        run(host, outcome, operations, over_at + _LONGEST_REPLAY_S)
        is_same = outcome.invariant == found.outcome.invariant
        if is_same:
            found.shortest, found.is_repeated = operations, True
            report.write()
        return is_same

    shrink(found.outcome.operations, is_broken)


if __name__ == "__main__":
    sys.exit(main())
