"""The answers that the kernel would give, out of a book that a bookkeeper fills.

Book and bookkeeper are those of a worker; only the program of `kern/`, which reads the
book, has a stand-in here: whoever changes one of the two looks at the other.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.cache import Cache
from dnsfront.ipc.stats import STATS_OCTETS
from dnsfront.kernel.book import Book, book_size
from dnsfront.kernel.layouts import layout
from dnsfront.worker.answering.bookkeeper import Bookkeeper
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.process.meter import Meter

_HITS_AT: Final = layout("answer").word_at("hits")
_UNTIL_AT: Final = layout("answer").ctype.until_s.offset
_SIZES_AT: Final = layout("answer").ctype.question_octets.offset
_UNTIL = struct.Struct("=I")
_SIZES = struct.Struct("=HH")
#: Ticks of a worker in a second, and those after which it has read all of its book.
_TICKS: Final = 4
_MOST_TICKS: Final = 16


@dataclass(frozen=True)
class KernelSettings:
    """The bounds of the books of all workers together, in octets; 0 for no book."""

    max_size_octets: int
    max_answer_octets: int


class KernelSide:
    """What answers instead of one of *workers*, for what is in its *cache*."""

    def __init__(
        self, settings: KernelSettings, workers: int, cache: Cache, hash_key: bytes
    ) -> None:
        size = book_size(
            max_size_octets=settings.max_size_octets,
            max_answer_octets=settings.max_answer_octets,
            workers=workers,
        )
        sets = memoryview(bytearray(size.sets_octets))
        sets[:8] = struct.pack("=Q", size.sets)
        self._answers = memoryview(bytearray(size.answers_octets))
        self._words = self._answers.cast("Q")
        self._cell_octets = size.cell_octets
        self._book = Book(sets, self._answers)
        self._clock = Clock()
        page = memoryview(array("Q", bytes(STATS_OCTETS)))
        self._bookkeeper = Bookkeeper(
            cache,
            hash_key=hash_key,
            clock=self._clock,
            meter=Meter(page, self._clock),
        )
        self._bookkeeper.use(self._book)

    def set_clock(self, now_s: int) -> None:
        """Have it *now_s*, and have the worker know what the kernel was asked for."""
        ticks = min(_TICKS * (now_s - self._clock.now_s), _MOST_TICKS)
        self._clock.set(now_s * 1_000_000_000)
        for _ in range(ticks):
            self._bookkeeper.harvest()

    def answers(self, tag: int, limit: int) -> bool:
        """Return whether the program answers, and have it counted if it does.

        *limit* is the longest response that whoever asks may get from it.
        """
        cell = self._book.find(tag)
        if cell < 0:
            return False
        at = cell * self._cell_octets
        [until_s] = _UNTIL.unpack_from(self._answers, at + _UNTIL_AT)
        sizes = _SIZES.unpack_from(self._answers, at + _SIZES_AT)
        if until_s <= self._clock.now_s or wire.HEADER_OCTETS + sum(sizes) > limit:
            return False
        self._words[at // 8 + _HITS_AT] += 1
        return True

    def end_round(self) -> None:
        """Have the worker put into its book what was asked for again."""
        self._bookkeeper.work()
