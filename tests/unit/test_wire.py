"""Queries in wire form: dnspython writes them, or reads what we wrote."""

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
from hypothesis import assume, given
from hypothesis import strategies as st

from dnsfront.dns import edns, wire
from dnsfront.dns.names import MAX_QNAME_OCTETS, qname_from_text, qname_to_text
from dnsfront.dns.query import error_response, parse_query
from dnsfront.errors import WireError

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


# Names


@given(names)
def test_qname_comes_back_from_its_text(qname: bytes) -> None:
    assert qname_from_text(qname_to_text(qname)) == qname.lower()


@given(names)
def test_text_of_a_qname_means_the_same_to_dnspython(qname: bytes) -> None:
    text = qname_to_text(qname)

    assert dns.name.from_text(text) == dns.name.from_wire(qname, 0)[0]


@given(names)
def test_dnspython_text_of_a_qname_is_understood(qname: bytes) -> None:
    text = dns.name.from_wire(qname, 0)[0].to_text()
    assume(text.isascii())

    assert qname_from_text(text) == qname.lower()


@pytest.mark.parametrize(
    ("text", "qname"),
    [
        (".", b"\0"),
        ("test", b"\4test\0"),
        ("TEST.", b"\4test\0"),
        (r"a\.b.c", b"\3a.b\1c\0"),
        (r"a\046b", b"\3a.b\0"),
        (r"\000\255", b"\2\0\xff\0"),
        (r"\\", b"\1\\\0"),
        (r"\"", b'\1"\0'),
        ("x" * 63, b"\x3f" + b"x" * 63 + b"\0"),
        (".".join(["x" * 63] * 3 + ["x" * 61]), None),
    ],
    ids=[
        "root",
        "one label",
        "capitals and a final dot",
        "escaped dot",
        "dot by number",
        "smallest and largest octet",
        "backslash",
        "quote",
        "longest label",
        "longest name",
    ],
)
def test_text_is_understood(text: str, qname: bytes | None) -> None:
    found = qname_from_text(text)

    if qname is None:
        assert len(found) == MAX_QNAME_OCTETS
    else:
        assert found == qname


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        ".test",
        "a..b",
        "a..",
        "x" * 64,
        ".".join(["x" * 63] * 3 + ["x" * 62]),
        "bücher.test",
        r"\256",
        r"a\1",
        r"a\12.test",
        "a\\",
    ],
    ids=[
        "empty",
        "two dots",
        "empty first label",
        "empty label",
        "empty last label",
        "label too long",
        "name too long",
        "not ASCII",
        "escape too large",
        "one digit",
        "two digits",
        "backslash at the end",
    ],
)
def test_text_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        qname_from_text(text)


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
        st.tuples(st.integers(4, 65535), st.binary(max_size=20)), max_size=4
    ),
    wants_nsid=st.booleans(),
)
def test_opt_record_of_dnspython_is_read(
    *, size: int, is_dnssec_ok: bool, options: list[tuple[int, bytes]], wants_nsid: bool
) -> None:
    generic: list[dns.edns.Option] = [
        dns.edns.GenericOption(dns.edns.OptionType(code), data)
        for code, data in options
    ]
    if wants_nsid:
        generic.append(dns.edns.GenericOption(dns.edns.OptionType.NSID, b""))
    made = dns.message.make_query("www.example.test", "A")
    made.use_edns(0, dns.flags.DO if is_dnssec_ok else 0, size, options=generic)

    edns = parse_query(made.to_wire()).edns

    assert edns is not None
    assert edns.udp_size == max(size, 512)
    assert edns.version == 0
    assert edns.is_dnssec_ok == is_dnssec_ok
    assert edns.wants_nsid == wants_nsid


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


@given(names, st.binary(max_size=40))
def test_end_of_a_question_is_found_at_any_offset(qname: bytes, before: bytes) -> None:
    question = qname + b"\0\1\0\1"
    octets = before + question + b"more"

    end = wire.question_end(octets, len(before))

    assert end == len(before) + len(question)


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


@pytest.mark.parametrize("is_dnssec_ok", [False, True])
@pytest.mark.parametrize("nsid", [b"", b"w1", bytes(range(256))])
def test_opt_record_of_ours_reads_as_made(*, is_dnssec_ok: bool, nsid: bytes) -> None:
    record = edns.opt_record(
        is_dnssec_ok=is_dnssec_ok, options=edns.option(edns.OPTION_NSID, nsid)
    )

    read = judged(message(flags=wire.QR, counts=(1, 0, 0, 1), rest=QUESTION + record))

    assert read.payload == wire.UDP_PAYLOAD_OCTETS
    assert bool(read.ednsflags & dns.flags.DO) == is_dnssec_ok
    [option] = read.options
    assert option.otype == dns.edns.OptionType.NSID
    assert option.to_wire() == nsid


def test_extended_errors_add_up_behind_other_options() -> None:
    record = edns.opt_record(options=edns.option(edns.OPTION_NSID, b"w1"))

    record = edns.with_error(record, edns.EDE_STALE_ANSWER)
    record = edns.with_error(record, edns.EDE_NO_REACHABLE_AUTHORITY)

    read = judged(message(flags=wire.QR, counts=(1, 0, 0, 1), rest=QUESTION + record))
    assert [option.code for option in read.extended_errors()] == [3, 22]
    assert read.options[0].otype == dns.edns.OptionType.NSID


def test_error_text_that_is_no_utf8_is_left_out_and_its_code_stays() -> None:
    good = edns.option(edns.OPTION_EDE, b"\0\x06" + "bogus: é".encode())
    bad = edns.option(edns.OPTION_EDE, b"\0\x07stale \xed")

    errors = edns.errors_in(good + bad, 0, len(good + bad))

    assert errors == good + edns.option(edns.OPTION_EDE, b"\0\x07")


def test_without_edns_there_is_no_place_for_an_extended_error() -> None:
    assert edns.with_error(b"", edns.EDE_STALE_ANSWER) == b""


@given(st.binary(max_size=80))
def test_name_is_skipped_as_dnspython_skips_it(octets: bytes) -> None:
    end = wire.skip_name(octets, 0)

    if end < 0:
        with pytest.raises(dns.exception.DNSException):
            dns.name.from_wire(octets, 0)
    elif max(octets) < 0xC0 and end <= MAX_QNAME_OCTETS:
        assert dns.name.from_wire(octets, 0)[1] == end
