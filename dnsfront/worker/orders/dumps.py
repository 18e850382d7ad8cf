"""The orders about what is cached as text: tell it, and take it back."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from dnsfront.dns.cache import Cache
from dnsfront.dns.dumps import DamagedError, entry_in, line_of
from dnsfront.dns.entry import Entry
from dnsfront.dns.forgetting import led_to
from dnsfront.ipc import memory
from dnsfront.ipc.messages import Dump, Dumped, Load, Loaded
from dnsfront.ipc.records import MAX_TEXT
from dnsfront.ipc.spec import DEFAULT_POOL
from dnsfront.worker.answering.local import Local
from dnsfront.worker.orders.orders import Orders, Pieces
from dnsfront.worker.peers.ownership import Ownership
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.upstreams.forwarding import Forwarding

#: Characters of a piece, and entries looked at for one: about a millisecond's work. The
#: longest line that a packet has room for.
_PIECE: Final = 16_000
_CHUNK: Final = 1000
_MAX_LINE: Final = 40_000
#: Lines taken in one round.
_LINES: Final = 20


class DumpOrders:
    """Dumps and loads, through the one door of the cache."""

    def __init__(
        self,
        orders: Orders,
        *,
        worker_id: int,
        cache: Cache,
        ownership: Ownership,
        local: Local,
        forwarding: Forwarding,
        clock: Clock,
    ) -> None:
        self._worker_id = worker_id
        self._cache = cache
        self._ownership = ownership
        self._local = local
        self._forwarding = forwarding
        self._clock = clock
        # The entries of the dump under way, which the next one ends.
        self._entries: list[Entry] = []
        self._ticket = 0
        orders.on(Dump, self._on_dump)
        orders.on(Load, self._on_load)

    def _on_dump(self, order: Dump) -> Dumped:
        if not order.at:
            self._ticket += 1
            self._entries = self._cache.entries()
        elif order.ticket != self._ticket:
            return Dumped(order.ticket, 0, 0, ())
        lines: list[str] = []
        size = left_out = 0
        at, end = order.at, min(order.at + _CHUNK, len(self._entries))
        while at < end and size < _PIECE:
            line = self._line(self._entries[at], order.wall_s)
            if line is not None and size + len(line) > _MAX_LINE and size:
                break
            at += 1
            if line is None:
                continue
            if len(line) > _MAX_LINE:
                left_out += 1
                continue
            lines.append(line + "\n")
            size += len(line)
        if at >= len(self._entries):
            self._entries, at = [], 0
        text = "".join(lines)
        cuts = range(0, len(text), MAX_TEXT)
        texts = tuple(text[cut : cut + MAX_TEXT] for cut in cuts)
        return Dumped(self._ticket, at, left_out, texts)

    def _line(self, entry: Entry, wall_s: int) -> str | None:
        if not entry.is_live:
            return None
        pool = self._pool(entry.canonical)
        if pool is None:
            return None
        return line_of(entry, pool=pool, now_s=self._clock.now_s, wall_s=wall_s)

    def _pool(self, canonical: bytes) -> str | None:
        """Return the name of the pool that a question goes to, if it goes to one."""
        if self._forwarding.find(canonical) is None:
            return None
        destinations = self._forwarding.destinations
        return DEFAULT_POOL if destinations is None else destinations.of(canonical)

    def _on_load(self, order: Load) -> Pieces:
        text = memory.content(order.lines_fd).decode("utf-8", "replace")
        os.close(order.lines_fd)
        kept = 0
        damaged: list[int] = []
        for index, line in enumerate(text.split("\n")):
            if index % _LINES == _LINES - 1:
                yield 0
            if not line.strip():
                continue
            try:
                kept += self._is_kept(line, order.wall_s)
            except DamagedError:
                damaged.append(index)
        return Loaded(kept, tuple(damaged))

    def _is_kept(self, line: str, wall_s: int) -> bool:
        """Keep the entry of a *line* if it is of use here, and return whether it is.

        Raises:
            DamagedError: there is none.
        """
        now_s = self._clock.now_s
        dumped = entry_in(line, now_s=now_s, wall_s=wall_s)
        entry = dumped.entry
        if self._ownership.owner(entry.key[:-4]) not in (0, self._worker_id):
            return False
        if self._local.ruling.forbids_keeping(entry.canonical):
            return False
        if led_to(self._is_from_elsewhere(entry.view, dumped.pool))(entry):
            return False
        return self._cache.adopt(entry, now_s)

    def _is_from_elsewhere(self, view: int, pool: str) -> Callable[[bytes], bool]:
        """Return what tells of a question whether *pool* would not be asked now.

        That is for names that aliases lead to, too: what is answered here, by a zone or
        a rule, is no upstream's to say.
        """

        def is_from_elsewhere(canonical: bytes) -> bool:
            return (
                self._pool(canonical) != pool
                or self._local.message(view, canonical) is not None
            )

        return is_from_elsewhere
