"""EDNS options of clients through a worker: cookies, keepalive, padding."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.dns import edns
from dnsfront.dns.cookies import ServerCookies
from dnsfront.dns.edns import opt_record, option
from dnsfront.dns.shape import MAX_COOKIES
from dnsfront.ipc.stats import Counter
from dnsfront.worker.answering.answering import Answering
from tests.unit.datagrams import QUESTION, message, with_opt
from tests.unit.fake_upstream import ADDRESS, FakeUpstream
from tests.unit.streaming import Stream
from tests.unit.stub_client import query_for
from tests.unit.test_worker_handover import host, owned_by
from tests.unit.worker_rig import BOUNDS, ZONE, Rig, eventually, interpreted, miss

SECRET = bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf")
OTHER = bytes.fromhex("445536bcd2513298075a5d379663c962")
CLIENT = bytes.fromhex("2464c4abcf10c957")
#: When BIND was asked for what the tests compare with.
THEN = 0x6B071B2D
OF_BIND = CLIENT + bytes.fromhex("010000006b071b2da0f2ca4f4a013650")


def cookies(*secrets: bytes, at: int = THEN) -> ServerCookies:
    return ServerCookies(secrets or (SECRET,), lambda: at)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig(zone=ZONE) as made:
        made.answering.shapes.use_cookies(cookies())
        yield made


def asking(cookie: bytes, *, more: bytes = b"", question: bytes = QUESTION) -> bytes:
    options = option(edns.OPTION_COOKIE, cookie) + more
    return with_opt(opt_record(options=options), question=question)


def cookie_of(octets: bytes) -> bytes:
    """Return the cookie in a response, which has no more than one."""
    [found] = [
        x
        for x in dns.message.from_wire(octets).options
        if x.otype == edns.OPTION_COOKIE
    ]
    cookie: bytes = found.to_wire()
    return cookie


def ask(rig: Rig, octets: bytes) -> bytes:
    [response] = rig.ask(octets)
    return response


@pytest.mark.parametrize(
    "cookie",
    [CLIENT, CLIENT + bytes(8), CLIENT + bytes(16), CLIENT + bytes(32), OF_BIND],
    ids=["a client's alone", "another form", "a wrong one", "the longest", "ours"],
)
def test_opt_record_with_a_cookie_is_binds_octet_for_octet(
    rig: Rig, cookie: bytes
) -> None:
    for _ in range(3):
        response = ask(rig, asking(cookie))

        assert response[-39:].hex() == (
            "00002904d000000000001c000a0018"
            "2464c4abcf10c957010000006b071b2da0f2ca4f4a013650"
        )
        assert dns.message.from_wire(response).rcode() == dns.rcode.NOERROR
        assert dns.message.from_wire(response).answer


@pytest.mark.parametrize("size", [0, 1, 7, 9, 12, 15, 41, 200])
def test_cookie_of_a_length_that_there_is_not_is_formerr(rig: Rig, size: int) -> None:
    response = dns.message.from_wire(ask(rig, asking(bytes(size))))

    assert response.rcode() == dns.rcode.FORMERR
    assert response.edns == 0
    assert not response.options


def test_of_two_cookies_the_first_counts(rig: Rig) -> None:
    more = option(edns.OPTION_COOKIE, CLIENT[::-1])

    assert cookie_of(ask(rig, asking(CLIENT, more=more))) == OF_BIND


def test_who_sends_no_cookie_gets_none(rig: Rig) -> None:
    assert not dns.message.from_wire(ask(rig, with_opt())).options
    assert ask(rig, message())[11] == 0


def test_without_cookies_that_of_a_client_is_nothing_to_us(rig: Rig) -> None:
    assert cookie_of(ask(rig, asking(OF_BIND))) == OF_BIND
    rig.answering.shapes.use_cookies(None)

    response = dns.message.from_wire(ask(rig, asking(OF_BIND)))

    assert response.answer
    assert not response.options


def test_nsid_and_extended_errors_go_along(rig: Rig) -> None:
    refused = b"\3www\5other\0\0\1\0\1"

    named = dns.message.from_wire(ask(rig, asking(CLIENT, more=option(3, b""))))
    octets = ask(rig, asking(CLIENT, question=refused))

    assert [x.otype for x in named.options] == [3, 10]
    assert [x.otype for x in dns.message.from_wire(octets).options] == [10, 15]
    assert cookie_of(octets) == OF_BIND


@pytest.mark.parametrize(
    ("cookie", "rcode"),
    [
        (CLIENT, dns.rcode.NOERROR),
        (OF_BIND, dns.rcode.NOERROR),
        (CLIENT + bytes(16), dns.rcode.BADCOOKIE),
        (OF_BIND[:-1] + b"\0", dns.rcode.BADCOOKIE),
    ],
    ids=["a client's alone", "ours", "a wrong one", "one changed"],
)
def test_query_for_a_cookie_alone_tells_whether_it_is_good(
    rig: Rig, cookie: bytes, rcode: dns.rcode.Rcode
) -> None:
    """RFC 7873, 5.4; BIND has the same octets for those that are good."""
    opt = opt_record(options=option(edns.OPTION_COOKIE, cookie))
    query = message(counts=(0, 0, 0, 1), rest=opt)

    response = ask(rig, query)

    read = dns.message.from_wire(response)
    assert read.rcode() == rcode
    assert cookie_of(response) == OF_BIND
    assert not read.question
    if rcode == dns.rcode.NOERROR:
        bind = "8100000000000000000100002904d000000000001c000a0018"
        assert response[2:].hex() == bind[:4].replace("8100", "8180") + bind[4:] + (
            OF_BIND.hex()
        )


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        opt_record(),
        opt_record(options=option(edns.OPTION_COOKIE, CLIENT[:7])),
        opt_record(options=option(edns.OPTION_COOKIE, CLIENT)) + b"\0",
        opt_record(options=option(edns.OPTION_COOKIE, CLIENT))[:-1],
    ],
    ids=["nothing", "no cookie", "a short cookie", "more behind", "cut"],
)
def test_query_for_nothing_at_all_is_formerr(rig: Rig, rest: bytes) -> None:
    [octets] = rig.ask(message(counts=(0, 0, 0, int(bool(rest))), rest=rest))

    assert octets[3] & 15 == dns.rcode.FORMERR


# What the fast path remembers


@pytest.fixture
def parsed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the queries that the fast path of *rig* did not answer."""
    seen: list[bytes] = []
    query = Answering.query

    def note(self: Answering, octets: bytes, waiter: object) -> None:
        seen.append(octets)
        query(self, octets, waiter)  # type: ignore[arg-type]  # a waiter it is

    monkeypatch.setattr(Answering, "query", note)
    del rig
    return seen


@interpreted
def test_good_cookie_is_parsed_once(rig: Rig, parsed: list[bytes]) -> None:
    responses = [ask(rig, asking(OF_BIND)) for _ in range(5)]

    assert len(set(responses)) == 1
    assert len(parsed) == 1


@interpreted
def test_good_cookie_is_parsed_again_after_some_minutes(
    rig: Rig, parsed: list[bytes]
) -> None:
    for _ in range(3):
        ask(rig, asking(OF_BIND))
    rig.wait(301)
    before = len(parsed)

    for _ in range(3):
        ask(rig, asking(OF_BIND))

    assert len(parsed) - before == 1


@interpreted
@pytest.mark.parametrize(
    "octets",
    [
        asking(CLIENT),
        asking(CLIENT + bytes(16)),
        asking(OF_BIND, more=option(3, b"")),
        asking(OF_BIND, more=option(12, b"")),
    ],
    ids=["a client's alone", "a wrong one", "NSID", "padding"],
)
def test_nothing_else_is_remembered(
    rig: Rig, parsed: list[bytes], octets: bytes
) -> None:
    for _ in range(3):
        ask(rig, octets)

    assert len(parsed) == 3


def test_cookie_that_is_remembered_is_for_one_address(rig: Rig) -> None:
    for _ in range(2):
        ask(rig, asking(OF_BIND))
    client = rig.client("127.0.0.2")

    [octets] = rig.ask(asking(OF_BIND), client)

    other = cookie_of(octets)
    assert other[:16] == OF_BIND[:16]
    assert other != OF_BIND


def test_another_secret_counts_at_once(rig: Rig) -> None:
    for _ in range(2):
        ask(rig, asking(OF_BIND))
    rig.answering.shapes.use_cookies(cookies(OTHER, SECRET, at=THEN + 60))

    renewed = cookie_of(ask(rig, asking(OF_BIND)))

    assert renewed[:8] == CLIENT
    assert renewed != OF_BIND
    for _ in range(3):
        assert cookie_of(ask(rig, asking(renewed))) == renewed


def test_another_size_over_udp_counts_at_once(rig: Rig) -> None:
    for _ in range(2):
        ask(rig, asking(OF_BIND))
    rig.answering.shapes.resize(512)

    assert ask(rig, asking(OF_BIND))[-36:-34] == struct.pack("!H", 512)


def test_clients_that_are_remembered_are_bounded(rig: Rig) -> None:
    shapes = rig.answering.shapes
    client = rig.client("127.0.0.1")
    own = cookies()

    for number in range(MAX_COOKIES + 50):
        cookie = own.option(number.to_bytes(8, "big"), b"\x7f\0\0\1")[4:]
        [octets] = rig.ask(asking(cookie), client)
        assert cookie_of(octets) == cookie

    assert len(shapes._by_cookie) == 50


def test_hits_and_misses_with_a_cookie_are_counted_as_any_others() -> None:
    with closing(FakeUpstream()) as upstream, Rig(upstreams=[upstream]) as rig:
        rig.answering.shapes.use_cookies(cookies())
        name = b"\3www\7example\3com\0\0\1\0\1"
        first = miss(rig, dns.message.from_wire(asking(OF_BIND, question=name)))
        upstream.answer(ADDRESS)
        rig.round()

        [fetched] = first.receive()
        hits = [ask(rig, asking(OF_BIND, question=name)) for _ in range(4)]

        assert {cookie_of(octets) for octets in (fetched, *hits)} == {OF_BIND}
        assert rig.count(Counter.CACHE_REQUESTS) == 5
        assert rig.count(Counter.CACHE_HITS) == 4
        assert rig.count(Counter.QUERIES_UDP) == 5


def test_what_only_ends_like_a_cookie_is_formerr(rig: Rig) -> None:
    """The octets of a record met before, behind half a question."""
    for _ in range(2):
        ask(rig, asking(OF_BIND))

    [octets] = rig.ask(asking(OF_BIND, question=QUESTION[:-1]))

    assert octets[3] & 15 == dns.rcode.FORMERR


# Over TCP, and by another worker


def test_cookies_over_tcp_are_those_over_udp(rig: Rig) -> None:
    with closing(Stream(rig)) as stream:
        for cookie in (CLIENT, OF_BIND, CLIENT + bytes(16)):
            stream.send(asking(cookie))

        found = stream.until(3)

    assert {cookie_of(response.to_wire()) for response in found} == {OF_BIND}


# How long a connection is kept: RFC 7828


def test_client_over_tcp_that_asks_is_told_how_long_its_connection_is_kept(
    rig: Rig,
) -> None:
    """The OPT record is BIND's for the same query, but for its 30 seconds."""
    rig.answering.shapes.keep_alive(BOUNDS.tcp_idle_s)
    options = option(11, b"") + option(10, CLIENT)
    with closing(Stream(rig)) as stream:
        stream.send(with_opt(opt_record(options=options)), with_opt())

        [told, plain] = eventually(
            lambda: found if len(found := stream.read_octets()) == 2 else None,
            rig.round,
        )

    assert told[-45:].hex() == (
        "00002904d00000000000220"
        "00a00182464c4abcf10c957010000006b071b2da0f2ca4f4a013650000b00020064"
    )
    assert not dns.message.from_wire(plain).options


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\1"])
def test_nothing_of_a_connection_is_told_over_udp(rig: Rig, data: bytes) -> None:
    rig.answering.shapes.keep_alive(BOUNDS.tcp_idle_s)
    octets = with_opt(opt_record(options=option(11, data)))

    response = dns.message.from_wire(ask(rig, octets))

    assert response.answer
    assert not response.options


@pytest.mark.parametrize(
    ("idle_s", "tenths"), [(0.25, 2), (10, 100), (6553.5, 65535), (86400, 65535)]
)
def test_time_is_told_in_tenths_of_a_second(
    rig: Rig, idle_s: float, tenths: int
) -> None:
    rig.answering.shapes.keep_alive(idle_s)
    with closing(Stream(rig)) as stream:
        stream.send(with_opt(opt_record(options=option(11, b""))))
        [response] = stream.until(1)

    [told] = response.options
    assert told.to_wire() == tenths.to_bytes(2, "big")


def test_clear_text_is_never_padded(rig: Rig) -> None:
    octets = with_opt(opt_record(options=option(12, bytes(20))))
    with closing(Stream(rig)) as stream:
        stream.send(octets)
        found = stream.until(1)

    assert not found[0].options
    assert not dns.message.from_wire(ask(rig, octets)).options


@pytest.mark.parametrize("is_stream", [False, True], ids=["UDP", "TCP"])
def test_owner_makes_cookies_for_the_clients_of_others(*, is_stream: bool) -> None:
    with host(is_steered=False) as pair:
        for rig in pair.rigs.values():
            rig.answering.shapes.use_cookies(cookies())
        cookie = dns.edns.GenericOption(dns.edns.OptionType(10), CLIENT)
        query = query_for(owned_by(2), options=[cookie])

        if is_stream:
            with closing(Stream(pair.first)) as stream:
                stream.send(query)
                [octets] = eventually(stream.read_octets, pair.round)
        else:
            octets = pair.ask(pair.first.client(), query).to_wire()

        assert cookie_of(octets) == OF_BIND
        assert pair.second.count(Counter.QUERIES_UDP) == 0
