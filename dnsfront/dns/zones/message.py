"""A response of a zone under construction: records behind a question."""

from __future__ import annotations

import struct
from typing import Final

from dnsfront.dns.names import ancestors
from dnsfront.dns.sections import Sections
from dnsfront.dns.wire import CLASS_IN, HEADER_OCTETS, SOA, skip_name
from dnsfront.dns.zones.image import Node
from dnsfront.dns.zones.records import (
    CNAME,
    MX,
    NS,
    PTR,
    ROOT,
    RRSIG,
    RRset,
    signature_of,
)

_MAX_POINTER: Final = 0x3FFF
_RECORD_FIXED: Final = struct.Struct("!HHI")
_LENGTH: Final = struct.Struct("!H")


class ZoneMessage:
    """A response to a question for *qname*, names compressed.

    Data keep their case (RFC 4343): what is compressed in them points to a name that is
    spelled like it. Owners point to any spelling.
    """

    def __init__(
        self, qname: bytes, question_octets: int, *, is_dnssec_ok: bool = False
    ) -> None:
        """Begin; signatures are added for those who want them."""
        self.answers = 0
        self.is_dnssec_ok: Final = is_dnssec_ok
        self._authorities = 0
        self._additionals = 0
        self._octets = bytearray()
        self._base = HEADER_OCTETS + question_octets
        self._proofs: dict[bytes, tuple[RRset, Node]] = {}
        self._present: set[tuple[bytes, int]] = set()
        #: By name in lower case: where it stands, and how it is spelled there.
        self._offsets = {
            ancestor: (HEADER_OCTETS + len(qname) - len(ancestor), ancestor)
            for ancestor in ancestors(qname)
            if ancestor != ROOT
        }

    def add_answer(self, owner: bytes, rrset: RRset, node: Node | None = None) -> None:
        """Add *rrset* to the answer section, for *owner*, which a wildcard may lack.

        *node*, here and below, is where its signatures are.
        """
        self.answers += self._add_signed(owner, rrset, node, rrset.ttl_s)

    def has_answered(self, owner: bytes) -> bool:
        """Tell whether the chain has been at *owner* before."""
        return (owner, CNAME) in self._present

    def add_authority(
        self,
        owner: bytes,
        rrset: RRset,
        node: Node | None = None,
        *,
        ttl_s: int | None = None,
    ) -> None:
        """Add *rrset* to the authority section, with another TTL if one is given."""
        ttl_s = rrset.ttl_s if ttl_s is None else ttl_s
        self._authorities += self._add_signed(owner, rrset, node, ttl_s)

    def add_proof(self, owner: bytes, rrset: RRset, node: Node) -> None:
        """Add an NSEC or NSEC3 record to the authority section, unless it is there.

        It goes there when the answers are complete.
        """
        self._proofs[owner] = (rrset, node)

    def _add_proofs(self) -> None:
        proofs, self._proofs = self._proofs, {}
        for owner, (rrset, node) in proofs.items():
            self.add_authority(owner, rrset, node)

    def add_additional(
        self, owner: bytes, rrset: RRset, node: Node | None, limit_octets: int | None
    ) -> bool:
        """Add *rrset* unless it is there already; say False if it passes the limit.

        After that nothing more may be added.
        """
        if (owner, rrset.rtype) in self._present:
            return True
        self._add_proofs()
        size = len(self._octets)
        count = self._add_signed(owner, rrset, node, rrset.ttl_s)
        if limit_octets is not None and self._base + len(self._octets) > limit_octets:
            del self._octets[size:]
            return False
        self._additionals += count
        return True

    def to_sections(
        self, rcode: int, *, is_authoritative: bool, target: bytes = b""
    ) -> Sections:
        """Return what has been added; *target* is where its aliases lead."""
        self._add_proofs()
        return Sections(
            rcode=rcode,
            is_authoritative=is_authoritative,
            is_authentic=False,
            answers=self.answers,
            authorities=self._authorities,
            additionals=self._additionals,
            octets=bytes(self._octets),
            target=target,
        )

    def _add_signed(
        self, owner: bytes, rrset: RRset, node: Node | None, ttl_s: int
    ) -> int:
        """Add *rrset* and its signatures; return how many records that makes."""
        self._add(owner, rrset, ttl_s)
        self._present.add((owner, rrset.rtype))
        count = len(rrset.rdatas)
        if self.is_dnssec_ok and node is not None and rrset.rtype != RRSIG:
            signatures = node.get(signature_of(rrset.rtype))
            if signatures is not None:
                self._add(owner, signatures, min(ttl_s, signatures.ttl_s))
                count += len(signatures.rdatas)
        return count

    def _add(self, owner: bytes, rrset: RRset, ttl_s: int) -> None:
        octets = self._octets
        fixed = _RECORD_FIXED.pack(rrset.rtype, CLASS_IN, ttl_s)
        for rdata in rrset.rdatas:
            self._add_name(owner, is_owner=True)
            octets += fixed
            length_at = len(octets)
            octets += b"\0\0"
            self._add_rdata(rrset.rtype, rdata)
            _LENGTH.pack_into(octets, length_at, len(octets) - length_at - 2)

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

    def _add_name(self, name: bytes, *, is_owner: bool = False) -> None:
        """Add *name*, its end as a pointer to where it stands already (4.1.4)."""
        at = self._base + len(self._octets)
        for ancestor in ancestors(name):
            folded = ancestor.lower()
            found = self._offsets.get(folded)
            behind = len(name) - len(ancestor)
            if found is not None and (is_owner or found[1] == ancestor):
                self._octets += name[:behind] + _LENGTH.pack(0xC000 | found[0])
                return
            if found is None and folded != ROOT and at + behind <= _MAX_POINTER:
                self._offsets[folded] = (at + behind, ancestor)
        self._octets += name
