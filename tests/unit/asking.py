"""Questions to zones, and their responses as dnspython reads them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import dns.message
import dns.name
import dns.rdatatype

from dnsfront.dns.zones.authority import Find, Zone
from dnsfront.dns.zones.compiling import compile_zone
from dnsfront.dns.zones.image import Image

if TYPE_CHECKING:
    import dns.rrset

    from dnsfront.dns.sections import Sections

#: The least that a zone needs, in four lines.
HEAD = """\
$TTL 1h
@ SOA ns1 hostmaster 1 7200 900 1209600 300
@ NS ns1
ns1 A 192.0.2.53
"""


def load_zone(origin: str, text: str, path: str) -> Zone:
    """Return the zone that *text* describes, by way of its image."""
    pieces, _records = compile_zone(origin, text, path)
    image = b"".join(pieces)
    return Zone(Image(memoryview(image)))


def question_of(qname: bytes, qtype: int, qclass: int = 1) -> bytes:
    return qname + struct.pack("!HH", qtype, qclass)


def message_of(sections: Sections, question: bytes) -> dns.message.Message:
    """Return the response with *question* as the client spelled it."""
    flags = 0x8000 | sections.is_authoritative << 10 | sections.rcode
    counts = (1, sections.answers, sections.authorities, sections.additionals)
    header = struct.pack("!6H", 4711, flags, *counts)
    return dns.message.from_wire(
        header + question + sections.octets, one_rr_per_rrset=True
    )


def ask(
    zone: Zone, name: str, rtype: str, qclass: int = 1, find: Find | None = None
) -> dns.message.Message:
    spelled = dns.name.from_text(name).to_wire() or b""
    qtype = dns.rdatatype.from_text(rtype)
    question = question_of(spelled, qtype, qclass)
    sections = zone.respond(spelled.lower(), qtype, qclass, question, find)
    return message_of(sections, question)


def lines(section: list[dns.rrset.RRset]) -> list[str]:
    return [rrset.to_text() for rrset in section]
