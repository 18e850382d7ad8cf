"""Servers that are down, on trial, or where nobody listens."""

from __future__ import annotations

import socket

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.ipc.spec import UpstreamServer
from dnsfront.ipc.stats import Rcode, Upstream, upstream_at
from tests.unit.fake_upstream import ADDRESS, FakeUpstream
from tests.unit.stub_client import query_for, received_one
from tests.unit.worker_rig import TIMEOUT_S, Rig, interpreted, miss


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

        rig.until(lambda: rig.count(Rcode.FIRST + dns.rcode.SERVFAIL) == count)

        assert len(client.receive()) == count
        assert rig.upstream() == (3 * count, 3 * count)
        assert rig.pool is not None
        assert rig.pool.pending == 0


@interpreted
def test_refusal_counts_once_where_an_earlier_send_left_through_the_same_port(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnsfront.worker.upstreams.ports._PORTS", 1)
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
