"""Records that are malformed, or not what was asked for (RFC 9267; RFC 2181, 5.4.1)."""

from __future__ import annotations

import struct
from typing import Any

import dns.message
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dnsfront.dns import edns, wire
from dnsfront.dns.chain import joined
from dnsfront.dns.records import Names, short_end
from dnsfront.dns.response import MAX_ODD_NAMES, MAX_ODD_RECORDS, NEVER_KEPT
from dnsfront.errors import TooManyRecordsError, WireError
from tests.unit.test_response import parsed, rebuilt, records, response, soa

QNAME = b"\3www\7example\4test\0"
QUESTION_END = 12 + len(QNAME) + 4
ANSWER_AT = QUESTION_END


def message(
    *octets: bytes, qtype: int = 1, counts: tuple[int, int, int] | None = None
) -> bytes:
    """Return a response with these records, all in the answer unless told."""
    counted = counts or (len(octets), 0, 0)
    header = struct.pack("!6H", 7, wire.QR | wire.RA, 1, *counted)
    return header + QNAME + struct.pack("!HH", qtype, 1) + b"".join(octets)


def record(rtype: int, data: bytes, owner: bytes = b"\xc0\x0c") -> bytes:
    return owner + struct.pack("!HHIH", rtype, 1, 300, len(data)) + data


NAME = b"\1a\4test\0"
SOA_NUMBERS = bytes(20)
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


SIGNED = struct.pack("!HBBIIIH", 1, 8, 2, 300, 2, 1, 5)
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


# Records of another class


def of_class(rclass: int, octets: bytes) -> bytes:
    return octets[:4] + struct.pack("!H", rclass) + octets[6:]


GOOD = record(1, b"\xc0\0\2\1")
ALIEN = of_class(3, record(1, b"\xc0\x10\0\1"))
DENIAL = record(6, NAME + NAME + SOA_NUMBERS)


@pytest.mark.parametrize("rclass", [0, 3, 4, 254, 255, 65535])
@pytest.mark.parametrize("qtype", [0, 1, 255])
def test_records_of_another_class_are_dropped(rclass: int, qtype: int) -> None:
    alien = of_class(rclass, ALIEN)
    good = record(qtype or 1, b"\xc0\0\2\1") if qtype == 1 else record(qtype, b"abcd")
    octets = message(
        *(alien, good, alien, DENIAL, alien, GOOD), qtype=qtype, counts=(2, 2, 2)
    )

    parts = parsed(octets)

    assert parts.head[2:] == b"\0\1\0\1\0\1"
    assert parts.body == good + DENIAL + GOOD


@pytest.mark.parametrize(
    "counts", [(1, 0, 0), (2, 1, 1), (0, 1, 0), (0, 2, 1)], ids=str
)
def test_what_says_nothing_of_the_class_is_a_failure(
    counts: tuple[int, int, int],
) -> None:
    answers, authorities, additionals = counts
    first = answers or authorities
    rest = [DENIAL] * (authorities if answers else 0) + [GOOD] * additionals

    with pytest.raises(WireError, match="class"):
        parsed(message(*[ALIEN] * first, *rest, counts=counts))


def test_a_denial_by_another_class_is_none() -> None:
    octets = message(of_class(4, DENIAL), record(2, NAME), counts=(0, 2, 0))

    assert parsed(octets).ttl_s == NEVER_KEPT
    assert parsed(message(DENIAL, counts=(0, 1, 0))).ttl_s == 0


@pytest.mark.parametrize("rtype", [249, 250], ids=["TKEY", "TSIG"])
@pytest.mark.parametrize("rclass", [1, 255], ids=["IN", "ANY"])
def test_what_is_for_the_next_hop_alone_is_dropped(rtype: int, rclass: int) -> None:
    key = of_class(rclass, record(rtype, b"\0" + bytes(16)))
    octets = message(GOOD, key, edns.opt_record(), counts=(1, 0, 2))

    parts = parsed(octets)

    assert parts.body == GOOD
    assert parts.head[2:] == b"\0\1\0\0\0\0"
    assert parts.has_opt


def test_records_that_nobody_checked_are_not_rewritten() -> None:
    cut = record(35, b"")
    opt = edns.opt_record()
    octets = message(EVIL_NS, GOOD, opt, cut, opt, counts=(2, 0, 3))

    parts = parsed(octets)

    assert parts.body == GOOD
    assert parts.has_opt


EVIL_NS = record(2, NAME)


# What belongs to the question


def foreign(*answer: str, question: str = "www.example.test. A") -> list[str]:
    """Return the answer that is left of *answer*."""
    octets = response(question, answer=answer)
    made = rebuilt(octets)
    return [rrset.to_text() for rrset in made.answer]


A = "www.example.test. 300 IN A 192.0.2.1"
EVIL = "evil.test. 300 IN A 192.0.2.66"
ALIAS = "www.example.test. 300 IN CNAME a.other.test."
END = "a.other.test. 300 IN A 192.0.2.2"


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ((A, EVIL), (A,)),
        ((EVIL, A), (A,)),
        ((EVIL,), ()),
        ((ALIAS, END, EVIL), (ALIAS, END)),
        ((ALIAS, EVIL, END), (ALIAS, END)),
        ((END, ALIAS), (END, ALIAS)),
        ((A, "www.example.test. 300 IN TXT x"), (A,)),
        (("www.example.test. 300 IN TXT x",), ()),
        ((A, "example.test. 300 IN A 192.0.2.3"), (A,)),
        ((A, "x.www.example.test. 300 IN A 192.0.2.3"), (A,)),
        ((A, "www.example.test. 300 CH TXT x"), (A,)),
        (
            (
                "example.test. 60 IN DNAME other.test.",
                "www.example.test. 60 IN CNAME www.other.test.",
                "www.other.test. 60 IN A 192.0.2.4",
            ),
            (
                "example.test. 60 IN DNAME other.test.",
                "www.example.test. 60 IN CNAME www.other.test.",
                "www.other.test. 60 IN A 192.0.2.4",
            ),
        ),
        (
            (
                "example.test. 60 IN DNAME other.test.",
                "www.other.test. 60 IN A 192.0.2.4",
            ),
            (
                "example.test. 60 IN DNAME other.test.",
                "www.other.test. 60 IN A 192.0.2.4",
            ),
        ),
        ((A, "else.test. 60 IN DNAME other.test."), (A,)),
    ],
    ids=[
        "behind",
        "ahead",
        "alone",
        "behind an alias",
        "inside a chain",
        "chain backwards",
        "another type too",
        "another type only",
        "the name above",
        "a name below",
        "another class",
        "DNAME",
        "DNAME without its CNAME",
        "DNAME of others",
    ],
)
def test_records_of_others_are_dropped(
    answer: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    assert sorted(foreign(*answer)) == sorted(kept)


def test_what_is_dropped_takes_nothing_else_along() -> None:
    octets = response(
        "www.example.test. MX",
        answer=(
            "evil.test. 300 IN MX 5 mail.evil.test.",
            "www.example.test. 300 IN MX 10 mail.evil.test.",
        ),
        authority=("evil.test. 300 IN NS ns.evil.test.", soa(300, 60)),
        additional=("mail.evil.test. 300 IN A 192.0.2.25",),
        edns=0,
    )

    made = rebuilt(octets)

    wanted = dns.message.from_wire(octets, one_rr_per_rrset=True)
    del wanted.answer[0]
    assert records(made) == records(wanted)


def test_signatures_stay_with_what_they_sign() -> None:
    data = "8 3 300 20300101000000 20200101000000 1 example.test. AAAA"
    answer = (
        f"www.example.test. 300 IN RRSIG CNAME {data}",
        ALIAS,
        f"a.other.test. 300 IN RRSIG A {data}",
        END,
        f"a.other.test. 300 IN RRSIG TXT {data}",
        f"evil.test. 300 IN RRSIG A {data}",
    )

    kept = foreign(*answer)

    assert len(kept) == 4
    assert not [text for text in kept if " TXT " in text or text.startswith("evil")]


@pytest.mark.parametrize("authorities", [0, 1])
def test_signatures_of_the_name_above_are_foreign(authorities: int) -> None:
    signature = record(46, SIGNED + NAME + b"x", b"\xc0\x10")
    rest = [DENIAL] * authorities

    parts = parsed(message(GOOD, signature, *rest, counts=(2, authorities, 0)))

    assert parts.head[2:4] == b"\0\1"
    assert parts.body.startswith(GOOD)
    assert b"\0\x2e" not in parts.body


def test_the_root_has_no_name_above() -> None:
    octets = struct.pack("!6H", 7, wire.QR, 1, 0, 1, 0) + b"\0\0\1\0\1"
    # A pointer to the type of the question: a name only by chance.
    denial = record(6, NAME + NAME + SOA_NUMBERS, b"\xc0\x0d")

    assert parsed(octets + denial).ttl_s == 0


@pytest.mark.parametrize("owner", [b"\xc0\x0c", b"\0", b"\1"], ids=str)
@pytest.mark.parametrize("left", range(10, 13))
def test_the_end_of_a_message_is_no_record(owner: bytes, left: int) -> None:
    octets = message(owner + bytes(left - len(owner)), counts=(1, 0, 0))

    # Ten octets behind an owner are a record: of class 0.
    is_whole = owner != b"\1" and left >= len(owner) + 10
    why = "class" if is_whole else "cut short"
    with pytest.raises(WireError, match=why):
        parsed(octets)


def test_asked_for_signatures_all_of_the_name_stay() -> None:
    data = "8 3 300 20300101000000 20200101000000 1 example.test. AAAA"
    answer = tuple(f"www.example.test. 9 IN RRSIG {x} {data}" for x in ("A", "TXT"))

    assert len(foreign(*answer, question="www.example.test. RRSIG")) == 2


def test_asked_for_anything_all_of_the_name_stays() -> None:
    answer = (A, "www.example.test. 300 IN TXT x", EVIL)

    assert len(foreign(*answer, question="www.example.test. ANY")) == 2


def test_a_scrubbed_message_too_long_for_one_is_a_failure() -> None:
    question = "x" * 60 + ".example.test. NS"
    names = [f"{n}.{'y' * 60}.{'z' * 60}.{'z' * 60}.test." for n in range(400)]
    answer = (
        EVIL.replace(" A ", " NS ").replace("192.0.2.66", names[0]),
        *(f"{question.split(maxsplit=1)[0]} 300 IN NS {name}" for name in names),
    )
    assert parsed(response(question, answer=answer[:40])).ttl_s == 300

    with pytest.raises(WireError, match="too long"):
        parsed(response(question, answer=answer))


NAMES = [b"\2" + struct.pack("!H", 0x6161 + n) + b"\xc0\x10" for n in range(1024)]
ODD = {
    "aliases": [record(5, NAMES[n + 1], NAMES[n]) for n in range(1023)],
    "aliases of names above": [record(39, b"\1t\0", name) for name in NAMES],
    "foreign names": [record(1, b"abcd", name) for name in NAMES],
    "another class": [b"\xc0\x0c\0\1\0\3" + bytes(6)] * 1023,
    "compressed where it may not be": [record(33, bytes(6) + b"\xc0\x0c")] * 1023,
}


@pytest.mark.parametrize("kind", ODD)
def test_more_than_some_odd_records_are_a_failure(kind: str) -> None:
    plain = record(1, b"abcd")

    with pytest.raises(TooManyRecordsError):
        parsed(message(plain, *ODD[kind][:MAX_ODD_RECORDS]))

    assert parsed(message(plain, *ODD[kind][: MAX_ODD_RECORDS - 1])).has_answers


def test_more_than_some_long_names_are_a_failure() -> None:
    long = b"".join(b"\x3f" + label * 63 for label in (b"a", b"b", b"c")) + b"\0"
    first = record(2, long)
    others = [record(2, struct.pack("!H", 0xC000 | ANSWER_AT + 12))] * 4000

    assert parsed(message(first, *others[: MAX_ODD_NAMES - 1], qtype=2)).has_answers
    with pytest.raises(TooManyRecordsError):
        parsed(message(first, *others[:MAX_ODD_NAMES], qtype=2))
    with pytest.raises(TooManyRecordsError):
        parsed(message(first, *others, qtype=2, counts=(1, 0, 4000)))


def test_plain_answers_may_be_many() -> None:
    assert parsed(message(*[record(1, b"abcd")] * 4000)).ttl_s == 300
    assert parsed(message(*[record(16, b"\1t")] * 4000, qtype=16)).ttl_s == 300


# The end of a chain


@pytest.mark.parametrize(
    ("answer", "question", "target"),
    [
        ((ALIAS,), "www.example.test. A", b"\1a\5other\4test\0"),
        ((ALIAS, END), "www.example.test. A", b""),
        ((END, ALIAS), "www.example.test. A", b""),
        ((ALIAS,), "www.example.test. CNAME", b""),
        ((ALIAS,), "www.example.test. ANY", b""),
        ((ALIAS, END), "www.example.test. AAAA", b"\1a\5other\4test\0"),
        ((A,), "www.example.test. A", b""),
        ((), "www.example.test. A", b""),
    ],
    ids=[
        "bare alias",
        "whole chain",
        "backwards",
        "asked for the alias",
        "asked for anything",
        "another type at the end",
        "no alias",
        "nothing",
    ],
)
def test_a_chain_tells_what_it_lacks(
    answer: tuple[str, ...], question: str, target: bytes
) -> None:
    assert parsed(response(question, answer=answer)).target == target


def test_a_denied_end_lacks_nothing() -> None:
    parts = parsed(response(answer=(ALIAS,), authority=(soa(300, 60),)))

    assert parts.target == b""
    assert parts.ttl_s == 60


def test_answers_are_joined_where_the_first_one_leads() -> None:
    first = response(
        answer=(ALIAS,), authority=("example.test. 9 IN NS ns.example.test.",)
    )
    second = response(
        "a.other.test. A",
        answer=(END,),
        additional=("x.test. 9 IN A 192.0.2.9",),
        edns=0,
    )

    made = joined(first, second)

    whole = dns.message.from_wire(made)
    assert [rrset.to_text() for rrset in whole.answer] == [ALIAS, END]
    assert whole.question[0].name.to_text() == "www.example.test."
    assert not whole.authority
    assert len(whole.additional) == 1
    assert whole.edns == 0
    assert parsed(made).ttl_s == 300


@pytest.mark.parametrize(
    ("first", "second", "is_authentic"),
    [(1, 1, True), (1, 0, False), (0, 1, False)],
    ids=["both", "first", "second"],
)
def test_a_joined_answer_is_authentic_where_both_were(
    *, first: int, second: int, is_authentic: bool
) -> None:
    made = joined(
        response(answer=(ALIAS,), flags=first * wire.AD),
        response("a.other.test. A", answer=(END,), flags=second * wire.AD),
    )

    assert bool(parsed(made).head[1] & wire.AD) is is_authentic
