"""Names in messages: pointers, and what is written in full (RFC 9267; RFC 3597, 4)."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dnsfront.dns import wire
from dnsfront.dns.compression import Names, short_end
from dnsfront.errors import WireError
from tests.unit.responses import (
    QNAME,
    QUESTION_END,
    SIGNED,
    SOA_NUMBERS,
    message,
    parsed,
    rebuilt,
    record,
)


@given(st.binary(max_size=40), st.integers(0, 70))
def test_names_end_or_are_refused(noise: bytes, at: int) -> None:
    octets = bytes(12) + QNAME + noise

    try:
        end = Names(octets).end(at)
    except WireError:
        return

    name, same = Names(octets).read(at)
    assert end == same
    assert wire.question_end(name + bytes(4), 0) == len(name) + 4


@given(st.binary(min_size=30, max_size=60), st.lists(st.integers(12, 60), max_size=9))
def test_what_is_known_of_a_name_changes_nothing(octets: bytes, ats: list[int]) -> None:
    reader = Names(octets)

    for at in ats:
        results = []
        for names in (reader, Names(octets)):
            try:
                results.append(names.read(at))
            except WireError:
                results.append((b"refused", 0))
        assert results[0] == results[1]


class Counted(bytes):
    """Octets that count how often one of them is looked at."""

    looks = 0

    def __getitem__(self, at: Any) -> Any:  # noqa: ANN401 - as bytes has it
        """Return the octets *at*."""
        self.looks += 1
        return super().__getitem__(at)


def test_names_that_lead_to_each_other_cost_no_more_than_their_octets() -> None:
    # Each name is the one before and a label more, as far as 127 labels reach.
    pieces, ats = [QNAME], [12]
    for number in range(1000):
        previous = ats[-1] if number % 100 else 12
        ats.append(12 + sum(map(len, pieces)))
        pieces.append(b"\1a" + struct.pack("!H", 0xC000 | previous))
    octets = Counted(bytes(12) + b"".join(pieces))
    names = Names(octets)

    for at in reversed(ats):
        names.end(at)

    assert octets.looks < 5 * len(octets)


@given(st.binary(max_size=30), st.lists(st.integers(12, 90), max_size=9))
@example(b"\xc0\x11\xc0\x10\3sub\xc0\x22", [33, 35, 37])
def test_names_that_are_short_and_good_are_names(noise: bytes, ats: list[int]) -> None:
    octets = message(noise)

    for at in ats:
        end = short_end(octets, at, QUESTION_END)
        if at >= QUESTION_END and end >= 0:
            assert Names(octets).end(at) == end


@pytest.mark.parametrize("labels", [1, 5, 31, 126], ids=str)
def test_names_of_most_answers_are_short(labels: int) -> None:
    octets = message(b"\1a" * labels + b"\0" + b"\1a" * labels + b"\xc0\x10")

    ends = [QUESTION_END + 2 * labels + 1, QUESTION_END + 4 * labels + 3]

    assert [
        short_end(octets, QUESTION_END, QUESTION_END),
        short_end(octets, ends[0], QUESTION_END),
    ] == (ends if labels < 32 else [-1, -1])


# Names that some readers refuse


def rdata_with_name(rtype: int, name: bytes) -> bytes:
    """Return data of a type that holds *name*."""
    ahead, behind = LAYOUTS[rtype]
    names = name * 2 if rtype in (17, 26, 58) else name
    return ahead + names + behind


LAYOUTS = {
    17: (b"", b""),  # RP
    18: (b"\0\1", b""),  # AFSDB
    21: (b"\0\1", b""),  # RT
    23: (b"", b""),  # NSAP-PTR
    24: (SIGNED, b"x"),  # SIG
    26: (b"\0\1", b""),  # PX
    30: (b"", b"\x40"),  # NXT
    33: (bytes(6), b""),  # SRV
    35: (b"\0\1\0\1\1u\3sip\0", b""),  # NAPTR
    36: (b"\0\1", b""),  # KX
    39: (b"", b""),  # DNAME
    45: (b"\1\3\2", b"key"),  # IPSECKEY
    46: (SIGNED, b"x"),  # RRSIG
    47: (b"", b"\0\1\x40"),  # NSEC
    55: (b"\1\2\0\2hkk\1a\0", b""),  # HIP
    58: (b"", b""),  # TALINK
    64: (b"\0\1", b"\0\3\0\2\1\xbb"),  # SVCB
    65: (b"\0\1", b"\0\3\0\2\1\xbb"),  # HTTPS
    66: (b"\0\x3b\1\0\x35", b""),  # DSYNC
    107: (b"\0\1", b""),  # LP
    260: (b"\1\3", b""),  # AMTRELAY
}
IN_FULL = b"\1a\7example\4test\0"
COMPRESSED = b"\1a\xc0\x10"


def body_of(*records: bytes, qtype: int) -> bytes:
    return parsed(message(*records, qtype=qtype)).body


@pytest.mark.parametrize("rtype", LAYOUTS, ids=str)
def test_names_that_may_not_be_compressed_are_written_in_full(rtype: int) -> None:
    wanted = record(rtype, rdata_with_name(rtype, IN_FULL))

    made = body_of(record(rtype, rdata_with_name(rtype, COMPRESSED)), qtype=rtype)

    assert made == wanted
    assert body_of(wanted, qtype=rtype) == wanted


@pytest.mark.parametrize("rtype", LAYOUTS, ids=str)
def test_they_are_so_in_the_other_sections(rtype: int) -> None:
    compressed = record(rtype, rdata_with_name(rtype, COMPRESSED))
    octets = message(record(1, bytes(4)), compressed, compressed, counts=(1, 1, 1))

    made = parsed(octets)

    wanted = record(rtype, rdata_with_name(rtype, IN_FULL))
    assert made.body == record(1, bytes(4)) + wanted + wanted
    assert made.head[2:] == b"\0\1\0\1\0\1"
    assert len(made.ttl_offsets) == 3


@pytest.mark.parametrize(
    ("rtype", "data"),
    [
        *((rtype, COMPRESSED) for rtype in (2, 3, 4, 5, 7, 8, 9, 12)),
        (14, COMPRESSED * 2),
        (15, b"\0\x0a" + COMPRESSED),
        (6, COMPRESSED * 2 + SOA_NUMBERS),
        (65280, COMPRESSED),
    ],
    ids=str,
)
def test_names_that_may_be_compressed_stay_so(rtype: int, data: bytes) -> None:
    assert body_of(record(rtype, data), qtype=rtype) == record(rtype, data)


def test_a_name_of_many_pointers_is_written_in_full() -> None:
    def aliases(count: int) -> bytes:
        """Return NS records of which each name is the one before and a label more."""
        ats = [16] + [QUESTION_END + 12 + 16 * n for n in range(count - 1)]
        names = [b"\1a" + struct.pack("!H", 0xC000 | at) for at in ats]
        return b"".join(record(2, name) for name in names)

    few, many = message(aliases(16), counts=(16, 0, 0), qtype=2), aliases(17)

    whole = parsed(message(many, counts=(17, 0, 0), qtype=2)).body

    assert parsed(few).body == few[QUESTION_END:]
    assert whole.endswith(record(2, b"\1a" * 17 + IN_FULL[2:]))
    rebuilt(message(many, counts=(17, 0, 0), qtype=2))


def test_a_pointer_into_its_own_name_is_malformed() -> None:
    # From QUESTION_END on there are labels of 2 and of 34 octets and the root; the
    # pointer to there is in the first of them.
    octets = message(
        b"\2a" + struct.pack("!H", 0xC000 | QUESTION_END) + b"x" * 34 + b"\0"
    )

    assert Names(octets).end(QUESTION_END) == len(octets)
    assert short_end(octets, QUESTION_END + 2, QUESTION_END) == -1
    for names in (Names(octets), known := Names(octets)):
        if names is known:
            # What is known of a name does not make it good for each pointer.
            names.end(QUESTION_END)
        with pytest.raises(WireError):
            names.end(QUESTION_END + 2)
