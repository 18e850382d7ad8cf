"""The files that a config was read from, and whether they are still what was read."""

from __future__ import annotations

import hashlib
import os
import stat
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
#: A larger file that is so young is read once more.
_MAX_DIGESTED: Final = 1 << 20


class Sources:
    """Every file that is read for one config, stamped before it is read.

    What is written from then on is seen as a change, so that the last state on disk is
    never missed. Of files that are younger than a stamp can tell, the octets count too.
    """

    def __init__(self) -> None:
        self._read: dict[Path, Stamp] = {}
        self._young: dict[Path, bytes | None] = {}

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that were read, or that could not be."""
        return tuple(self._read)

    def note(self, path: Path) -> None:
        """Remember what *path* is, which is read next; the first time counts."""
        if path in self._read:
            return
        stamp = self._read[path] = _stamp(path)
        if stamp and time.time_ns() - max(stamp[0], stamp[1]) <= _TICK_NS:
            self._young[path] = _digest(path)

    def look(self) -> dict[Path, Stamp]:
        """Return what the files are now."""
        # A copy: a thread that reads a config notes its files meanwhile.
        return {path: _stamp(path) for path in [*self._read]}

    def changed(self, now: Mapping[Path, Stamp]) -> list[Path]:
        """Return the files that are *now*, when all is at rest, not what was read."""
        changed = [
            path
            for path, stamp in [*self._read.items()]
            # A thread that reads a config may have noted more since.
            if path in now and now[path] != stamp
        ]
        for path, digest in list(self._young.items()):
            if path in changed:
                continue
            if digest is None or digest != _digest(path):
                changed.append(path)
            else:
                del self._young[path]
        return changed


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


def _digest(path: Path) -> bytes | None:
    """Return a digest of what *path* holds; None if that is much, or not to be had."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            octets = file.read(_MAX_DIGESTED + 1)
    except OSError:
        return None
    return None if len(octets) > _MAX_DIGESTED else hashlib.blake2b(octets).digest()
