"""The book of a worker: the answers that the kernel gives in its name.

Two arrays that supervisor, worker and program share, laid out by `kern/maps.h`: `sets`
says by their tags which answers stand where, `answers` holds them. The worker writes
both by plain stores, without a system call and without rights. A cell's serial is odd
while it is written, so the program never gives out half of one.

Where a set is full, the answer that the
kernel has not given for the longest time makes room.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dnsfront.kernel.layouts import constant, layout

WAYS: Final = constant("ANSWER_WAYS")
#: TTLs that an answer can have; one with more is for the worker.
MAX_TTLS: Final = constant("ANSWER_TTLS")
#: How many kinds of responses are told apart, and what is added for one of a zone to
#: its code, which is the kind.
KINDS: Final = constant("ANSWER_KINDS")
OF_ZONE: Final = KINDS // 2
#: The `until_s` of what never expires.
FOREVER: Final = 0xFFFFFFFF

_ANSWER: Final = layout("answer")
_HEAD_OCTETS: Final = _ANSWER.size_octets
_HEAD_WORDS: Final = _HEAD_OCTETS // 8
SET_OCTETS: Final = layout("answer_set").size_octets
#: Header and OPT record of a response, neither of which a cell has.
_AROUND_OCTETS: Final = 12 + 11
_SERIAL_AT: Final = _ANSWER.word_at("serial")
_HITS_AT: Final = _ANSWER.word_at("hits")
#: What the worker writes of a cell's head, in one piece, begins behind those two.
_REST_AT: Final = 16
_REST = struct.Struct(f"=II4sHH8sHBB{MAX_TTLS}HI")
#: The first of these: `until_s`.
_UNTIL = struct.Struct("=I")
_MASK: Final = (1 << 64) - 1


@dataclass(frozen=True)
class BookSize:
    """How much fits into a book: *sets* of eight cells, each of *room_octets*.

    The room is for a question, padded to words, and the records.
    """

    sets: int
    room_octets: int

    @property
    def cell_octets(self) -> int:
        """Octets of an element of `answers`."""
        return _HEAD_OCTETS + self.room_octets

    @property
    def octets(self) -> int:
        """What both arrays take."""
        return self.sets_octets + self.answers_octets

    @property
    def sets_octets(self) -> int:
        """Octets of `sets`, whose element 0 is none."""
        return SET_OCTETS * (self.sets + 1)

    @property
    def answers_octets(self) -> int:
        """Octets of `answers`."""
        return self.cell_octets * WAYS * self.sets


def room_octets_for(max_answer_octets: int) -> int:
    """Return the room of a cell for responses of up to *max_answer_octets*."""
    return (max_answer_octets - _AROUND_OCTETS) // 8 * 8


def book_size(
    *, max_size_octets: int, max_answer_octets: int, workers: int
) -> BookSize:
    """Return the size of one of *workers* books that share *max_size_octets*.

    It has one set at least.
    """
    room_octets = room_octets_for(max_answer_octets)
    set_octets = SET_OCTETS + WAYS * (_HEAD_OCTETS + room_octets)
    share = max_size_octets // workers - SET_OCTETS
    return BookSize(max(1, share // set_octets), room_octets)


def tag_of(digest: int, tail: bytes, view: int) -> int:
    """Return the tag of a question: its name's hash of 64 bits, type, class and view.

    *tail* is qtype and qclass as in the message. The hash is keyed, so nobody outside
    knows which questions share a set, and mixed, so that neighbours do not.
    """
    word = digest ^ int.from_bytes(tail, "little") ^ view << 32
    word = (word ^ word >> 33) * 0xFF51AFD7ED558CCD & _MASK
    word = (word ^ word >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
    return word ^ word >> 33 or 1


class BookReader:
    """What the kernel is told to answer, for whoever does not write there."""

    def __init__(self, sets: memoryview, answers: memoryview, count: int) -> None:
        """Read *sets*, of which there are *count*, and *answers*, both of octets.

        What `sets` itself says of their number is a worker's word.
        """
        self._tags = sets.cast("Q")
        self._octets = answers
        self.sets = count
        self.cells = WAYS * count
        self._cell_octets = len(answers) // self.cells // 8 * 8

    def find(self, tag: int) -> int:
        """Return the cell of the answer with this *tag*, -1 if there is none."""
        first = self._first_cell(tag)
        at = WAYS + first
        ways = self._tags[at : at + WAYS].tolist()
        return first + ways.index(tag) if tag in ways else -1

    def is_given(self, tag: int, now_s: int) -> bool:
        """Return whether the kernel answers what has this *tag* in second *now_s*."""
        cell = self.find(tag)
        if cell < 0:
            return False
        [until_s] = _UNTIL.unpack_from(
            self._octets, cell * self._cell_octets + _REST_AT
        )
        return bool(now_s < until_s)

    def release(self) -> None:
        """Give up the memory; nothing here works afterwards."""
        self._tags.release()
        self._octets.release()

    def _first_cell(self, tag: int) -> int:
        return ((tag >> 32) * self.sets >> 32) * WAYS


class Book(BookReader):
    """The worker's side of its book: the only one who writes there.

    A cell goes by its number. Whoever puts something keeps the number, as hits are told
    by it; what stood there before has gone.
    """

    def __init__(self, sets: memoryview, answers: memoryview) -> None:
        """Write to *sets* and *answers*, both of octets; what is there stays."""
        super().__init__(sets, answers, int.from_bytes(sets[:8], sys.byteorder))
        self._words = answers.cast("Q")
        self._cell_words = self._cell_octets // 8
        self._room_octets = self._cell_octets - _HEAD_OCTETS
        self._count = sum(map(bool, self._tags[WAYS : WAYS * (self.sets + 1)]))
        hits = self._hits_from(0, self.cells)
        self._told = hits
        self._seen = array("Q", hits)
        self._used_at = array("Q", bytes(8 * self.cells))

    def __len__(self) -> int:
        """How many answers there are, expired ones included."""
        return self._count

    @property
    def octets(self) -> int:
        """What the answers take."""
        return self._count * self._cell_octets

    def fits(self, key: bytes, body: bytes, ttl_offsets: Sequence[int]) -> bool:
        """Return whether a cell can hold these: a question and its records."""
        return (
            _padded(len(key)) + len(body) <= self._room_octets
            and len(ttl_offsets) <= MAX_TTLS
        )

    def put(
        self,
        tag: int,
        *,
        view: int,
        key: bytes,
        tail: bytes,
        head: bytes,
        body: bytes,
        ttl_offsets: Sequence[int],
        aged_at_s: int,
        until_s: int,
        kind: int,
        now_s: int,
    ) -> int:
        """Have the kernel give this answer from now on, and return its cell.

        *key* is the question in lower case, *tail* its true type and class, *head* the
        flags and counts, *body* the records, whose TTLs were true in *aged_at_s*. From
        *until_s* on the worker is asked. It counts as *kind*. It must fit. An answer
        of the same tag is replaced; else, in a full set, the one that was not asked for
        the longest.
        """
        cell = self.find(tag)
        if cell < 0:
            cell = self._room_for(tag, now_s)
        count = len(ttl_offsets)
        octets = (
            _REST.pack(
                until_s,
                aged_at_s,
                tail,
                len(key),
                len(body),
                head,
                int.from_bytes(body, "little") % 0xFFFF,
                view,
                count,
                *ttl_offsets,
                *_NO_TTLS[count:],
                kind,
            )
            + key
            + bytes(-len(key) % 8)
            + body
        )
        word = cell * self._cell_words
        serial = self._words[word + _SERIAL_AT] | 1
        self._words[word + _SERIAL_AT] = serial
        at = cell * self._cell_octets + _REST_AT
        self._octets[at : at + len(octets)] = octets
        self._words[word + _SERIAL_AT] = (serial + 1) & _MASK
        self._used_at[cell] = now_s
        if self._tags[WAYS + cell] != tag:
            self._tags[WAYS + cell] = tag
            self._count += 1
        return cell

    def remove(self, tag: int) -> bool:
        """Have the worker asked again, and return whether it was not before."""
        cell = self.find(tag)
        if cell < 0:
            return False
        self._empty(cell)
        return True

    def clear(self) -> None:
        """Have the worker asked for everything."""
        self._tags[WAYS : WAYS * (self.sets + 1)] = memoryview(
            bytes(8 * self.cells)
        ).cast("Q")
        self._count = 0

    def hits(self, cell: int) -> int:
        """Return how many responses the kernel has made of a cell, whatever was there.

        It never falls: the difference to an earlier look is what was asked since.
        """
        return self._words[cell * self._cell_words + _HITS_AT]

    def harvest(self, first: int, end: int) -> list[tuple[int, int]]:
        """Return the cells from *first* to *end* that were hit, and how often.

        Each hit is told once.
        """
        hits = self._hits_from(first, end)
        told = self._told[first:end]
        self._told[first:end] = hits
        changed = []
        # Without the strictness of zip(), which is not compiled to a plain loop.
        for cell, now, before in zip(range(first, end), hits, told):  # noqa: B905
            if now != before:
                changed.append((cell, now - before))
        return changed

    def release(self) -> None:
        """Give up the memory; nothing here works afterwards."""
        self._words.release()
        super().release()

    def _hits_from(self, first: int, end: int) -> list[int]:
        if first >= end:
            return []
        step = self._cell_words
        return self._words[first * step + _HITS_AT : end * step : step].tolist()

    def _empty(self, cell: int) -> None:
        self._tags[WAYS + cell] = 0
        self._count -= 1

    def _room_for(self, tag: int, now_s: int) -> int:
        """Return an empty cell in the set of *tag*, emptied if need be."""
        first = self._first_cell(tag)
        oldest, oldest_at = first, FOREVER
        for cell in range(first, first + WAYS):
            if not self._tags[WAYS + cell]:
                self._seen[cell] = self.hits(cell)
                return cell
            hits = self.hits(cell)
            if hits != self._seen[cell]:
                self._seen[cell] = hits
                self._used_at[cell] = now_s
            if self._used_at[cell] < oldest_at:
                oldest, oldest_at = cell, self._used_at[cell]
        self._empty(oldest)
        return oldest


_NO_TTLS: Final = (0,) * MAX_TTLS


def _padded(octets: int) -> int:
    return (octets + 7) // 8 * 8
