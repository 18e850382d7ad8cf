"""Values of options: from the text of the command line to what commands work with."""

from __future__ import annotations

import argparse
import math
from typing import Final

from dnsfront.config.units import (
    DURATION_WANTED,
    SIZE_WANTED,
    duration_ms_from_text,
    size_octets_from_text,
)

_MAX_COUNT: Final = 100_000_000
_MAX_WORKERS: Final = 64


def count(text: str) -> int:
    """Return a number of things, of which there is one or more."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= _MAX_COUNT:
        raise _mistaken(text, f"a whole number from 1 to {_MAX_COUNT}")
    return int(text)


def counts(text: str) -> tuple[int, ...]:
    """Return numbers of workers, in the order in which they were given."""
    wanted = f"numbers of workers from 1 to {_MAX_WORKERS}, as in 1,2,4,8"
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise _mistaken(text, wanted)
    numbers = tuple(dict.fromkeys(map(int, parts)))
    if not all(1 <= number <= _MAX_WORKERS for number in numbers):
        raise _mistaken(text, wanted)
    return numbers


def not_negative(text: str) -> float:
    """Return a finite number that is not below zero."""
    number = _float(text)
    if not 0 <= number < math.inf:
        raise _mistaken(text, "a number from 0 on")
    return number


#: Four thousand million queries at this rate take more than a hundred thousand years.
_LEAST_RATE: Final = 0.001


def rate(text: str) -> float:
    """Return how often something happens in a second."""
    number = _float(text)
    if not _LEAST_RATE <= number < math.inf:
        raise _mistaken(text, "a number of 0.001 or more")
    return number


def seconds(text: str) -> int:
    """Return a duration in whole seconds."""
    try:
        return duration_ms_from_text(text) // 1000
    except ValueError as exc:
        raise _mistaken(text, DURATION_WANTED) from exc


def octets(text: str) -> int:
    """Return a size in octets."""
    try:
        return size_octets_from_text(text)
    except ValueError as exc:
        raise _mistaken(text, SIZE_WANTED) from exc


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _mistaken(text: str, wanted: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f'got "{text}", want {wanted}')
