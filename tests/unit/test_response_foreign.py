"""Records that are not of the question or its class are dropped (RFC 2181, 5.4.1)."""

from __future__ import annotations

import struct

import dns.message
import dns.rrset
import pytest

from dnsfront.dns import edns, wire
from dnsfront.dns.response import MAX_ODD_NAMES, MAX_ODD_RECORDS, NEVER_KEPT
from dnsfront.errors import TooManyRecordsError, WireError
from tests.unit.responses import (
    ALIAS,
    ANSWER_AT,
    END,
    EVIL,
    NAME,
    SIGNED,
    SOA_NUMBERS,
    A,
    message,
    parsed,
    rebuilt,
    record,
    records,
    response,
    soa,
)

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
