"""Responses of upstreams: dnspython writes them, and reads what became of them."""

from __future__ import annotations

import contextlib
import struct
from unittest.mock import patch

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dnsfront.dns import edns, wire
from dnsfront.dns import response as response_module
from dnsfront.dns.response import (
    MAX_NEGATIVE_TTL_S,
    NEVER_KEPT,
    Response,
    parse_response,
)
from dnsfront.errors import WireError
from tests.unit.responses import parsed, rebuilt, records, response, soa
from tests.unit.worker_rig import interpreted

CHAIN = (
    "www.example.test. 300 IN CNAME a.example.test.",
    "a.example.test. 60 IN CNAME b.other.test.",
    "b.other.test. 120 IN A 192.0.2.1",
)
KINDS = {
    "address": (response(answer=("www.example.test. 300 IN A 192.0.2.1",)), 300),
    "CNAME chain": (response(answer=CHAIN), 60),
    "MX with addresses": (
        response(
            "example.test. MX",
            answer=("example.test. 300 IN MX 10 mail.example.test.",),
            authority=("example.test. 200 IN NS ns.example.test.",),
            additional=("mail.example.test. 100 IN A 192.0.2.25",),
        ),
        200,
    ),
    "large TXT": (
        response(
            "t.example.test. TXT",
            answer=tuple(
                f't.example.test. 90 IN TXT "{n:03d}{"x" * 250}"' for n in range(16)
            ),
        ),
        90,
    ),
    "unknown type": (
        response(
            "u.example.test. TYPE65280",
            answer=(r"u.example.test. 90 IN TYPE65280 \# 4 c00cc00c",),
        ),
        90,
    ),
    "denied name": (
        response(authority=(soa(3600, 300),), rcode=dns.rcode.NXDOMAIN),
        300,
    ),
    "denied type": (response(authority=(soa(200, 300),)), 200),
    "denied end of a chain": (
        response(answer=CHAIN[:1], authority=(soa(30, 300),), rcode=dns.rcode.NXDOMAIN),
        30,
    ),
    "denial for a year": (
        response(authority=(soa(31536000, 31536000),)),
        MAX_NEGATIVE_TTL_S,
    ),
    "denial without SOA": (response(rcode=dns.rcode.NXDOMAIN), NEVER_KEPT),
    "denied end of a chain without SOA": (
        response(answer=CHAIN[:1], rcode=dns.rcode.NXDOMAIN),
        NEVER_KEPT,
    ),
    "nothing at all": (response(), NEVER_KEPT),
    "SOA in the wrong section": (response(additional=(soa(60, 60),)), NEVER_KEPT),
    "referral": (
        response(
            authority=("example.test. 3600 IN NS ns.example.test.",),
            additional=("ns.example.test. 3600 IN A 192.0.2.53",),
        ),
        NEVER_KEPT,
    ),
    "TTL 0": (response(answer=("www.example.test. 0 IN A 192.0.2.1",)), 0),
    "alias without its end": (response(answer=CHAIN[:1]), NEVER_KEPT),
    "aliases without their end": (response(answer=CHAIN[:2]), NEVER_KEPT),
    "aliases in a circle": (
        response(
            answer=(
                "www.example.test. 300 IN CNAME a.example.test.",
                "a.example.test. 300 IN CNAME www.example.test.",
            )
        ),
        NEVER_KEPT,
    ),
    "asked for the alias": (
        response("www.example.test. CNAME", answer=CHAIN[:1]),
        300,
    ),
    "asked for anything": (response("www.example.test. ANY", answer=CHAIN[:1]), 300),
    "TTL 0 of an additional record": (
        response(
            answer=("www.example.test. 300 IN A 192.0.2.1",),
            additional=("ns.example.test. 0 IN A 192.0.2.53",),
        ),
        300,
    ),
    "one TTL 0 of two": (
        response(
            answer=(
                "www.example.test. 300 IN CNAME a.example.test.",
                "a.example.test. 0 IN A 192.0.2.1",
            )
        ),
        0,
    ),
    "SOA minimum 0": (response(authority=(soa(300, 0),)), 0),
    "asked for SOA": (
        response("example.test. SOA", answer=(soa(3600, 300),)),
        3600,
    ),
}


@pytest.mark.parametrize(("octets", "ttl_s"), KINDS.values(), ids=list(KINDS))
def test_response_may_be_kept_for_as_long_as_it_says(octets: bytes, ttl_s: int) -> None:
    assert parsed(octets).ttl_s == ttl_s


@pytest.mark.parametrize(("octets", "_ttl_s"), KINDS.values(), ids=list(KINDS))
def test_parts_are_the_whole(octets: bytes, _ttl_s: int) -> None:
    original = dns.message.from_wire(octets, one_rr_per_rrset=True)

    again = rebuilt(octets)

    assert records(again) == records(original)
    assert again.rcode() == original.rcode()
    assert again.question == original.question


@pytest.mark.parametrize(("octets", "_ttl_s"), KINDS.values(), ids=list(KINDS))
def test_parts_fit_the_question_however_it_is_spelled(
    octets: bytes, _ttl_s: int
) -> None:
    question = octets[12 : wire.question_end(octets)]
    spelled = question[:-4].swapcase() + question[-4:]

    again = rebuilt(octets, question=spelled)

    assert records(again) == records(
        dns.message.from_wire(octets, one_rr_per_rrset=True)
    )


@pytest.mark.parametrize(("octets", "_ttl_s"), KINDS.values(), ids=list(KINDS))
def test_ttl_offsets_find_every_ttl(octets: bytes, _ttl_s: int) -> None:
    parts = parsed(octets)
    body = bytearray(parts.body)
    for at in parts.ttl_offsets:
        body[at : at + 4] = struct.pack("!I", 4711)
    end = wire.question_end(octets)
    made = (
        octets[:2] + parts.head[:2] + b"\0\1" + parts.head[2:] + octets[12:end] + body
    )

    again = dns.message.from_wire(made)

    rrsets = again.answer + again.authority + again.additional
    assert {rrset.ttl for rrset in rrsets} <= {4711}
    assert len(parts.ttl_offsets) == sum(struct.unpack("!3H", parts.head[2:]))


@pytest.mark.parametrize("extended", [0, 1, 255], ids=["none", "BADVERS", "largest"])
@pytest.mark.parametrize("additional", [0, 2], ids=["alone", "last"])
def test_opt_record_is_taken_out(extended: int, additional: int) -> None:
    octets = bytearray(
        response(
            answer=CHAIN,
            additional=("ns.example.test. 60 IN A 192.0.2.53",) * additional,
            edns=0,
        )
    )
    octets[-6] = extended

    parts = parsed(bytes(octets))

    assert parts.has_opt
    assert parts.rcode == extended << 4
    assert b"\0\0\x29" not in parts.body
    assert rebuilt(bytes(octets)).edns == -1
    assert parts.head[-2:] == struct.pack("!H", additional)


@pytest.mark.parametrize("behind", [0, 1], ids=["first", "in the middle"])
def test_what_follows_an_opt_record_is_left_out(behind: int) -> None:
    plain = response(answer=CHAIN)
    record = b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4\x7f\0\0\1"
    opt = edns.opt_record()
    octets = (
        plain[:10]
        + bytes((0, behind + 2))
        + plain[12:]
        + behind * record
        + opt
        + record
    )

    parts = parsed(octets)

    assert parts.head[-2:] == bytes((0, behind))
    assert parts.body == plain[wire.question_end(plain) :] + behind * record
    assert len(parts.ttl_offsets) == 3 + behind
    assert parts.ttl_s == 60
    assert parts.min_ttl_s == (5 if behind else 60)


@pytest.mark.parametrize("section", [6, 8], ids=["answer", "authority"])
def test_opt_record_outside_the_additional_section_is_malformed(section: int) -> None:
    plain = bytearray(response())
    plain[section + 1] = 1

    with pytest.raises(WireError):
        parsed(bytes(plain) + edns.opt_record())


@pytest.mark.parametrize("ttl", [0x80000000, 0xFFFFFFFF], ids=["bit alone", "all bits"])
def test_ttl_with_its_first_bit_set_is_a_long_one(ttl: int) -> None:
    octets = bytearray(response(answer=("www.example.test. 1 IN A 192.0.2.1",)))
    octets[-10:-6] = struct.pack("!I", ttl)

    parts = parsed(bytes(octets))

    assert parts.ttl_s == 0x7FFFFFFF
    assert parts.max_ttl_s == ttl


def test_only_ad_and_rcode_are_the_upstreams_to_say() -> None:
    flags = dns.flags.AA | dns.flags.TC | dns.flags.AD | dns.flags.CD | dns.flags.RD

    head = parsed(response(flags=flags, rcode=dns.rcode.NXDOMAIN)).head

    assert int.from_bytes(head[:2], "big") == (
        dns.flags.QR | dns.flags.RA | dns.flags.AD | dns.rcode.NXDOMAIN
    )


@given(st.integers(12, 200))
@example(12)
def test_response_cut_short_is_malformed(size: int) -> None:
    octets = response(answer=CHAIN, authority=(soa(60, 60),), edns=0)
    end = wire.question_end(octets)
    if not end <= size < len(octets):
        size = end

    with pytest.raises(WireError):
        parse_response(octets[:size], end)


@given(st.tuples(*[st.integers(0, 4)] * 3), st.binary(max_size=300))
def test_random_records_raise_nothing_else(
    counts: tuple[int, int, int], noise: bytes
) -> None:
    octets = struct.pack("!6H", 1, wire.QR, 1, *counts) + b"\0\0\1\0\1" + noise

    with contextlib.suppress(WireError):
        parts = parse_response(octets, 17)
        assert all(at + 6 <= len(parts.body) for at in parts.ttl_offsets)
        assert NEVER_KEPT <= parts.ttl_s <= 0x7FFFFFFF


@given(st.binary(min_size=12, max_size=100), st.integers(12, 100))
def test_random_octets_raise_nothing_else(octets: bytes, body_at: int) -> None:
    with contextlib.suppress(WireError):
        parse_response(octets, min(body_at, len(octets)))


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=12))
def test_positive_response_is_kept_for_its_least_ttl(ttls: list[int]) -> None:
    octets = response(
        answer=tuple(
            f"www.example.test. {ttl} IN A 192.0.2.{n}" for n, ttl in enumerate(ttls)
        )
    )

    parts = parsed(octets)

    assert parts.ttl_s == parts.min_ttl_s == min(ttls)
    assert parts.max_ttl_s == max(ttls)
    assert parts.has_answers


@interpreted
@given(
    st.sampled_from(["A", "AAAA"]),
    st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5),
    st.booleans(),
    st.integers(0, 60),
    st.integers(0, 255),
)
def test_plain_responses_mean_what_any_response_means(
    kind: str,
    ttls: list[int],
    has_opt: bool,  # noqa: FBT001 - drawn
    at: int,
    octet: int,
) -> None:
    data = {"A": b"\xc0\0\2\1", "AAAA": bytes(16)}[kind]
    tail = {"A": b"\0\1\0\1", "AAAA": b"\0\x1c\0\1"}[kind]
    question = b"\3www\0" + tail
    records = b"".join(
        b"\xc0\x0c" + tail + struct.pack("!IH", ttl, len(data)) + data for ttl in ttls
    )
    opt = b"\0\0\x29\4\xd0" + bytes(6) if has_opt else b""
    octets = struct.pack("!6H", 7, 0x8180, 1, len(ttls), 0, has_opt) + question
    body_at = len(octets)
    octets += records + opt
    changed = octets[: body_at + at] + bytes([octet]) + octets[body_at + at + 1 :]

    for message in (octets, changed):
        plain = told(message, body_at)
        with patch.object(response_module, "_parse_plain", return_value=None):
            assert plain == told(message, body_at)


SEEN_AT_ONCE = [
    *(octets for octets, _ in KINDS.values()),
    response("www.example.test. AAAA", answer=CHAIN[:2], authority=(soa(30, 300),)),
    response("1.2.test. PTR", answer=("1.2.test. 5 IN PTR x.y.test.",), edns=0),
    response("t.test. TXT", answer=('t.test. 5 IN TXT "a"', 't.test. 5 IN TXT "b" ""')),
    response("_s.x.test. SRV", answer=("_s.x.test. 5 IN SRV 1 2 3 y.x.test.",)),
    response("x.test. HTTPS", answer=('x.test. 5 IN HTTPS 1 . alpn="h2"',), edns=0),
    response("x.test. HTTPS", answer=("x.test. 5 IN HTTPS 0 y.x.test.",), edns=0),
]


@interpreted
@given(
    st.sampled_from(SEEN_AT_ONCE),
    st.lists(st.tuples(st.integers(0, 150), st.integers(0, 255)), max_size=3),
)
def test_what_is_seen_at_once_means_what_a_closer_look_says(
    octets: bytes, changes: list[tuple[int, int]]
) -> None:
    body_at = wire.question_end(octets)
    message = bytearray(octets)
    for at, octet in changes:
        message[min(body_at + at, len(octets) - 1)] = octet

    seen = told(bytes(message), body_at)

    with (
        patch.object(response_module, "short_end", return_value=-1),
        patch.object(response_module, "is_short", return_value=False),
    ):
        assert seen == told(bytes(message), body_at)


def told(octets: bytes, body_at: int) -> list[object] | str:
    """Return all that there is to a response, or that it is malformed."""
    try:
        response = parse_response(octets, body_at)
    except WireError:
        return "malformed"
    # Addresses may look like an alias to whoever does not know what they are.
    names = [name for name in Response.__slots__ if name != "may_lead_on"]
    return [getattr(response, name) for name in names]
