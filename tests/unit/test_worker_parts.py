"""The small parts of a worker: who is served, what is counted, in which order."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.ipc import stats
from dnsfront.ipc.stats import (
    BUCKET_BOUNDS_S,
    BUCKETS,
    RCODES,
    Counter,
    Rcode,
    Source,
    Upstream,
)
from dnsfront.worker.clients.access import AccessList
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.process.meter import Meter

# Access


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("192.0.2.1", True),
        ("192.0.3.1", False),
        ("203.0.113.7", True),
        ("203.0.113.8", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("::ffff:192.0.2.1", False),
        ("::c000:201", False),
    ],
)
def test_client_is_served_by_network(*, address: str, is_allowed: bool) -> None:
    access = AccessList(("192.0.2.0/24", "203.0.113.7/32", "2001:db8::/32"))

    verdicts = [access.allows(packed(address)) for _ in range(3)]

    assert verdicts == [is_allowed] * 3


def test_nobody_is_served_by_an_empty_list() -> None:
    access = AccessList(())

    assert not access.allows(packed("127.0.0.1"))
    assert not access.allows(packed("::1"))


def test_replaced_list_applies_at_once_to_those_seen_before() -> None:
    access = AccessList(("192.0.2.0/24",))
    assert access.allows(packed("192.0.2.1"))

    access.replace(("192.0.2.128/25",))

    assert not access.allows(packed("192.0.2.1"))
    assert access.allows(packed("192.0.2.200"))


# Meter


def meter() -> Meter:
    words = stats.words(stats.create())
    return Meter(words, Clock())


def histogram(words: memoryview, at: int) -> tuple[list[int], int]:
    return list(words[at : at + BUCKETS]), words[at + BUCKETS]


def test_responses_count_once_each_after_a_flush() -> None:
    found = meter()
    found.clock.set(1_000_000)

    for rcode, source in [(0, Source.HIT)] * 3 + [(3, Source.MISS)] * 2:
        found.sent(rcode, source, 0)
    found.sent(0, Source.HIT, 400_000)
    found.flush()
    found.flush()

    assert found.words[Rcode.FIRST] == 4
    assert found.words[Rcode.FIRST + 3] == 2
    hits, total_ns = histogram(found.words, Source.HIT)
    assert sum(hits) == 4
    assert total_ns == 3 * 1_000_000 + 600_000
    assert sum(histogram(found.words, Source.MISS)[0]) == 2


@given(st.integers(0, 10**11), st.integers(1, 64))
def test_duration_falls_into_the_bucket_that_holds_it(duration: int, many: int) -> None:
    found = meter()

    found.observe(Source.ZONE, duration, many)

    buckets, total_ns = histogram(found.words, Source.ZONE)
    bounds_ns = [round(bound * 1e9) for bound in BUCKET_BOUNDS_S]
    expected = sum(duration > bound for bound in bounds_ns)
    assert buckets == [many if place == expected else 0 for place in range(BUCKETS)]
    assert total_ns == many * duration


@pytest.mark.parametrize("rcode", [RCODES - 1, RCODES, 23, 4095])
def test_rare_rcodes_share_a_counter(rcode: int) -> None:
    found = meter()

    found.count_rcode(rcode)

    assert found.words[Rcode.FIRST + RCODES - 1] == 1
    assert sum(found.words) == 1


def test_upstreams_are_counted_apart() -> None:
    found = meter()
    found.clock.set(3_000_000)

    for index in (0, 63):
        found.upstream_sent(index, 5)
        found.upstream_failed(index)
        for _ in range(4):
            found.upstream_answered(index, 1_000_000)
    found.flush()

    for index in (0, 63):
        at = stats.upstream_at(index)
        assert found.words[at + Upstream.REQUESTS] == 5
        assert found.words[at + Upstream.FAILURES] == 1
        buckets, total_ns = histogram(found.words, at + Upstream.DURATION)
        assert sum(buckets) == 4
        assert total_ns == 8_000_000


def test_counters_go_on_where_a_predecessor_stopped() -> None:
    words = stats.words(stats.create())
    Meter(words, Clock()).count(Counter.QUERIES_UDP, 7)

    successor = Meter(words, Clock())
    successor.count(Counter.QUERIES_UDP)
    successor.set_gauge(Counter.PENDING, 4)
    successor.set_gauge(Counter.PENDING, 3)

    assert words[Counter.QUERIES_UDP] == 8
    assert words[Counter.PENDING] == 3
