"""Misses and the upstreams, which sockets of the test play, by a clock that is told."""

from __future__ import annotations

import gc
import struct
from itertools import pairwise

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.ipc import stats
from dnsfront.ipc.stats import Counter
from tests.unit.fake_upstream import ADDRESS, FakeUpstream, said_to
from tests.unit.stub_client import query_for, received, received_one
from tests.unit.worker_rig import LIMITS, NS, Rig, cached, miss, open_descriptors

# The plain way


def test_miss_is_fetched_and_then_a_hit(rig: Rig, upstream: FakeUpstream) -> None:
    client = miss(rig)

    upstream.answer(ADDRESS)
    rig.round()

    response = received_one(client)
    assert response.answer[0].to_text() == "www.example.com. 300 IN A 192.0.2.1"
    assert rig.ask_for(query_for()).answer == response.answer
    assert upstream.take() == []
    assert rig.counted() == {
        "QUERIES_UDP": 2,
        "CACHE_REQUESTS": 2,
        "CACHE_HITS": 1,
        "NOERROR": 2,
    }
    assert rig.upstream() == (1, 0)


def test_query_is_a_new_one_with_edns_of_our_own(
    rig: Rig, upstream: FakeUpstream
) -> None:
    asked = query_for(
        "wWw.ExAmple.com",
        options=[dns.edns.GenericOption(dns.edns.OptionType(8), b"\0\1\0\0")],
    )
    miss(rig, asked)

    query, _sender = upstream.take_one()

    assert query.question[0].name.to_text() == "www.example.com."
    assert query.flags == dns.flags.RD | dns.flags.AD
    assert (query.edns, query.payload, query.options) == (0, 1232, ())
    assert not query.ednsflags & dns.flags.DO


@pytest.mark.parametrize("rd", [False, True])
@pytest.mark.parametrize("cd", [False, True])
@pytest.mark.parametrize("do", [False, True])
def test_flags_that_may_change_the_answer_are_passed_on(
    *, rig: Rig, upstream: FakeUpstream, rd: bool, cd: bool, do: bool
) -> None:
    asked = query_for(want_dnssec=do)
    asked.flags = rd * dns.flags.RD | cd * dns.flags.CD

    miss(rig, asked)

    query, _sender = upstream.take_one()
    assert query.flags == (rd * dns.flags.RD | cd * dns.flags.CD | dns.flags.AD)
    assert bool(query.ednsflags & dns.flags.DO) == do


def test_ids_and_ports_are_not_to_be_foreseen(rig: Rig, upstream: FakeUpstream) -> None:
    ids, ports = [], []

    for number in range(64):
        miss(rig, query_for(f"n{number}.example.com"))
        query, sender = upstream.take_one()
        ids.append(query.id)
        ports.append(sender[1])

    assert len(set(ids)) > 60
    assert len({b - a for a, b in pairwise(ids)}) > 55
    assert 8 <= len(set(ports)) <= 16


def test_worn_out_ports_are_replaced_and_closed(
    rig: Rig, upstream: FakeUpstream
) -> None:
    before = open_descriptors()
    ports = set()
    client = rig.client()

    for number in range(200):
        for place in range(200):
            name = b"\4%04d" % place + b"\4%04d\0" % number
            client.send(struct.pack("!6H", place, 256, 1, 0, 0, 0) + name + b"\0\1\0\1")
        rig.round()
        for octets, sender in upstream.take_octets():
            ports.add(sender[1])
            upstream.send(octets[:2] + b"\x81\x83" + octets[4:], sender)
        rig.round()
        client.receive()
    assert rig.pool is not None
    rig.pool.sweep()

    assert len(ports) > 20
    assert len(open_descriptors()) <= len(before) + 16 + 1


def test_zero_ttl_is_used_once(rig: Rig, upstream: FakeUpstream) -> None:
    for _ in range(2):
        client = miss(rig)
        upstream.answer("www.example.com. 0 A 192.0.2.1")
        rig.round()

        assert received_one(client).answer[0].ttl == 0


# One fetch a question


def test_equal_questions_are_fetched_once(rig: Rig, upstream: FakeUpstream) -> None:
    names = ["www.example.com", "WWW.example.com", "wWw.eXaMpLe.CoM"]
    clients = [miss(rig, query_for(name)) for name in names]

    upstream.answer(ADDRESS)
    rig.round()

    for name, client in zip(names, clients, strict=True):
        response = received_one(client)
        assert response.question[0].name.to_text() == name + "."
        assert len(response.answer) == 1
    assert rig.count(Counter.COALESCED) == 2
    assert rig.count(Counter.CACHE_REQUESTS) == 3
    assert rig.upstream() == (1, 0)


@pytest.mark.parametrize(
    "other",
    [
        query_for("www.example.com", "AAAA"),
        query_for("ww.example.com", "A"),
        query_for("www.example.com", "A", want_dnssec=True),
    ],
    ids=["type", "name", "DO"],
)
def test_other_questions_are_fetched_by_themselves(
    rig: Rig, upstream: FakeUpstream, other: dns.message.Message
) -> None:
    miss(rig)
    miss(rig, other)

    assert len(upstream.take()) == 2
    assert rig.count(Counter.COALESCED) == 0


def test_https_and_type_97_are_fetched_by_themselves(
    rig: Rig, upstream: FakeUpstream
) -> None:
    clients = {
        rtype: miss(rig, query_for(rtype=rtype)) for rtype in ("HTTPS", "TYPE97")
    }

    for query, sender in upstream.take():
        kind = query.question[0].rdtype
        record = rf"www.example.com. 300 TYPE{int(kind)} \# 3 000000"
        upstream.send(said_to(query, record).to_wire(), sender)
    rig.round()

    for rtype, client in clients.items():
        response = received_one(client)
        assert response.question[0].rdtype == response.answer[0].rdtype
        assert rtype in {"HTTPS", "TYPE97"}


def test_client_that_asks_again_is_answered_each_time(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)
    client.send(query_for().to_wire())
    rig.round()

    upstream.answer(ADDRESS)
    rig.round()

    assert len(client.receive()) == 2


# Prefetch, bounds, the end


def test_fetch_without_a_client_keeps_an_entry_fresh(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    rig.now_ns += 290 * NS
    rig.ask_for(query_for())
    [entry] = rig.cache.due
    assert rig.pool is not None

    assert rig.pool.fetch(1, entry.key, entry.key, entry, None)
    rig.round()
    upstream.answer(ADDRESS)
    rig.round()

    assert rig.ask_for(query_for()).answer[0].ttl == 300
    assert rig.pool.pending == 0


def test_failed_prefetch_leaves_the_entry_alone(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    rig.now_ns += 290 * NS
    rig.ask_for(query_for())
    [entry] = rig.cache.due
    assert rig.pool is not None
    rig.pool.fetch(1, entry.key, entry.key, entry, None)
    rig.round()

    upstream.answer(rcode=dns.rcode.SERVFAIL)
    rig.round()

    assert rig.ask_for(query_for()).answer[0].ttl == 10


def test_batch_larger_than_one_system_call_is_answered(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = rig.client()
    names = [f"n{number}.example.com" for number in range(200)]
    for name in names:
        client.send(query_for(name).to_wire())
    rig.round()

    for query, sender in upstream.take():
        name = query.question[0].name.to_text()
        upstream.send(said_to(query, f"{name} 60 A 192.0.2.1").to_wire(), sender)
    rig.until(lambda: rig.pool and rig.pool.pending == 0)

    answered = [message.answer[0].name.to_text() for message in received(client)]
    assert sorted(answered) == sorted(name + "." for name in names)
    assert rig.upstream() == (200, 0)
    assert sum(rig.words[stats.upstream_at(0) + stats.Upstream.DURATION :][:16]) == 200


def test_closed_pool_leaves_no_descriptor_and_no_waiting_client(
    upstream: FakeUpstream,
) -> None:
    rig = Rig()
    before = open_descriptors()
    rig.forward_to([upstream])
    clients = [miss(rig, query_for(f"n{number}.test")) for number in range(40)]
    opened = open_descriptors() - before
    truncated = upstream.take()[0]
    upstream.send(said_to(truncated[0], flags=dns.flags.TC).to_wire(), truncated[1])
    rig.round()

    rig.forwarding.close()
    rig.round()

    assert len(opened) > 16
    for client in clients:
        assert received_one(client).rcode() == dns.rcode.SERVFAIL
        client.close()
    gc.collect()
    assert not open_descriptors() & opened
    rig.close()


def test_policy_decides_who_is_asked_first(
    upstream: FakeUpstream, second: FakeUpstream
) -> None:
    with Rig(upstreams=[upstream, second], policy="chash", limits=LIMITS) as rig:
        for number in range(40):
            miss(rig, query_for(f"n{number}.example.com"))

        counts = len(upstream.take()), len(second.take())

    assert sum(counts) == 40
    assert min(counts) > 5
