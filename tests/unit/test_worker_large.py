"""Answers that are too large to be kept cost an upstream one fetch, not one a query."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import dns.flags

from dnsfront.ipc.stats import Counter
from tests.unit.fake_upstream import FakeUpstream
from tests.unit.streaming import Stream
from tests.unit.stub_client import query_for, received_one
from tests.unit.worker_rig import LIMITS, Rig, miss

RECORDS = [f"www.example.com. 300 A 10.0.{n >> 8}.{n & 255}" for n in range(1000)]


def test_udp_clients_of_a_large_answer_are_not_fetched_for_again(
    upstream: FakeUpstream,
) -> None:
    limits = replace(LIMITS, max_entry_size_octets=4096)
    with Rig(upstreams=[upstream], limits=limits) as rig:
        client = miss(rig)
        upstream.answer(*RECORDS)
        rig.round()
        assert received_one(client).flags & dns.flags.TC

        for _ in range(100):
            response = rig.ask_for(query_for(payload=1232))
            assert response.flags & dns.flags.TC
            assert not response.answer
        assert upstream.take() == []
        assert rig.count(Counter.CACHE_HITS) == 100


def test_tcp_clients_of_a_large_answer_get_all_of_it(upstream: FakeUpstream) -> None:
    limits = replace(LIMITS, max_entry_size_octets=4096)
    with Rig(upstreams=[upstream], limits=limits) as rig:
        miss(rig)
        upstream.answer(*RECORDS)
        rig.round()
        with closing(Stream(rig)) as stream:
            stream.send(query_for())
            rig.until(lambda: rig.pool and rig.pool.pending)

            upstream.answer(*RECORDS)

            [response] = stream.until(1)
        assert len(response.answer[0]) == 1000
