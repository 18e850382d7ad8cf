"""Fuzz every target for some seconds each: `make fuzz SECONDS=60`.

Exit code 0 says that nothing was found. A finding is printed with the octets that lead
to it; a line of them in `tests/fuzz/corpus/` has it tried by every `make test`.
"""

# ruff: noqa: T201 - what is found is printed

from __future__ import annotations

import argparse
import importlib.util
import logging
import random
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Final

from tests.fuzz import engine
from tests.fuzz.targets import TARGETS

_MOST: Final = 1 << 40


def main() -> int:
    """Run with the arguments of the process; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each target")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--octets", help="try this input only, in hex")
    parser.add_argument("--plain", action="store_true", help="without atheris")
    arguments = parser.parse_args()
    names: list[str] = arguments.target or list(TARGETS)
    if arguments.octets is not None:
        for name in names:
            TARGETS[name](bytes.fromhex(arguments.octets))
        return 0
    # What is refused is logged for operators; here it is the usual case.
    logging.disable(logging.WARNING)
    is_led = not arguments.plain and importlib.util.find_spec("atheris") is not None
    if not is_led:
        print(f"drawn at random with seed {arguments.seed}: atheris is not used")
    found = 0
    for name in names:
        search = _led if is_led else _drawn
        found += search(name, arguments.seconds, arguments.seed)
    return 1 if found else 0


def _drawn(name: str, seconds: float, seed: int) -> int:
    target, first = TARGETS[name], engine.kept(name)
    count, finding = engine.run(target, first, seed=seed, seconds=seconds, most=_MOST)
    print(f"{name}: {count} inputs", flush=True)
    if finding is None:
        return 0
    _tell(name, finding)
    return 1


def _tell(name: str, finding: engine.Finding) -> None:
    traceback.print_exception(finding.error)
    octets = finding.data.hex()
    print(f"{name}: {finding.error!r}", flush=True)
    print(f"python -m tests.fuzz --target {name} --octets '{octets}'", flush=True)


def _led(name: str, seconds: float, seed: int) -> int:
    """Have atheris look, in a process of its own, which it ends as it likes."""
    with tempfile.TemporaryDirectory(prefix="dnsfront-fuzz-") as folder:
        corpus = Path(folder)
        for number, data in enumerate(engine.kept(name)):
            (corpus / f"kept{number}").write_bytes(data)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.led", name, str(corpus)),
                *(f"-max_total_time={seconds:.0f}", f"-seed={seed}", "-max_len=400"),
                *("-timeout=5", "-print_final_stats=0", "-verbosity=0"),
                f"-artifact_prefix={corpus}/",
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            print(done.stdout + done.stderr)
        print(
            f"{name}: atheris, {seconds:g} s, exit code {done.returncode}", flush=True
        )
        found = 0
        for path in corpus.glob("*-*"):
            if path.name.startswith(("crash", "timeout", "oom")):
                finding = engine.attempt(TARGETS[name], path.read_bytes())
                if finding is not None:
                    _tell(name, engine.smaller(TARGETS[name], finding))
                found = 1
        return found or int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
