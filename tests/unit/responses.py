"""Responses of upstreams, as dnspython writes them and octet by octet."""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset

from dnsfront.dns import wire
from dnsfront.dns.response import (
    Response,
    parse_response,
)

SOA = "example.test. {ttl} IN SOA ns.example.test. host.example.test. 1 2 3 4 {minimum}"


def soa(ttl: int, minimum: int) -> str:
    return SOA.format(ttl=ttl, minimum=minimum)


def response(
    question: str = "www.example.test. A",
    *,
    answer: tuple[str, ...] = (),
    authority: tuple[str, ...] = (),
    additional: tuple[str, ...] = (),
    rcode: int = 0,
    edns: int = -1,
    flags: int = 0,
) -> bytes:
    """Return what a resolver sends; each record is ``name ttl IN type data``."""
    name, rtype = question.split()
    made = dns.message.make_response(
        dns.message.make_query(name, rtype), recursion_available=True
    )
    made.flags |= flags
    for section, records in (
        (made.answer, answer),
        (made.authority, authority),
        (made.additional, additional),
    ):
        for record in records:
            owner, ttl, rclass, kind, data = record.split(maxsplit=4)
            section.append(dns.rrset.from_text(owner, int(ttl), rclass, kind, data))
    if edns >= 0:
        made.use_edns(edns)
    made.set_rcode(dns.rcode.Rcode(rcode))
    return made.to_wire(max_size=65535)


def parsed(octets: bytes) -> Response:
    return parse_response(octets, wire.question_end(octets))


def rebuilt(octets: bytes, *, question: bytes | None = None) -> dns.message.Message:
    """Return the message that a client gets of the parts, as dnspython reads it."""
    parts = parsed(octets)
    if question is None:
        question = octets[12 : wire.question_end(octets)]
    made = (
        octets[:2] + parts.head[:2] + b"\0\1" + parts.head[2:] + question + parts.body
    )
    return dns.message.from_wire(made, one_rr_per_rrset=True)


def records(message: dns.message.Message) -> list[list[str]]:
    return [
        sorted(rrset.to_text().lower() for rrset in section)
        for section in (message.answer, message.authority, message.additional)
    ]


QNAME = b"\3www\7example\4test\0"
QUESTION_END = 12 + len(QNAME) + 4
ANSWER_AT = QUESTION_END
NAME = b"\1a\4test\0"
SOA_NUMBERS = bytes(20)
SIGNED = struct.pack("!HBBIIIH", 1, 8, 2, 300, 2, 1, 5)
A = "www.example.test. 300 IN A 192.0.2.1"
EVIL = "evil.test. 300 IN A 192.0.2.66"
ALIAS = "www.example.test. 300 IN CNAME a.other.test."
END = "a.other.test. 300 IN A 192.0.2.2"


def message(
    *octets: bytes, qtype: int = 1, counts: tuple[int, int, int] | None = None
) -> bytes:
    """Return a response with these records, all in the answer unless told."""
    counted = counts or (len(octets), 0, 0)
    header = struct.pack("!6H", 7, wire.QR | wire.RA, 1, *counted)
    return header + QNAME + struct.pack("!HH", qtype, 1) + b"".join(octets)


def record(rtype: int, data: bytes, owner: bytes = b"\xc0\x0c") -> bytes:
    return owner + struct.pack("!HHIH", rtype, 1, 300, len(data)) + data
