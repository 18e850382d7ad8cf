"""Upstreams that know no EDNS."""

from __future__ import annotations

import dns.message
import dns.rcode
import pytest

from dnsfront.worker.upstreams.edns import PLAIN_FOR_S, EdnsMemory
from dnsfront.worker.upstreams.fetch import Fetch
from tests.unit.fake_upstream import ADDRESS, FakeUpstream, said_to
from tests.unit.stub_client import query_for, received_one
from tests.unit.worker_rig import NS, TIMEOUT_S, Rig, miss

DO = 0x8000


def fetch_of(rig: Rig) -> Fetch:
    """Return the one fetch that is under way."""
    assert rig.pool is not None
    [fetch] = [f for view in rig.pool.under_way for f in view.values()]
    return fetch


# Complaints about EDNS


@pytest.mark.parametrize("edns", [-1, 0], ids=["without OPT", "with OPT"])
@pytest.mark.parametrize("copies", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("rcode", ["FORMERR", "NOTIMP"])
def test_server_from_before_edns_is_asked_without_it(
    rig: Rig, upstream: FakeUpstream, rcode: str, copies: int, edns: int
) -> None:
    client = miss(rig)
    query, sender = upstream.take_one()
    refusal = said_to(query, rcode=dns.rcode.from_text(rcode), edns=edns)

    for _ in range(copies):
        upstream.send(refusal.to_wire(), sender)
    rig.round()
    again = upstream.answer(ADDRESS, edns=-1)
    rig.round()

    assert again.edns == -1
    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert upstream.take() == []


def test_badvers_is_answered_by_a_plain_query(rig: Rig, upstream: FakeUpstream) -> None:
    client = miss(rig)

    upstream.answer(rcode=dns.rcode.BADVERS)
    rig.round()
    again = upstream.answer(ADDRESS, edns=-1)
    rig.round()

    assert again.edns == -1
    assert received_one(client).rcode() == dns.rcode.NOERROR


def test_the_next_server_is_asked_with_edns_again(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = miss(rig_of_two)

    edns = [
        upstream.answer(rcode=dns.rcode.FORMERR).edns,
        (rig_of_two.round(), upstream.answer(rcode=dns.rcode.FORMERR).edns)[1],
        (rig_of_two.round(), second.answer(ADDRESS).edns)[1],
    ]
    rig_of_two.round()

    assert edns == [0, -1, 0]
    assert received_one(client).rcode() == dns.rcode.NOERROR


def offended(rig: Rig, upstream: FakeUpstream, name: str) -> list[int]:
    """Ask for *name* at a server that refuses EDNS; return how it was asked."""
    client = miss(rig, query_for(name))
    asked = [upstream.answer(rcode=dns.rcode.FORMERR).edns]
    if asked == [0]:
        rig.round()
        asked.append(upstream.answer(f"{name} 9 A 192.0.2.1", edns=-1).edns)
    rig.round()
    client.receive()
    return asked


def test_edns_is_given_up_for_a_while_and_then_tried_again(
    rig: Rig, upstream: FakeUpstream
) -> None:
    first = [offended(rig, upstream, f"n{number}.test") for number in range(3)]

    given_up = miss(rig, query_for("later.test"))
    plain = upstream.answer("later.test 9 A 192.0.2.1", edns=-1)
    rig.round()
    rig.now_ns += PLAIN_FOR_S * NS
    again = offended(rig, upstream, "again.test")

    assert first == [[0, -1]] * 3
    assert plain.edns == -1
    assert received_one(given_up).rcode() == dns.rcode.NOERROR
    assert again == [0, -1]


def test_an_opt_record_in_between_keeps_edns(rig: Rig, upstream: FakeUpstream) -> None:
    for number in range(4):
        offended(rig, upstream, f"n{number}.test")
        miss(rig, query_for(f"m{number}.test"))
        upstream.answer(f"m{number}.test 9 A 192.0.2.1")
        rig.round()

    miss(rig, query_for("last.test"))

    assert upstream.take_one()[0].edns == 0


def test_server_that_drops_edns_is_answered_in_the_third_try(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)

    dropped = [upstream.take_one()[0].edns]
    rig.wait(TIMEOUT_S)
    dropped.append(upstream.take_one()[0].edns)
    rig.wait(TIMEOUT_S)
    again = upstream.answer(ADDRESS, edns=-1)
    rig.round()

    assert dropped == [0, 0]
    assert again.edns == -1
    assert received_one(client).rcode() == dns.rcode.NOERROR


def test_server_that_knows_edns_is_not_doubted_for_a_lost_datagram(
    rig: Rig, upstream: FakeUpstream
) -> None:
    miss(rig, query_for("known.test"))
    upstream.answer("known.test 9 A 192.0.2.1")
    rig.round()

    miss(rig)
    asked = [upstream.take_one()[0].edns]
    for _ in range(2):
        rig.wait(TIMEOUT_S)
        asked.append(upstream.take_one()[0].edns)

    assert asked == [0, 0, 0]


def test_server_that_ignores_edns_is_asked_with_it(
    rig: Rig, upstream: FakeUpstream
) -> None:
    asked = []
    for number in range(5):
        miss(rig, query_for(f"n{number}.test"))
        asked.append(upstream.answer(f"n{number}.test 9 A 192.0.2.1", edns=-1).edns)
        rig.round()

    assert asked == [0] * 5


# The memory alone


def test_silence_gives_nothing_up_before_a_plain_answer() -> None:
    memory = EdnsMemory()

    asked = []
    for _ in range(8):
        asked.append(memory.is_wanted(0, is_first=False))
        memory.was_silent(0, has_edns=asked[-1])

    assert asked == [True, True, False, True, False, True, False, True]


def test_three_plain_answers_give_edns_up() -> None:
    memory = EdnsMemory()

    for _ in range(3):
        assert memory.is_wanted(0, is_first=True)
        memory.answered(0, has_edns=False, has_opt=False)

    assert not memory.is_wanted(PLAIN_FOR_S * NS - 1, is_first=False)
    assert memory.is_wanted(PLAIN_FOR_S * NS, is_first=False)


def test_silence_takes_edns_from_no_server_that_has_shown_it_lately() -> None:
    """Whoever owns a silent zone would take signatures from everybody else."""
    memory = EdnsMemory()
    memory.answered(0, has_edns=True, has_opt=True)

    for number in range(1000):
        now_ns = 100 * NS + number
        memory.was_silent(now_ns, has_edns=True)
        memory.answered(now_ns, has_edns=False, has_opt=False)
        assert memory.is_wanted(now_ns, is_first=False)


def test_server_that_lost_its_edns_is_found_out_in_time() -> None:
    memory = EdnsMemory()
    memory.answered(0, has_edns=True, has_opt=True)
    memory.was_silent(0, has_edns=True)
    later_ns = 61 * NS

    for _ in range(20):
        has_edns = memory.is_wanted(later_ns, is_first=False)
        memory.was_silent(later_ns, has_edns=has_edns)

    assert not all(memory.is_wanted(later_ns, is_first=False) for _ in range(2))


def test_silence_of_other_names_leaves_the_first_query_its_opt_record() -> None:
    memory = EdnsMemory()

    for _ in range(1000):
        assert memory.is_wanted(0, is_first=True)
        memory.was_silent(0, has_edns=True)


@pytest.mark.parametrize("quiet_s", [30, 61, 3600])
def test_silent_names_cannot_make_a_server_plain_that_answers_others(
    quiet_s: int,
) -> None:
    memory = EdnsMemory()
    memory.answered(0, has_edns=True, has_opt=True)

    def silent_name(now_ns: int) -> None:
        for is_first in (True, False, False):
            has_edns = memory.is_wanted(now_ns, is_first=is_first)
            memory.was_silent(now_ns, has_edns=has_edns)

    for second in range(quiet_s):
        silent_name(second * NS)
    now_ns = quiet_s * NS
    for _ in range(100):
        for _ in range(20):
            silent_name(now_ns)
        has_edns = memory.is_wanted(now_ns, is_first=True)
        assert has_edns
        memory.answered(now_ns, has_edns=has_edns, has_opt=has_edns)


def test_plain_server_is_probed_and_an_opt_record_brings_edns_back() -> None:
    memory = EdnsMemory()
    for _ in range(3):
        memory.answered(0, has_edns=False, has_opt=False)

    asked = [
        [memory.is_wanted(second * NS, is_first=is_first) for second in range(30)]
        for is_first in (False, True)
    ]
    memory.answered(30 * NS, has_edns=True, has_opt=True)

    assert [sum(wanted) for wanted in asked] == [0, 2]
    assert memory.is_wanted(30 * NS, is_first=False)


def test_answer_without_opt_of_a_server_that_knows_it_is_not_kept_for_dnssec(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig, query_for(want_dnssec=True))
    fetch = fetch_of(rig)
    assert fetch.server is not None
    fetch.server.edns.is_known = True
    fetch.has_edns = False

    upstream.answer(ADDRESS, edns=-1)
    rig.round()

    assert received_one(client).answer
    assert rig.cache.entries() == []


@pytest.mark.parametrize("plain_hop", [0, 1])
def test_aliases_fetched_partly_without_opt_are_not_kept_for_dnssec(
    rig: Rig, upstream: FakeUpstream, plain_hop: int
) -> None:
    client = miss(rig, query_for(want_dnssec=True))

    for hop, record in enumerate(
        ["www.example.com. 300 CNAME a.example.net.", "a.example.net. 300 A 192.0.2.7"]
    ):
        fetch = fetch_of(rig)
        assert fetch.server is not None
        fetch.server.edns.is_known = True
        fetch.has_edns = hop != plain_hop
        upstream.answer(record, edns=-1 if hop == plain_hop else 0)
        rig.round()

    assert len(received_one(client).answer) == 2
    assert rig.cache.entries() == []


def test_first_query_of_each_question_has_an_opt_record_though_others_were_silent(
    rig: Rig, upstream: FakeUpstream
) -> None:
    for number in range(4):
        miss(rig, query_for(f"silent{number}.test"))
        rig.wait(TIMEOUT_S)
    upstream.take()

    miss(rig, query_for("answered.test"))

    assert upstream.take_one()[0].edns == 0
