"""Waiting for a condition, with a deadline, and never for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

_BETWEEN_LOOKS_S: Final = 0.002
_NEVER: Final = threading.Event()

T = TypeVar("T")


def eventually(check: Callable[[], T], within_s: float = 2) -> T:
    """Return what *check* returns, once that is true and no assertion fails in it.

    Raises:
        AssertionError: that of the last look, when *within_s* is over.
    """
    deadline_at = time.monotonic() + within_s
    while True:
        is_over = time.monotonic() >= deadline_at
        try:
            value = check()
            assert value, f"still {value!r} after {within_s:g} s"
        except AssertionError:
            if is_over:
                raise
        else:
            return value
        _NEVER.wait(_BETWEEN_LOOKS_S)
