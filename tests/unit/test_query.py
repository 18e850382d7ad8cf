"""Queries as octets, and responses to those that cannot be answered."""

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
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.dns import edns, wire
from dnsfront.dns.query import error_response, parse_query
from dnsfront.errors import WireError
from tests.unit.queries import OPT, QUESTION, judged, message, names, opt

# Queries


@given(
    names,
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.sets(st.sampled_from((wire.RD, wire.AD, wire.CD, wire.TC, wire.RA, wire.AA))),
)
def test_query_falls_into_its_parts(
    qname: bytes, qtype: int, qclass: int, flags: set[int]
) -> None:
    question = qname + struct.pack("!HH", qtype, qclass)

    query = parse_query(message(flags=sum(flags), rest=question))

    assert query.identity == b"\x12\x34"
    assert query.flags == sum(flags)
    assert query.question == question
    assert query.qname == qname.lower()
    assert (query.qtype, query.qclass) == (qtype, qclass)
    assert query.edns is None


@given(
    size=st.integers(0, 65535),
    is_dnssec_ok=st.booleans(),
    options=st.lists(
        st.tuples(
            st.integers(4, 65535).filter(lambda code: code != edns.OPTION_COOKIE),
            st.binary(max_size=20),
        ),
        max_size=4,
    ),
    cookie=st.one_of(
        st.just(b""),
        st.binary(min_size=8, max_size=8),
        st.binary(min_size=16, max_size=40),
    ),
    wants_nsid=st.booleans(),
)
def test_opt_record_of_dnspython_is_read(
    *,
    size: int,
    is_dnssec_ok: bool,
    options: list[tuple[int, bytes]],
    cookie: bytes,
    wants_nsid: bool,
) -> None:
    generic: list[dns.edns.Option] = [
        dns.edns.GenericOption(dns.edns.OptionType(code), data)
        for code, data in options
    ]
    if wants_nsid:
        generic.append(dns.edns.GenericOption(dns.edns.OptionType.NSID, b""))
    if cookie:
        generic.append(dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie))
    made = dns.message.make_query("www.example.test", "A")
    made.use_edns(0, dns.flags.DO if is_dnssec_ok else 0, size, options=generic)

    read = parse_query(made.to_wire()).edns

    codes = [code for code, _ in options]
    assert read is not None
    assert read.udp_size == max(size, 512)
    assert read.version == 0
    assert read.is_dnssec_ok == is_dnssec_ok
    assert read.wants_nsid == wants_nsid
    assert read.cookie == cookie
    assert read.wants_keepalive == (edns.OPTION_KEEPALIVE in codes)


def test_opt_record_may_stand_among_other_additional_records() -> None:
    other = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\x7f\0\0\1"
    octets = message(counts=(1, 0, 0, 3), rest=QUESTION + other + OPT + other)

    query = parse_query(octets)

    assert query.edns is not None


LONG_NAME = b"\x3f" + b"x" * 63
MALFORMED = {
    "no question": (message(counts=(0, 0, 0, 0), rest=b""), wire.FORMERR),
    "two questions": (
        message(counts=(2, 0, 0, 0), rest=2 * QUESTION),
        wire.FORMERR,
    ),
    "an answer": (message(counts=(1, 1, 0, 0)), wire.FORMERR),
    "an authority": (message(counts=(1, 0, 1, 0)), wire.FORMERR),
    "nothing behind the header": (message(rest=b""), wire.FORMERR),
    "name without an end": (message(rest=b"\3www"), wire.FORMERR),
    "label overrun": (message(rest=b"\x3fwww\0\0\1\0\1"), wire.FORMERR),
    "no type": (message(rest=b"\3www\0"), wire.FORMERR),
    "half a class": (message(rest=QUESTION[:-1]), wire.FORMERR),
    "pointer to itself": (message(rest=b"\xc0\x0c\0\1\0\1"), wire.FORMERR),
    "pointer to the header": (message(rest=b"\1a\xc0\0\0\1\0\1"), wire.FORMERR),
    "label type 01": (message(rest=b"\x41" + b"a" * 65 + b"\0\0\1\0\1"), wire.FORMERR),
    "label type 10": (message(rest=b"\x80" + b"a" * 128 + b"\0\0\1\0\1"), wire.FORMERR),
    "name of 256 octets": (
        message(rest=3 * LONG_NAME + b"\x3e" + b"x" * 62 + b"\0\0\1\0\1"),
        wire.FORMERR,
    ),
    "an octet too many": (message(rest=QUESTION + b"\0"), wire.FORMERR),
    "a record too many": (message(rest=QUESTION + OPT), wire.FORMERR),
    "a record too few": (message(counts=(1, 0, 0, 2), rest=QUESTION + OPT), 1),
    "record cut short": (message(counts=(1, 0, 0, 1), rest=QUESTION + OPT[:-1]), 1),
    "data cut short": (
        message(counts=(1, 0, 0, 1), rest=QUESTION + OPT[:-1] + b"\1"),
        wire.FORMERR,
    ),
    "record name a cut pointer": (
        message(counts=(1, 0, 0, 1), rest=QUESTION + b"\xc0"),
        wire.FORMERR,
    ),
    "two OPT records": (
        message(counts=(1, 0, 0, 2), rest=QUESTION + 2 * OPT),
        wire.FORMERR,
    ),
    "OPT not at the root": (
        message(counts=(1, 0, 0, 1), rest=QUESTION + b"\1a" + OPT),
        wire.FORMERR,
    ),
    "OPT at a pointer": (
        message(counts=(1, 0, 0, 1), rest=QUESTION + b"\xc0\x1c" + OPT[1:]),
        wire.FORMERR,
    ),
    "option head cut": (
        message(counts=(1, 0, 0, 1), rest=QUESTION + opt(b"\0\3\0")),
        wire.FORMERR,
    ),
    "option overrun": (
        message(counts=(1, 0, 0, 1), rest=QUESTION + opt(b"\0\3\0\2x")),
        wire.FORMERR,
    ),
    "STATUS": (message(flags=2 << 11), wire.NOTIMP),
    "NOTIFY": (message(flags=4 << 11), wire.NOTIMP),
    "UPDATE": (message(flags=5 << 11), wire.NOTIMP),
    "opcode 15": (message(flags=15 << 11), wire.NOTIMP),
    "NOTIMP before FORMERR": (message(flags=2 << 11, rest=b""), wire.NOTIMP),
}


@pytest.mark.parametrize(("octets", "rcode"), MALFORMED.values(), ids=list(MALFORMED))
def test_malformed_query_gets_its_rcode(octets: bytes, rcode: int) -> None:
    with pytest.raises(WireError) as error:
        parse_query(octets)

    assert error.value.rcode == rcode


@given(st.binary(min_size=12, max_size=600))
def test_random_octets_raise_nothing_else(octets: bytes) -> None:
    try:
        parse_query(octets)
    except WireError as exc:
        rcode = exc.rcode
    else:
        rcode = wire.FORMERR
    assert rcode in (wire.FORMERR, wire.NOTIMP)


@given(
    st.binary(max_size=300),
    st.tuples(*[st.integers(0, 3)] * 4),
    st.sampled_from((b"", QUESTION, OPT, QUESTION + OPT)),
)
def test_nearly_right_octets_raise_nothing_else(
    noise: bytes, counts: tuple[int, int, int, int], start: bytes
) -> None:
    octets = message(counts=counts, rest=start + noise)

    try:
        query = parse_query(octets)
    except WireError:
        return

    # What is accepted here is sound to others too, or wrong inside a record's data.
    try:
        dns.message.from_wire(octets)
    except dns.exception.DNSException:
        assert counts[3] > 0
    assert query.question == octets[12 : 12 + len(query.question)]


# Responses of ours


@given(st.binary(min_size=12, max_size=300), st.sampled_from((1, 4, 5, 16)))
def test_error_response_to_anything_is_a_message(octets: bytes, rcode: int) -> None:
    response = error_response(octets, rcode)

    read = judged(response)
    assert response[:2] == octets[:2]
    assert read.flags & dns.flags.QR
    assert read.rcode() == rcode
    assert not read.answer
    assert not read.authority


@pytest.mark.parametrize(("octets", "rcode"), MALFORMED.values(), ids=list(MALFORMED))
def test_error_response_keeps_what_the_client_said(octets: bytes, rcode: int) -> None:
    response = error_response(octets, rcode)

    read = judged(response)
    assert read.id == 0x1234
    assert int.from_bytes(response[2:4], "big") & wire.OPCODE_MASK == (
        int.from_bytes(octets[2:4], "big") & wire.OPCODE_MASK
    )
    assert bool(read.flags & dns.flags.RD) == bool(octets[2] & 1)
    assert read.flags & dns.flags.RA


def test_error_response_repeats_the_question_as_it_was_spelled() -> None:
    question = QUESTION.replace(b"example", b"eXaMpLe")

    response = error_response(message(rest=question), wire.REFUSED)

    assert response[12:] == question


@pytest.mark.parametrize("is_dnssec_ok", [False, True], ids=["plain", "DO"])
@pytest.mark.parametrize("rcode", [wire.FORMERR, wire.REFUSED, wire.BADVERS])
def test_error_response_has_an_opt_record_for_a_client_with_edns(
    *, rcode: int, is_dnssec_ok: bool
) -> None:
    ttl = 0x8000 if is_dnssec_ok else 0
    octets = message(counts=(1, 0, 0, 1), rest=QUESTION + opt(ttl=ttl))

    read = judged(error_response(octets, rcode, error=edns.EDE_PROHIBITED))

    assert read.edns == 0
    assert read.payload == wire.UDP_PAYLOAD_OCTETS
    assert bool(read.ednsflags & dns.flags.DO) == is_dnssec_ok
    assert read.rcode() == rcode
    assert read.extended_errors()[0].code == edns.EDE_PROHIBITED


def test_error_response_has_no_opt_record_for_a_client_without_edns() -> None:
    response = error_response(message(), wire.REFUSED, error=edns.EDE_PROHIBITED)

    assert judged(response).edns == -1
    assert response[10:12] == b"\0\0"


def test_bad_version_is_said_without_an_opt_record_to_go_by() -> None:
    read = judged(error_response(message(), wire.BADVERS))

    assert read.rcode() == dns.rcode.BADVERS
    assert read.edns == 0
