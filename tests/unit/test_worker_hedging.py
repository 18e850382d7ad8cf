"""A second server is asked besides where the first is late, and either may answer."""

from __future__ import annotations

import random
from collections.abc import Iterator

import dns.message
import pytest

from dnsfront.ipc import stats
from dnsfront.ipc.spec import PoolSettings
from dnsfront.ipc.stats import Upstream
from dnsfront.worker.upstreams.round_trip import RoundTrip
from tests.unit.fake_upstream import FakeUpstream, said_to
from tests.unit.shared_load import KEY
from tests.unit.stub_client import query_for, received_one
from tests.unit.worker_rig import TIMEOUT_S, Rig, miss

#: Before anything was measured: a quarter of the time-out.
LATE_S = TIMEOUT_S / 4
FIRST = "www.example.com. 300 A 192.0.2.1"
SECOND = "www.example.com. 300 A 192.0.2.2"


@pytest.fixture
def rig(upstream: FakeUpstream, second: FakeUpstream) -> Iterator[Rig]:
    with Rig() as made:
        servers = (upstream.spec, second.spec)
        settings = PoolSettings("ordered", TIMEOUT_S, servers, hedge=True)
        made.forwarding.replace(settings, hash_key=KEY, udp_size=1232)
        yield made


def hedges(rig: Rig, index: int = 0) -> int:
    return rig.words[stats.upstream_at(index) + Upstream.HEDGES]


def address(message: dns.message.Message) -> str:
    return str(message.answer[0][0])


def test_nobody_else_is_asked_while_the_first_may_be_in_time(
    rig: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = miss(rig)
    rig.wait(LATE_S - 0.01)
    upstream.answer(FIRST)
    rig.round()

    assert address(received_one(client)) == "192.0.2.1"
    rig.wait(1)
    assert second.take() == []
    assert hedges(rig) == 0


def test_a_second_server_is_asked_when_the_first_is_late_and_answers(
    rig: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = miss(rig)
    assert rig.wait_s == pytest.approx(LATE_S)
    rig.wait(LATE_S)
    second.answer(SECOND)
    rig.round()

    assert address(received_one(client)) == "192.0.2.2"
    assert hedges(rig) == 1
    # What the first says after that is for nobody.
    upstream.answer(FIRST)
    rig.round()
    assert client.receive() == []
    assert rig.forwarding.is_idle
    assert [rig.upstream(index) for index in (0, 1)] == [(1, 0), (1, 0)]


def test_the_first_may_still_answer_first(
    rig: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = miss(rig)
    rig.wait(LATE_S)
    upstream.answer(FIRST)
    rig.round()

    assert address(received_one(client)) == "192.0.2.1"
    second.answer(SECOND)
    rig.round()
    assert client.receive() == []
    rig.wait(TIMEOUT_S)
    assert rig.upstream(0) == (1, 0)


def test_what_cannot_say_leaves_it_to_the_other(
    rig: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = miss(rig)
    rig.wait(LATE_S)
    query, sender = second.take_one()
    second.send(said_to(query, rcode=2).to_wire(), sender)
    rig.round()
    query, sender = upstream.take()[0]
    upstream.send(said_to(query, FIRST).to_wire(), sender)
    rig.round()

    assert address(received_one(client)) == "192.0.2.1"


def test_a_server_that_is_silent_for_a_time_out_has_failed(
    rig: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    miss(rig)
    rig.wait(LATE_S)
    second.answer(SECOND)
    rig.round()
    assert rig.upstream(0) == (1, 0)

    rig.wait(TIMEOUT_S)

    assert rig.upstream(0) == (1, 1)
    assert len(upstream.take()) == 1


def test_a_single_server_is_not_hedged(upstream: FakeUpstream) -> None:
    with Rig() as rig:
        settings = PoolSettings("ordered", TIMEOUT_S, (upstream.spec,), hedge=True)
        rig.forwarding.replace(settings, hash_key=KEY, udp_size=1232)
        client = miss(rig, query_for())
        rig.wait(LATE_S)
        rig.wait(0.2)

        assert hedges(rig) == 0
        query, sender = upstream.take()[0]
        upstream.send(said_to(query, FIRST).to_wire(), sender)
        rig.round()
        assert received_one(client).answer


@pytest.mark.parametrize("mean_ms", [20, 200])
def test_one_answer_in_twenty_is_late(mean_ms: int) -> None:
    drawn = random.Random(1)
    found, late = RoundTrip(2_000_000_000), 0
    for number in range(20_000):
        took_ns = round(drawn.expovariate(1 / mean_ms) * 1e6)
        is_late = took_ns > found.late_ns
        found.was_late(is_late)
        late += is_late and number >= 2000

    assert 0.04 <= late / 18_000 <= 0.06
    assert found.late_ns == pytest.approx(3 * mean_ms * 1e6, rel=0.4)
