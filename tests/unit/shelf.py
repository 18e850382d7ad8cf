"""A book in plain memory, and what stands in it, as the program would see it."""

from __future__ import annotations

import struct
from array import array
from typing import NamedTuple

from dnsfront.kernel.book import WAYS, Book, BookSize
from dnsfront.kernel.layouts import layout

_ANSWER = layout("answer").ctype


class Written(NamedTuple):
    """One answer that the kernel could give, read back from the memory of the book."""

    view: int
    question: bytes
    head: bytes
    body: bytes
    aged_at_s: int
    until_s: int


class Shelf:
    """A book and the memory behind it; *hit* does what the program does."""

    def __init__(self, sets: int = 16, room_octets: int = 488) -> None:
        self.size = BookSize(sets, room_octets)
        self.sets = bytearray(self.size.sets_octets)
        self.answers = bytearray(self.size.answers_octets)
        struct.pack_into("=Q", self.sets, 0, sets)

    def open(self) -> Book:
        return Book(memoryview(self.sets), memoryview(self.answers))

    def written(self) -> dict[int, Written]:
        """Return the answers by their cells."""
        tags = array("Q", bytes(self.sets))[WAYS:].tolist()
        return {cell: self._read(cell) for cell, tag in enumerate(tags) if tag}

    def _read(self, cell: int) -> Written:
        at = cell * self.size.cell_octets
        head = _ANSWER.from_buffer_copy(self.answers, at)
        assert head.serial % 2 == 0
        at += layout("answer").size_octets
        question = bytes(self.answers[at : at + head.question_octets])
        at += (head.question_octets + 7) // 8 * 8
        body = bytes(self.answers[at : at + head.records_octets])
        tail = struct.pack("=I", head.tail)
        return Written(
            head.view,
            question[:-4] + tail,
            bytes(head.head),
            body,
            head.aged_at_s,
            head.until_s,
        )

    def hit(self, cell: int, times: int = 1) -> None:
        at = cell * self.size.cell_octets + _ANSWER.hits.offset
        count = struct.unpack_from("=Q", self.answers, at)[0]
        struct.pack_into("=Q", self.answers, at, count + times)
