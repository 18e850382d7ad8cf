"""Queries octet by octet, and names that hypothesis makes up."""

from __future__ import annotations

import struct

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
from hypothesis import strategies as st

from dnsfront.dns import wire

QUESTION = b"\3www\7example\4test\0\0\1\0\1"
HEADER = struct.Struct("!6H")
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"

labels = st.binary(min_size=1, max_size=63)
names = (
    st.lists(labels, max_size=127)
    .filter(lambda parts: sum(map(len, parts)) + len(parts) <= 254)
    .map(lambda parts: b"".join(bytes((len(x),)) + x for x in parts) + b"\0")
)


def message(
    *,
    flags: int = wire.RD,
    counts: tuple[int, int, int, int] = (1, 0, 0, 0),
    rest: bytes = QUESTION,
) -> bytes:
    return HEADER.pack(0x1234, flags, *counts) + rest


def opt(options: bytes = b"", *, size: int = 1232, ttl: int = 0) -> bytes:
    return struct.pack("!xHHIH", 41, size, ttl, len(options)) + options


def judged(octets: bytes) -> dns.message.Message:
    """Return *octets* as dnspython reads them; an UPDATE as if it were a QUERY."""
    flags = int.from_bytes(octets[2:4], "big") & ~wire.OPCODE_MASK
    return dns.message.from_wire(octets[:2] + flags.to_bytes(2, "big") + octets[4:])
