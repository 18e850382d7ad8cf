"""Servers that cannot say, failures that are remembered, and stale data."""

from __future__ import annotations

from dataclasses import replace

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.ipc.stats import Counter
from tests.unit.fake_upstream import ADDRESS, FakeUpstream, said_to
from tests.unit.stub_client import query_for, received, received_one
from tests.unit.worker_rig import LIMITS, NS, TIMEOUT_S, Rig, cached, miss

# Servers that cannot say


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "BADCOOKIE"])
def test_server_that_cannot_say_is_followed_by_the_next(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream, rcode: str
) -> None:
    client = miss(rig_of_two)

    upstream.answer(rcode=dns.rcode.from_text(rcode))
    rig_of_two.round()
    second.answer(ADDRESS)
    rig_of_two.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig_of_two.upstream(0) == (1, 1)


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED"])
def test_word_of_the_last_server_stands(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream, rcode: str
) -> None:
    client = miss(rig_of_two)

    for server in (upstream, second):
        server.answer(rcode=dns.rcode.from_text(rcode))
        rig_of_two.round()

    assert dns.rcode.to_text(received_one(client).rcode()) == rcode
    assert upstream.take() == second.take() == []


def test_name_that_does_not_exist_is_an_answer(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = miss(rig_of_two)

    upstream.answer(rcode=dns.rcode.NXDOMAIN)
    rig_of_two.round()

    assert received_one(client).rcode() == dns.rcode.NXDOMAIN
    assert second.take() == []


# Failures


def fail(rig: Rig, upstream: FakeUpstream) -> None:
    """Let a fetch fail by time-outs."""
    client = miss(rig)
    for _ in range(3):
        rig.wait(TIMEOUT_S)
    assert received_one(client).rcode() == dns.rcode.SERVFAIL
    assert len(upstream.take()) == 3


def test_failure_is_remembered_for_a_while(rig: Rig, upstream: FakeUpstream) -> None:
    fail(rig, upstream)

    response = rig.ask_for(query_for(payload=1232))

    assert response.rcode() == dns.rcode.SERVFAIL
    assert [error.code for error in response.extended_errors()] == [13]
    assert upstream.take() == []
    rig.now_ns += 5 * NS
    miss(rig)
    assert len(upstream.take()) == 1


def test_failure_of_one_question_is_not_that_of_another(
    rig: Rig, upstream: FakeUpstream
) -> None:
    fail(rig, upstream)

    miss(rig, query_for(rtype="AAAA"))

    assert len(upstream.take()) == 1


def test_forgotten_failures_are_tried_again(rig: Rig, upstream: FakeUpstream) -> None:
    fail(rig, upstream)

    rig.answering.failures.forget()
    miss(rig)

    assert len(upstream.take()) == 1


# Stale data


def test_stale_answer_is_served_when_a_client_has_waited_for_long_enough(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    rig.now_ns += 300 * NS
    client = miss(rig, query_for(payload=1232))
    rig.wait(TIMEOUT_S)
    rig.wait(TIMEOUT_S)
    rig.wait(0.19)
    assert client.receive() == []
    assert rig.wait_s == pytest.approx(0.01)

    rig.wait(0.01)

    response = received_one(client)
    assert response.rcode() == dns.rcode.NOERROR
    assert response.answer[0].ttl == 30
    assert [error.code for error in response.extended_errors()] == [3]
    assert rig.count(Counter.CACHE_STALE) == 1
    rig.wait(TIMEOUT_S)
    assert client.receive() == []


def test_fetch_goes_on_behind_a_stale_answer(rig: Rig, upstream: FakeUpstream) -> None:
    cached(rig, upstream)
    rig.now_ns += 300 * NS
    client = miss(rig)
    rig.wait(TIMEOUT_S)
    rig.wait(1)
    assert received(client)

    query, sender = upstream.take()[-1]
    upstream.send(said_to(query, "www.example.com. 60 A 192.0.2.2").to_wire(), sender)
    rig.round()

    assert client.receive() == []
    assert rig.ask_for(query_for()).answer[0].ttl == 60


def test_who_asks_after_a_stale_answer_was_sent_does_not_wait(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    rig.now_ns += 300 * NS
    first = miss(rig)
    rig.wait(1)
    second = miss(rig)
    rig.wait(0.8)
    assert received(first)
    assert received(second)

    third = rig.ask_for(query_for())

    assert third.answer[0].ttl == 30
    assert rig.count(Counter.CACHE_STALE) == 3
    query, sender = upstream.take()[-1]
    upstream.send(said_to(query, "www.example.com. 60 A 192.0.2.2").to_wire(), sender)
    rig.round()
    assert rig.ask_for(query_for()).answer[0].ttl == 60


def test_who_joins_a_fetch_of_nobody_has_a_time_of_its_own(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    rig.wait(299)
    rig.ask_for(query_for())
    rig.answering.prefetch()
    rig.wait(1.5)
    client = miss(rig)

    rig.wait(0.9)
    rig.wait(0.8)
    assert client.receive() == []
    rig.wait(0.1)

    assert received_one(client).answer[0].ttl == 30


def test_without_patience_stale_answers_are_sent_at_once(
    upstream: FakeUpstream,
) -> None:
    limits = replace(LIMITS, serve_stale_after_s=0)
    with Rig(upstreams=[upstream], limits=limits) as rig:
        cached(rig, upstream)
        rig.now_ns += 300 * NS

        assert rig.ask_for(query_for()).answer[0].ttl == 30
        assert rig.ask_for(query_for()).answer[0].ttl == 30

        upstream.answer("www.example.com. 60 A 192.0.2.2")
        rig.round()
        assert rig.ask_for(query_for()).answer[0].ttl == 60


def test_who_has_no_expired_answer_waits_to_the_end(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)
    rig.wait(TIMEOUT_S)
    rig.wait(1)
    assert client.receive() == []

    query, sender = upstream.take()[-1]
    upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig.round()

    assert received_one(client).answer


def test_stale_answer_is_served_at_once_while_a_failure_is_remembered(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    rig.now_ns += 300 * NS
    client = miss(rig)
    for _ in range(3):
        rig.wait(TIMEOUT_S)
    assert received(client)
    upstream.take()

    response = rig.ask_for(query_for())

    assert response.answer[0].ttl == 30
    assert upstream.take() == []


def test_stale_answer_is_preferred_to_a_failure(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    rig.now_ns += 300 * NS
    client = miss(rig)

    upstream.answer(rcode=dns.rcode.SERVFAIL)
    rig.round()

    assert received_one(client).answer[0].ttl == 30


def test_stale_answer_has_an_age_limit(upstream: FakeUpstream) -> None:
    limits = replace(LIMITS, serve_stale_s=60, prefetch=False)
    with Rig(upstreams=[upstream], limits=limits) as rig:
        cached(rig, upstream)
        rig.now_ns += (300 + 60) * NS
        client = miss(rig)

        upstream.answer(rcode=dns.rcode.SERVFAIL)
        rig.round()

        assert received_one(client).rcode() == dns.rcode.SERVFAIL
