"""What is counted under a worker's name, whoever bears it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from typing import Final

from dnsfront.ipc import stats

#: Names whose workers are gone and whose counters are still shown: as many as there
#: may be workers, so that a whole ring can be renamed. Each takes a page of 56 KiB.
MAX_GONE: Final = 64

#: Responses that the kernel gave, by their kind (`kernel/book.py`).
KernelHits = Counter[int]


class Tally:
    """One name's counters for the life of the supervisor; none of them ever falls.

    *words* is the page that the workers of this name add to, one after the other.
    *steered*, *dropped* and *kernel_hits* hold what was counted for worker_ids and
    sockets that are gone; what is counted for those that are there comes on top.
    """

    def __init__(self) -> None:
        self.fd = stats.create()
        self.words = stats.words(self.fd)
        self.restarts = 0
        self.steered = 0
        self.dropped = 0
        self.kernel_hits = KernelHits()

    def reset_gauges(self) -> None:
        """Forget the state of a process that is no more."""
        for gauge in stats.GAUGES:
            self.words[gauge] = 0

    def close(self) -> None:
        """Give up the descriptor; mappings of the page live on."""
        os.close(self.fd)


class Tallies(dict[str, Tally]):
    """The tally of every worker name there has been, but for those long gone."""

    def of(self, name: str) -> Tally:
        """Return the tally of *name*, with zeroes the first time."""
        if name not in self:
            self[name] = Tally()
        return self[name]

    def sum_of(self, word: int) -> int:
        """Return what the pages of all names have at *word*, together."""
        return sum(tally.words[word] for tally in self.values())

    def left(self, name: str, serving: Collection[str]) -> None:
        """Note that *name* serves no more, and forget who left long before.

        Besides those that are *serving*, the `MAX_GONE` who left last are kept.
        """
        self[name] = self.pop(name)  # behind all others
        gone = [name for name in self if name not in serving]
        for forgotten in gone[:-MAX_GONE]:
            self.pop(forgotten).close()

    def close(self) -> None:
        """Give up all descriptors."""
        for tally in self.values():
            tally.close()
