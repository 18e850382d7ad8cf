"""A zone as one flat piece of memory, searched in place.

The layout is private to this file; whoever writes an image and whoever reads it have
the same :data:`LAYOUT`, or the image is refused. All numbers are little-endian:

- head: magic, layout, octets of the image, nodes, records, buckets, where the index,
  the nodes and the chain begin, then the origin with its length before it.
- index: for every bucket where its first node begins, and at the end where the last
  one's nodes end. A name's bucket is its CRC-32 modulo their number.
- nodes, those of a bucket one behind the other: octets of the node, octets of the name,
  how many RRsets, the name, and for each RRset its kind (`records.py`), TTL, records,
  octets of what follows, and for each record the length of its data and the data, names
  written out.
- chain: where the nodes begin that have NSEC or NSEC3 records, in the order of
  RFC 4034, 6.1. Owners of NSEC3 records are no names that can be asked for
  (RFC 5155, 7.2.8): they stand as :func:`hashed_owner` says.

A name that exists only by those below it has a node without RRsets.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final
from zlib import crc32

from dnsfront.dns.names import labels
from dnsfront.dns.zones.records import RECORD_OCTETS, RRset
from dnsfront.errors import ZoneError

#: Changes with everything that a reader of another version would misread.
LAYOUT: Final = 2
MAX_IMAGE_OCTETS: Final = 0xFFFFFFFF

_MAGIC: Final = b"DNSZONE\0"
_HEAD: Final = struct.Struct("<8s8I")
_NODE: Final = struct.Struct("<IBxH")
_RRSET: Final = struct.Struct("<IIHH")
_LENGTH: Final = struct.Struct("<H")
_LINK: Final = struct.Struct("<I")
_TYPE_MASK: Final = 0xFFFF
_BOUNDS: Final = struct.Struct("<2I")
#: Buckets that are put in order at a time.
_PART: Final = 1024


def hashed_owner(owner: bytes) -> bytes:
    """Return how the owner of an NSEC3 record stands in an image."""
    return b"\0" + owner


def is_hashed_owner(name: bytes) -> bool:
    """Return whether a name is what :func:`hashed_owner` makes."""
    return not name[0] and len(name) > 1


def in_chain(name: bytes) -> list[bytes]:
    """Return what names of a chain are sorted by (RFC 4034, 6.1)."""
    return [name] if is_hashed_owner(name) else list(labels(name))[::-1]


def encode_rrset(kind: int, ttl_s: int, rdatas: Iterable[bytes]) -> bytes:
    """Return one RRset as it stands in a node."""
    pieces: list[bytes] = []
    for rdata in rdatas:
        pieces += (_LENGTH.pack(len(rdata)), rdata)
    octets = b"".join(pieces)
    return _RRSET.pack(kind, ttl_s, len(pieces) // 2, len(octets)) + octets


def decode_single(rrset: bytes) -> tuple[int, int, bytes]:
    """Return kind, TTL and data of an encoded RRset of one record."""
    kind, ttl_s, _count, _octets = _RRSET.unpack_from(rrset)
    return kind, ttl_s, rrset[_RRSET.size + _LENGTH.size :]


def encode(
    origin: bytes,
    names: int,
    nodes_in_order: Iterable[tuple[bytes, int, bytes]],
    records: int,
    chain: Sequence[bytes] = (),
) -> list[bytes | bytearray | memoryview]:
    """Return the image of a zone in pieces, to be written one behind the other.

    *nodes_in_order* has so many *names* in the order of :func:`in_buckets`, and with
    each how many RRsets there are and all of them encoded. *chain* has those names, in
    their order, that have NSEC or NSEC3 records.

    Raises:
        ZoneError: the image would be too large.
    """
    buckets = names
    index_at = _HEAD.size + 1 + len(origin)
    nodes_at = index_at + 4 * (buckets + 1)
    index = array("I", bytes(4 * (buckets + 1)))
    nodes = bytearray()
    begins = dict.fromkeys(chain, 0)
    bucket = 0
    index[0] = nodes_at
    for name, count, octets in nodes_in_order:
        own = crc32(name) % buckets
        while bucket < own:
            bucket += 1
            index[bucket] = nodes_at + len(nodes)
        if name in begins:
            begins[name] = nodes_at + len(nodes)
        size = _NODE.size + len(name) + len(octets)
        nodes += _NODE.pack(size, len(name), count)
        nodes += name
        nodes += octets
        if len(nodes) > MAX_IMAGE_OCTETS - nodes_at:
            raise ZoneError(f"the zone takes more than {MAX_IMAGE_OCTETS >> 30} GiB")
    chain_at = nodes_at + len(nodes)
    while bucket < buckets:
        bucket += 1
        index[bucket] = chain_at
    head = _HEAD.pack(
        _MAGIC, LAYOUT, chain_at + 4 * len(chain), names, records, buckets,
        index_at, nodes_at, chain_at,
    )  # fmt: skip
    links = array("I", (begins[name] for name in chain))
    return [
        head, bytes((len(origin),)), origin, memoryview(index).cast("B"), nodes,
        memoryview(links).cast("B"),
    ]  # fmt: skip


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
        #: Kind to TTL, number of records, where they begin and their octets.
        self._rrsets: dict[int, tuple[int, int, int, int]] = {}
        for _ in range(count):
            kind, ttl_s, records, size = _RRSET.unpack_from(octets, at)
            at += _RRSET.size
            self._rrsets[kind] = (ttl_s, records, at, size)
            at += size

    def __contains__(self, kind: int) -> bool:
        return kind in self._rrsets

    def get(self, kind: int) -> RRset | None:
        """Return the RRset of this kind, None if there is none."""
        found = self._rrsets.get(kind)
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
        return RRset(kind & _TYPE_MASK, ttl_s, tuple(rdatas))

    def smallest(self) -> RRset | None:
        """Return the RRset that takes the fewest octets in an answer."""
        kinds = [kind for kind in self._rrsets if kind <= _TYPE_MASK]
        kind = min(kinds, key=self._size_of, default=None)
        return None if kind is None else self.get(kind)

    def signatures(self) -> RRset | None:
        """Return the signatures of all types, None if there are none."""
        found = [self.get(kind) for kind in self._rrsets if kind > _TYPE_MASK]
        rrsets = [rrset for rrset in found if rrset is not None]
        if not rrsets:
            return None
        rdatas = tuple(rdata for rrset in rrsets for rdata in rrset.rdatas)
        return RRset(rrsets[0].rtype, min(x.ttl_s for x in rrsets), rdatas)

    def _size_of(self, kind: int) -> int:
        _ttl_s, records, _at, size = self._rrsets[kind]
        return size + (RECORD_OCTETS - _LENGTH.size) * records


class Image:
    """The names of one zone, in memory that somebody else may share."""

    def __init__(self, octets: memoryview) -> None:
        """Look into *octets*, which must not change.

        Raises:
            ZoneError: they are no image, or one of another version.
        """
        numbers: list[int]
        try:
            magic, layout, *numbers = _HEAD.unpack_from(octets)
        except struct.error as exc:
            raise ZoneError(f"got {len(octets)} octets, want a zone's image") from exc
        if magic != _MAGIC or layout != LAYOUT:
            raise ZoneError(
                f"got a zone's image of layout {layout}, want {LAYOUT}; the processes "
                "are of different versions: `dnsfront restart` makes them one again"
            )
        size, self.names, self.records, buckets, index, nodes, chain = numbers
        at = _HEAD.size
        self.origin = bytes(octets[at + 1 : at + 1 + octets[at]])
        is_whole = (
            size == len(octets)
            and buckets == self.names > 0
            and index == at + 1 + len(self.origin)
            and nodes == index + 4 * (buckets + 1) <= chain <= size
            and not (size - chain) % 4
        )
        if not is_whole:
            raise ZoneError("the image of a zone is not whole")
        self._octets = octets
        self._buckets = buckets
        self._index_at = index
        self._chain_at = chain
        self._links = (size - chain) // 4

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

    @property
    def has_chain(self) -> bool:
        """Whether there are NSEC or NSEC3 records to deny something with."""
        return self._links > 0

    def before(self, name: bytes) -> tuple[bytes, Node]:
        """Return the last name of the chain at or before *name*, and what it has.

        Ahead of the first that is the last one: the chain is a circle. There has to be
        one.
        """
        key = in_chain(name)
        low, high = 0, self._links
        while low < high:
            middle = (low + high) // 2
            if in_chain(self._link(middle)[0]) <= key:
                low = middle + 1
            else:
                high = middle
        found, at, count = self._link((low or self._links) - 1)
        return found, Node(self._octets, at, count)

    def _link(self, number: int) -> tuple[bytes, int, int]:
        """Return a name of the chain, and where its RRsets begin and how many."""
        octets = self._octets
        (at,) = _LINK.unpack_from(octets, self._chain_at + 4 * number)
        _size, length, count = _NODE.unpack_from(octets, at)
        name_at = at + _NODE.size
        return bytes(octets[name_at : name_at + length]), name_at + length, count

    def __iter__(self) -> Iterator[bytes]:
        """Yield every name, in the order of the image."""
        octets = self._octets
        at = self._index_at + 4 * (self._buckets + 1)
        while at < self._chain_at:
            size, length, _count = _NODE.unpack_from(octets, at)
            yield bytes(octets[at + _NODE.size : at + _NODE.size + length])
            at += size
