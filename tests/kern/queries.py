"""Queries as octets: any name that the protocol allows, and ways to spoil one."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

QNAME_OCTETS_MAX = 254  # without the root label

_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: What stands beside the letters in ASCII, and with a bit more: folding must spare it.
_NEIGHBOURS = b"@[`{\x00\x1f\x20\x7f\x80\xc1\xda\xe1\xff-_09"


def random_qname(rng: random.Random, octets: int | None = None) -> bytes:
    """Return a name in wire form without the root label, in mixed case.

    The root, 127 labels, 254 octets, binary labels: all of it turns up.
    """
    if octets is None:
        octets = rng.choice((0, 2, 12, 17, rng.randint(2, 254), QNAME_OCTETS_MAX))
    longest = rng.choice((1, 2, 9, 63))
    alphabet = rng.choice(
        (_LETTERS, _LETTERS, _LETTERS + _NEIGHBOURS, bytes(range(256)))
    )
    qname = b""
    while (left := octets - len(qname)) >= 2:
        label_octets = rng.randint(1, min(longest, left - 1, 63))
        if left - 1 - label_octets == 1:  # a label needs two octets
            label_octets = label_octets - 1 or 2
        qname += label(bytes(rng.choices(alphabet, k=label_octets)))
    return qname


def label(octets: bytes) -> bytes:
    """Return one label in wire form."""
    return bytes([len(octets)]) + octets


def qname_of(text: str) -> bytes:
    """Return the wire form, without the root label, of a plain dotted name."""
    return b"".join(label(part.encode()) for part in text.split(".") if part)


def query(qname: bytes, *, header: bytes | None = None, rest: bytes = b"") -> bytes:
    """Return a query for *qname*, type A, with *rest* after its question."""
    return (header or header_of()) + qname + b"\0\0\1\0\1" + rest


def header_of(*, flags: int = 0x0100, questions: int = 1, message_id: int = 7) -> bytes:
    """Return the twelve octets of a header; an additional record is promised."""
    return struct.pack(">6H", message_id, flags, questions, 0, 0, 1)


def random_query(rng: random.Random, qname: bytes) -> bytes:
    """Return a query for *qname* in which all else is random."""
    header = header_of(
        flags=rng.getrandbits(15), message_id=rng.getrandbits(16)
    )  # any opcode, QR clear
    rest = rng.randbytes(rng.choice((0, 11, 300)))
    return header + qname + b"\0" + rng.randbytes(4) + rest
