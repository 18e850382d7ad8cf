"""Which responses the kernel gives in this worker's name.

The cache tells what comes, changes and goes, and what is asked for again; what is worth
it is put into the worker's book (`dnsfront/kernel/book.py`), where the program finds it
before any worker wakes. What the cache forgets is out of the book before the cache has
done with it. A query that the kernel does not answer comes here as ever.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from dnsfront.dns.entry import (
    ODD_ANY,
    ODD_ERRORS,
    ODD_ROTATES,
    ODD_RULED,
    ODD_STUB,
    ODD_ZONE,
    Entry,
)
from dnsfront.dns.observer import Observer
from dnsfront.ipc.stats import Counter
from dnsfront.kernel.book import FOREVER, OF_ZONE, Book, tag_of
from dnsfront.ring.qhash import qname_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from dnsfront.dns.cache import Cache
    from dnsfront.worker.process.clock import Clock
    from dnsfront.worker.process.meter import Meter

#: What depends on more than the question and the view, is not for UDP as it is, or
#: has to be counted for the rule that made it.
_NOT_FOR_THE_KERNEL: Final = ODD_ERRORS | ODD_ANY | ODD_ROTATES | ODD_STUB | ODD_RULED
#: The response code, in the second octet of a response's flags.
_RCODE: Final = 0xF
#: Entries put into the book in one round: some tenths of a millisecond's work.
_AT_ONCE: Final = 64
#: Entries that wait for it; others are put there when they are asked for again.
_MOST_WAITING: Final = 1 << 16
#: Parts in which the hits of the book are read, one a tick: all of it in four seconds.
_HARVESTS: Final = 16


class Bookkeeper:
    """Keeps one book at a time in line with the cache."""

    def __init__(
        self, cache: Cache, *, hash_key: bytes, clock: Clock, meter: Meter
    ) -> None:
        self._cache = cache
        self._hash_key = hash_key
        self._clock = clock
        self._meter = meter
        self._book: Book | None = None
        self._asked: deque[Entry] = deque()
        self._tags: dict[Entry, int] = {}
        #: The entry at each cell of the book.
        self._entries: list[Entry | None] = []
        self._part = 0
        self._is_withheld: Callable[[bytes], bool] | None = None

    def withhold(self, is_withheld: Callable[[bytes], bool] | None) -> None:
        """Keep answers to the questions that *is_withheld* takes out of the book.

        Who asks decides what they are answered. None withholds nothing.
        """
        self._is_withheld = is_withheld
        if is_withheld is not None:
            for entry in tuple(self._tags):
                if is_withheld(entry.canonical):
                    self._went(entry)

    def use(self, book: Book | None) -> None:
        """Keep *book* from now on, which is empty; None has the worker asked always.

        What stood in the one of before is put into this one, in the rounds to come.
        """
        if self._book is not None:
            self._book.release()
        self._book = book
        self._asked = deque(() if book is None else self._tags)
        self._tags.clear()
        self._entries = [None] * (0 if book is None else book.cells)
        self._part = 0
        self._cache.observe(
            None
            if book is None
            else Observer(_ignore, self._changed, self._went, self._asked_again)
        )

    def work(self) -> None:
        """Put what was asked for again into the book; call it at the end of a round."""
        for _ in range(min(_AT_ONCE, len(self._asked))):
            entry = self._asked.popleft()
            if entry not in self._tags and entry.is_live:
                self._put(entry)

    @property
    def has_work(self) -> bool:
        """Whether :meth:`work` left something to the next round."""
        return bool(self._asked)

    def harvest(self) -> None:
        """Have the cache know what the kernel was asked for; call it at every tick."""
        book = self._book
        if book is None:
            return
        now_s = self._clock.now_s
        first = book.cells * self._part // _HARVESTS
        self._part += 1
        end = book.cells * self._part // _HARVESTS
        self._part %= _HARVESTS
        for cell, _hits in book.harvest(first, end):
            entry = self._entries[cell]
            if entry is not None:
                self._cache.note_asked(entry, now_s)
        self._meter.set_gauge(Counter.KERNEL_ENTRIES, len(book))
        self._meter.set_gauge(Counter.KERNEL_OCTETS, book.octets)

    # -- what the cache tells

    def _asked_again(self, entry: Entry) -> None:
        if len(self._asked) < _MOST_WAITING and entry not in self._tags:
            self._asked.append(entry)

    def _changed(self, entry: Entry) -> None:
        if entry in self._tags and not self._put(entry):
            self._went(entry)

    def _went(self, entry: Entry) -> None:
        tag = self._tags.pop(entry, None)
        if tag is None or self._book is None:
            return
        cell = self._book.find(tag)
        if cell >= 0 and self._entries[cell] is entry:
            self._book.remove(tag)
            self._entries[cell] = None

    def _put(self, entry: Entry) -> bool:
        """Have the kernel give the response; return whether it can."""
        book, now_s = self._book, self._clock.now_s
        if (
            book is None
            or entry.odd & _NOT_FOR_THE_KERNEL
            or entry.due_at <= now_s
            or not book.fits(entry.key, entry.body, entry.ttl_offsets)
            or (self._is_withheld is not None and self._is_withheld(entry.canonical))
        ):
            return False
        tag = self._tags.get(entry)
        if tag is None:
            digest = qname_digest(entry.key[:-5], self._hash_key)
            tag = tag_of(digest, entry.tail, entry.view)
        cell = book.put(
            tag,
            view=entry.view,
            key=entry.key,
            tail=entry.tail,
            head=entry.head,
            body=entry.body,
            ttl_offsets=entry.ttl_offsets,
            aged_at_s=entry.aged_at,
            until_s=min(entry.due_at, FOREVER),
            kind=entry.head[1] & _RCODE | (OF_ZONE if entry.odd & ODD_ZONE else 0),
            now_s=now_s,
        )
        other = self._entries[cell]
        if other is not None and other is not entry:
            del self._tags[other]
        self._entries[cell] = entry
        self._tags[entry] = tag
        return True


def _ignore(_entry: Entry) -> None:
    """Wait for it to be asked for again."""
