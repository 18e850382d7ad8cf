"""Waiting for a condition, with a deadline, and never for a time.

A machine that others share is slower for us than it is: deadlines are extended there,
and what needs its share of CPU at a certain time may be tried again.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

_BETWEEN_LOOKS_S: Final = 0.002
_PATIENCE: Final = 5
_ATTEMPTS: Final = 3
_NEVER: Final = threading.Event()

T = TypeVar("T")
P = ParamSpec("P")

#: The first failure of every test that was tried again, for the end of the report.
tried_again: list[str] = []


def tried_on_a_busy_machine(test: Callable[P, None]) -> Callable[P, None]:
    """Let *test* fail twice where the machine is busy: it needs CPU at its time.

    What it cannot do there is no fault of what it tests; the report names it.
    """

    @functools.wraps(test)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> None:
        for _ in range(_ATTEMPTS - 1):
            try:
                return test(*args, **kwargs)
            except AssertionError as error:
                if not is_busy():
                    raise
                tried_again.append(
                    f"{test.__name__}: {str(error).partition(chr(10))[0]}"
                )
        return test(*args, **kwargs)

    return attempt


def is_busy() -> bool:
    """Return whether more wants to run on this machine than it has CPUs for."""
    return os.getloadavg()[0] > (os.cpu_count() or 1)


def eventually(check: Callable[[], T], within_s: float = 10) -> T:
    """Return what *check* returns, once that is true and no assertion fails in it.

    Raises:
        AssertionError: that of the last look, when *within_s* is over, or five times
            that on a busy machine.
    """
    began_at = time.monotonic()
    while True:
        passed_s = time.monotonic() - began_at
        is_over = passed_s >= within_s and (
            passed_s >= _PATIENCE * within_s or not is_busy()
        )
        try:
            value = check()
            assert value, f"still {value!r} after {within_s:g} s"
        except AssertionError:
            if is_over:
                raise
        else:
            return value
        _NEVER.wait(_BETWEEN_LOOKS_S)
