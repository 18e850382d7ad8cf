"""Millions of names as one flat piece of memory, searched in place by suffix.

The layout is private to this file; whoever writes an image and whoever reads it have
the same :data:`LAYOUT`, or the image is refused. All numbers are little-endian:

- head: magic, layout, octets of the image, names, places.
- places: where among the records that of a name begins, 0 for nowhere. A name's place
  is its CRC-32 modulo their number, or the next free one behind it.
- records, behind an octet: octets of the name, what becomes of it (low four bits) and
  of all below it (high four bits), and the name in lower-case wire form without the
  root label.

It takes the octets of the names and eight more for each, once a host however many
workers look into it. A look costs a CRC a label, whatever the number of names.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import Final
from zlib import crc32

from dnsfront.errors import ListError

#: Changes with everything that a reader of another version would misread.
LAYOUT: Final = 1
MAX_IMAGE_OCTETS: Final = 0xFFFFFFFF

#: What becomes of a name: what the rule says, or what the list says itself.
AS_RULED: Final = 1
NXDOMAIN: Final = 2
NODATA: Final = 3
PASS: Final = 4
DROP: Final = 5
#: How many low bits of what :meth:`NameList.find` returns are one of these.
ACTION_BITS: Final = 4
ACTION_MASK: Final = 15

_MAGIC: Final = b"DNSNAMES"
_HEAD: Final = struct.Struct("<8s4I")
_RECORD_OCTETS: Final = 2
_MAX_RECORD_OCTETS: Final = 256
#: Names that follow each other because the places of all are taken: so many come
#: together by chance in no list, and whoever makes them up shall not have long looks.
_MAX_PROBES: Final = 512


class NameListWriter:
    """Makes an image in one pass and with no other copy of any name.

    So many *names* are expected; more of them cost time. What is said twice of a name
    is what was said last, but for what lets it pass.
    """

    def __init__(self, names: int) -> None:
        self._expected = max(names, 1)
        self._size = 0
        self._places = array("I")
        self._records = bytearray(1)  # nothing begins at 0
        self.names = 0
        self._make_places()

    def _make_places(self) -> None:
        self._size = self._expected * 3 // 2 + 1
        self._places = array("I", bytes(4 * self._size))

    def add(self, name: bytes, own: int, below: int) -> None:
        """Say what becomes of *name*, and of those below; 0 leaves it as it was.

        *name* is in lower-case wire form without the root label.

        Raises:
            ListError: there is no room for it.
        """
        places, records, size = self._places, self._records, self._size
        at = crc32(name) % size
        length = len(name)
        probes = 0
        while place := places[at]:
            if records[place] == length and records.startswith(name, place + 2):
                self._say_more(place + 1, own, below)
                return
            at += 1
            if at == size:
                at = 0
            probes += 1
            if probes > _MAX_PROBES:
                raise ListError("too many names of the same checksum are there")
        begin = len(records)
        if begin > MAX_IMAGE_OCTETS - _HEAD.size - 4 * size - _MAX_RECORD_OCTETS:
            raise ListError(f"the list takes over {MAX_IMAGE_OCTETS >> 30} GiB")
        places[at] = begin
        records.append(length)
        records.append(below << ACTION_BITS | own)
        records += name
        self.names += 1
        if self.names > self._expected:
            self._grow()

    def _grow(self) -> None:
        """Find places for twice as many names."""
        records = self._records
        self._expected *= 2
        self._make_places()
        places, size = self._places, self._size
        begin = 1
        while begin < len(records):
            end = begin + _RECORD_OCTETS + records[begin]
            at = crc32(records[begin + _RECORD_OCTETS : end]) % size
            while places[at]:
                at = (at + 1) % size
            places[at] = begin
            begin = end

    def _say_more(self, at: int, own: int, below: int) -> None:
        said_of_own = self._records[at] & ACTION_MASK
        said_of_below = self._records[at] >> ACTION_BITS
        if said_of_own == PASS or not own:
            own = said_of_own
        if said_of_below == PASS or not below:
            below = said_of_below
        self._records[at] = below << ACTION_BITS | own

    def pieces(self) -> list[bytes | bytearray | memoryview]:
        """Return the image in pieces, to be written one behind the other."""
        octets = _HEAD.size + 4 * self._size + len(self._records)
        head = _HEAD.pack(_MAGIC, LAYOUT, octets, self.names, self._size)
        return [head, memoryview(self._places).cast("B"), self._records]


class NameList:
    """The names of one list, in memory that somebody else may share."""

    def __init__(self, octets: memoryview) -> None:
        """Look into *octets*, which must not change.

        Raises:
            ListError: they are no image, or one of another version.
        """
        try:
            magic, layout, size, self.names, places = _HEAD.unpack_from(octets)
        except struct.error as exc:
            raise ListError(f"got {len(octets)} octets, want a list's image") from exc
        if magic != _MAGIC or layout != LAYOUT:
            raise ListError(
                f"got a list's image of layout {layout}, want {LAYOUT}; the processes "
                "are of different versions: `dnsfront restart` makes them one again"
            )
        records_at = _HEAD.size + 4 * places
        if size != len(octets) or not places or records_at >= size:
            raise ListError("the image of a list is not whole")
        self._records = octets[records_at:]
        self._size = places
        self._places: Sequence[int] = octets[_HEAD.size : records_at].cast("I")

    def find(self, qname: bytes) -> int:
        """Return what becomes of *qname*, in lower-case wire form; 0 if nobody says.

        The low :data:`ACTION_BITS` say what, those above where in *qname* the name
        begins that the list has. The longest name decides.
        """
        records, places, size = self._records, self._places, self._size
        name = qname[:-1]
        end = len(name)
        start = 0
        while start < end:
            suffix = name[start:] if start else name
            at = crc32(suffix) % size
            length = end - start
            while place := places[at]:
                if (
                    records[place] == length
                    and records[place + 2 : place + 2 + length] == suffix
                ):
                    both = records[place + 1]
                    said: int = both >> ACTION_BITS if start else both & ACTION_MASK
                    if said:
                        return start << ACTION_BITS | said
                    break
                at += 1
                if at == size:
                    at = 0
            start += name[start] + 1
        return 0


def list_of(names: Sequence[bytes]) -> NameList:
    """Return a list of *names*, in lower-case wire form, and of all below them."""
    writer = NameListWriter(len(names))
    for name in names:
        writer.add(name[:-1], AS_RULED, AS_RULED)
    return NameList(memoryview(b"".join(writer.pieces())))
