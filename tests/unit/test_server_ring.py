"""Names have one server, equal on all hosts, and a server's end moves its own only."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from dnsfront.ring.servers import ServerRing
from tests.unit.shared_load import KEY

NAMES = [b"\5n%04d\4test\0" % number for number in range(3000)]


def ring(servers: dict[str, int]) -> ServerRing:
    return ServerRing([*servers], [*servers.values()], KEY)


def orders(servers: dict[str, int]) -> list[list[str]]:
    """Return the servers of each name, best first."""
    found, names = ring(servers), [*servers]
    return [[names[position] for position in found.order(name)] for name in NAMES]


def test_the_order_of_the_list_plays_no_part() -> None:
    servers = {f"192.0.2.{number}:53": 1 + number % 3 for number in range(9)}
    shuffled = list(servers.items())
    random.Random(1).shuffle(shuffled)

    assert orders(dict(shuffled)) == orders(servers)


def test_every_server_is_in_every_order() -> None:
    servers = {f"192.0.2.{number}:53": 1 for number in range(9)}

    assert {tuple(sorted(order)) for order in orders(servers)} == {
        tuple(sorted(servers))
    }


@pytest.mark.parametrize("gone", range(6))
def test_a_server_that_goes_moves_its_own_names_only(gone: int) -> None:
    servers = {f"192.0.2.{number}:53": 1 + number % 2 for number in range(6)}
    before = orders(servers)

    name = f"192.0.2.{gone}:53"
    after = orders({x: y for x, y in servers.items() if x != name})

    assert after == [[x for x in order if x != name] for order in before]


def test_another_weight_moves_names_to_or_from_that_server_only() -> None:
    servers = {f"192.0.2.{number}:53": 2 for number in range(5)}
    heavier = {**servers, "192.0.2.3:53": 3}

    moved = {
        (before[0], after[0])
        for before, after in zip(orders(servers), orders(heavier), strict=True)
        if before[0] != after[0]
    }

    assert {after for _before, after in moved} == {"192.0.2.3:53"}


def test_shares_are_by_weight() -> None:
    servers = {"a:53": 1, "b:53": 1, "c:53": 2}

    owned = Counter(order[0] for order in orders(servers))

    for name, weight in servers.items():
        assert owned[name] == pytest.approx(len(NAMES) * weight / 4, rel=0.12)


def test_it_is_the_same_in_every_version() -> None:
    servers = {"192.0.2.1:53": 1, "192.0.2.2:53": 1, "192.0.2.3:53": 2}

    assert [order[0][8] for order in orders(servers)[:24]] == list(
        "212331133221333123123231"
    )


def test_a_single_server_has_all() -> None:
    assert {tuple(order) for order in orders({"a:53": 1})} == {("a:53",)}
