"""Which upstreams a name goes to, and how fetches end when those are replaced."""

from __future__ import annotations

from dataclasses import replace

import dns.rcode

from dnsfront.ipc.stats import Limit
from tests.unit.fake_upstream import ADDRESS, FakeUpstream
from tests.unit.stub_client import query_for, received_one
from tests.unit.worker_rig import BOUNDS, TIMEOUT_S, Rig, miss, open_descriptors

NAME = b"\3www\7example\3com\0"


def test_without_servers_no_name_has_a_pool(rig: Rig) -> None:
    assert rig.forwarding.find(NAME) is not None

    rig.forward_to([])

    assert rig.forwarding.find(NAME) is None
    assert rig.ask_for(query_for()).rcode() == 5


def test_fetch_ends_where_it_began_and_the_next_goes_to_the_new_servers(
    rig: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    before = miss(rig)
    rig.forward_to([second])
    after = miss(rig, query_for("other.example.com"))

    upstream.answer(ADDRESS)
    second.answer("other.example.com. 300 A 192.0.2.9")
    rig.round()

    assert "192.0.2.1" in received_one(before).answer[0].to_text()
    assert "192.0.2.9" in received_one(after).answer[0].to_text()


def test_fetch_of_a_replaced_pool_still_fails_in_time(
    rig: Rig, second: FakeUpstream
) -> None:
    client = miss(rig)
    rig.forward_to([second])

    assert rig.wait_s is not None
    for _ in range(3):
        rig.wait(TIMEOUT_S)

    assert received_one(client).rcode() == 2


def test_replaced_pool_is_closed_once_its_fetches_are_over(
    rig: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = rig.client()
    before = open_descriptors()
    rig.ask(query_for().to_wire(), client)
    opened = open_descriptors() - before
    rig.forward_to([second])

    rig.forwarding.sweep()
    assert opened & open_descriptors() == opened
    upstream.answer(ADDRESS)
    rig.round()
    rig.forwarding.sweep()

    assert opened
    assert not opened & open_descriptors()
    assert received_one(client).answer


def test_all_that_is_under_way_counts_until_it_is_over(
    rig: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    miss(rig)
    rig.forward_to([second])

    assert rig.forwarding.pending == 1
    assert not rig.forwarding.is_idle
    assert rig.forwarding.is_awaited_at([rig.udp])
    assert not rig.forwarding.is_awaited_at([])
    upstream.answer(ADDRESS)
    rig.round()

    assert rig.forwarding.pending == 0
    assert rig.forwarding.is_idle
    assert not rig.forwarding.is_awaited_at([rig.udp])


def test_fetches_of_replaced_pools_are_taken_back_too(
    rig: Rig, second: FakeUpstream
) -> None:
    miss(rig)
    rig.forward_to([second])
    miss(rig, query_for("other.example.com"))

    taken = rig.forwarding.end(lambda canonical: canonical.startswith(NAME))

    assert [fetch.canonical[:-4] for fetch in taken] == [NAME]
    assert rig.forwarding.pending == 1


def test_all_pools_together_keep_to_the_limits(
    upstream: FakeUpstream, second: FakeUpstream
) -> None:
    bounds = replace(BOUNDS, pending=4)
    with Rig(upstreams=[upstream], bounds=bounds) as rig:
        for number in range(4):
            miss(rig, query_for(f"www.zone{number}.com"), f"127.0.1.{number + 1}")
        rig.forward_to([second])

        assert rig.ask_for(query_for()).rcode() == dns.rcode.SERVFAIL
        assert rig.forwarding.pending == 4
        assert rig.words[Limit.PENDING] == 1


def test_fetch_of_a_replaced_pool_gives_way_to_one_of_the_new(
    upstream: FakeUpstream, second: FakeUpstream
) -> None:
    bounds = replace(BOUNDS, pending=4)
    with Rig(upstreams=[upstream], bounds=bounds) as rig:
        before = [
            miss(rig, query_for(f"www.zone{number}.com"), f"127.0.1.{number + 1}")
            for number in range(4)
        ]
        rig.wait(0.35)
        rig.forward_to([second])

        client = miss(rig)
        second.answer(ADDRESS)
        rig.round()

        assert received_one(client).rcode() == dns.rcode.NOERROR
        assert received_one(before[0]).rcode() == dns.rcode.SERVFAIL
        assert rig.forwarding.pending == 3
        assert rig.words[Limit.PENDING] == 1
