"""Runs a target on inputs: those kept, and ever new ones made of them.

With atheris the inputs are led by coverage; without, they are drawn and changed at
random, which for structured inputs is nearly as good and needs nothing.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"
_HANG_AFTER_S: Final = 5.0
_LONGEST: Final = 400
_KEPT: Final = 200

Target = Callable[[bytes], None]


class HangError(AssertionError):
    """An input that takes too long."""


@dataclass(frozen=True)
class Finding:
    """An input, and what it led to."""

    data: bytes
    error: BaseException


def kept(name: str) -> list[bytes]:
    """Return the inputs kept for a target: lines of hex, behind # what they show."""
    path = CORPUS / f"{name}.hex"
    lines = path.read_text("ascii").splitlines() if path.exists() else []
    return [bytes.fromhex(x.partition("#")[0]) for x in lines if x.partition("#")[0]]


def inputs(seed: int, first: list[bytes]) -> Iterator[bytes]:
    """Return inputs without end, the same ones for the same *seed*; *first* first."""
    yield from first
    rng = random.Random(seed)
    pool = list(first)
    while True:
        if not pool or rng.random() < 0.5:
            data = rng.randbytes(rng.randrange(_LONGEST))
        else:
            data = _changed(rng, rng.choice(pool))
        yield data
        if len(pool) < _KEPT:
            pool.append(data)
        else:
            pool[rng.randrange(_KEPT)] = data


def _changed(rng: random.Random, data: bytes) -> bytes:
    octets = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(octets) + 1)
        match rng.randrange(4):
            case 0:
                octets[at : at + 1] = rng.randbytes(1)
            case 1:
                octets[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 2:
                del octets[at : at + rng.randrange(1, 9)]
            case _:
                octets[at : at + 1] = rng.choice((b"\0", b"\xff", b"\x7f", b"\1"))
    return bytes(octets[:_LONGEST])


def attempt(target: Target, data: bytes) -> Finding | None:
    """Return what is found with *data*, if anything."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise HangError(f"more than {_HANG_AFTER_S:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, _HANG_AFTER_S)
    try:
        target(data)
    except Exception as exc:  # noqa: BLE001 - it is what is looked for
        return Finding(data, exc)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return None


def smaller(target: Target, finding: Finding) -> Finding:
    """Return a finding of the same kind with as few octets as are soon found."""
    kind = type(finding.error)
    size = max(1, len(finding.data) // 2)
    while size:
        at = 0
        while at < len(finding.data):
            data = finding.data[:at] + finding.data[at + size :]
            other = attempt(target, data)
            if other is not None and type(other.error) is kind:
                finding = other
            else:
                at += size
        size //= 2
    return finding


def run(
    target: Target, first: list[bytes], *, seed: int, seconds: float, most: int
) -> tuple[int, Finding | None]:
    """Try inputs for a while; return how many, and the first finding."""
    over_at = time.monotonic() + seconds
    count = 0
    for data in inputs(seed, first):
        if count >= most or time.monotonic() >= over_at:
            break
        count += 1
        finding = attempt(target, data)
        if finding is not None:
            return count, smaller(target, finding)
    return count, None
