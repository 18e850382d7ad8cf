"""Nobody's questions take the places of everybody else's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import dns.message
import dns.rcode
import pytest

from dnsfront.ipc.stats import Limit
from tests.unit.fake_upstream import ADDRESS, FakeUpstream, said_to
from tests.unit.streaming import Stream
from tests.unit.stub_client import Client, query_for, received, received_one
from tests.unit.worker_rig import BOUNDS, TIMEOUT_S, Rig, cached, miss


@contextlib.contextmanager
def rig_with(upstream: FakeUpstream, **bounds: int) -> Iterator[Rig]:
    with Rig(upstreams=[upstream], bounds=replace(BOUNDS, **bounds)) as made:
        yield made


def limits_met(rig: Rig) -> dict[str, int]:
    return {limit.name: rig.words[limit] for limit in Limit if rig.words[limit]}


def pending(rig: Rig) -> int:
    assert rig.pool is not None
    return rig.pool.pending


def refused(rig: Rig, name: str) -> None:
    """Ask for *name* and be told that there is no place."""
    response = rig.ask_for(query_for(name, payload=1232))
    assert response.rcode() == dns.rcode.SERVFAIL
    assert [error.code for error in response.extended_errors()] == [14]


def names_below(zone: str, count: int) -> list[str]:
    return [f"r{number}.{zone}" for number in range(count)]


# Zones


@pytest.mark.parametrize(
    ("names", "below", "beside"),
    [
        (names_below("victim.com", 4), "r9.victim.com", "www.other.com"),
        (names_below("victim.com", 4), "victim.com", "com"),
        (names_below("www.victim.co.uk", 4), "www.victim.co.uk", "www.other.co.uk"),
        (names_below("victim.co.uk", 4), "r9.victim.co.uk", "other.co.uk"),
        (
            [f"a{n}.b{n}.victim.com" for n in range(16)],
            "a.b.victim.com",
            "a.b.other.com",
        ),
        (names_below("2.0.192.in-addr.arpa", 4), "1.1.192.in-addr.arpa", "x.ip6.arpa"),
    ],
    ids=["zone", "apex", "below a registry", "in a registry", "two labels", "reverse"],
)
def test_silent_zone_takes_no_more_than_its_share(
    upstream: FakeUpstream, names: Sequence[str], below: str, beside: str
) -> None:
    with rig_with(upstream, pending_per_zone=4) as rig:
        for name in names:
            miss(rig, query_for(name))
        rig.wait(0.6)

        refused(rig, below)
        client = miss(rig, query_for(beside))
        *_, (query, sender) = upstream.take()
        upstream.send(said_to(query).to_wire(), sender)
        rig.round()

        assert received_one(client).rcode() == dns.rcode.NOERROR
        assert limits_met(rig) == {"PENDING_PER_ZONE": 1}
        assert pending(rig) == len(names)


def test_zone_that_answers_may_have_more(upstream: FakeUpstream) -> None:
    with rig_with(upstream, pending_per_zone=4) as rig:
        answered = 0
        for number in range(40):
            miss(rig, query_for(f"n{number}.busy.com"))
            rig.wait(0.05)
            if number % 8 == 7:
                query, sender = upstream.take()[-1]
                upstream.send(said_to(query).to_wire(), sender)
                rig.round()
                answered += 1

        assert pending(rig) == 40 - answered
        assert limits_met(rig) == {}


def test_burst_of_names_of_one_zone_is_not_taken_for_silence(
    upstream: FakeUpstream,
) -> None:
    with rig_with(upstream, pending_per_zone=4) as rig:
        for name in names_below("busy.com", 50):
            miss(rig, query_for(name))

        assert pending(rig) == 50


def test_share_of_a_zone_is_free_again_when_its_fetches_are_over(
    upstream: FakeUpstream,
) -> None:
    with rig_with(upstream, pending_per_zone=4) as rig:
        for name in names_below("victim.com", 4):
            miss(rig, query_for(name))
        rig.wait(0.6)
        refused(rig, "r9.victim.com")
        for _ in range(4):
            rig.wait(TIMEOUT_S)
        assert pending(rig) == 0

        miss(rig, query_for("r9.victim.com"))

        assert pending(rig) == 1
        assert rig.pool is not None
        rig.pool.sweep()
        assert len(rig.pool._pending._shares) == 0


def test_stale_answer_is_served_where_there_is_no_place(
    upstream: FakeUpstream,
) -> None:
    with rig_with(upstream, pending_per_zone=2) as rig:
        cached(rig, upstream)
        rig.now_ns += 400 * 1_000_000_000
        for name in names_below("example.com", 2):
            miss(rig, query_for(name))
        rig.wait(0.6)

        response = rig.ask_for(query_for())

        assert response.answer[0].ttl == 30


# Clients, and all together


def test_one_client_takes_no_more_than_half_of_all_places(
    upstream: FakeUpstream,
) -> None:
    with rig_with(upstream, pending=8) as rig:
        for number in range(4):
            miss(rig, query_for(f"www.zone{number}.com"))

        refused(rig, "www.zone9.com")
        miss(rig, query_for("www.zone8.com"), "127.0.0.2")

        assert pending(rig) == 5
        assert limits_met(rig) == {"PENDING_PER_CLIENT": 1}


def of_others(number: int) -> str:
    """Return an address that no other number has."""
    return f"127.0.1.{number + 1}"


def test_new_question_takes_the_place_of_the_oldest_hopeless_one(
    upstream: FakeUpstream,
) -> None:
    with rig_with(upstream, pending=4) as rig:
        clients = [
            miss(
                rig,
                query_for(f"www.zone{number}.com", payload=1232),
                of_others(number),
            )
            for number in range(4)
        ]
        rig.wait(0.35)
        upstream.take()

        client = miss(rig)
        upstream.answer(ADDRESS)
        rig.round()

        assert received_one(client).rcode() == dns.rcode.NOERROR
        [gone] = received(clients[0])
        assert gone.rcode() == dns.rcode.SERVFAIL
        assert [error.code for error in gone.extended_errors()] == [14]
        assert [client.receive() for client in clients[1:]] == [[], [], []]
        assert limits_met(rig) == {"PENDING": 1}
        # It was not its fault: whoever asks again is not told of a failure.
        miss(rig, query_for("www.zone0.com"))


def test_new_question_takes_no_place_of_one_that_may_be_answered(
    upstream: FakeUpstream,
) -> None:
    with rig_with(upstream, pending=4) as rig:
        for number in range(4):
            miss(rig, query_for(f"www.zone{number}.com"), of_others(number))
        rig.wait(0.1)

        refused(rig, "one.more")

        assert pending(rig) == 4
        assert len(upstream.take()) == 4
        assert limits_met(rig) == {"PENDING": 1}


def test_limits_may_change_while_fetches_are_under_way(upstream: FakeUpstream) -> None:
    with rig_with(upstream) as rig:
        for name in names_below("victim.com", 6):
            miss(rig, query_for(name))
        rig.wait(0.6)
        assert rig.pool is not None

        rig.pool.bound(replace(BOUNDS, pending_per_zone=4))
        refused(rig, "r9.victim.com")
        rig.pool.bound(BOUNDS)
        miss(rig, query_for("r9.victim.com"))

        assert pending(rig) == 7


# Those who wait


def ask_often(rig: Rig, count: int) -> list[Client]:
    clients = [rig.client() for _ in range(count)]
    for client in clients:
        client.send(query_for().to_wire())
    rig.round()
    return clients


def test_those_beyond_the_bound_of_one_fetch_are_dropped_and_counted(
    upstream: FakeUpstream,
) -> None:
    with rig_with(upstream, waiters_per_fetch=3) as rig:
        clients = ask_often(rig, 5)

        upstream.answer(ADDRESS)
        rig.round()

        assert [len(client.receive()) for client in clients] == [1, 1, 1, 0, 0]
        assert limits_met(rig) == {"WAITERS_PER_FETCH": 2}


def test_all_who_wait_are_bounded_too(upstream: FakeUpstream) -> None:
    with rig_with(upstream, pending=2, pending_per_zone=2) as rig:
        ask_often(rig, 9)
        assert limits_met(rig) == {"WAITERS": 1}

        upstream.answer(ADDRESS)
        rig.round()
        assert rig.pool is not None

        assert rig.pool._pending.total.waiting == 0


def test_those_who_got_a_stale_answer_wait_no_more(upstream: FakeUpstream) -> None:
    with rig_with(upstream) as rig:
        cached(rig, upstream)
        rig.now_ns += 400 * 1_000_000_000
        client = miss(rig)
        assert rig.pool is not None
        assert rig.pool._pending.total.waiting == 1

        rig.wait(TIMEOUT_S)
        rig.wait(1)

        assert received(client)
        assert rig.pool._pending.total.waiting == 0


def test_query_over_tcp_beyond_the_bound_is_answered(upstream: FakeUpstream) -> None:
    with rig_with(upstream, waiters_per_fetch=1) as rig:
        miss(rig)
        with contextlib.closing(Stream(rig)) as stream:
            stream.send(query_for())

            [response] = stream.until(1)

            assert response.rcode() == dns.rcode.SERVFAIL
            assert limits_met(rig) == {"WAITERS_PER_FETCH": 1}


def test_question_that_failed_leaves_no_count_behind(upstream: FakeUpstream) -> None:
    with rig_with(upstream, pending_per_zone=1) as rig:
        for _ in range(3):
            message = query_for("r0.victim.com")
            client = miss(rig, message)
            for _ in range(3):
                rig.wait(TIMEOUT_S)
            assert received_one(client).rcode() == dns.rcode.SERVFAIL
            rig.answering.failures.forget()

        assert pending(rig) == 0
        assert rig.pool is not None
        assert rig.pool._pending.total.waiting == 0


def test_response_to_one_question_counts_for_its_zone(upstream: FakeUpstream) -> None:
    message = query_for("n0.busy.com")
    assert isinstance(message, dns.message.QueryMessage)
    with rig_with(upstream, pending_per_zone=2) as rig:
        for name in names_below("busy.com", 3):
            miss(rig, query_for(name))
        rig.wait(0.45)
        query, sender = upstream.take()[0]
        upstream.send(said_to(query).to_wire(), sender)
        rig.wait(0.1)

        miss(rig, message)

        assert limits_met(rig) == {}
