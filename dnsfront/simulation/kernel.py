"""The answers that the kernel would give: a real book, and a stand-in for its program.

What the program of `kern/` does with a query and what a worker does to fill its book,
said in a few lines: whoever changes one of them looks here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.entry import ODD_ANY, ODD_ERRORS, ODD_ROTATES, ODD_STUB, Entry
from dnsfront.kernel.book import FOREVER, Book, BookSize, book_size
from dnsfront.kernel.layouts import layout

#: As in the worker: what depends on more than the question and the view.
_NOT_FOR_THE_KERNEL: Final = ODD_ERRORS | ODD_ANY | ODD_ROTATES | ODD_STUB
#: As in the cache: in the last tenth of its life the worker has an entry fetched again.
_PREFETCH_SHARE: Final = 10


@dataclass(frozen=True)
class KernelSettings:
    """The bounds of the books of all workers together, in octets; 0 for no book."""

    max_size_octets: int
    max_answer_octets: int

    def book(self, workers: int) -> BookModel | None:
        """Return an empty book of one of *workers*, None where there are none."""
        if not self.max_size_octets:
            return None
        return BookModel(
            book_size(
                max_size_octets=self.max_size_octets,
                max_answer_octets=self.max_answer_octets,
                workers=workers,
            )
        )


class BookModel:
    """One worker's book, with the entries behind it, and the program that reads it."""

    def __init__(self, size: BookSize) -> None:
        sets = memoryview(bytearray(size.sets_octets))
        sets[:8] = struct.pack("=Q", size.sets)
        answers = memoryview(bytearray(size.answers_octets))
        self._book = Book(sets, answers)
        self._words = answers.cast("Q")
        self._cell_words = size.cell_octets // 8
        self._hits_at = layout("answer").word_at("hits")
        self._entries: list[Entry | None] = [None] * self._book.cells
        self._until_s = [0] * self._book.cells

    def answers(self, tag: int, limit: int, now_s: int) -> bool:
        """Return whether the program answers, and have it counted if it does.

        *limit* is the longest response that whoever asks may get from it.
        """
        cell = self._book.find(tag)
        if cell < 0:
            return False
        entry = self._entries[cell]
        if entry is None or not entry.is_live:
            # What the cache forgets is out of the book at once; here, when it is met.
            self._book.remove(tag)
            return False
        if self._until_s[cell] <= now_s or _size_of(entry) > limit:
            return False
        self._words[cell * self._cell_words + self._hits_at] += 1
        # Hits in the kernel count for the worker's entry.
        entry.stamp = now_s - 1
        return True

    def put(self, tag: int, entry: Entry, now_s: int) -> None:
        """Have the program answer with *entry*, which a worker was asked for again."""
        due_at = entry.expires_at - entry.lifetime_s // _PREFETCH_SHARE
        if (
            entry.odd & _NOT_FOR_THE_KERNEL
            or due_at <= now_s
            or not self._book.fits(entry.key, entry.body, entry.ttl_offsets)
        ):
            return
        cell = self._book.put(
            tag,
            view=entry.view,
            key=entry.key,
            tail=entry.tail,
            head=entry.head,
            body=entry.body,
            ttl_offsets=entry.ttl_offsets,
            aged_at_s=entry.aged_at,
            until_s=min(due_at, FOREVER),
            now_s=now_s,
        )
        self._entries[cell] = entry
        self._until_s[cell] = due_at

    def renew(self, tag: int, entry: Entry, now_s: int) -> None:
        """Note that *entry* has another response, if the program answers with it."""
        cell = self._book.find(tag)
        if cell >= 0 and self._entries[cell] is entry:
            self.put(tag, entry, now_s)


def _size_of(entry: Entry) -> int:
    return wire.HEADER_OCTETS + len(entry.key) + len(entry.body)
