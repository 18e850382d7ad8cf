"""What becomes of cached and pending questions when their names go elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import dns.message
import dns.rcode
import pytest

from dnsfront.dns.entry import Entry
from dnsfront.dns.observer import Observer
from tests.unit.fake_upstream import ADDRESS, FakeUpstream
from tests.unit.pools_of import forward
from tests.unit.stub_client import Client, query_for, received, received_one
from tests.unit.worker_rig import TIMEOUT_S, Rig, miss

CORP = {"corp.example": "corp"}
HOST = "host.corp.example. 60 A 10.0.0.7"
OUTSIDE = "host.corp.example. 60 A 192.0.2.7"
ALIAS = "www.example.com. 300 CNAME host.corp.example."


@pytest.fixture
def corp() -> Iterator[FakeUpstream]:
    made = FakeUpstream(5)
    yield made
    made.close()


def host() -> dns.message.Message:
    return query_for("host.corp.example")


def cached(rig: Rig, upstream: FakeUpstream, name: str, *records: str) -> None:
    client = miss(rig, query_for(name))
    upstream.answer(*records)
    rig.round()
    assert received(client)


def addresses(message: dns.message.Message) -> list[str]:
    return [record.to_text() for x in message.answer for record in x]


def test_what_is_cached_of_a_name_that_moved_is_forgotten_and_nothing_else(
    rig: Rig, upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    went: list[Entry] = []
    cached(rig, upstream, "host.corp.example", OUTSIDE)
    cached(rig, upstream, "www.example.com", ALIAS, OUTSIDE)
    cached(rig, upstream, "xcorp.example", "xcorp.example. 60 A 192.0.2.8")
    rig.cache.observe(Observer(went.append, went.append, went.append))
    went.clear()

    forward(rig, CORP, default=[upstream], corp=[corp])

    # Its observer, who has the kernel give answers, is told.
    assert {x.canonical[:5] for x in went} == {b"\4host", b"\3www\7"}
    assert [x.canonical[:6] for x in rig.cache.entries()] == [b"\5xcorp"]
    client = miss(rig, host())
    corp.answer(HOST)
    rig.round()
    assert addresses(received_one(client)) == ["10.0.0.7"]
    assert upstream.take() == []


def test_names_that_come_back_are_forgotten_too(
    rig: Rig, upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    forward(rig, CORP, default=[upstream], corp=[corp])
    cached(rig, corp, "host.corp.example", HOST)

    forward(rig, {}, default=[upstream])

    client = miss(rig, host())
    upstream.answer(OUTSIDE)
    rig.round()
    assert addresses(received_one(client)) == ["192.0.2.7"]


def test_what_goes_where_it_went_stays_cached(
    rig: Rig, upstream: FakeUpstream, corp: FakeUpstream, second: FakeUpstream
) -> None:
    forward(rig, CORP, default=[upstream], corp=[corp])
    cached(rig, corp, "host.corp.example", HOST)

    # Other servers of the same pool say the same.
    forward(rig, {**CORP, "ads.test": "refuse"}, default=[upstream], corp=[second])

    assert addresses(rig.ask_for(host())) == ["10.0.0.7"]


def test_who_waits_for_a_name_that_moves_is_answered_by_its_new_pool(
    rig: Rig, upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    clients = [miss(rig, host()) for _ in range(3)]
    other = miss(rig)

    forward(rig, CORP, default=[upstream], corp=[corp])
    rig.round()
    late, unmoved = sorted(upstream.take(), key=lambda x: len(x[0].question[0].name))
    corp.answer(HOST)
    for query, sender in (late, unmoved):
        response = dns.message.make_response(query)
        name = query.question[0].name
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.1"))
        upstream.send(response.to_wire(), sender)
    rig.round()

    assert [addresses(received_one(x)) for x in clients] == [["10.0.0.7"]] * 3
    assert addresses(received_one(other)) == ["192.0.2.1"]
    assert addresses(rig.ask_for(host())) == ["10.0.0.7"]
    assert rig.forwarding.is_idle


def test_who_waits_for_an_alias_into_what_moves_is_asked_again(
    rig: Rig, upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    client = miss(rig)
    upstream.answer(ALIAS)
    rig.round()
    assert upstream.take()

    forward(rig, CORP, default=[upstream], corp=[corp])
    rig.round()
    upstream.answer(ALIAS)
    rig.round()
    corp.answer(HOST)
    rig.round()

    assert addresses(received_one(client)) == ["host.corp.example.", "10.0.0.7"]


@pytest.mark.parametrize(
    ("word", "rcode"), [("refuse", "REFUSED"), ("nxdomain", "NXDOMAIN")]
)
def test_who_waits_for_a_name_that_gets_a_word_is_told(
    rig: Rig, upstream: FakeUpstream, word: str, rcode: str
) -> None:
    clients = [miss(rig, host()) for _ in range(2)]

    forward(rig, {"corp.example": word}, default=[upstream])
    rig.round()

    found = [dns.rcode.to_text(received_one(client).rcode()) for client in clients]
    assert found == [rcode] * 2
    assert rig.forwarding.is_idle


def test_no_expired_answer_of_the_pool_before_is_sent(
    rig: Rig, upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    cached(rig, upstream, "host.corp.example", OUTSIDE)
    rig.wait(100)
    client: Client = miss(rig, host())

    forward(rig, CORP, default=[upstream], corp=[corp])
    for _ in range(4):
        rig.wait(TIMEOUT_S)

    assert received_one(client).rcode() == dns.rcode.SERVFAIL


def test_what_nobody_waits_for_is_not_asked_again(
    rig: Rig, upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    cached(rig, upstream, "www.example.com", ADDRESS)
    rig.wait(280)
    rig.ask_for(query_for())
    rig.answering.prefetch()
    assert rig.forwarding.pending == 1

    forward(rig, {"example.com": "corp"}, default=[upstream], corp=[corp])
    rig.round()

    assert rig.forwarding.pending == 0
    assert corp.take() == []
