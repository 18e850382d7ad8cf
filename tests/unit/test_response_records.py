"""Records that are malformed, or not what was asked for (RFC 9267; RFC 2181, 5.4.1)."""

from __future__ import annotations

import struct

import pytest

from dnsfront.errors import WireError
from tests.unit.responses import (
    ANSWER_AT,
    NAME,
    QNAME,
    SOA_NUMBERS,
    message,
    parsed,
    record,
)

MALFORMED = {
    "A of three octets": record(1, b"abc"),
    "A of five octets": record(1, b"abcde"),
    "A of none": record(1, b""),
    "AAAA of four octets": record(28, b"abcd"),
    "owner that is a pointer to itself": record(
        1, b"abcd", struct.pack("!H", 0xC000 | ANSWER_AT)
    ),
    "owner that points forward": record(
        1, b"abcd", struct.pack("!H", 0xC000 | ANSWER_AT + 12)
    ),
    "owner that points behind the end": record(1, b"abcd", b"\xff\xff"),
    "owner that points into the header": record(1, b"abcd", b"\xc0\x04"),
    "owner of an unknown label type": record(1, b"abcd", b"\x41a\0"),
    "owner over 255 octets": record(1, b"abcd", (b"\x3f" + b"x" * 63) * 4 + b"\0"),
    "owner over 255 octets by a pointer": record(
        1, b"abcd", (b"\x3f" + b"x" * 63) * 3 + b"\x30" + b"x" * 48 + b"\xc0\x0c"
    ),
    "label past the end": b"\x3fabc",
    "CNAME with octets behind its name": record(5, NAME + b"x"),
    "CNAME whose name runs out": record(5, b"\1a\4te"),
    "CNAME whose name ends behind it": record(5, b"\1a\4") + b"est\0",
    "CNAME that points at itself": record(
        5, struct.pack("!H", 0xC000 | ANSWER_AT + 12)
    ),
    "CNAME of nothing": record(5, b""),
    "NS cut short": record(2, b"\1"),
    "PTR with two names": record(12, NAME * 2),
    "MX without a name": record(15, b"\0\1"),
    "MX of one octet": record(15, b"\0"),
    "SRV without a target": record(33, bytes(6)),
    "SOA with one name": record(6, NAME + SOA_NUMBERS),
    "SOA without a number": record(6, NAME * 2 + SOA_NUMBERS[:16]),
    "SOA with a number more": record(6, NAME * 2 + SOA_NUMBERS + bytes(4)),
    "TXT without a string": record(16, b""),
    "TXT whose string runs out": record(16, b"\5abc"),
    "HINFO of one string": record(13, b"\1a"),
    "DNAME with octets behind its name": record(39, NAME + b"x"),
    "RRSIG without a signature": record(46, bytes(18) + NAME),
    "RRSIG without a signer": record(46, bytes(18)),
    "NSEC without a name": record(47, b""),
    "DS of four octets": record(43, bytes(4)),
    "DNSKEY of four octets": record(48, bytes(4)),
    "HTTPS without a target": record(65, b"\0\1"),
    "HTTPS with half a parameter": record(65, b"\0\1\0\0\1\0"),
    "HTTPS whose parameter runs out": record(65, b"\0\1\0\0\1\0\5h2"),
    "HTTPS with parameters out of order": record(
        65, b"\0\1\0" + b"\0\3\0\2\1\xbb" + b"\0\1\0\3\2h2"
    ),
    "SVCB with a parameter twice": record(64, b"\0\1\0" + 2 * b"\0\3\0\2\1\xbb"),
    "CAA of two octets": record(257, bytes(2)),
    "NAPTR without a replacement": record(35, bytes(4) + b"\0\0\0"),
    "NAPTR whose strings run out": record(35, bytes(4) + b"\0\0\5ab"),
}


@pytest.mark.parametrize("octets", MALFORMED.values(), ids=list(MALFORMED))
@pytest.mark.parametrize(
    "counts", [(1, 0, 0), (0, 1, 0), (0, 0, 1)], ids=["answer", "authority", "other"]
)
def test_malformed_record_makes_the_message_a_failure(
    octets: bytes, counts: tuple[int, int, int]
) -> None:
    with pytest.raises(WireError):
        parsed(message(octets, counts=counts))


WELL_FORMED = {
    "A": record(1, b"abcd"),
    "owner in full": record(1, b"abcd", QNAME),
    "owner in other letters": record(1, b"abcd", QNAME.swapcase()),
    "owner in part": record(1, b"abcd", b"\3www\xc0\x10"),
    "owner by two pointers": record(2, NAME) + record(1, b"abcd", b"\1a\xc0\x2c"),
    "longest label": record(5, b"\x3f" + b"x" * 63 + b"\xc0\x0c"),
    "NS": record(2, b"\2ns\xc0\x10"),
    "root": record(2, b"\0"),
    "MX": record(15, b"\0\1\4mail\xc0\x10"),
    "SRV": record(33, bytes(6) + NAME),
    "SOA": record(6, b"\xc0\x0c\xc0\x10" + SOA_NUMBERS),
    "TXT": record(16, b"\0\3abc"),
    "NAPTR": record(35, bytes(4) + b"\1a\0\0" + NAME),
    "RRSIG": record(46, struct.pack("!H", 1) + bytes(16) + NAME + b"x"),
    "HTTPS": record(65, b"\0\1\0"),
    "HTTPS with parameters": record(
        65, b"\0\1\0" + b"\0\1\0\3\2h2" + b"\0\3\0\2\1\xbb" + b"\0\6\0\0"
    ),
    "unknown type": record(65280, b"\xc0\xff"),
    "nothing of an unknown type": record(65280, b""),
    "meta type of another protocol": record(32769, b"\5"),
}


@pytest.mark.parametrize("octets", WELL_FORMED.values(), ids=list(WELL_FORMED))
def test_well_formed_records_pass(octets: bytes) -> None:
    count = 2 if octets.count(b"\1\x2c") > 1 else 1

    parsed(message(octets, counts=(0, 0, count)))
