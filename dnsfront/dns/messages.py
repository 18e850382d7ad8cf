"""DNS messages off the query path: built and read by dnslib, which is owned here."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from dnslib import (
    EDNS0,
    QTYPE,
    RCODE,
    RR,
    DNSHeader,
    DNSLabel,
    DNSQuestion,
    DNSRecord,
    EDNSOption,
)

from dnsfront.dns import edns, wire
from dnsfront.dns.names import labels, qname_from_text
from dnsfront.errors import WireError

#: Types that dnslib does not know, or by another name than IANA's.
_MORE_TYPES: Final = {"MINFO": 14, "SMIMEA": 53, "NID": 104, "L32": 105, "L64": 106}
_NAMES: Final = {number: name for name, number in _MORE_TYPES.items()}
_MAX_TYPE: Final = 0xFFFF
#: By INFO-CODE: RFC 8914, 4, and what IANA has added since.
_ERRORS: Final = (
    "Other", "Unsupported DNSKEY Algorithm", "Unsupported DS Digest Type",
    "Stale Answer", "Forged Answer", "DNSSEC Indeterminate", "DNSSEC Bogus",
    "Signature Expired", "Signature Not Yet Valid", "DNSKEY Missing", "RRSIGs Missing",
    "No Zone Key Bit Set", "NSEC Missing", "Cached Error", "Not Ready", "Blocked",
    "Censored", "Filtered", "Prohibited", "Stale NXDOMAIN Answer", "Not Authoritative",
    "Not Supported", "No Reachable Authority", "Network Error", "Invalid Data",
    "Signature Expired before Valid", "Too Early",
    "Unsupported NSEC3 Iterations Value", "Unable to conform to policy", "Synthesized",
)  # fmt: skip


@dataclass(frozen=True)
class ReadableRecord:
    """One record of a response, as zone files spell it."""

    name: str
    ttl: int
    type: str
    data: str


@dataclass(frozen=True)
class ReadableMessage:
    """What a response says; *nsid* is the payload of that option, None without it.

    *errors* are Extended DNS Errors: code and text (RFC 8914).
    """

    rcode: str
    flags: tuple[str, ...]
    answer: tuple[ReadableRecord, ...]
    authority: tuple[ReadableRecord, ...]
    additional: tuple[ReadableRecord, ...]
    nsid: str | None
    errors: tuple[tuple[int, str], ...]

    @property
    def is_truncated(self) -> bool:
        """Whether the whole has to be asked for over TCP."""
        return "tc" in self.flags


def type_from_text(text: str) -> int:
    """Return the number of a type, given by mnemonic or as ``TYPE65``.

    Raises:
        ValueError: it is none; the reason says what is wanted.
    """
    name = text.upper()
    number = _MORE_TYPES.get(name, QTYPE.reverse.get(name))
    if number is None and name.startswith("TYPE") and name[4:].isdecimal():
        number = int(name[4:])
    if number is None or not 0 < number <= _MAX_TYPE:
        raise ValueError(f'got "{text}", want a type like AAAA or TYPE65')
    return int(number)


def error_name(code: int) -> str:
    """Return the name of an Extended DNS Error, empty where it has none."""
    return _ERRORS[code] if code < len(_ERRORS) else ""


def question(name: str, qtype: int) -> bytes:
    """Return a query with RD, class IN, that asks for NSID (RFC 5001).

    Raises:
        WireError: *name* is none.
    """
    name_labels = tuple(labels(qname_from_text(name)))
    query = DNSRecord(
        DNSHeader(id=int.from_bytes(os.urandom(2), "big"), rd=1),
        q=DNSQuestion(DNSLabel(name_labels), qtype),
    )
    query.add_ar(
        EDNS0(udp_len=wire.UDP_PAYLOAD_OCTETS, opts=[EDNSOption(edns.OPTION_NSID, b"")])
    )
    return bytes(query.pack())


def response(octets: bytes, query: bytes) -> ReadableMessage | None:
    """Return what *octets* say, None if they are no response to *query*.

    Raises:
        WireError: they are, but cannot be read.
    """
    if octets[:2] != query[:2] or not octets[2:3] >= b"\x80":
        return None
    try:
        record = DNSRecord.parse(octets)
        asked = DNSRecord.parse(query).q
        if record.questions and record.q != asked:
            return None
        return _message(record)
    except Exception as exc:
        # dnslib raises whatever its parsers meet: struct.error, IndexError, its own.
        raise WireError(f"the response cannot be read: {exc}") from exc


def readable(octets: bytes) -> ReadableMessage:
    """Return what *octets* say.

    Raises:
        WireError: they cannot be read.
    """
    try:
        return _message(DNSRecord.parse(octets))
    except Exception as exc:
        raise WireError(f"the message cannot be read: {exc}") from exc


def _message(record: DNSRecord) -> ReadableMessage:
    header = record.header
    flags = [
        name for name in ("aa", "tc", "rd", "ra", "ad", "cd") if getattr(header, name)
    ]
    options = [
        option for rr in record.ar if rr.rtype == wire.OPT for option in rr.rdata
    ]
    upper = [rr.ttl >> 24 for rr in record.ar if rr.rtype == wire.OPT]
    nsids = [bytes(x.data) for x in options if x.code == edns.OPTION_NSID]
    return ReadableMessage(
        rcode=_rcode(header.rcode | (upper[0] << 4 if upper else 0)),
        flags=tuple(flags),
        answer=_records(record.rr),
        authority=_records(record.auth),
        additional=_records(rr for rr in record.ar if rr.rtype != wire.OPT),
        nsid=nsids[0].decode("ascii", "backslashreplace") if nsids else None,
        errors=tuple(
            (int.from_bytes(x.data[:2], "big"), x.data[2:].decode("utf-8", "replace"))
            for x in options
            if x.code == edns.OPTION_EDE
        ),
    )


def _rcode(rcode: int) -> str:
    if rcode == wire.BADVERS:
        return "BADVERS"
    return str(RCODE.forward.get(rcode, f"RCODE{rcode}"))


def _records(records: Iterable[RR]) -> tuple[ReadableRecord, ...]:
    return tuple(
        ReadableRecord(str(rr.rname), rr.ttl, _type_text(rr.rtype), str(rr.rdata))
        for rr in records
    )


def _type_text(rtype: int) -> str:
    return _NAMES.get(rtype) or str(QTYPE.forward.get(rtype, f"TYPE{rtype}"))
