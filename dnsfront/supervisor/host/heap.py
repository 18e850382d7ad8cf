"""The supervisor's memory: it lives for months and must stay small beside its workers.

Reading a config and building its table take some megabytes for a moment. glibc keeps
them, and keeps them once more for every thread that did such work.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h


def use_one_arena() -> None:
    """Have all threads allocate from one place; call it while there is one thread."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc has it, musl needs none
        libc.mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the system what is free, after something large was done."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
