"""The files that a config was read from, and whether they are still what was read."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: What changes when a file is written or replaced, even with equal size and mtime:
#: mtime, ctime, size, inode and device. None where there is no such file.
Stamp = tuple[int, ...] | None

#: The clock of a file system ticks some 4 ms apart: what was written within a tick
#: before it was read may be written once more within the same tick.
_TICK_NS: Final = 20_000_000
#: Stands for what may have changed since; no file has it.
_UNSURE: Final = (-1,)


class Sources:
    """Every file that is read for one config, stamped before it is read.

    What is written from then on is seen as a change, so that the last state on disk is
    never missed; at worst a file is read once more than needed.
    """

    def __init__(self) -> None:
        self._read: dict[Path, Stamp] = {}

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that were read, or that could not be."""
        return tuple(self._read)

    def note(self, path: Path) -> None:
        """Remember what *path* is, which is read next; the first time counts."""
        if path not in self._read:
            self._read[path] = _stamp_before_reading(path)

    def look(self) -> dict[Path, Stamp]:
        """Return what the files are now."""
        # A copy: a thread that reads a config notes its files meanwhile.
        return {path: _stamp(path) for path in [*self._read]}

    def differ_from(self, now: Mapping[Path, Stamp]) -> bool:
        """Return whether *now* is not what was read."""
        return self._read != now


def _stamp_before_reading(path: Path) -> Stamp:
    stamp = _stamp(path)
    if stamp is None:
        return None
    is_settled = time.time_ns() - max(stamp[0], stamp[1]) > _TICK_NS
    return stamp if is_settled else _UNSURE


def _stamp(path: Path) -> Stamp:
    try:
        status = os.stat(path)  # noqa: PTH116 - a path is as good
    except OSError:
        return None
    return (
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
        status.st_ino,
        status.st_dev,
    )
