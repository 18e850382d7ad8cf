"""The memory that images lie in, by name, for as long as anybody refers to it."""

from __future__ import annotations

import itertools
import os
import weakref
from typing import Final

from dnsfront.errors import ZoneError
from dnsfront.ipc import memory

_NUMBERS: Final = itertools.count(1)


class Pack:
    """A sealed memfd with images; it is closed when nobody refers to it any more."""

    def __init__(self, fd: int) -> None:
        """Take over *fd*.

        Raises:
            ZoneError: somebody could still change what is in it.
        """
        self.fd = fd
        self.name = str(next(_NUMBERS))
        _PACKS[self.name] = self
        weakref.finalize(self, os.close, fd)
        if not memory.is_constant(fd):
            raise ZoneError("the memory of a zone is not sealed")


_PACKS: Final[weakref.WeakValueDictionary[str, Pack]] = weakref.WeakValueDictionary()


def pack_named(name: str) -> Pack:
    """Return the pack with this name, which a zone that is in use refers to."""
    return _PACKS[name]
