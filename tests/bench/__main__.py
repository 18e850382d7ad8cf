"""Measure dnsfront side by side with its peers: ``python -m tests.bench``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

from tests.bench import contract, footprint, load, rates, report, steering, under_load
from tests.bench.against import built
from tests.bench.errors import BenchError
from tests.bench.lab import Lab, Round, Settings

_MEASUREMENTS: Final = (
    "hit",
    "latency",
    "miss",
    "counts",
    "rates",
    "start",
    "memory",
    "steering",
)
_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Measure, print, write the results; 0 says that it was measured, not how well."""
    arguments = _arguments()
    settings = Settings(
        rounds=arguments.rounds or (2 if arguments.quick else 5),
        seconds=arguments.seconds or (0.5 if arguments.quick else 2.0),
        only=arguments.only,
        edns=arguments.edns,
        pin=arguments.pin,
        workers=(1, 4) if arguments.quick else (1, 4, 16),
    )
    for number in _ENDING:
        signal.signal(number, _interrupt)
    try:
        load.build()
        if arguments.against:
            _progress(f"building {arguments.against}")
            settings = replace(settings, against=built(arguments.against))
        with Lab(settings, _progress) as lab:
            for name, reason in lab.left_out.items():
                _say(f"{name} is left out: {reason}.")
            rounds = _measure(lab)
            found = list(contract.lines(rounds))
            path = report.write(lab, rounds, found, arguments.results)
    except BenchError as error:
        _progress("")
        sys.stderr.write(f"bench: {error}\n")
        return os.EX_UNAVAILABLE
    except KeyboardInterrupt:
        _progress("")
        sys.stderr.write("bench: interrupted; all that it started has been ended\n")
        return 128 + signal.SIGINT
    _progress("")
    for line in (*report.tables(rounds), "", contract.heading(), *map(str, found)):
        _say(line)
    for remark in report.remarks(rounds):
        _say(f"Note: {remark}.")
    _say(f"\nMedians of {settings.rounds} interleaved rounds; every round is in {path}")
    return os.EX_OK


def _measure(lab: Lab) -> dict[str, list[Round]]:
    rounds = under_load.measure(lab)
    wanted = lab.settings.only
    if "rates" in wanted:
        rounds["rates"] = rates.measure(lab)
    if "start" in wanted:
        rounds["start"] = footprint.measure_start(lab)
    if "memory" in wanted:
        rounds["memory"] = footprint.measure_memory(lab)
    if "steering" in wanted:
        try:
            rounds["steering"] = steering.measure(lab)
        except BenchError as error:
            # The only one that needs root; the others stand without it.
            _say(f"\nsteering is left out: {error}")
    return rounds


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    parser.add_argument("--rounds", type=int, metavar="N", help="default 5")
    parser.add_argument("--seconds", type=float, metavar="S", help="a round; default 2")
    parser.add_argument(
        "--only",
        type=_measurements,
        default=_MEASUREMENTS,
        metavar="WHAT,...",
        help=f"of {', '.join(_MEASUREMENTS)}; default all",
    )
    parser.add_argument("--edns", action="store_true", help="clients send an OPT")
    parser.add_argument(
        "--no-pin", dest="pin", action="store_false", help="share all CPUs"
    )
    parser.add_argument(
        "--against", metavar="REV", help="build another commit and measure it beside"
    )
    parser.add_argument(
        "--results", type=Path, default=report.default_directory(), metavar="DIR"
    )
    return parser.parse_args()


def _measurements(text: str) -> tuple[str, ...]:
    asked = text.split(",")
    if unknown := [name for name in asked if name not in _MEASUREMENTS]:
        raise argparse.ArgumentTypeError(
            f"got {unknown[0]}, want some of {', '.join(_MEASUREMENTS)}"
        )
    return tuple(asked)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    for number in _ENDING:  # once is enough: what follows takes everything down
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


_STARTED_AT: Final = time.monotonic()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _progress(text: str) -> None:
    """Show on the last line of a terminal what goes on; nothing in a pipe."""
    if sys.stderr.isatty():
        elapsed_s = time.monotonic() - _STARTED_AT
        shown = f"[{elapsed_s:4.0f} s] {text}" if text else ""
        sys.stderr.write(f"\r\033[K{shown}")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
