"""Upstreams that cannot recurse, and the reasons that upstreams give."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.unit.fake_upstream import ADDRESS, FakeUpstream, said_to
from tests.unit.stub_client import query_for, received_one
from tests.unit.worker_rig import NS, Rig, miss

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

    [answer] = received_one(client).answer
    assert answer.to_text().replace(" IN ", " ") == ADDRESS.replace("com ", "com. ")
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
