"""One zone's records, and the response that they make for a question.

Pure: no socket, no clock. All names are lower-case wire form with the root label, so
that a look-up is a dict look-up and a parent is a slice.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from dnsfront.dns.sections import Sections
from dnsfront.dns.wire import (
    ANY,
    CLASS_ANY,
    CLASS_IN,
    HEADER_OCTETS,
    NOERROR,
    NXDOMAIN,
    PLAIN_UDP_OCTETS,
    REFUSED,
    SOA,
    A,
    skip_name,
)

ROOT: Final = b"\0"
NS: Final = 2
CNAME: Final = 5
PTR: Final = 12
MX: Final = 15
AAAA: Final = 28
SRV: Final = 33
DS: Final = 43

#: A chain ends after so many CNAME records; longer ones are mistakes, or attacks.
_MAX_CHAIN: Final = 16
_MAX_POINTER: Final = 0x3FFF
_RECORD_FIXED: Final = struct.Struct("!HHI")
_LENGTH: Final = struct.Struct("!H")

#: Where the name that additional processing, or a CNAME chain, goes on with begins.
_TARGET_AT: Final = {NS: 0, CNAME: 0, MX: 2, SRV: 6}


@dataclass(frozen=True, slots=True)
class RRset:
    """The records of one owner and type, their data with all names written out."""

    rtype: int
    ttl_s: int
    rdatas: tuple[bytes, ...]

    @property
    def size_octets(self) -> int:
        """The size in an answer, each owner a pointer and other names written out."""
        return sum(map(len, self.rdatas)) + 12 * len(self.rdatas)

    @property
    def targets(self) -> tuple[bytes, ...]:
        """The names that the data point to, for those types where that matters."""
        at = _TARGET_AT.get(self.rtype)
        if at is None:
            return ()
        return tuple(rdata[at:].lower() for rdata in self.rdatas)


#: The RRsets of one name by type; empty for a name that exists only by those below it.
Node = Mapping[int, RRset]


def ancestors(name: bytes) -> Iterator[bytes]:
    """Yield *name*, its parent, and so on up to the root."""
    at = 0
    while True:
        yield name[at:]
        if not name[at]:
            return
        at += name[at] + 1


class Zone:
    """The records of one zone, answered with authority."""

    def __init__(self, origin: bytes, nodes: Mapping[bytes, Node]) -> None:
        """Take over *nodes*: a valid zone, with SOA and NS at *origin*."""
        self.origin: Final = origin
        self._nodes: dict[bytes, Node] = dict(nodes)
        for name in nodes:
            # RFC 4592, 2.2.2: a name with others below it exists, even if it is empty.
            for ancestor in self._below_origin(name):
                self._nodes.setdefault(ancestor, {})
        self._cuts = frozenset(
            name for name, node in nodes.items() if NS in node and name != origin
        )
        self._soa = nodes[origin][SOA]
        self._find: Callable[[bytes], Zone | None] = self._find_here

    @property
    def soa_minimum(self) -> int:
        """Seconds to keep a denial: the lesser of SOA TTL and MINIMUM (RFC 2308, 5)."""
        minimum: int = struct.unpack("!I", self._soa.rdatas[0][-4:])[0]
        return min(minimum, self._soa.ttl_s)

    def join(self, find: Callable[[bytes], Zone | None]) -> None:
        """Let CNAME chains and questions for DS go on in zones that *find* knows."""
        self._find = find

    def respond(
        self, qname: bytes, qtype: int, qclass: int, question: bytes
    ) -> Sections:
        """Return what the zone says about a name at or below its origin.

        *question* is the question section as the client sent it; only its length
        counts, and that *qname* is its name in lower case.
        """
        message = _Message(qname, len(question))
        zone = self._zone_for(qname, qtype)
        if zone is None or qclass not in {CLASS_IN, CLASS_ANY}:
            return message.to_sections(REFUSED, is_authoritative=False)
        name = qname
        for _ in range(_MAX_CHAIN):
            cut = zone.cut_above(name, qtype)
            if cut is not None:
                return zone.refer(message, cut)
            node = zone.node_for(name)
            if node is None:
                return zone.deny(message, NXDOMAIN)
            rrset = _chosen(node, qtype)
            if rrset is None:
                return zone.deny(message, NOERROR)
            message.add_answer(name, rrset)
            if rrset.rtype != CNAME or qtype in {CNAME, ANY}:
                zone.add_addresses(message, rrset, limit_octets=PLAIN_UDP_OCTETS)
                break
            name = rrset.targets[0]
            following = self._zone_for(name, qtype)
            if following is None or message.has_answered(name):
                break
            zone = following
        return message.to_sections(NOERROR, is_authoritative=True)

    def node_for(self, name: bytes) -> Node | None:
        """Return what answers for *name*, by itself or by a wildcard (RFC 4592, 3.3.1).

        None says that the name does not exist. An empty node says that it does.
        """
        node = self._nodes.get(name)
        if node is not None:
            return node
        encloser = next(above for above in ancestors(name) if above in self._nodes)
        return self._nodes.get(b"\1*" + encloser)

    def cut_above(self, name: bytes, qtype: int) -> bytes | None:
        """Return the delegation at or above *name*, the highest one, if there is any.

        Its DS is the one type that the parent has at the cut (RFC 4035, 3.1.4.1).
        """
        cut = None
        if self._cuts:
            for ancestor in self._below_origin(name):
                if ancestor in self._cuts:
                    cut = ancestor
        return None if cut == name and qtype == DS else cut

    def refer(self, message: _Message, cut: bytes) -> Sections:
        """Return *message* with the delegation at *cut*, and all glue (RFC 9471)."""
        delegation = self._nodes[cut][NS]
        message.add_authority(cut, delegation)
        self.add_addresses(message, delegation)
        # RFC 1035, 4.1.1: AA belongs to the first owner name of the answer section.
        return message.to_sections(NOERROR, is_authoritative=message.answers > 0)

    def deny(self, message: _Message, rcode: int) -> Sections:
        """Return *message* with the SOA that lets *rcode* be kept (RFC 2308, 3)."""
        message.add_authority(self.origin, self._soa, ttl_s=self.soa_minimum)
        return message.to_sections(rcode, is_authoritative=True)

    def add_addresses(
        self, message: _Message, rrset: RRset, *, limit_octets: int | None = None
    ) -> None:
        """Add the addresses of what *rrset* points to, as far as the zone has them.

        With a limit they are a courtesy, left out where they alone would have the
        response cut (RFC 2181, 9).
        """
        if rrset.rtype == CNAME:
            return
        for target in rrset.targets:
            node = self._nodes.get(target, {})
            for rtype in (A, AAAA):
                if rtype in node and not message.add_additional(
                    target, node[rtype], limit_octets
                ):
                    return

    def _zone_for(self, name: bytes, qtype: int) -> Zone | None:
        """Return the zone that answers for *name*; DS is above a cut, not below it."""
        zone = self._find(name)
        if qtype == DS and zone is not None and zone.origin == name != ROOT:
            return self._find(name[name[0] + 1 :]) or zone
        return zone

    def _below_origin(self, name: bytes) -> Iterator[bytes]:
        """Yield *name* and its ancestors as far as they are below the origin."""
        return takewhile(lambda ancestor: ancestor != self.origin, ancestors(name))

    def _find_here(self, name: bytes) -> Zone | None:
        return self if self.origin in ancestors(name) else None


def _chosen(node: Node, qtype: int) -> RRset | None:
    if qtype == ANY:
        # RFC 8482, 4.1: one RRset is enough, and the smallest amplifies the least.
        return min(node.values(), key=lambda rrset: rrset.size_octets, default=None)
    return node.get(qtype) or node.get(CNAME)


class _Message:
    """A response under construction: records behind a question, names compressed."""

    def __init__(self, qname: bytes, question_octets: int) -> None:
        self.answers = 0
        self._authorities = 0
        self._additionals = 0
        self._octets = bytearray()
        self._base = HEADER_OCTETS + question_octets
        self._present: set[tuple[bytes, int]] = set()
        self._offsets = {
            ancestor: HEADER_OCTETS + len(qname) - len(ancestor)
            for ancestor in ancestors(qname)
            if ancestor != ROOT
        }

    def add_answer(self, owner: bytes, rrset: RRset) -> None:
        """Add *rrset* to the answer section, for *owner*, which a wildcard may lack."""
        self._add(owner, rrset, rrset.ttl_s)
        self.answers += len(rrset.rdatas)

    def has_answered(self, owner: bytes) -> bool:
        """Tell whether the chain has been at *owner* before."""
        return (owner, CNAME) in self._present

    def add_authority(
        self, owner: bytes, rrset: RRset, *, ttl_s: int | None = None
    ) -> None:
        """Add *rrset* to the authority section, with another TTL if one is given."""
        self._add(owner, rrset, rrset.ttl_s if ttl_s is None else ttl_s)
        self._authorities += len(rrset.rdatas)

    def add_additional(
        self, owner: bytes, rrset: RRset, limit_octets: int | None
    ) -> bool:
        """Add *rrset* unless it is there already; say False if it passes the limit.

        After that nothing more may be added.
        """
        if (owner, rrset.rtype) in self._present:
            return True
        size = len(self._octets)
        self._add(owner, rrset, rrset.ttl_s)
        if limit_octets is not None and self._base + len(self._octets) > limit_octets:
            del self._octets[size:]
            return False
        self._additionals += len(rrset.rdatas)
        return True

    def to_sections(self, rcode: int, *, is_authoritative: bool) -> Sections:
        """Return what has been added."""
        return Sections(
            rcode=rcode,
            is_authoritative=is_authoritative,
            is_authentic=False,
            answers=self.answers,
            authorities=self._authorities,
            additionals=self._additionals,
            octets=bytes(self._octets),
        )

    def _add(self, owner: bytes, rrset: RRset, ttl_s: int) -> None:
        octets = self._octets
        fixed = _RECORD_FIXED.pack(rrset.rtype, CLASS_IN, ttl_s)
        for rdata in rrset.rdatas:
            self._add_name(owner)
            octets += fixed
            length_at = len(octets)
            octets += b"\0\0"
            self._add_rdata(rrset.rtype, rdata)
            _LENGTH.pack_into(octets, length_at, len(octets) - length_at - 2)
        self._present.add((owner, rrset.rtype))

    def _add_rdata(self, rtype: int, rdata: bytes) -> None:
        """Add *rdata*; names of RFC 1035's types may be compressed (RFC 3597, 4)."""
        if rtype in {CNAME, NS, PTR}:
            self._add_name(rdata)
        elif rtype == MX:
            self._octets += rdata[:2]
            self._add_name(rdata[2:])
        elif rtype == SOA:
            rname_at = skip_name(rdata, 0)
            self._add_name(rdata[:rname_at])
            self._add_name(rdata[rname_at:-20])
            self._octets += rdata[-20:]
        else:
            self._octets += rdata

    def _add_name(self, name: bytes) -> None:
        """Add *name*, its end as a pointer to where it stands already (4.1.4)."""
        at = self._base + len(self._octets)
        for ancestor in ancestors(name):
            offset = self._offsets.get(ancestor)
            behind = len(name) - len(ancestor)
            if offset is not None:
                self._octets += name[:behind] + _LENGTH.pack(0xC000 | offset)
                return
            if ancestor != ROOT and at + behind <= _MAX_POINTER:
                self._offsets[ancestor] = at + behind
        self._octets += name
