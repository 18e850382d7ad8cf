"""Names go to the pool of their suffix, and so does what their aliases lead to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import dns.message
import dns.rcode
import pytest

from dnsfront.dns.zones.special import zone_of
from dnsfront.dns.zones.zone_set import ZoneSet
from dnsfront.ipc.stats import Counter, Limit
from tests.unit.fake_upstream import ADDRESS, FakeUpstream
from tests.unit.pools_of import forward
from tests.unit.stub_client import query_for, received_one
from tests.unit.worker_rig import BOUNDS, TIMEOUT_S, ZONE, Rig, miss, open_descriptors

CORP = {"corp.example": "corp"}
ALIAS = "www.example.com. 300 CNAME host.corp.example."
HOST = "host.corp.example. 60 A 10.0.0.7"


@pytest.fixture
def corp() -> Iterator[FakeUpstream]:
    made = FakeUpstream(5)
    yield made
    made.close()


@pytest.fixture
def rig(upstream: FakeUpstream, corp: FakeUpstream) -> Iterator[Rig]:
    with Rig() as made:
        forward(made, CORP, default=[upstream], corp=[corp])
        yield made


def texts(message: dns.message.Message) -> list[str]:
    return [rrset.to_text().replace(" IN ", " ") for rrset in message.answer]


def host() -> dns.message.Message:
    return query_for("host.corp.example")


def test_each_name_is_asked_of_its_own_pool(
    rig: Rig, upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    inside, outside = miss(rig, host()), miss(rig)

    corp.answer(HOST)
    upstream.answer(ADDRESS)
    rig.round()

    assert texts(received_one(inside)) == [HOST]
    assert texts(received_one(outside)) == [ADDRESS]
    assert rig.upstream(0) == rig.upstream(5) == (1, 0)


def test_names_of_a_pool_are_asked_for_once_whoever_asks(
    rig: Rig, corp: FakeUpstream
) -> None:
    first, second = miss(rig, host()), miss(rig, host())

    corp.answer(HOST)
    rig.round()

    assert texts(received_one(first)) == texts(received_one(second)) == [HOST]
    assert rig.count(Counter.COALESCED) == 1


def test_an_alias_that_ends_in_another_pool_is_asked_for_there(
    rig: Rig, upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    client = miss(rig)

    # What it says of the target is not what the target's own pool says.
    upstream.answer(ALIAS, "host.corp.example. 300 A 192.0.2.99")
    rig.round()
    assert client.receive() == []
    asked = corp.answer(HOST)
    rig.round()

    assert asked.question[0].to_text() == "host.corp.example. IN A"
    assert texts(received_one(client)) == [ALIAS, HOST]
    assert texts(rig.ask_for(query_for())) == [ALIAS, HOST]
    assert rig.forwarding.pending == 0


def test_what_a_pool_denies_of_another_pools_names_does_not_count(
    rig: Rig, upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    client = miss(rig)

    upstream.answer(ALIAS, rcode=dns.rcode.NXDOMAIN)
    rig.round()
    corp.answer(HOST)
    rig.round()

    response = received_one(client)
    assert response.rcode() == dns.rcode.NOERROR
    assert texts(response) == [ALIAS, HOST]


def test_aliases_go_to_and_fro_between_pools(
    rig: Rig, upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    back = "host.corp.example. 60 CNAME end.example.com."
    client = miss(rig)

    upstream.answer(ALIAS)
    rig.round()
    corp.answer(back)
    rig.round()
    upstream.answer("end.example.com. 60 A 192.0.2.7")
    rig.round()

    end = "end.example.com. 60 A 192.0.2.7"
    assert texts(received_one(client)) == [ALIAS, back, end]
    assert rig.forwarding.pending == 0


def test_a_circle_through_two_pools_is_a_failure(
    rig: Rig, upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    client = miss(rig)

    for _ in range(20):
        asked = [x for x in (upstream, corp) if not client.receive()]
        for each in asked:
            for query, sender in each.take():
                name = query.question[0].name.to_text()
                is_inside = name == "host.corp.example."
                target = "www.example.com." if is_inside else "host.corp.example."
                response = dns.message.make_response(query)
                response.answer.append(
                    dns.rrset.from_text(name, 60, "IN", "CNAME", target)
                )
                each.send(response.to_wire(), sender)
        rig.round()

    assert rig.forwarding.pending == 0
    assert rig.count(Limit.ALIASES) == 1
    assert rig.ask_for(query_for()).rcode() == dns.rcode.SERVFAIL


def test_the_other_pool_may_be_silent(
    rig: Rig, upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    client = miss(rig)

    upstream.answer(ALIAS)
    rig.round()
    assert rig.wait_s is not None
    for _ in range(4):
        rig.wait(TIMEOUT_S)

    assert len(corp.take()) > 1
    assert received_one(client).rcode() == dns.rcode.SERVFAIL
    assert rig.forwarding.pending == 0
    assert rig.forwarding.is_idle


def test_a_pool_that_is_replaced_stays_for_what_another_asks_through_it(
    rig: Rig, upstream: FakeUpstream, corp: FakeUpstream, second: FakeUpstream
) -> None:
    client = miss(rig)
    upstream.answer(ALIAS)
    rig.round()

    forward(rig, CORP, default=[upstream], corp=[second])
    before = open_descriptors()
    rig.forwarding.sweep()
    corp.answer(HOST)
    rig.round()
    rig.forwarding.sweep()

    assert texts(received_one(client)) == [ALIAS, HOST]
    assert open_descriptors() < before


def test_an_answer_that_came_late_is_not_asked_on_at_the_pool_of_before(
    upstream: FakeUpstream, second: FakeUpstream, corp: FakeUpstream
) -> None:
    with Rig() as rig:
        forward(rig, CORP, default=[upstream, second], corp=[corp])
        client = miss(rig)
        query, sender = upstream.take_one()
        rig.wait(TIMEOUT_S)
        refusal, port = second.take_one()
        response = dns.message.make_response(refusal)
        response.set_rcode(dns.rcode.REFUSED)
        second.send(response.to_wire(), port)
        late = dns.message.make_response(query)
        late.answer.append(
            dns.rrset.from_text(
                "www.example.com.", 300, "IN", "CNAME", "host.corp.example."
            )
        )
        upstream.send(late.to_wire(), sender)
        rig.round()
        corp.answer(HOST)
        rig.round()

        assert texts(received_one(client)) == [ALIAS, HOST]
        asked = [query for each in (upstream, second) for query, _ in each.take()]
        assert {query.question[0].name.to_text() for query in asked} <= {
            "www.example.com."
        }


def test_all_pools_together_keep_to_the_bound(
    upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    with Rig(bounds=replace(BOUNDS, pending=4)) as rig:
        forward(rig, CORP, default=[upstream], corp=[corp])
        for number in range(2):
            miss(rig, query_for(f"www.zone{number}.com"), f"127.0.1.{number + 1}")
            miss(rig, query_for(f"{number}.corp.example"), f"127.0.2.{number + 1}")

        assert rig.ask_for(host()).rcode() == dns.rcode.SERVFAIL
        assert rig.forwarding.pending == 4
        assert rig.words[Limit.PENDING] == 1


def test_a_pool_without_work_is_asked_nothing_in_a_round(
    rig: Rig, corp: FakeUpstream
) -> None:
    rig.forwarding.sweep()
    asleep = len(rig.forwarding._awake)
    client = miss(rig, host())
    awake = len(rig.forwarding._awake)
    corp.answer(HOST)
    rig.round()
    rig.forwarding.sweep()

    assert (asleep, awake, len(rig.forwarding._awake)) == (1, 2, 1)
    assert received_one(client).answer


def test_ds_records_of_a_suffix_are_asked_of_its_parents_pool(
    rig: Rig, upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    miss(rig, query_for("corp.example", "DS"))
    miss(rig, query_for("sub.corp.example", "DS"))

    assert upstream.take_one()[0].question[0].name.to_text() == "corp.example."
    assert corp.take_one()[0].question[0].name.to_text() == "sub.corp.example."


def test_the_longest_of_zones_and_suffixes_wins(
    upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    rules = {"example.test": "corp", "lab.example.test": "corp", "test": "corp"}
    with Rig(zone=ZONE) as rig:
        before = rig.ask_for(query_for("a.lab.example.test"))
        forward(rig, rules, default=[upstream], corp=[corp])

        assert before.rcode() == dns.rcode.NXDOMAIN
        assert rig.ask_for(query_for("www.example.test")).answer
        assert corp.take() == []
        client = miss(rig, query_for("a.lab.example.test"))
        corp.answer("a.lab.example.test. 60 A 10.0.0.7")
        rig.round()
        assert received_one(client).answer
        # It is cached as what it is: no answer of the zone.
        assert rig.ask_for(query_for("a.lab.example.test")).answer
        forward(rig, {}, default=[upstream])
        after = rig.ask_for(query_for("a.lab.example.test"))
        assert after.rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("suffix", ["10.in-addr.arpa", "1.10.in-addr.arpa"])
def test_special_names_give_way_to_suffixes(
    upstream: FakeUpstream, corp: FakeUpstream, suffix: str
) -> None:
    with Rig() as rig:
        rig.answering.serve(ZoneSet([zone_of("10.in-addr.arpa")]))
        query = query_for("7.0.1.10.in-addr.arpa", "PTR")
        before = rig.ask_for(query)
        forward(rig, {suffix: "corp"}, default=[upstream], corp=[corp])
        client = miss(rig, query)
        corp.answer("7.0.1.10.in-addr.arpa. 60 PTR host.corp.example.")
        rig.round()

        assert before.rcode() == dns.rcode.NXDOMAIN
        assert received_one(client).answer


def test_an_alias_in_a_zone_does_not_end_in_what_is_forwarded(
    upstream: FakeUpstream, corp: FakeUpstream
) -> None:
    with Rig(zone=f"{ZONE}x CNAME a.lab\na.lab A 192.0.2.9\n") as rig:
        rules = {"lab.example.test": "corp"}
        forward(rig, rules, default=[upstream], corp=[corp])

        client = miss(rig, query_for("x.example.test"))
        corp.answer("a.lab.example.test. 300 A 192.0.2.8")
        rig.round()

        [_alias, address] = received_one(client).answer
        assert address.to_text() == "a.lab.example.test. 300 IN A 192.0.2.8"
