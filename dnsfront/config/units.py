"""Durations as people write them, `250ms`, and as programs count them, in seconds."""

from __future__ import annotations

import re
from typing import Final

#: Milliseconds in each unit, the largest first.
_UNITS_MS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_DURATION: Final = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")

#: The same, for the JSON Schema.
DURATION_PATTERN: Final = r"^([0-9]{1,12}(ms|s|m|h|d)|0)$"
DURATION_WANTED: Final = "a whole number with its unit, like 250ms, 1s, 5m, 2h or 1d"


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
