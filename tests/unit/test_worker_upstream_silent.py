"""Upstreams that say nothing: when they are asked again, and whom else."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.ipc import stats
from tests.unit.fake_upstream import ADDRESS, FakeUpstream, said_to
from tests.unit.stub_client import query_for, received, received_one
from tests.unit.worker_rig import NS, TIMEOUT_S, Rig, miss


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
