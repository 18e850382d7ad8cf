"""Shapes: how the response to a query looks, judged by dnspython."""

from __future__ import annotations

import struct

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.dns import edns, wire
from dnsfront.dns.cache import Cache
from dnsfront.dns.entry import head_of
from dnsfront.dns.query import parse_query
from dnsfront.dns.response import Response, parse_response
from dnsfront.dns.sections import Sections
from dnsfront.dns.shape import Shape, Shapes
from tests.unit.caching import limits

QUESTION = b"\3wWw\7eXample\4test\0\0\1\0\1"
RECORD = b"\xc0\x0c" + struct.pack("!HHIH4s", 1, 1, 300, 4, b"\xc0\0\2\1")
SWITCHES = [False, True]


def shapes() -> Shapes:
    cache = Cache(limits(serve_stale_s=0, prefetch=False))
    return Shapes(cache.views, nsid=b"w1")


def query_octets(
    *,
    rd: bool = True,
    ad: bool = False,
    cd: bool = False,
    do: bool | None = None,
    size: int = 1232,
    options: tuple[tuple[int, bytes], ...] = (),
) -> bytes:
    """Return a query; *do* None is one without EDNS."""
    made = dns.message.make_query("wWw.eXample.test", "A", id=7)
    made.flags = rd * dns.flags.RD | ad * dns.flags.AD | cd * dns.flags.CD
    if do is not None:
        generic: list[dns.edns.Option] = [
            dns.edns.GenericOption(dns.edns.OptionType(code), data)
            for code, data in options
        ]
        made.use_edns(0, dns.flags.DO if do else 0, size, options=generic)
    return made.to_wire()


def shape_of(octets: bytes, *, is_stream: bool = False) -> Shape:
    return shapes().of(parse_query(octets), is_stream=is_stream)


def learn(found: Shapes, octets: bytes) -> None:
    query = parse_query(octets)
    found.learn(octets, query, found.of(query, is_stream=False))


def upstream(flags: int, *, records: int = 1, rcode: int = 0) -> Response:
    header = struct.pack("!6H", 0, wire.QR | flags | rcode, 1, records, 0, 0)
    return parse_response(header + QUESTION + RECORD * records, 12 + len(QUESTION))


def answered(shape: Shape, response: Response) -> dns.message.Message:
    octets = shape.message(b"\0\7", QUESTION, response.head, response.body)
    assert len(octets) <= shape.limit
    return dns.message.from_wire(octets, one_rr_per_rrset=True)


@pytest.mark.parametrize("rd", SWITCHES, ids=["", "RD"])
@pytest.mark.parametrize("ad", SWITCHES, ids=["", "AD"])
@pytest.mark.parametrize("cd", SWITCHES, ids=["", "CD"])
@pytest.mark.parametrize("do", [None, False, True], ids=["", "EDNS", "DO"])
@pytest.mark.parametrize("is_authentic", SWITCHES, ids=["insecure", "secure"])
def test_response_has_the_flags_that_the_query_asks_for(
    *, rd: bool, ad: bool, cd: bool, do: bool | None, is_authentic: bool
) -> None:
    shape = shape_of(query_octets(rd=rd, ad=ad, cd=cd, do=do))

    read = answered(shape, upstream(wire.AD if is_authentic else 0))

    shows_ad = is_authentic and (ad or bool(do))
    assert read.flags == (
        dns.flags.QR
        | dns.flags.RA
        | rd * dns.flags.RD
        | cd * dns.flags.CD
        | shows_ad * dns.flags.AD
    )
    assert (read.edns == 0) == (do is not None)
    assert bool(read.ednsflags & dns.flags.DO) == bool(do)
    assert read.id == 7
    assert read.question[0].name.to_text() == "wWw.eXample.test."
    assert len(read.answer) == 1


@pytest.mark.parametrize("rd", SWITCHES)
@pytest.mark.parametrize("cd", SWITCHES)
@pytest.mark.parametrize("do", SWITCHES)
def test_flags_that_may_change_the_answer_choose_the_view(
    *, rd: bool, cd: bool, do: bool
) -> None:
    shape = shape_of(query_octets(rd=rd, cd=cd, do=do, ad=True))

    assert shape.view == rd + 2 * cd + 4 * do


def test_answer_of_a_zone_has_authority() -> None:
    sections = Sections(0, True, False, 1, 0, 0, RECORD)  # noqa: FBT003 - plain data
    shape = shape_of(query_octets())

    octets = shape.message(b"\0\7", QUESTION, head_of(sections), sections.octets)

    read = dns.message.from_wire(octets)
    assert read.flags & dns.flags.AA
    assert read.flags & dns.flags.RA


@pytest.mark.parametrize("rcode", [dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL])
def test_response_code_is_kept(rcode: int) -> None:
    read = answered(shape_of(query_octets(do=False)), upstream(0, rcode=rcode))

    assert read.rcode() == rcode


@pytest.mark.parametrize(
    ("do", "size", "is_stream", "limit"),
    [
        (None, 0, False, 512),
        (False, 0, False, 512),
        (False, 511, False, 512),
        (False, 600, False, 600),
        (False, 1232, False, 1232),
        (True, 65535, False, 1232),
        (None, 0, True, 65535),
        (False, 600, True, 65535),
    ],
    ids=[
        "no EDNS",
        "size 0",
        "too small a size",
        "a small size",
        "our own size",
        "the largest size",
        "TCP",
        "TCP with EDNS",
    ],
)
def test_response_may_be_as_long_as_the_client_takes(
    *, do: bool | None, size: int, is_stream: bool, limit: int
) -> None:
    assert shape_of(query_octets(do=do, size=size), is_stream=is_stream).limit == limit


@pytest.mark.parametrize("do", [None, False, True], ids=["no EDNS", "EDNS", "DO"])
def test_response_is_whole_up_to_the_limit_and_cut_above(*, do: bool | None) -> None:
    octets = query_octets(do=do, size=512)
    shape = shape_of(octets)
    room = 512 - len(octets)
    response = upstream(wire.AD)

    fits = shape.message(b"\0\7", QUESTION, response.head, bytes(room))
    cut = shape.message(b"\0\7", QUESTION, response.head, bytes(room + 1))

    assert len(fits) == 512
    read = dns.message.from_wire(cut)
    assert len(cut) == len(octets)
    assert read.flags & dns.flags.TC
    assert not read.answer
    assert (read.edns == 0) == (do is not None)
    assert read.question[0].name.to_text() == "wWw.eXample.test."


def test_cut_response_keeps_its_code() -> None:
    shape = shape_of(query_octets())

    octets = shape.truncated(b"\0\7", QUESTION, upstream(0, rcode=3).head)

    assert dns.message.from_wire(octets).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("is_stream", SWITCHES, ids=["UDP", "TCP"])
def test_nsid_is_told_to_those_who_ask(*, is_stream: bool) -> None:
    shape = shape_of(query_octets(do=False, options=((3, b""),)), is_stream=is_stream)

    [option] = answered(shape, upstream(0)).options

    assert option.otype == dns.edns.OptionType.NSID
    assert option.to_wire() == b"w1"


def test_nsid_is_not_told_to_others() -> None:
    shape = shape_of(query_octets(do=False, options=((10, b"12345678"),)))

    assert not answered(shape, upstream(0)).options


def test_extended_error_stands_beside_nsid() -> None:
    shape = shape_of(query_octets(do=False, options=((3, b""),)))

    told = answered(shape.with_error(edns.EDE_STALE_ANSWER), upstream(0))

    assert [option.otype for option in told.options] == [
        dns.edns.OptionType.NSID,
        dns.edns.OptionType.EDE,
    ]
    assert told.extended_errors()[0].code == 3
    assert len(answered(shape, upstream(0)).options) == 1


def test_extended_error_is_kept_from_those_without_edns() -> None:
    shape = shape_of(query_octets()).with_error(edns.EDE_STALE_ANSWER)

    assert answered(shape, upstream(0)).edns == -1


# What the fast path knows


def known(found: Shapes, octets: bytes) -> Shape | None:
    """Return the shape that the fast path finds for a query."""
    by_opt = found.with_opt.get(octets[2:12])
    if by_opt is not None:
        return by_opt.get(octets[-11:])
    return found.plain.get(octets[2:12])


@pytest.mark.parametrize("rd", SWITCHES)
@pytest.mark.parametrize("ad", SWITCHES)
@pytest.mark.parametrize("cd", SWITCHES)
def test_queries_without_edns_are_known_from_the_start(
    *, rd: bool, ad: bool, cd: bool
) -> None:
    octets = query_octets(rd=rd, ad=ad, cd=cd)
    found = shapes()

    shape = known(found, octets)

    worked_out = found.of(parse_query(octets), is_stream=False)
    assert shape is not None
    assert (shape.view, shape.limit, shape.opt) == (
        worked_out.view,
        worked_out.limit,
        worked_out.opt,
    )


@pytest.mark.parametrize("do", SWITCHES)
@pytest.mark.parametrize("size", [0, 512, 1232, 4096])
def test_query_with_a_plain_opt_record_is_learned(*, do: bool, size: int) -> None:
    octets = query_octets(do=do, size=size)
    found = shapes()

    before = known(found, octets)
    learn(found, octets)
    shape = known(found, octets)

    assert before is None
    assert shape is not None
    read = answered(shape, upstream(0))
    assert bool(read.ednsflags & dns.flags.DO) == do
    assert shape.limit == max(512, min(size, 1232))


@pytest.mark.parametrize(
    "octets",
    [
        query_octets(do=False, options=((3, b""),)),
        query_octets(do=False, options=((12, bytes(20)),)),
        query_octets(),
        query_octets(do=False)[:2] + b"\2" + query_octets(do=False)[3:],
        # An address record before the OPT record.
        query_octets()[:11] + b"\2" + query_octets()[12:] + RECORD + edns.opt_record(),
    ],
    ids=["NSID", "padding", "no EDNS", "TC set", "another record"],
)
def test_nothing_else_is_learned(octets: bytes) -> None:
    found = shapes()

    learn(found, octets)

    assert not any(found.with_opt.values())


def test_flood_of_odd_opt_records_is_bounded() -> None:
    found = shapes()

    for size in range(5000):
        octets = query_octets(do=False, size=size)
        learn(found, octets)

    assert sum(map(len, found.with_opt.values())) <= 512
    assert known(found, octets) is not None


def test_flood_of_odd_counts_is_bounded() -> None:
    shape = shape_of(query_octets())

    for number in range(10000):
        assert shape.heads[struct.pack("!4H", wire.QR, 1, 0, number)]

    assert len(shape.heads) <= 5000
