"""Zone files to zones: every record checked, so that what loads can be served."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dnsfront.dns.wire import SOA, qname_from_text, qname_to_text
from dnsfront.dns.zones.authority import CNAME, NS, RRset, Zone, ancestors
from dnsfront.dns.zones.text import Record, read_records, type_text
from dnsfront.errors import WireError, ZoneError

#: A message has 65535; this leaves room for a question, a CNAME chain and OPT.
_MAX_RRSET_OCTETS: Final = 60000


class ZoneSet:
    """The zones that are served, by origin."""

    def __init__(self, zones: Iterable[Zone]) -> None:
        """Take over *zones*; from now on CNAME chains go from one into another."""
        self._zones = {zone.origin: zone for zone in zones}
        for zone in self._zones.values():
            zone.join(self.find)

    def find(self, qname: bytes) -> Zone | None:
        """Return the zone with the longest origin at or above *qname*."""
        zones = self._zones
        at = 0
        while True:
            zone = zones.get(qname[at:])
            if zone is not None or not qname[at]:
                return zone
            at += qname[at] + 1


def load_zone(origin: str, text: str, path: str) -> Zone:
    """Return the zone at *origin* that the master file *text* describes.

    *path* is for messages only. An RRset whose records differ in TTL gets the least
    (RFC 2181, 5.2); a record that is written twice counts once.

    Raises:
        ZoneError: the first mistake, with the line it stands on.
    """
    try:
        apex = qname_from_text(origin)
    except WireError as exc:
        raise ZoneError(f"{path}: origin: {exc}") from exc
    nodes: dict[bytes, dict[int, RRset]] = {}
    for record in read_records(apex, text, path):
        try:
            _check_place(record, apex)
            _add(nodes.setdefault(record.owner, {}), record)
        except ValueError as exc:
            owner = qname_to_text(record.owner)
            raise ZoneError(
                f"{path}:{record.line}: {owner} {type_text(record.rtype)}: {exc}"
            ) from exc
    try:
        _check_whole(nodes, apex)
    except ValueError as exc:
        raise ZoneError(f"{path}: {exc}") from exc
    return Zone(apex, nodes)


def _check_whole(nodes: dict[bytes, dict[int, RRset]], apex: bytes) -> None:
    if not nodes:
        raise ValueError("the file holds no record")
    for mnemonic, rtype in (("SOA", SOA), ("NS", NS)):
        if rtype not in nodes.get(apex, {}):
            raise ValueError(f"no {mnemonic} record at {qname_to_text(apex)}, want one")
    for owner, node in nodes.items():
        for rtype, rrset in node.items():
            if rrset.size_octets > _MAX_RRSET_OCTETS:
                raise ValueError(
                    f"{qname_to_text(owner)} {type_text(rtype)}: the records have "
                    f"{rrset.size_octets} octets, want at most {_MAX_RRSET_OCTETS}"
                )


def _check_place(record: Record, apex: bytes) -> None:
    owner = record.owner
    if apex not in ancestors(owner):
        raise ValueError(f"the owner is outside the zone {qname_to_text(apex)}")
    if record.rtype == SOA and owner != apex:
        raise ValueError(f"the owner is not the origin {qname_to_text(apex)}")
    if record.rtype == NS and owner.startswith(b"\1*"):
        raise ValueError("a wildcard cannot delegate (RFC 4592, 4.2)")


def _add(node: dict[int, RRset], record: Record) -> None:
    """Join *record* to its RRset in *node*."""
    rtype, rdata, ttl_s = record.rtype, record.rdata, record.ttl_s
    present = node.get(rtype)
    if present is None:
        if node and (rtype == CNAME or CNAME in node):
            raise ValueError("CNAME and other records share an owner (RFC 1034, 3.6.2)")
        node[rtype] = RRset(rtype, ttl_s, (rdata,))
        return
    rdatas = present.rdatas
    if rdata not in rdatas:
        if rtype in {CNAME, SOA}:
            raise ValueError("the owner has another record of this type, want one")
        rdatas = (*rdatas, rdata)
    node[rtype] = RRset(rtype, min(present.ttl_s, ttl_s), rdatas)
