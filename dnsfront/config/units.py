"""Durations and sizes as people write them, `250ms`, `64MiB`, and as programs do."""

from __future__ import annotations

import re
from typing import Final

#: Milliseconds in each unit, the largest first.
_UNITS_MS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_DURATION: Final = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")

#: The same, for the JSON Schema.
DURATION_PATTERN: Final = r"^([0-9]{1,12}(ms|s|m|h|d)|0)$"
DURATION_WANTED: Final = "a whole number with its unit, like 250ms, 1s, 5m, 2h or 1d"

#: Octets in each unit, the largest first.
_UNITS_OCTETS: Final = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
_SIZE: Final = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)")
SIZE_PATTERN: Final = r"^[0-9]{1,12}(B|KiB|MiB|GiB)$"
SIZE_WANTED: Final = "a whole number with its unit, like 512B, 16KiB, 64MiB or 1GiB"


def duration_ms_from_text(text: str) -> int:
    """Return the milliseconds that *text* stands for; only 0 needs no unit.

    Raises:
        ValueError: *text* is no duration.
    """
    if text == "0":
        return 0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"want {DURATION_WANTED}")
    return int(match[1]) * _UNITS_MS[match[2]]


def duration_ms_to_text(duration_ms: int) -> str:
    """Return the shortest text that stands for *duration_ms*, in one unit."""
    if duration_ms == 0:
        return "0s"
    unit, size_ms = next(
        (unit, size_ms)
        for unit, size_ms in _UNITS_MS.items()
        if duration_ms % size_ms == 0
    )
    return f"{duration_ms // size_ms}{unit}"


def size_octets_from_text(text: str) -> int:
    """Return the octets that *text* stands for; none goes without its unit.

    Raises:
        ValueError: *text* is no size.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"want {SIZE_WANTED}")
    return int(match[1]) * _UNITS_OCTETS[match[2]]


def size_octets_to_text(size_octets: int) -> str:
    """Return the shortest text that stands for *size_octets*, in one unit."""
    if size_octets == 0:
        return "0B"
    unit, octets = next(
        (unit, octets)
        for unit, octets in _UNITS_OCTETS.items()
        if size_octets % octets == 0
    )
    return f"{size_octets // octets}{unit}"
