"""Queries over UDP as octets: plain ones, and parts to make odd ones of."""

from __future__ import annotations

import struct
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode

from dnsfront.dns import edns, wire
from tests.unit.stub_client import query_for

QUESTION = b"\3www\7example\4test\0\0\1\0\1"
OPT = edns.opt_record()


def message(
    *,
    flags: int = wire.RD,
    counts: tuple[int, int, int, int] = (1, 0, 0, 0),
    rest: bytes = QUESTION,
) -> bytes:
    return struct.pack("!6H", 0x1234, flags, *counts) + rest


def with_opt(opt: bytes = OPT, *, question: bytes = QUESTION) -> bytes:
    return message(counts=(1, 0, 0, 1), rest=question + opt)


def padded(size: int) -> bytes:
    """Return a query of *size* octets, most of them in an option that nobody knows."""
    room = size - len(with_opt()) - 4
    option = struct.pack("!HH", 65001, room) + bytes(room)
    return with_opt(OPT[:9] + struct.pack("!H", len(option)) + option)


def www(rtype: str = "A", **edns: Any) -> dns.message.Message:  # noqa: ANN401 - as in dnspython
    return query_for("www.example.test", rtype, **edns)


def said(octets: bytes) -> str:
    """Return the response code that dnspython reads, and check the whole response."""
    flags = int.from_bytes(octets[2:4], "big")
    assert flags & wire.QR
    # dnspython holds the records of an UPDATE to other rules.
    plain = (flags & ~wire.OPCODE_MASK).to_bytes(2, "big")
    return dns.rcode.to_text(
        dns.message.from_wire(octets[:2] + plain + octets[4:]).rcode()
    )
