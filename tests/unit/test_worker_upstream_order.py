"""In which order the servers of a pool are asked for a name."""

from __future__ import annotations

import socket
from collections import Counter

import pytest

from dnsfront.ipc.spec import UpstreamServer
from dnsfront.worker.upstreams.choice import order_of
from dnsfront.worker.upstreams.round_trip import RoundTrip
from dnsfront.worker.upstreams.server import Server
from tests.unit.shared_load import KEY


def servers(*weights: int) -> list[Server]:
    return [
        Server(
            UpstreamServer(n, f"192.0.2.{n}", 53, socket.AF_INET, weight),
            n,
            RoundTrip(800_000_000),
        )
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

    first = Counter(ordered[0] for ordered in found)

    assert first[1] / first[0] == pytest.approx(3, rel=0.3)


def test_chash_moves_only_the_names_of_a_server_that_left() -> None:
    found = servers(1, 1, 1)

    before = orders("chash", found, names(500))
    after = orders("chash", found[:2], names(500))

    assert after == [[index for index in x if index != 2] for x in before]


@pytest.mark.parametrize("policy", ["chash", "ordered", "least_outstanding"])
def test_single_server_is_the_order(policy: str) -> None:
    assert order(policy, servers(1), b"\0") == [0]
