"""The small parts of a worker: who is served, what is counted, in which order."""

from __future__ import annotations

import ipaddress
import socket
from collections import Counter as Tally

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.ipc import stats
from dnsfront.ipc.spec import UpstreamServer
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
from dnsfront.worker.upstreams.choice import order_of
from dnsfront.worker.upstreams.server import Server
from tests.unit.worker_rig import KEY

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
    allowed = access.allowed
    assert access.allows(packed("192.0.2.1"))

    access.replace(("192.0.2.128/25",))

    assert access.allowed is allowed
    assert not access.allows(packed("192.0.2.1"))
    assert access.allows(packed("192.0.2.200"))


def test_flood_of_allowed_addresses_is_bounded() -> None:
    access = AccessList(("10.0.0.0/8",))

    for number in range(70000):
        assert access.allows(number.to_bytes(4, "big").replace(b"\0", b"\x0a", 1))

    assert len(access.allowed) <= 65536


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


# Order of upstreams


class Candidate:
    """What an order looks at."""

    def __init__(self, spec: UpstreamServer, outstanding: int = 0) -> None:
        self.spec = spec
        self.outstanding = outstanding


def servers(*weights: int) -> list[Server]:
    return [
        Candidate(UpstreamServer(n, f"192.0.2.{n}", 53, socket.AF_INET, weight))  # type: ignore[misc]
        for n, weight in enumerate(weights)
    ]


def orders(policy: str, found: list[Server], qnames: list[bytes]) -> list[list[int]]:
    """Return the servers by index in the order of each qname."""
    order = order_of(policy, [server.spec for server in found], KEY)
    return [[server.spec.index for server in order(x, found)] for x in qnames]


def order(policy: str, found: list[Server], qname: bytes = b"\1a\0") -> list[int]:
    [one] = orders(policy, found, [qname])
    return one


def names(count: int) -> list[bytes]:
    return [b"\4%04d\0" % number for number in range(count)]


def test_ordered_policy_keeps_the_order_of_the_config() -> None:
    assert order("ordered", servers(1, 1, 1)) == [0, 1, 2]


def test_least_outstanding_comes_first_by_weight() -> None:
    found = servers(1, 2, 1)
    for server, outstanding in zip(found, (3, 4, 9), strict=True):
        server.outstanding = outstanding

    assert order("least_outstanding", found) == [1, 0, 2]


def test_chash_names_every_server_once() -> None:
    for ordered in orders("chash", servers(1, 1, 1), names(100)):
        assert sorted(ordered) == [0, 1, 2]


def test_chash_shares_names_by_weight() -> None:
    found = orders("chash", servers(1, 3), names(2000))

    first = Tally(ordered[0] for ordered in found)

    assert first[1] / first[0] == pytest.approx(3, rel=0.3)


def test_chash_moves_only_the_names_of_a_server_that_left() -> None:
    found = servers(1, 1, 1)

    before = orders("chash", found, names(500))
    after = orders("chash", found[:2], names(500))

    assert after == [[index for index in x if index != 2] for x in before]


@pytest.mark.parametrize("policy", ["chash", "ordered", "least_outstanding"])
def test_single_server_is_the_order(policy: str) -> None:
    assert order(policy, servers(1), b"\0") == [0]
