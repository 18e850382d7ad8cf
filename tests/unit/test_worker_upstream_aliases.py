"""Aliases whose end is missing from a response are followed, and not for ever."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from dnsfront.dns.response import MAX_ODD_RECORDS
from dnsfront.ipc.stats import Limit
from tests.unit.fake_upstream import FakeUpstream, said_to
from tests.unit.stub_client import Client, query_for, received_one
from tests.unit.worker_rig import NS, TIMEOUT_S, Rig, miss

ALIAS = "www.example.com. 300 CNAME a.example.net."


def answer_of(message: dns.message.Message) -> list[str]:
    return [rrset.to_text().replace(" IN ", " ") for rrset in message.answer]


def test_the_target_of_a_bare_alias_is_asked_for(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)

    upstream.answer(ALIAS)
    rig.round()
    assert client.receive() == []
    asked = upstream.answer("a.example.net. 60 A 192.0.2.7")
    rig.round()

    response = received_one(client)
    assert asked.question[0].to_text() == "a.example.net. IN A"
    assert answer_of(response) == [ALIAS, "a.example.net. 60 A 192.0.2.7"]
    assert answer_of(rig.ask_for(query_for())) == answer_of(response)
    assert upstream.take() == []
    assert rig.upstream() == (2, 0)
    assert rig.pool is not None
    assert rig.pool.pending == 0


def test_a_whole_chain_is_asked_for_name_by_name(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)

    upstream.answer(ALIAS, "a.example.net. 300 CNAME b.example.net.")
    rig.round()
    upstream.answer("b.example.net. 300 CNAME c.example.net.")
    rig.round()
    asked = upstream.answer("c.example.net. 60 A 192.0.2.7")
    rig.round()

    assert asked.question[0].name.to_text() == "c.example.net."
    assert len(answer_of(received_one(client))) == 4


def test_an_answer_of_another_type_only_is_none_and_not_kept(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)

    upstream.answer("www.example.com. 300 TXT x")
    rig.round()

    response = received_one(client)
    assert (response.rcode(), answer_of(response)) == (dns.rcode.NOERROR, [])
    miss(rig)
    assert len(upstream.take()) == 1


def assert_fails_and_is_remembered(
    rig: Rig, upstream: FakeUpstream, client: Client
) -> None:
    assert received_one(client).rcode() == dns.rcode.SERVFAIL
    for _ in range(20):
        assert rig.ask_for(query_for()).rcode() == dns.rcode.SERVFAIL
    assert upstream.take() == []
    assert rig.cache.entries() == []
    assert rig.count(Limit.ALIASES) == 1


def test_an_alias_of_itself_is_a_failure(rig: Rig, upstream: FakeUpstream) -> None:
    client = miss(rig)

    upstream.answer("www.example.com. 300 CNAME www.example.com.")
    rig.round()

    assert_fails_and_is_remembered(rig, upstream, client)


def test_a_circle_of_aliases_is_a_failure(rig: Rig, upstream: FakeUpstream) -> None:
    client = miss(rig)

    upstream.answer(ALIAS)
    rig.round()
    upstream.answer("a.example.net. 300 CNAME www.example.com.")
    rig.round()

    assert_fails_and_is_remembered(rig, upstream, client)


def test_a_chain_that_grows_for_ever_ends(rig: Rig, upstream: FakeUpstream) -> None:
    client = miss(rig)

    upstream.answer("www.example.com. 300 CNAME n0.example.net.")
    rig.round()
    asked = 0
    while queries := upstream.take():
        [(query, sender)] = queries
        record = f"n{asked}.example.net. 300 CNAME n{asked + 1}.example.net."
        upstream.send(said_to(query, record).to_wire(), sender)
        asked += 1
        rig.round()

    assert asked == 11
    assert_fails_and_is_remembered(rig, upstream, client)


def test_a_long_answer_of_aliases_is_not_completed(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig, query_for(payload=1232, want_dnssec=True))
    query, sender = upstream.take_one()
    made = said_to(query, ALIAS)
    data = "CNAME 8 3 300 20300101000000 20200101000000 1 test. " + "A" * 6000
    made.answer.append(dns.rrset.from_text("www.example.com.", 9, "IN", "RRSIG", data))

    upstream.send(made.to_wire(max_size=65535), sender)
    rig.round()

    assert received_one(client).rcode() == dns.rcode.SERVFAIL
    assert upstream.take() == []
    assert rig.count(Limit.ALIASES) == 1


def test_a_response_of_too_many_odd_records_is_a_failure(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)
    query, sender = upstream.take_one()
    made = said_to(query, ALIAS)
    names = [f"{number}.x. 9 IN NS ." for number in range(MAX_ODD_RECORDS)]
    made.answer += [dns.rrset.from_text(*name.split()) for name in names]

    upstream.send(made.to_wire(max_size=65535), sender)
    rig.round()

    assert received_one(client).rcode() == dns.rcode.SERVFAIL
    assert rig.count(Limit.RECORDS) == 1


def test_a_denied_target_denies_the_name(rig: Rig, upstream: FakeUpstream) -> None:
    client = miss(rig)
    upstream.answer(ALIAS)
    rig.round()

    query, sender = upstream.take_one()
    denial = said_to(query, rcode=dns.rcode.NXDOMAIN)
    soa = "example.net. 300 IN SOA a. b. 1 2 3 4 60"
    denial.authority.append(dns.rrset.from_text(*soa.split(maxsplit=4)))
    upstream.send(denial.to_wire(), sender)
    rig.round()

    response = received_one(client)
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert answer_of(response) == [ALIAS]
    rig.now_ns += 59 * NS
    assert rig.ask_for(query_for()).rcode() == dns.rcode.NXDOMAIN
    rig.now_ns += NS
    miss(rig)


def test_a_target_that_fails_makes_the_whole_fail(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig, query_for(payload=1232))
    upstream.answer(ALIAS)
    rig.round()

    for _ in range(3):
        assert upstream.take()
        rig.wait(TIMEOUT_S)

    assert received_one(client).rcode() == dns.rcode.SERVFAIL
    assert rig.ask_for(query_for()).rcode() == dns.rcode.SERVFAIL
    assert rig.pool is not None
    assert rig.pool.pending == 0
    assert not any(rig.pool.under_way)


def test_a_late_answer_to_the_alias_is_nothing_new(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = miss(rig_of_two)
    query, sender = upstream.take_one()
    rig_of_two.wait(TIMEOUT_S)
    second.answer(ALIAS)
    rig_of_two.round()

    upstream.send(said_to(query, ALIAS).to_wire(), sender)
    rig_of_two.round()
    upstream.answer("a.example.net. 60 A 192.0.2.7")
    rig_of_two.round()

    assert len(answer_of(received_one(client))) == 2


def test_who_wants_no_recursion_gets_the_alias_and_it_is_not_kept(
    rig: Rig, upstream: FakeUpstream
) -> None:
    query = query_for()
    query.flags &= ~dns.flags.RD
    client = miss(rig, query)

    upstream.answer(ALIAS)
    rig.round()

    assert answer_of(received_one(client)) == [ALIAS]
    assert len(rig.cache) == 0


def test_aliases_come_ahead_of_what_they_lead_to(
    rig: Rig, upstream: FakeUpstream
) -> None:
    """Stub resolvers, glibc's for one, go through the answer once."""
    client = miss(rig)

    upstream.answer(
        "b.example.net. 60 A 192.0.2.7",
        "a.example.net. 300 CNAME b.example.net.",
        ALIAS,
        "b.example.net. 60 A 192.0.2.8",
    )
    rig.round()

    assert answer_of(received_one(client)) == [
        ALIAS,
        "a.example.net. 300 CNAME b.example.net.",
        "b.example.net. 60 A 192.0.2.7\nb.example.net. 60 A 192.0.2.8",
    ]
