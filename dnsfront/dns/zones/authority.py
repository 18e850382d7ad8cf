"""One zone's records, and the response that they make for a question.

Pure: no socket, no clock. All names are lower-case wire form with the root label, so
that a look-up is a dict look-up and a parent is a slice.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import Enum, auto
from itertools import takewhile
from typing import Final, NamedTuple

from dnsfront.dns.names import MAX_QNAME_OCTETS, ancestors
from dnsfront.dns.sections import Sections
from dnsfront.dns.wire import (
    ANY,
    CLASS_ANY,
    CLASS_IN,
    NOERROR,
    NXDOMAIN,
    PLAIN_UDP_OCTETS,
    REFUSED,
    SERVFAIL,
    SOA,
    YXDOMAIN,
    A,
)
from dnsfront.dns.zones.denial import denial_of
from dnsfront.dns.zones.image import Image, Node
from dnsfront.dns.zones.message import ZoneMessage
from dnsfront.dns.zones.records import (
    AAAA,
    CNAME,
    DNAME,
    DS,
    NS,
    ROOT,
    RRSIG,
    RRset,
)
from dnsfront.errors import ZoneError

#: So many CNAME records are followed; more of them are a mistake, or an attack.
MAX_CHAIN: Final = 100

#: The data of the SOA record of a zone that did not come, or has expired.
_UNAVAILABLE: Final = bytes(22)

#: Returns the zone that a name is in, None if it is in none.
Find = Callable[[bytes], "Zone | None"]


class How(Enum):
    """How a name is found in a zone."""

    NAME = auto()
    WILDCARD = auto()
    CUT = auto()
    DNAME = auto()


class Located(NamedTuple):
    """What answers for a name: its own node, or one above it.

    *owner* is the name itself, the delegation at or above it, the owner of the DNAME
    record above it, or, where there is no such name, the closest that there is above
    it. For the last kind *node* is that of the wildcard there (RFC 4592, 3.3.1), None
    without one: then the name does not exist.
    """

    kind: How
    owner: bytes
    node: Node | None


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
        self._denial = denial_of(image, apex)
        self._is_available = soa.rdatas[0] != _UNAVAILABLE

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
        *,
        is_open: bool = False,
        is_dnssec_ok: bool = False,
    ) -> Sections:
        """Return what the zone says about a name at or below its origin.

        *question* is the question section as the client sent it; only its length
        counts, and that *qname* is its name in lower case. CNAME chains and questions
        for DS go on in zones that *find* knows. A zone does not keep it: the circle
        would hold an image that nobody uses any more. With *is_open*, a chain that
        leads out of all zones, or below a delegation, ends with its target. With
        *is_dnssec_ok* there are signatures and proofs, as far as the zone has them.
        """
        message = ZoneMessage(qname, len(question), is_dnssec_ok=is_dnssec_ok)
        find = self._find_here if find is None else find
        zone = _zone_for(find, qname, qtype)
        if zone is None or qclass not in {CLASS_IN, CLASS_ANY}:
            return message.to_sections(REFUSED, is_authoritative=False)
        if not zone._is_available:  # noqa: SLF001 - it is of this class
            return message.to_sections(SERVFAIL, is_authoritative=False)
        name, target = qname, b""
        for _ in range(MAX_CHAIN):
            located = zone.locate(name, qtype)
            if is_open and located.kind is How.CUT and message.answers:
                target = name
                break
            rrset = zone.say(message, name, qtype, located)
            if rrset is None:
                return zone.end(message, name, located)
            if rrset.rtype != CNAME or qtype in {CNAME, ANY}:
                zone.add_addresses(message, rrset, limit_octets=PLAIN_UDP_OCTETS)
                break
            name = rrset.targets[0]
            following = _zone_for(find, name, qtype)
            if message.has_answered(name):
                break
            if following is None:
                target = name if is_open else b""
                break
            zone = following
        else:
            # Not a part of the answer: the client would take it for the whole.
            return ZoneMessage(qname, len(question)).to_sections(
                SERVFAIL, is_authoritative=False
            )
        return message.to_sections(NOERROR, is_authoritative=True, target=target)

    def say(
        self, message: ZoneMessage, name: bytes, qtype: int, located: Located
    ) -> RRset | None:
        """Add the RRset that answers for *name*, or is its alias, and return it."""
        kind, owner, node = located
        if node is None or kind is How.CUT:
            return None
        if kind is How.DNAME:
            rrset = self._substitute(message, name, owner, node)
            if rrset is not None:
                message.add_answer(name, rrset)
            return rrset
        rrset = _chosen(node, qtype)
        if rrset is not None:
            message.add_answer(name, rrset, node)
            if kind is How.WILDCARD and message.is_dnssec_ok and self._denial:
                self._denial.of_closer(message, name, owner)
        return rrset

    def end(self, message: ZoneMessage, name: bytes, located: Located) -> Sections:
        """Return *message*, where :meth:`say` had nothing to say of *name*."""
        kind, owner, node = located
        if kind is How.DNAME:
            return message.to_sections(YXDOMAIN, is_authoritative=True)
        if node is not None and kind is How.CUT:
            return self._refer(message, owner, node)
        rcode = NXDOMAIN if node is None else NOERROR
        message.add_authority(
            self.origin, self._soa, self._apex, ttl_s=self.soa_minimum
        )
        denial = self._denial if message.is_dnssec_ok else None
        if denial is not None:
            if node is None:
                denial.of_name(message, name, owner)
            elif kind is How.WILDCARD:
                denial.of_wildcard_type(message, name, owner, node)
            else:
                denial.of_type(message, name, node)
        return message.to_sections(rcode, is_authoritative=True)

    def delegates(self, name: bytes, qtype: int) -> bool:
        """Return whether other servers are to be asked about *name*."""
        return self.locate(name, qtype).kind is How.CUT

    def locate(self, name: bytes, qtype: int) -> Located:
        """Return what answers a question for *name*."""
        image = self._image
        node, encloser = self._apex, self.origin
        for ancestor in reversed(list(self._below_origin(name))):
            if DNAME in node:
                return Located(How.DNAME, encloser, node)
            below = image.get(ancestor)
            if below is None:
                wildcard = image.get(b"\1*" + encloser)
                return Located(How.WILDCARD, encloser, wildcard)
            # A cut's DS is the one type that the parent has (RFC 4035, 3.1.4.1).
            if NS in below and (qtype != DS or ancestor != name):
                return Located(How.CUT, ancestor, below)
            node, encloser = below, ancestor
        return Located(How.NAME, encloser, node)

    def _substitute(
        self, message: ZoneMessage, name: bytes, owner: bytes, node: Node
    ) -> RRset | None:
        """Add the DNAME record above *name*; return the CNAME that it makes of it.

        That has the TTL of the other (RFC 6672, 3.1). None where its target is too long
        for a name.
        """
        ending = node.get(DNAME)
        assert ending is not None, "that is why it was chosen"
        message.add_answer(owner, ending, node)
        target = name[: len(name) - len(owner)] + ending.rdatas[0]
        if len(target) > MAX_QNAME_OCTETS:
            return None
        return RRset(CNAME, ending.ttl_s, (target,))

    def _refer(self, message: ZoneMessage, cut: bytes, node: Node) -> Sections:
        """Return *message* with the delegation at *cut*, and all glue (RFC 9471).

        Its DS records, or that it has none, say whether it is signed.
        """
        delegation = node.get(NS)
        assert delegation is not None, "a cut has NS"
        message.add_authority(cut, delegation)
        if message.is_dnssec_ok:
            signer = node.get(DS)
            if signer is not None:
                message.add_authority(cut, signer, node)
            elif self._denial is not None:
                self._denial.of_signer(message, cut, node)
        self.add_addresses(message, delegation)
        # RFC 1035, 4.1.1: AA belongs to the first owner name of the answer section.
        return message.to_sections(NOERROR, is_authoritative=message.answers > 0)

    def add_addresses(
        self, message: ZoneMessage, rrset: RRset, *, limit_octets: int | None = None
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
                    target, addresses, node, limit_octets
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
    if qtype == RRSIG:
        return node.signatures() or node.get(CNAME)
    return node.get(qtype) or node.get(CNAME)
