"""Upstreams that say nothing, are not there or cannot say, and what comes instead."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.ipc import stats
from dnsfront.ipc.spec import UpstreamServer
from dnsfront.ipc.stats import Counter, Upstream, upstream_at
from tests.unit.worker_rig import (
    ADDRESS,
    LIMITS,
    NS,
    TIMEOUT_S,
    FakeUpstream,
    Rig,
    cached,
    interpreted,
    miss,
    query_for,
    received,
    received_one,
    said_to,
)


@pytest.fixture
def rig(upstream: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream]) as made:
        yield made


@pytest.fixture
def rig_of_two(upstream: FakeUpstream, second: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream, second]) as made:
        yield made


def retransmissions(rig: Rig) -> int:
    return rig.words[stats.upstream_at(0) + stats.Upstream.RETRANSMISSIONS]


def measured(rig: Rig, upstream: FakeUpstream, seconds: float, times: int = 8) -> None:
    """Let the round trip be measured so often."""
    for number in range(times):
        miss(rig, query_for(f"n{number}.warm.test"))
        query, sender = upstream.take_one()
        rig.now_ns += round(seconds * NS)
        upstream.send(said_to(query, rcode=3).to_wire(), sender)
        rig.round()


# Lost datagrams


@pytest.mark.parametrize("seconds", [0.001, 0.04, 0.3, 0.5])
def test_query_is_repeated_by_the_measured_round_trip(
    rig: Rig, upstream: FakeUpstream, seconds: float
) -> None:
    measured(rig, upstream, seconds, 30)
    client = miss(rig)
    query, sender = upstream.take_one()
    wanted_s = max(0.2, seconds)

    rig.wait(wanted_s - 0.001)
    assert upstream.take() == []
    rig.wait(0.06)
    repeated, same_sender = upstream.take_one()
    upstream.send(said_to(repeated, ADDRESS).to_wire(), sender)
    rig.round()

    assert (repeated.id, same_sender) == (query.id, sender)
    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig.upstream() == (31, 0)
    assert retransmissions(rig) == 1


def test_query_that_is_answered_in_time_is_never_repeated(
    rig: Rig, upstream: FakeUpstream
) -> None:
    for seconds in (0.001, 0.15, 0.001, 0.19):
        measured(rig, upstream, seconds)

    assert upstream.take() == []
    assert retransmissions(rig) == 0


def test_client_that_asks_again_has_the_query_repeated(
    rig: Rig, upstream: FakeUpstream
) -> None:
    measured(rig, upstream, 0.001)
    client = miss(rig)
    rig.wait(0.2)
    rig.wait(0.25)
    assert len(upstream.take()) == 2

    client.send(query_for().to_wire())
    rig.round()

    upstream.answer(ADDRESS)
    rig.round()
    assert len(received(client)) == 2


def test_clients_that_ask_again_soon_or_often_have_nothing_repeated(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)
    sent = []

    for _ in range(20):
        client.send(query_for().to_wire())
        rig.wait(0.099)
        sent.append(len(upstream.take()))

    # The first three times within the 0.3 s before any answer was measured.
    assert sent[:3] == [1, 0, 0]
    assert sum(sent) == 3


# Silence


def test_silent_servers_are_tried_three_times_in_all(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    rig = rig_of_two
    client = miss(rig, query_for(payload=1232))
    asked = [(len(upstream.take()), len(second.take()))]

    for _ in range(3):
        rig.wait(TIMEOUT_S)
        asked.append((len(upstream.take()), len(second.take())))

    assert asked == [(1, 0), (0, 1), (1, 0), (0, 0)]
    response = received_one(client)
    assert response.rcode() == dns.rcode.SERVFAIL
    assert [error.code for error in response.extended_errors()] == [22]
    assert rig.upstream(0) == (2, 2)
    assert rig.upstream(1) == (1, 1)
    assert rig.pool is not None
    assert rig.pool.pending == 0


def test_silent_servers_are_sent_a_question_three_times_each(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    rig = rig_of_two
    client = miss(rig)
    asked = []

    while client.receive() == []:
        asked.append((len(upstream.take()), len(second.take())))
        rig.wait(0.1)

    # Repeated by the round trip assumed at first, 0.3 s, and half a time-out later.
    # There is no more to send in the third try, but a response may still come.
    assert asked == [
        *((1, 0), (0, 0), (0, 0), (1, 0), (0, 0), (0, 0), (0, 0), (1, 0)),
        *((0, 1), (0, 0), (0, 0), (0, 1), (0, 0), (0, 0), (0, 0), (0, 1)),
        *[(0, 0)] * 8,
    ]
    assert rig.upstream(0) == (1, 1)
    assert rig.upstream(1) == (1, 1)
    assert retransmissions(rig) == 2


def test_server_that_was_asked_often_enough_may_still_answer(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)
    for seconds in (0.3, 0.6, 0.7, 0.7):
        rig.wait(seconds)

    *_, (query, sender) = queries = upstream.take()
    upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig.round()

    assert len(queries) == 3
    assert received_one(client).rcode() == dns.rcode.NOERROR


def test_late_response_of_the_first_server_is_taken(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = miss(rig_of_two)
    query, sender = upstream.take_one()
    rig_of_two.wait(TIMEOUT_S)
    assert second.take()

    upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig_of_two.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig_of_two.upstream(0) == (1, 1)
    assert rig_of_two.upstream(1) == (1, 0)


def test_late_refusal_of_the_first_server_does_not_end_the_second_try(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = miss(rig_of_two)
    query, sender = upstream.take_one()
    rig_of_two.wait(TIMEOUT_S)

    upstream.send(said_to(query, rcode=dns.rcode.SERVFAIL).to_wire(), sender)
    rig_of_two.round()
    assert client.receive() == []
    second.answer(ADDRESS)
    rig_of_two.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig_of_two.upstream(1) == (1, 0)


def test_late_response_in_the_round_of_a_refusal_ends_the_fetch(
    upstream: FakeUpstream, second: FakeUpstream
) -> None:
    with Rig(upstreams=[upstream, second]) as rig:
        client = miss(rig)
        query, sender = upstream.take_one()
        second.close()
        rig.wait(TIMEOUT_S)

        # The refusal by the second server and the first one's response are both there.
        upstream.send(said_to(query, ADDRESS).to_wire(), sender)
        rig.round()
        again = upstream.take()
        upstream.send(said_to(query, ADDRESS).to_wire(), sender)
        rig.round()

        assert received_one(client).rcode() == dns.rcode.NOERROR
        assert again == []
        assert rig.upstream(0) == (1, 1)
        assert rig.pool is not None
        assert rig.pool.pending == 0


def test_wait_for_the_next_round_ends_when_something_is_due(rig: Rig) -> None:
    miss(rig)
    rig.round()

    assert rig.wait_s == pytest.approx(0.2)
    rig.wait(0.3)
    # The last query is kept for after the time-out, where there is no other server.
    assert rig.wait_s == pytest.approx(TIMEOUT_S - 0.3)


def test_servers_that_are_down_are_left_out(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    rig_of_two.down.add(0)
    assert rig_of_two.pool is not None
    rig_of_two.pool.sweep()

    miss(rig_of_two)

    assert (len(upstream.take()), len(second.take())) == (0, 1)


def test_a_server_on_trial_is_asked_one_question_between_two_looks(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    rig = rig_of_two
    rig.on_trial.add(0)
    assert rig.pool is not None

    for look in range(2):
        rig.pool.sweep()
        for number in range(5):
            miss(rig, query_for(f"n{number}.look{look}.test"))
        assert (len(upstream.take()), len(second.take())) == (1, 4)


def test_a_question_that_fails_a_trial_is_answered_by_another(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    rig = rig_of_two
    rig.on_trial.add(0)
    assert rig.pool is not None
    rig.pool.sweep()
    client = miss(rig)

    upstream.answer(rcode=dns.rcode.SERVFAIL)
    rig.round()
    second.answer(ADDRESS)
    rig.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    words = [rig.words[upstream_at(index) + Upstream.REFUSALS] for index in (0, 1)]
    assert words == [1, 0]


def test_each_server_has_one_try_where_all_are_down(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    rig = rig_of_two
    rig.down.update((0, 1))
    assert rig.pool is not None
    rig.pool.sweep()
    client = miss(rig)

    rig.wait(TIMEOUT_S)
    rig.wait(TIMEOUT_S)

    assert (len(upstream.take()), len(second.take())) == (1, 1)
    assert received_one(client).rcode() == dns.rcode.SERVFAIL


def test_only_server_that_is_down_has_one_try(rig: Rig, upstream: FakeUpstream) -> None:
    rig.down.add(0)
    assert rig.pool is not None
    rig.pool.sweep()
    client = miss(rig)

    rig.wait(TIMEOUT_S)

    assert len(upstream.take()) == 1
    assert received_one(client).rcode() == dns.rcode.SERVFAIL


# Nobody there


def test_refused_connection_goes_to_the_next_server_at_once(
    upstream: FakeUpstream, second: FakeUpstream
) -> None:
    upstream.close()
    with Rig(upstreams=[upstream, second]) as rig:
        client = miss(rig)

        rig.round()
        second.answer(ADDRESS)
        rig.round()

        assert received_one(client).rcode() == dns.rcode.NOERROR
        assert rig.upstream(0) == (1, 1)
        assert rig.upstream(1) == (1, 0)


@pytest.mark.parametrize("count", [1, 2, 7, 64, 130])
def test_refused_connections_fail_all_that_waited_without_a_time_out(
    upstream: FakeUpstream, count: int
) -> None:
    upstream.close()
    with Rig(upstreams=[upstream]) as rig:
        client = rig.client()
        for number in range(count):
            client.send(query_for(f"n{number}.example.com").to_wire())

        rig.until(lambda: rig.count(Counter.RCODE_0 + dns.rcode.SERVFAIL) == count)

        assert len(client.receive()) == count
        assert rig.upstream() == (3 * count, 3 * count)
        assert rig.pool is not None
        assert rig.pool.pending == 0


@interpreted
def test_refusal_counts_once_where_an_earlier_send_left_through_the_same_port(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnsfront.worker.upstreams.ports._POOL", 1)
    with Rig(upstreams=[upstream]) as rig:
        client = miss(rig)
        upstream.close()
        rig.wait(TIMEOUT_S)

        rig.round()

        assert rig.upstream() == (3, 2)
        assert client.receive() == []
        rig.round()
        assert received_one(client).rcode() == dns.rcode.SERVFAIL


def test_server_without_a_route_fails_at_once_and_harms_nobody(
    second: FakeUpstream,
) -> None:
    lost = FakeUpstream()
    # No host has a route to a documentation address of another scope.
    lost.spec = UpstreamServer(0, "fe80::1", 53, socket.AF_INET6, 1)
    with Rig(upstreams=[lost, second]) as rig:
        client = miss(rig)

        second.answer(ADDRESS)
        rig.round()

        assert received_one(client).rcode() == dns.rcode.NOERROR
        assert rig.upstream(0) == (1, 1)
    lost.close()


def test_only_server_without_a_route_is_a_failure(upstream: FakeUpstream) -> None:
    upstream.spec = UpstreamServer(0, "fe80::1", 53, socket.AF_INET6, 1)
    with Rig(upstreams=[upstream]) as rig:
        [octets] = rig.ask(query_for(payload=1232).to_wire())

        response = dns.message.from_wire(octets)
        assert response.rcode() == dns.rcode.SERVFAIL
        assert [error.code for error in response.extended_errors()] == [22]


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


def test_stale_answer_is_served_at_the_second_time_out(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    rig.now_ns += 300 * NS
    client = miss(rig, query_for(payload=1232))
    rig.wait(TIMEOUT_S)
    assert client.receive() == []

    rig.wait(TIMEOUT_S)

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
    rig.wait(TIMEOUT_S)
    assert received(client)

    query, sender = upstream.take()[-1]
    upstream.send(said_to(query, "www.example.com. 60 A 192.0.2.2").to_wire(), sender)
    rig.round()

    assert client.receive() == []
    assert rig.ask_for(query_for()).answer[0].ttl == 60


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
