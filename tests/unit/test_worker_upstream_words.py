"""What an upstream leaves open is asked for, and its reasons are passed on."""

from __future__ import annotations

from collections.abc import Iterator

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from dnsfront.dns.response import MAX_ODD_RECORDS
from dnsfront.ipc.stats import Limit
from tests.unit.worker_rig import (
    ADDRESS,
    NS,
    TIMEOUT_S,
    Client,
    FakeUpstream,
    Rig,
    miss,
    query_for,
    received_one,
    said_to,
)

ALIAS = "www.example.com. 300 CNAME a.example.net."


@pytest.fixture
def rig(upstream: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream]) as made:
        yield made


@pytest.fixture
def rig_of_two(upstream: FakeUpstream, second: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream, second]) as made:
        yield made


def answer_of(message: dns.message.Message) -> list[str]:
    return [rrset.to_text().replace(" IN ", " ") for rrset in message.answer]


# Aliases without their end


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


# Upstreams that cannot recurse


def referral(query: dns.message.Message, *, is_empty: bool = False) -> bytes:
    made = said_to(query)
    made.flags &= ~dns.flags.RA
    if not is_empty:
        made.authority.append(
            dns.rrset.from_text("com.", 300, "IN", "NS", "a.gtld-servers.net.")
        )
    return made.to_wire()


@pytest.mark.parametrize("is_empty", [False, True], ids=["referral", "nothing"])
def test_an_upstream_that_cannot_recurse_is_followed_by_the_next(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream, *, is_empty: bool
) -> None:
    client = miss(rig_of_two)
    query, sender = upstream.take_one()

    upstream.send(referral(query, is_empty=is_empty), sender)
    rig_of_two.round()
    second.answer(ADDRESS)
    rig_of_two.round()

    assert answer_of(received_one(client)) == [ADDRESS.replace("com ", "com. ")]
    assert rig_of_two.upstream(0) == (1, 1)


def test_upstreams_that_cannot_recurse_are_a_failure(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig, query_for(payload=1232))
    query, sender = upstream.take_one()

    upstream.send(referral(query), sender)
    rig.round()

    response = received_one(client)
    assert response.rcode() == dns.rcode.SERVFAIL
    assert [error.code for error in response.extended_errors()] == [22]


def test_who_wants_no_recursion_gets_the_referral(
    rig: Rig, upstream: FakeUpstream
) -> None:
    query = query_for()
    query.flags &= ~dns.flags.RD
    client = miss(rig, query)
    asked, sender = upstream.take_one()

    upstream.send(referral(asked), sender)
    rig.round()

    assert received_one(client).authority


@pytest.mark.parametrize("has_answer", [True, False], ids=["answer", "denial"])
def test_an_authoritative_upstream_is_believed(
    rig: Rig, upstream: FakeUpstream, *, has_answer: bool
) -> None:
    client = miss(rig)
    query, sender = upstream.take_one()
    made = said_to(query, *([ADDRESS] if has_answer else []))
    made.flags = made.flags & ~dns.flags.RA | dns.flags.AA
    if not has_answer:
        soa = "example.com. 300 IN SOA a. b. 1 2 3 4 60"
        made.authority.append(dns.rrset.from_text(*soa.split(maxsplit=4)))

    upstream.send(made.to_wire(), sender)
    rig.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig.upstream() == (1, 0)


# Extended DNS Errors


def told(message: dns.message.Message) -> list[tuple[int, str | None]]:
    return [(error.code, error.text) for error in message.extended_errors()]


def with_errors(
    response: dns.message.Message, *errors: tuple[int, str | None]
) -> bytes:
    options = [dns.edns.EDEOption(code, text) for code, text in errors]
    response.use_edns(0, options=options)
    return response.to_wire(max_size=65535)


def test_an_upstreams_errors_reach_the_client_also_from_the_cache(
    rig: Rig, upstream: FakeUpstream
) -> None:
    plain = miss(rig)
    query, sender = upstream.take_one()
    waiting = rig.client()
    rig.ask(query_for(payload=1232).to_wire(), waiting)
    octets = with_errors(said_to(query, ADDRESS), (3, "stale"), (17, None))

    upstream.send(octets, sender)
    rig.round()

    assert told(received_one(waiting)) == [(3, "stale"), (17, None)]
    assert received_one(plain).edns == -1
    assert upstream.take() == []
    for query in (query_for(payload=1232), query_for(payload=1232)):
        assert told(rig.ask_for(query)) == [(3, "stale"), (17, None)]
    odd = query_for(payload=1232, options=[dns.edns.GenericOption(3, b"")])
    assert (3, "stale") in told(rig.ask_for(odd))
    assert rig.ask_for(query_for()).edns == -1


def test_the_next_response_comes_without_the_errors_of_the_last(
    rig: Rig, upstream: FakeUpstream
) -> None:
    for errors in ((3, None),), ():
        client = miss(rig, query_for(payload=1232))
        query, sender = upstream.take_one()
        upstream.send(with_errors(said_to(query, ADDRESS), *errors), sender)
        rig.round()
        assert told(received_one(client)) == list(errors)
        assert told(rig.ask_for(query_for(payload=1232))) == list(errors)
        rig.now_ns += 300 * NS


def test_errors_are_left_out_where_a_record_would_be_otherwise(
    rig: Rig, upstream: FakeUpstream
) -> None:
    texts = tuple(f"www.example.com. 300 TXT {'x' * 250}{n}" for n in range(4))
    client = miss(rig, query_for(rtype="TXT", payload=1232))
    query, sender = upstream.take_one()
    upstream.send(with_errors(said_to(query, *texts), (3, "y" * 200)), sender)
    rig.round()

    first = received_one(client)
    again = rig.ask_for(query_for(rtype="TXT", payload=1232))

    for response in (first, again):
        assert len(response.answer[0]) == 4
        assert told(response) == []


def test_a_failures_errors_reach_the_client_and_are_remembered(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig, query_for(payload=1232))
    query, sender = upstream.take_one()
    failure = said_to(query, rcode=dns.rcode.SERVFAIL)

    upstream.send(with_errors(failure, (6, "bogus")), sender)
    rig.round()

    assert told(received_one(client)) == [(6, "bogus")]
    again = rig.ask_for(query_for(payload=1232))
    assert told(again) == [(13, None), (6, "bogus")]


@pytest.mark.parametrize("rcode", ["REFUSED", "FORMERR", "NOTIMP"])
def test_only_a_remembered_servfail_is_a_cached_error(
    rig: Rig, upstream: FakeUpstream, rcode: str
) -> None:
    client = miss(rig, query_for(payload=1232))

    while queries := upstream.take():
        [(query, sender)] = queries
        refusal = said_to(query, rcode=dns.rcode.from_text(rcode), edns=query.edns)
        upstream.send(refusal.to_wire(), sender)
        rig.round()

    assert dns.rcode.to_text(received_one(client).rcode()) == rcode
    assert told(rig.ask_for(query_for(payload=1232))) == []


def test_long_and_malformed_errors_are_left_out(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig, query_for(payload=1232))
    query, sender = upstream.take_one()
    response = said_to(query, ADDRESS)
    response.use_edns(
        0,
        options=[
            dns.edns.EDEOption(1, "x" * 300),
            dns.edns.GenericOption(15, b"\0"),
            dns.edns.EDEOption(2, "short"),
        ],
    )

    # The option of one octet is written by hand: nobody else would.
    octets = response.to_wire()
    upstream.send(octets, sender)
    rig.round()

    assert told(received_one(client)) == [(2, "short")]


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
