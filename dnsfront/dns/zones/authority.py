"""One zone's records, and the response that they make for a question.

Pure: no socket, no clock. All names are lower-case wire form with the root label, so
that a look-up is a dict look-up and a parent is a slice.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Final

from dnsfront.dns.names import ancestors
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
    SERVFAIL,
    SOA,
    A,
    skip_name,
)
from dnsfront.dns.zones.image import Image, Node
from dnsfront.dns.zones.records import (
    AAAA,
    CNAME,
    DS,
    MX,
    NS,
    PTR,
    ROOT,
    RRset,
)
from dnsfront.errors import ZoneError

#: So many CNAME records are followed; more of them are a mistake, or an attack.
MAX_CHAIN: Final = 100
_MAX_POINTER: Final = 0x3FFF
_RECORD_FIXED: Final = struct.Struct("!HHI")
_LENGTH: Final = struct.Struct("!H")

#: Returns the zone that a name is in, None if it is in none.
Find = Callable[[bytes], "Zone | None"]


class Zone:
    """The records of one zone, answered with authority."""

    def __init__(
        self, image: Image, *, only: bytes = b"", is_special: bool = False
    ) -> None:
        """Answer from *image*, in place.

        Where there are upstreams it is for questions that end with *only*. One that
        *is_special* nobody asked for: it gives way to what the config says of its name.

        Raises:
            ZoneError: it lacks the SOA record.
        """
        self.origin: Final = image.origin
        self.only: Final = only
        self.is_special: Final = is_special
        self._image = image
        apex = image.get(image.origin)
        soa = None if apex is None else apex.get(SOA)
        if apex is None or soa is None:
            raise ZoneError("the image of a zone is without its SOA record")
        self._apex = apex
        self._soa = soa

    @property
    def soa_minimum(self) -> int:
        """Seconds to keep a denial: the lesser of SOA TTL and MINIMUM (RFC 2308, 5)."""
        minimum: int = struct.unpack("!I", self._soa.rdatas[0][-4:])[0]
        return min(minimum, self._soa.ttl_s)

    def respond(
        self,
        qname: bytes,
        qtype: int,
        qclass: int,
        question: bytes,
        find: Find | None = None,
    ) -> Sections:
        """Return what the zone says about a name at or below its origin.

        *question* is the question section as the client sent it; only its length
        counts, and that *qname* is its name in lower case. CNAME chains and questions
        for DS go on in zones that *find* knows. A zone does not keep it: the circle
        would hold an image that nobody uses any more.
        """
        message = _Message(qname, len(question))
        find = self._find_here if find is None else find
        zone = _zone_for(find, qname, qtype)
        if zone is None or qclass not in {CLASS_IN, CLASS_ANY}:
            return message.to_sections(REFUSED, is_authoritative=False)
        name = qname
        for _ in range(MAX_CHAIN):
            cut, node = zone.locate(name, qtype)
            if cut is not None:
                return zone.refer(message, cut, node)
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
            following = _zone_for(find, name, qtype)
            if following is None or message.has_answered(name):
                break
            zone = following
        else:
            # Not a part of the answer: the client would take it for the whole.
            return _Message(qname, len(question)).to_sections(
                SERVFAIL, is_authoritative=False
            )
        return message.to_sections(NOERROR, is_authoritative=True)

    def locate(self, name: bytes, qtype: int) -> tuple[bytes | None, Node | None]:
        """Return the highest delegation at or above *name*, and what answers.

        With a delegation that is its own node. Else it is that of the name or of a
        wildcard (RFC 4592, 3.3.1), empty for a name that has nothing, and None for one
        that does not exist.
        """
        image = self._image
        node, encloser = self._apex, self.origin
        for ancestor in reversed(list(self._below_origin(name))):
            below = image.get(ancestor)
            if below is None:
                return None, image.get(b"\1*" + encloser)
            # A cut's DS is the one type that the parent has (RFC 4035, 3.1.4.1).
            if NS in below and (qtype != DS or ancestor != name):
                return ancestor, below
            node, encloser = below, ancestor
        return None, node

    def refer(self, message: _Message, cut: bytes, node: Node | None) -> Sections:
        """Return *message* with the delegation at *cut*, and all glue (RFC 9471)."""
        delegation = None if node is None else node.get(NS)
        assert delegation is not None, "a cut has NS"
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
            node = self._image.get(target)
            for rtype in (A, AAAA):
                addresses = None if node is None else node.get(rtype)
                if addresses is not None and not message.add_additional(
                    target, addresses, limit_octets
                ):
                    return

    def _below_origin(self, name: bytes) -> Iterator[bytes]:
        """Yield *name* and its ancestors as far as they are below the origin."""
        return takewhile(lambda ancestor: ancestor != self.origin, ancestors(name))

    def _find_here(self, name: bytes) -> Zone | None:
        return self if self.origin in ancestors(name) else None


def _zone_for(find: Find, name: bytes, qtype: int) -> Zone | None:
    """Return the zone that answers for *name*; DS is above a cut, not below it."""
    zone = find(name)
    if qtype == DS and zone is not None and zone.origin == name != ROOT:
        return find(name[name[0] + 1 :]) or zone
    return zone


def _chosen(node: Node, qtype: int) -> RRset | None:
    if qtype == ANY:
        # RFC 8482, 4.1: one RRset is enough, and the smallest amplifies the least.
        return node.smallest()
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
