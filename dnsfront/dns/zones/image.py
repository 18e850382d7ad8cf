"""A zone as one flat piece of memory, searched in place.

The layout is private to this file; whoever writes an image and whoever reads it have
the same :data:`LAYOUT`, or the image is refused. All numbers are little-endian:

- head: magic, layout, octets of the image, nodes, records, buckets, where the index
  and the nodes begin, then the origin with its length before it.
- index: for every bucket where its first node begins, and at the end where the last
  one's nodes end. A name's bucket is its CRC-32 modulo their number.
- nodes, those of a bucket one behind the other: octets of the node, octets of the name,
  how many RRsets, the name, and for each RRset type, TTL, records, octets of what
  follows, and for each record the length of its data and the data, names written out.

A name that exists only by those below it has a node without RRsets.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Collection, Iterable, Iterator
from typing import Final
from zlib import crc32

from dnsfront.dns.zones.records import RECORD_OCTETS, RRset
from dnsfront.errors import ZoneError

#: Changes with everything that a reader of another version would misread.
LAYOUT: Final = 1
MAX_IMAGE_OCTETS: Final = 0xFFFFFFFF

_MAGIC: Final = b"DNSZONE\0"
_HEAD: Final = struct.Struct("<8s7I")
_NODE: Final = struct.Struct("<IBxH")
_RRSET: Final = struct.Struct("<HIHH")
_LENGTH: Final = struct.Struct("<H")
_BOUNDS: Final = struct.Struct("<2I")
#: Buckets that are put in order at a time.
_PART: Final = 1024


def encode_rrset(rtype: int, ttl_s: int, rdatas: Iterable[bytes]) -> bytes:
    """Return one RRset as it stands in a node."""
    pieces: list[bytes] = []
    for rdata in rdatas:
        pieces += (_LENGTH.pack(len(rdata)), rdata)
    octets = b"".join(pieces)
    return _RRSET.pack(rtype, ttl_s, len(pieces) // 2, len(octets)) + octets


def decode_single(rrset: bytes) -> tuple[int, int, bytes]:
    """Return type, TTL and data of an encoded RRset of one record."""
    rtype, ttl_s, _count, _octets = _RRSET.unpack_from(rrset)
    return rtype, ttl_s, rrset[_RRSET.size + _LENGTH.size :]


def encode(
    origin: bytes,
    names: int,
    nodes_in_order: Iterable[tuple[bytes, int, bytes]],
    records: int,
) -> list[bytes | bytearray | memoryview]:
    """Return the image of a zone in pieces, to be written one behind the other.

    *nodes_in_order* has so many *names* in the order of :func:`in_buckets`, and with
    each how many RRsets there are and all of them encoded.

    Raises:
        ZoneError: the image would be too large.
    """
    buckets = names
    index_at = _HEAD.size + 1 + len(origin)
    nodes_at = index_at + 4 * (buckets + 1)
    index = array("I", bytes(4 * (buckets + 1)))
    nodes = bytearray()
    bucket = 0
    index[0] = nodes_at
    for name, count, octets in nodes_in_order:
        own = crc32(name) % buckets
        while bucket < own:
            bucket += 1
            index[bucket] = nodes_at + len(nodes)
        size = _NODE.size + len(name) + len(octets)
        nodes += _NODE.pack(size, len(name), count)
        nodes += name
        nodes += octets
        if len(nodes) > MAX_IMAGE_OCTETS - nodes_at:
            raise ZoneError(f"the zone takes more than {MAX_IMAGE_OCTETS >> 30} GiB")
    total = nodes_at + len(nodes)
    while bucket < buckets:
        bucket += 1
        index[bucket] = total
    head = _HEAD.pack(
        _MAGIC, LAYOUT, total, names, records, buckets, index_at, nodes_at
    )
    return [head, bytes((len(origin),)), origin, memoryview(index).cast("B"), nodes]


def in_buckets(names: Collection[bytes]) -> Iterator[bytes]:
    """Yield *names* in the order of their buckets, never sorting many at once."""
    buckets = len(names)
    parts: list[list[bytes]] = [[] for _ in range(0, buckets, _PART)]
    for name in names:
        parts[crc32(name) % buckets // _PART].append(name)
    for part in parts:
        part.sort(key=lambda name: crc32(name) % buckets)
        yield from part
        part.clear()


class Node:
    """What one name has, read from the image when it is asked for."""

    __slots__ = ("_octets", "_rrsets")

    def __init__(self, octets: memoryview, at: int, count: int) -> None:
        self._octets = octets
        #: Type to TTL, number of records, where they begin and their octets.
        self._rrsets: dict[int, tuple[int, int, int, int]] = {}
        for _ in range(count):
            rtype, ttl_s, records, size = _RRSET.unpack_from(octets, at)
            at += _RRSET.size
            self._rrsets[rtype] = (ttl_s, records, at, size)
            at += size

    def __contains__(self, rtype: int) -> bool:
        return rtype in self._rrsets

    def get(self, rtype: int) -> RRset | None:
        """Return the RRset of this type, None if there is none."""
        found = self._rrsets.get(rtype)
        if found is None:
            return None
        ttl_s, records, at, _size = found
        octets = self._octets
        rdatas = []
        for _ in range(records):
            (size,) = _LENGTH.unpack_from(octets, at)
            at += _LENGTH.size
            rdatas.append(bytes(octets[at : at + size]))
            at += size
        return RRset(rtype, ttl_s, tuple(rdatas))

    def smallest(self) -> RRset | None:
        """Return the RRset that takes the fewest octets in an answer."""
        rtype = min(self._rrsets, key=self._size_of, default=None)
        return None if rtype is None else self.get(rtype)

    def _size_of(self, rtype: int) -> int:
        _ttl_s, records, _at, size = self._rrsets[rtype]
        return size + (RECORD_OCTETS - _LENGTH.size) * records


class Image:
    """The names of one zone, in memory that somebody else may share."""

    def __init__(self, octets: memoryview) -> None:
        """Look into *octets*, which must not change.

        Raises:
            ZoneError: they are no image, or one of another version.
        """
        try:
            magic, layout, size, self.names, self.records, buckets, index, nodes = (
                _HEAD.unpack_from(octets)
            )
        except struct.error as exc:
            raise ZoneError(f"got {len(octets)} octets, want a zone's image") from exc
        if magic != _MAGIC or layout != LAYOUT:
            raise ZoneError(
                f"got a zone's image of layout {layout}, want {LAYOUT}; the processes "
                "are of different versions: `dnsfront restart` makes them one again"
            )
        at = _HEAD.size
        self.origin = bytes(octets[at + 1 : at + 1 + octets[at]])
        is_whole = (
            size == len(octets)
            and buckets == self.names > 0
            and index == at + 1 + len(self.origin)
            and nodes == index + 4 * (buckets + 1) <= size
        )
        if not is_whole:
            raise ZoneError("the image of a zone is not whole")
        self._octets = octets
        self._buckets = buckets
        self._index_at = index

    def get(self, name: bytes) -> Node | None:
        """Return what *name*, in lower-case wire form, has; None if it is not there."""
        octets = self._octets
        bucket = crc32(name) % self._buckets
        at, end = _BOUNDS.unpack_from(octets, self._index_at + 4 * bucket)
        name_octets = len(name)
        while at < end:
            size, length, count = _NODE.unpack_from(octets, at)
            if length == name_octets:
                name_at = at + _NODE.size
                if octets[name_at : name_at + length] == name:
                    return Node(octets, name_at + length, count)
            if size < _NODE.size:
                raise ZoneError("the image of a zone is damaged")
            at += size
        return None

    def __iter__(self) -> Iterator[bytes]:
        """Yield every name, in the order of the image."""
        octets = self._octets
        at = self._index_at + 4 * (self._buckets + 1)
        while at < len(octets):
            size, length, _count = _NODE.unpack_from(octets, at)
            yield bytes(octets[at + _NODE.size : at + _NODE.size + length])
            at += size
