"""Who is in the cache, what they weigh, and who goes first when room is wanted.

Newcomers wait in a queue of their own and are let go from there, so that a scan of
names that are asked for once pushes no other entry out. Those that are asked for again
become regulars, and so do those that come back soon after they were let go (S3-FIFO,
SOSP 2023). Among regulars the first in the queue goes, unless it was asked for since it
was last considered (CLOCK). Large entries, and those made from zones, have queues and
shares of their own.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from dnsfront.dns.entry import NOT_ASKED_FOR, ODD_ZONE, Entry

NEWCOMERS: Final = 0
REGULARS: Final = 1
LARGE: Final = 2
ZONES: Final = 3

#: An entry over this weight is large: UDP does not carry so much, so few can want it.
_LARGE_OCTETS: Final = 4096
#: A kind of entries goes first while it has more than its share of the cache. Shares
#: are divisors: of the number for newcomers, of the weight for large entries and zones.
_NEWCOMERS_SHARE: Final = 10
_LARGE_SHARE: Final = 4
_ZONES_SHARE: Final = 8
#: Responses made from zones, which can be made again at any time.
MAX_ZONE_ENTRIES: Final = 4096
#: Second chances given in a row. Where every entry was asked for, the search for one
#: that was not would walk the whole cache.
_MAX_CHANCES: Final = 32
#: Entries let go for one that comes; :meth:`Residents.trim` lets go of the rest.
_MAX_STEPS: Final = 64
#: Newcomers remembered after they were let go, however large the cache is.
_MAX_REMEMBERED: Final = 1 << 20
#: Entries looked at in one piece of work: about a millisecond.
_CHUNK: Final = 1000


class Losses:
    """What was let go for want of room, and what was too large to be kept.

    Of the `evictions`, `for_weight` counts those that had to go for their weight.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin to count anew."""
        self.evictions = 0
        self.for_weight = 0
        self.oversized = 0


class Residents:
    """The entries of one cache in the order in which they would go.

    An entry that is let go, flushed or replaced is at once empty and no longer live.
    Its shell stays in its queue until its turn comes. *forget* is called for each that
    goes.
    """

    def __init__(
        self, max_entries: int, max_octets: int, forget: Callable[[Entry], None]
    ) -> None:
        self.octets = 0
        self.losses = Losses()
        self._count = 0
        self._octets = [0, 0, 0, 0]
        self._queues: tuple[deque[Entry], ...] = (deque(), deque(), deque(), deque())
        # What was let go as a newcomer: a part of its hash, at the index that is
        # the rest of it.
        self._remembered: array[int] = array("I")
        self._forget = forget
        self.resize(max_entries, max_octets)

    def resize(self, max_entries: int, max_octets: int) -> None:
        """Have other bounds; :meth:`trim` brings what is there within them."""
        self._max_entries = max_entries
        self._max_octets = max_octets

    def __len__(self) -> int:
        """How many entries and shells there are, those made from zones not counted."""
        return self._count

    def entries(self) -> list[Entry]:
        """Return all that are not made from zones, those that came last first."""
        newcomers, regulars, large, _zones = self._queues
        return [*reversed(newcomers), *reversed(regulars), *reversed(large)]

    def trim(self) -> None:
        """Let some of those go that are too many: about a millisecond's work."""
        steps = 0
        while steps < _CHUNK:
            is_heavy = self.octets > self._max_octets
            if not is_heavy and self._count <= self._max_entries:
                break
            self._evict(is_for_weight=is_heavy)
            steps += 1

    @property
    def is_over(self) -> bool:
        """Whether there is more than the bounds allow."""
        return self.octets > self._max_octets or self._count > self._max_entries

    def admit(self, entry: Entry, weight: int) -> None:
        """Take in *entry*, of so much *weight*, after others have made room for it.

        The entry itself is never let go here.
        """
        is_of_zone = entry.odd & ODD_ZONE
        if self.octets + weight > self._max_octets or (
            self._count >= self._max_entries and not is_of_zone
        ):
            self._make_room(weight, is_of_zone=bool(is_of_zone))
        if is_of_zone:
            queue = ZONES
            if len(self._queues[ZONES]) >= MAX_ZONE_ENTRIES:
                self._drop(self._queues[ZONES].popleft())
        else:
            self._count += 1
            if weight > _LARGE_OCTETS:
                queue = LARGE
            elif entry.stamp != NOT_ASKED_FOR or (
                self._remembered and self._is_remembered(entry.key)
            ):
                queue = REGULARS
            else:
                queue = NEWCOMERS
        entry.queue = queue
        self._queues[queue].append(entry)
        self._octets[queue] += weight
        self.octets += weight

    def _make_room(self, weight: int, *, is_of_zone: bool) -> None:
        if self._count >= self._max_entries and not is_of_zone:
            self._evict(is_for_weight=False)
        steps = 0
        while self.octets + weight > self._max_octets and steps < _MAX_STEPS:
            self._evict(is_for_weight=True)
            steps += 1

    def would_move(self, entry: Entry, octets: int) -> bool:
        """Return whether *entry* belongs elsewhere with *octets* more than it has."""
        is_large = entry.weight_octets + octets > _LARGE_OCTETS
        return is_large != (entry.queue == LARGE)

    def weigh_again(self, entry: Entry, octets: int) -> None:
        """Note that *entry* has *octets* more than before."""
        self._octets[entry.queue] += octets
        self.octets += octets

    def leave(self, entry: Entry) -> None:
        """Let go of a live *entry*, of which a shell stays."""
        self._forget(entry)
        weight = entry.weight_octets
        self._octets[entry.queue] -= weight
        self.octets -= weight
        entry.expires_at = 0
        entry.body = entry.errors = b""
        entry.ttl_offsets = ()

    def compact(self) -> Iterator[None]:
        """Remove all shells, a piece at a time."""
        for queue in self._queues:
            left = len(queue)
            while left > 0:
                for _ in range(min(left, _CHUNK)):
                    if not queue:
                        break
                    entry = queue.popleft()
                    if entry.is_live:
                        queue.append(entry)
                    elif entry.queue != ZONES:
                        self._count -= 1
                left -= _CHUNK
                yield

    def _evict(self, *, is_for_weight: bool) -> None:
        """Let one go, or a shell, whose turn it is."""
        newcomers, regulars, large, zones = self._queues
        if is_for_weight:
            if zones and self._octets[ZONES] * _ZONES_SHARE > self._max_octets:
                self._drop(zones.popleft())
                return
            if large and self._octets[LARGE] * _LARGE_SHARE > self._max_octets:
                self._next_of(large, is_for_weight=True)
                return
        small = len(newcomers) + len(regulars)
        if newcomers and (len(newcomers) * _NEWCOMERS_SHARE >= small or not regulars):
            self._next_newcomer(newcomers, regulars, is_for_weight=is_for_weight)
        elif regulars:
            self._next_of(regulars, is_for_weight=is_for_weight)
        elif large:
            self._next_of(large, is_for_weight=is_for_weight)
        elif zones:
            self._drop(zones.popleft())

    def _next_newcomer(
        self, newcomers: deque[Entry], regulars: deque[Entry], *, is_for_weight: bool
    ) -> None:
        """Let the first newcomer go that nobody asked for again."""
        chances = 0
        while newcomers:
            entry = newcomers.popleft()
            if not entry.is_live:
                self._count -= 1
                return
            if entry.stamp == NOT_ASKED_FOR or chances == _MAX_CHANCES:
                self._remember(entry.key)
                self._count -= 1
                self._let_go(entry, is_for_weight=is_for_weight)
                return
            chances += 1
            self._move(entry, regulars)
        self._next_of(regulars, is_for_weight=is_for_weight)

    def _move(self, entry: Entry, regulars: deque[Entry]) -> None:
        weight = entry.weight_octets
        self._octets[NEWCOMERS] -= weight
        self._octets[REGULARS] += weight
        entry.queue = REGULARS
        entry.stamp = NOT_ASKED_FOR
        regulars.append(entry)

    def _next_of(self, queue: deque[Entry], *, is_for_weight: bool) -> None:
        """Let the first of *queue* go that was not asked for since its last turn."""
        entry = queue.popleft()
        chances = 0
        while entry.is_live and entry.stamp != NOT_ASKED_FOR and chances < _MAX_CHANCES:
            entry.stamp = NOT_ASKED_FOR
            queue.append(entry)
            entry = queue.popleft()
            chances += 1
        self._count -= 1
        if entry.is_live:
            self._let_go(entry, is_for_weight=is_for_weight)

    def _let_go(self, entry: Entry, *, is_for_weight: bool) -> None:
        self.losses.evictions += 1
        self.losses.for_weight += is_for_weight
        self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        if entry.is_live:
            self.leave(entry)

    def _remember(self, key: bytes) -> None:
        if not self._remembered:
            size = 1024
            while size < self._max_entries and size < _MAX_REMEMBERED:
                size *= 2
            self._remembered = array("I", bytes(4 * size))
        number = hash(key)
        self._remembered[number & len(self._remembered) - 1] = number >> 24 & 0xFFFFFFFF

    def _is_remembered(self, key: bytes) -> bool:
        number = hash(key)
        index = number & len(self._remembered) - 1
        return self._remembered[index] == number >> 24 & 0xFFFFFFFF
