"""What the operator may choose about responses, and what holds for every one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import pairwise

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.dns import wire
from dnsfront.dns.rotation import rotated
from dnsfront.ipc.stats import Counter
from dnsfront.worker.answering.identity import identity_records
from tests.unit.fake_upstream import ADDRESS, FakeUpstream, said_to
from tests.unit.responses import parsed, response
from tests.unit.stub_client import Client, query_for, received_one
from tests.unit.test_worker_tcp import Stream
from tests.unit.worker_rig import LIMITS, ZONE, Rig, miss


@pytest.fixture
def rig(upstream: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream]) as made:
        yield made


@pytest.fixture
def stream(rig: Rig) -> Iterator[Stream]:
    made = Stream(rig)
    yield made
    made.close()


# ANY over UDP (RFC 8482)


def any_over_tcp(
    rig: Rig, stream: Stream, upstream: FakeUpstream, *, answers: bool = True
) -> None:
    stream.send(query_for(rtype="ANY"))
    rig.until(lambda: rig.pool is not None and rig.pool.pending == 1)
    if answers:
        upstream.answer(*(f"www.example.com. 300 A 192.0.2.{n}" for n in range(9)))
        rig.round()


def test_any_over_udp_is_not_answered_from_the_cache(
    rig: Rig, stream: Stream, upstream: FakeUpstream
) -> None:
    any_over_tcp(rig, stream, upstream)
    assert len(rig.cache) == 1

    for query in (
        query_for(rtype="ANY"),
        query_for(rtype="ANY", payload=4096),
        query_for(rtype="ANY", payload=4096),
    ):
        told = rig.ask_for(query)
        assert told.flags & dns.flags.TC
        assert not told.answer

    stream.send(query_for(rtype="ANY"))
    rig.until(lambda: rig.count(Counter.CACHE_HITS) == 1)
    assert upstream.take() == []


def test_any_over_udp_waits_for_no_answer_to_tcp(
    rig: Rig, stream: Stream, upstream: FakeUpstream
) -> None:
    any_over_tcp(rig, stream, upstream, answers=False)

    assert rig.ask_for(query_for(rtype="ANY")).flags & dns.flags.TC


# The order of addresses


@pytest.fixture
def turning(upstream: FakeUpstream) -> Iterator[Rig]:
    limits = dataclasses.replace(LIMITS, rotate=True)
    with Rig(upstreams=[upstream], limits=limits, zone=ZONE) as made:
        yield made


def addresses(message: dns.message.Message) -> list[str]:
    return [rdata.to_text() for rdata in message.answer[-1]]


def filled(rig: Rig, upstream: FakeUpstream, *records: str) -> None:
    client = miss(rig)
    upstream.answer(*records)
    rig.round()
    assert client.receive()


ALIASED = (
    "www.example.com. 300 CNAME a.test.",
    *(f"a.test. 300 A 192.0.2.{n}" for n in range(3)),
)
PLAIN = tuple(f"www.example.com. 300 A 192.0.2.{n}" for n in range(3))


@pytest.mark.parametrize("records", [PLAIN, ALIASED], ids=["plain", "aliased"])
@pytest.mark.parametrize("edns", [{}, {"payload": 1232}], ids=["plain", "EDNS"])
def test_addresses_take_turns_where_that_is_wanted(
    turning: Rig,
    upstream: FakeUpstream,
    records: tuple[str, ...],
    edns: dict[str, int],
) -> None:
    filled(turning, upstream, *records)

    told = [addresses(turning.ask_for(query_for(**edns))) for _ in range(7)]

    for before, after in pairwise(told):
        assert after == before[1:] + before[:1]
    assert sorted(told[0]) == [f"192.0.2.{n}" for n in range(3)]


def test_addresses_keep_their_order_by_default(
    rig: Rig, upstream: FakeUpstream
) -> None:
    filled(rig, upstream, *PLAIN)

    told = [addresses(rig.ask_for(query_for())) for _ in range(3)]

    assert told[0] == told[1] == told[2]
    assert len(told[0]) == 3


def test_addresses_of_a_zone_take_turns_too(upstream: FakeUpstream) -> None:
    zone = ZONE + "".join(f"many A 192.0.2.{n}\n" for n in range(3))
    limits = dataclasses.replace(LIMITS, rotate=True)
    with Rig(upstreams=[upstream], limits=limits, zone=zone) as rig:
        query = query_for("many.example.test", payload=1232)
        told = [addresses(rig.ask_for(query)) for _ in range(7)]

    for before, after in pairwise(told):
        assert after == before[1:] + before[:1]


def test_one_address_has_nothing_to_turn(turning: Rig, upstream: FakeUpstream) -> None:
    filled(turning, upstream, ADDRESS)

    [entry] = turning.cache.entries()

    assert entry.odd == 0


TYPES = {
    "A": "192.0.2.{n}",
    "AAAA": "2001:db8::{n}",
    "MX": "10 m{n}.example.test.",
    "TXT": "x{n}",
}


@given(
    st.lists(st.tuples(st.sampled_from(sorted(TYPES)), st.integers(0, 9)), max_size=8)
)
def test_turned_records_are_the_same_records(records: list[tuple[str, int]]) -> None:
    octets = response(
        "www.example.test. ANY",
        answer=tuple(
            f"www.example.test. {n} IN {kind} {TYPES[kind].format(n=n)}"
            for kind, n in records
        ),
        additional=("m1.example.test. 9 IN A 192.0.2.1",),
    )
    parts = parsed(octets)
    answers = parts.head[2] << 8 | parts.head[3]

    made = rotated(parts.body, answers)

    end = wire.question_end(octets)
    read = dns.message.from_wire(octets[:end] + made)
    assert read == dns.message.from_wire(octets)
    assert len(made) == len(parts.body)


# Who is asked (RFC 4892)


def chaos(name: str, rtype: str = "TXT") -> dns.message.Message:
    return dns.message.make_query(name, rtype, dns.rdataclass.CH)


def test_a_server_tells_what_it_may_and_no_more(
    rig: Rig, upstream: FakeUpstream
) -> None:
    rig.answering.local.identity = identity_records("site-w1", "")

    for name in ("id.server", "hostname.bind", "ID.Server"):
        told = rig.ask_for(chaos(name))
        assert told.rcode() == dns.rcode.NOERROR
        [rrset] = told.answer
        assert (rrset.rdclass, rrset.ttl) == (dns.rdataclass.CH, 0)
        assert rrset[0].strings == (b"site-w1",)
    for query in (
        chaos("version.bind"),
        chaos("version.server"),
        chaos("id.server", "A"),
        chaos("authors.bind"),
        chaos("x.id.server"),
    ):
        assert rig.ask_for(query).rcode() == dns.rcode.REFUSED
    assert upstream.take() == []


def test_the_version_is_told_where_it_is_to_be(rig: Rig) -> None:
    rig.answering.local.identity = identity_records("", "dnsfront 1")

    told = rig.ask_for(chaos("version.bind"))

    assert told.answer[0][0].strings == (b"dnsfront 1",)
    assert rig.ask_for(chaos("id.server")).rcode() == dns.rcode.REFUSED


def test_a_text_too_long_for_a_record_is_cut() -> None:
    [record, _other] = identity_records("{worker}" * 40, "").values()

    assert len(record) == 12 + 1 + 255


def test_the_internets_names_are_not_the_servers(
    rig: Rig, upstream: FakeUpstream
) -> None:
    rig.answering.local.identity = identity_records("w1", "x")

    miss(rig, query_for("id.server", "TXT"))

    assert len(upstream.take()) == 1


# EDNS


@pytest.mark.parametrize("has_question", [True, False], ids=["question", "none"])
def test_formerr_has_an_opt_record_for_who_sent_one(
    rig: Rig, *, has_question: bool
) -> None:
    query = query_for(payload=1232, want_dnssec=True)
    octets = bytearray(query.to_wire())
    if has_question:
        octets[9] = 1  # an authority record that is the OPT record
    else:
        octets = octets[:4] + bytes(6) + octets[10:12] + octets[-11:]

    [told] = rig.ask(bytes(octets))

    read = dns.message.from_wire(told)
    assert read.rcode() == dns.rcode.FORMERR
    assert (read.edns == 0) is not has_question


def large(rig: Rig, upstream: FakeUpstream, payload: int) -> tuple[Client, int]:
    client = rig.client()
    query = query_for(rtype="TXT", payload=payload)
    rig.ask(query.to_wire(), client)
    asked, sender = upstream.take_one()
    texts = (f"www.example.com. 300 TXT {'x' * 250}{n}" for n in range(8))
    upstream.send(said_to(asked, *texts).to_wire(max_size=65535), sender)
    rig.round()
    return client, asked.payload


@pytest.mark.parametrize(
    ("udp_size", "payload", "is_cut"),
    [(1232, 4096, True), (4096, 4096, False), (4096, 1232, True), (512, 4096, True)],
    ids=["by default", "wanted", "but the client", "small"],
)
def test_messages_over_udp_are_as_long_as_the_config_says(
    upstream: FakeUpstream, udp_size: int, payload: int, *, is_cut: bool
) -> None:
    with Rig(upstreams=[upstream], udp_size=udp_size) as rig:
        client, announced = large(rig, upstream, payload)

        told = received_one(client)
        again = rig.ask_for(query_for(rtype="TXT", payload=payload))

        assert announced == udp_size
        for message in (told, again):
            assert bool(message.flags & dns.flags.TC) is is_cut
            assert message.payload == udp_size


def test_another_size_holds_from_the_next_query_on(
    rig: Rig, upstream: FakeUpstream
) -> None:
    large(rig, upstream, 4096)
    query = query_for(rtype="TXT", payload=4096)
    assert rig.ask_for(query).flags & dns.flags.TC

    rig.answering.shapes.resize(4096)

    assert not rig.ask_for(query).flags & dns.flags.TC
    odd = bytearray(query.to_wire())
    odd[2] |= dns.opcode.NOTIFY << 3
    [refused] = rig.ask(bytes(odd))
    assert dns.message.from_wire(refused).payload == 4096
