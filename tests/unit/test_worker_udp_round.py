"""What a batch of datagrams leaves for the end of its round: nothing, where it can."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dnsfront.worker.process.reactor import READ
from tests.unit.datagrams import message, www
from tests.unit.fake_upstream import ADDRESS, FakeUpstream
from tests.unit.stub_client import query_for, received_one
from tests.unit.worker_rig import NS, ZONE, Rig, cached

HIT = www().to_wire()
MISS = www("AAAA").to_wire()
SHORT = b"short"
NO_OPCODE = message(flags=0x7800)


@pytest.mark.parametrize(
    ("datagrams", "is_done"),
    [
        ([HIT], True),
        ([HIT] * 3, True),
        ([HIT] * 100, True),
        ([MISS], False),
        ([HIT, MISS, HIT], False),
        ([MISS] + [HIT] * 100, False),
        ([SHORT], False),
        ([NO_OPCODE], False),
    ],
    ids=[
        "a hit", "hits", "two batches of hits", "a miss", "a miss among hits",
        "a miss, then a batch of hits", "no query", "an error",
    ],
)  # fmt: skip
def test_only_hits_leave_nothing(datagrams: Sequence[bytes], *, is_done: bool) -> None:
    with Rig(zone=ZONE) as rig:
        rig.ask(HIT)
        client = rig.client()
        for datagram in datagrams:
            client.send(datagram)

        assert rig.udp.ready(READ) is is_done


def test_hit_that_wants_its_entry_fetched_again_leaves_that(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream, ADDRESS)
    client = rig.client()
    client.send(query_for().to_wire())
    fresh = rig.udp.ready(READ)
    rig.now_ns += received_one(client).answer[0].ttl * 95 // 100 * NS
    rig.clock.set(rig.now_ns)

    client.send(query_for().to_wire())

    assert (fresh, rig.udp.ready(READ)) == (True, False)
