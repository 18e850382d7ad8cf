"""Zone files to zones: every record checked, so that what loads can be served.

dnslib turns the fields of a record into wire form. It is given octets and labels, not
text, wherever its own reading of text is not that of RFC 1035: ``AAAA`` with a group
missing, relative targets of ``SRV``, labels that hold a dot or are not ASCII.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterable
from typing import Any, Final

from dnslib import (
    CNAME,
    DS,
    HTTPS,
    MX,
    NAPTR,
    QTYPE,
    RD,
    SOA,
    SRV,
    SSHFP,
    TLSA,
    TXT,
    DNSError,
    DNSLabel,
)

from dnsfront.dns.authority import ROOT, Rdata, RRset, Zone, ancestors
from dnsfront.dns.masterfile import Entry, Token, read_entries
from dnsfront.dns.wire import qname_from_text, qname_to_text
from dnsfront.errors import WireError, ZoneError

__all__ = ["Zone", "ZoneSet", "load_zone"]

#: Types whose names may be compressed: those of RFC 1035 (RFC 3597, 4).
_COMPRESSED: Final = frozenset({"CNAME", "MX", "NS", "PTR", "SOA"})
#: Types whose names additional processing, or a CNAME chain, goes on with.
_WITH_TARGET: Final = frozenset({"CNAME", "MX", "NS", "SRV"})
#: A message has 65535; this leaves room for a question, a CNAME chain and OPT.
_MAX_RRSET_OCTETS: Final = 60000
#: Served as plain data these would make other answers bogus, or leave some out.
_NOT_SERVED: Final = frozenset(
    {"DNAME", "DNSKEY", "NSEC", "NSEC3", "NSEC3PARAM", "RRSIG"}
)


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
    for entry in read_entries(apex, text, path):
        try:
            rrset = _rrset_of(entry)
            _check_place(rrset, entry.owner, apex)
            _add(nodes.setdefault(entry.owner, {}), rrset)
        except _BAD_RDATA as exc:
            owner = qname_to_text(entry.owner)
            raise ZoneError(
                f"{path}:{entry.line}: {owner} {entry.rtype}: {exc}"
            ) from exc
    try:
        _check_whole(nodes, apex)
    except ValueError as exc:
        raise ZoneError(f"{path}: {exc}") from exc
    return Zone(apex, nodes)


def _check_whole(nodes: dict[bytes, dict[int, RRset]], apex: bytes) -> None:
    if not nodes:
        raise ValueError("the file holds no record")
    for mnemonic in ("SOA", "NS"):
        if getattr(QTYPE, mnemonic) not in nodes.get(apex, {}):
            raise ValueError(f"no {mnemonic} record at {qname_to_text(apex)}, want one")
    for owner, node in nodes.items():
        for rtype, rrset in node.items():
            if rrset.size_octets > _MAX_RRSET_OCTETS:
                raise ValueError(
                    f"{qname_to_text(owner)} {QTYPE.get(rtype)}: the records have "
                    f"{rrset.size_octets} octets, want at most {_MAX_RRSET_OCTETS}"
                )


def _check_place(rrset: RRset, owner: bytes, apex: bytes) -> None:
    if apex not in ancestors(owner):
        raise ValueError(f"the owner is outside the zone {qname_to_text(apex)}")
    if rrset.rtype == QTYPE.SOA and owner != apex:
        raise ValueError(f"the owner is not the origin {qname_to_text(apex)}")
    if rrset.rtype == QTYPE.NS and owner.startswith(b"\1*"):
        raise ValueError("a wildcard cannot delegate (RFC 4592, 4.2)")


def _add(node: dict[int, RRset], new: RRset) -> None:
    """Join *new*, one record, to its RRset in *node*."""
    rtype = new.rtype
    present = node.get(rtype)
    if present is None:
        if node and (rtype == QTYPE.CNAME or QTYPE.CNAME in node):
            raise ValueError("CNAME and other records share an owner (RFC 1034, 3.6.2)")
        node[rtype] = new
        return
    rdatas, targets = present.rdatas, present.targets
    if new.rdatas[0] not in rdatas:
        if rtype in {QTYPE.CNAME, QTYPE.SOA}:
            raise ValueError("the owner has another record of this type, want one")
        rdatas, targets = rdatas + new.rdatas, targets + new.targets
    node[rtype] = RRset(rtype, min(present.ttl_s, new.ttl_s), rdatas, targets)


def _rrset_of(entry: Entry) -> RRset:
    """Return the one record of *entry*.

    Raises:
        ValueError: or another of _BAD_RDATA.
    """
    rtype: int = getattr(QTYPE, entry.rtype)
    mnemonic: str = QTYPE.get(rtype)  # TYPE1 is A too
    if mnemonic in _NOT_SERVED:
        raise ValueError("this type is not served from zones here")
    # Meta types and OPT are no data (RFC 6895, 3.1).
    if not 1 <= rtype <= 0xFFFF or 128 <= rtype <= 255 or rtype == QTYPE.OPT:
        raise ValueError("this type cannot stand in a zone")
    octets = _Octets(can_compress=mnemonic in _COMPRESSED)
    _read_rdata(mnemonic, _Fields(entry)).pack(octets)
    targets = (octets.last_name,) if mnemonic in _WITH_TARGET else ()
    return RRset(rtype, entry.ttl_s, (octets.to_rdata(),), targets)


class _Octets:
    """What dnslib packs one record's data into: it keeps names apart."""

    def __init__(self, *, can_compress: bool) -> None:
        self._pieces = [bytearray()]
        self._can_compress = can_compress
        self.last_name = ROOT

    def pack(self, fmt: str, *values: int) -> None:
        self._pieces[-1] += struct.pack(fmt, *values)

    def append(self, octets: bytes) -> None:
        self._pieces[-1] += octets

    def encode_name(self, label: DNSLabel) -> None:
        name = b"".join(bytes([len(part)]) + part for part in label.label) + ROOT
        self.last_name = name
        if self._can_compress:
            self._pieces += bytearray(name), bytearray()
        else:
            self._pieces[-1] += name

    encode_name_nocompress = encode_name

    def to_rdata(self) -> Rdata:
        return tuple(map(bytes, self._pieces))


def _read_rdata(mnemonic: str, fields: _Fields) -> Any:  # noqa: ANN401, untyped
    reader = _READERS.get(mnemonic, _read_generic)
    rdata = reader(fields)
    fields.finish()
    return rdata


class _Fields:
    """The data of one entry, taken field by field."""

    def __init__(self, entry: Entry) -> None:
        self._origin = entry.origin
        self._tokens = list(entry.rdata)

    def token(self) -> Token:
        if not self._tokens:
            raise ValueError("the data end too early")
        return self._tokens.pop(0)

    def rest(self) -> list[Token]:
        tokens, self._tokens = self._tokens, []
        return tokens

    def hex_rest(self) -> bytes:
        return bytes.fromhex("".join(token.text for token in self.rest()))

    def has_more(self) -> bool:
        return bool(self._tokens)

    def finish(self) -> None:
        if self._tokens:
            raise ValueError(f"got {self._tokens[0].text!r} behind the data")

    def number(self) -> int:
        text = self.token().text
        if not (text.isascii() and text.isdigit() and len(text) <= 10):
            raise ValueError(f"got {text!r}, want a number")
        return int(text)

    def name(self) -> DNSLabel:
        # DNSLabel takes text through IDNA and splits at escaped dots; parts are exact.
        name = self.token().to_name(self._origin)
        parts = []
        at = 0
        while name[at]:
            parts.append(name[at + 1 : at + 1 + name[at]])
            at += name[at] + 1
        return DNSLabel(parts)

    def string(self) -> bytes:
        octets = self.token().to_octets()
        if len(octets) > 255:
            raise ValueError(f"got a string of {len(octets)} octets, want at most 255")
        return octets


def _read_name(fields: _Fields) -> CNAME:
    return CNAME(fields.name())


def _read_a(fields: _Fields) -> RD:
    return RD(ipaddress.IPv4Address(fields.token().text).packed)


def _read_aaaa(fields: _Fields) -> RD:
    address = ipaddress.IPv6Address(fields.token().text)
    if address.scope_id:
        raise ValueError(f"got the zone %{address.scope_id}, want an address without")
    return RD(address.packed)


def _read_mx(fields: _Fields) -> MX:
    preference = fields.number()
    return MX(fields.name(), preference)


def _read_soa(fields: _Fields) -> SOA:
    mname, rname, serial = fields.name(), fields.name(), fields.number()
    return SOA(mname, rname, (serial, *(fields.token().to_seconds() for _ in range(4))))


def _read_srv(fields: _Fields) -> SRV:
    return SRV(fields.number(), fields.number(), fields.number(), fields.name())


def _read_naptr(fields: _Fields) -> NAPTR:
    order, preference = fields.number(), fields.number()
    flags, service, regexp = fields.string(), fields.string(), fields.string()
    return NAPTR(order, preference, flags, service, regexp, fields.name())


def _read_txt(fields: _Fields) -> TXT:
    strings = [fields.string()]
    while fields.has_more():
        strings.append(fields.string())
    return TXT(strings)


def _read_caa(fields: _Fields) -> RD:
    # dnslib removes quotes from the value and has it as text.
    flags, tag, value = fields.number(), fields.string(), fields.token().to_octets()
    if not tag.isalnum():
        raise ValueError(f"got the tag {tag!r}, want letters and digits")
    return RD(bytes([flags, len(tag)]) + tag + value)


def _read_https(fields: _Fields) -> HTTPS:
    priority, target = fields.number(), fields.name()
    parameters = [token.text for token in fields.rest()]
    rdata = HTTPS.fromZone([str(priority), ".", *parameters])
    rdata.target = list(target.label)
    rdata.params.sort()  # RFC 9460, 2.2
    keys = [key for key, _ in rdata.params]
    if len(keys) != len(set(keys)):
        raise ValueError("a parameter is given twice")
    return rdata


def _read_generic(fields: _Fields) -> RD:
    """Return the data of a type that has no form of its own here (RFC 3597, 5)."""
    if fields.token() != Token("\\#", is_quoted=False):
        raise ValueError(
            "this type is not known here; write its data as \\# LENGTH HEX"
        )
    length = fields.number()
    octets = fields.hex_rest()
    if len(octets) != length:
        raise ValueError(f"got {len(octets)} octets of data, want {length}")
    return RD(octets)


def _ends_in_hex(kind: type[RD], numbers: int) -> _Reader:
    """Return a reader for *numbers* numbers, then octets in hex, blanks allowed."""

    def read(fields: _Fields) -> RD:
        values = [fields.number() for _ in range(numbers)]
        if not fields.has_more():
            raise ValueError("the data end too early")
        return kind(*values, fields.hex_rest())

    return read


_Reader = Callable[["_Fields"], RD]
_READERS: Final[dict[str, _Reader]] = {
    "A": _read_a,
    "AAAA": _read_aaaa,
    "CAA": _read_caa,
    "CNAME": _read_name,
    "DS": _ends_in_hex(DS, 3),
    "HTTPS": _read_https,
    "MX": _read_mx,
    "NAPTR": _read_naptr,
    "NS": _read_name,
    "PTR": _read_name,
    "SOA": _read_soa,
    "SRV": _read_srv,
    "SSHFP": _ends_in_hex(SSHFP, 2),
    "SVCB": _read_https,
    "TLSA": _ends_in_hex(TLSA, 3),
    "TXT": _read_txt,
}

#: What dnslib, and the standard library, raise for data that are none.
_BAD_RDATA: Final = (DNSError, ValueError, LookupError, TypeError, struct.error)
