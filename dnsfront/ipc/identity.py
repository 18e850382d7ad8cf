"""Which code a process runs, as far as supervisor and workers must agree on it.

After an upgrade on disk a new process runs other code than the one that started it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final, Self

from dnsfront import __version__
from dnsfront.ipc import reading, records, stats
from dnsfront.ipc.spec import WorkerSpec

#: Goes up with every change to a message of `ipc/messages.py` that no field, reply or
#: layout shows.
CHANNEL_VERSION: Final = 1

_WORDS: Final = (*stats.PAGE_WORDS, *stats.Upstream, *stats.Health)


@dataclass(frozen=True)
class Identity:
    """A version, and a digest of everything that both sides lay out alike."""

    version: str
    layout: str

    @classmethod
    def here(cls, kernel_layouts: str) -> Self:
        """Return that of this process; *kernel_layouts* tells of `kern/maps.h`."""
        told = [
            CHANNEL_VERSION,
            kernel_layouts,
            stats.STATS_OCTETS,
            stats.BUCKET_BOUNDS_S,
            [repr(word) for word in _WORDS],
            records.layout(WorkerSpec),
            reading.layout(),
        ]
        digest = hashlib.blake2b(repr(told).encode(), digest_size=8)
        return cls(__version__, digest.hexdigest())

    @classmethod
    def told(cls, message: dict[str, Any]) -> Self:
        """Return the one that *message* tells; of none, and of others, empty text."""
        return cls(str(message.get("version", "")), str(message.get("layout", "")))
