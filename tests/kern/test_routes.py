"""Which interface the routes of this host are said to lead by."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
from collections.abc import Iterator

import pytest

from dnsfront.errors import KernelError
from dnsfront.supervisor.host import routes as host_routes
from dnsfront.supervisor.host.routes import LOOPBACK_INDEX, routes
from tests.namespaces import private_network


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    with private_network():
        for left, right in (("d0", "d1"), ("e0", "e1")):
            ip(f"link add {left} type veth peer name {right}")
            ip(f"link set {left} up")
            ip(f"link set {right} up")
        ip("addr add 192.0.2.7/24 brd + dev d0")
        ip("addr add 2001:db8::7/64 dev d0 nodad")
        ip("addr add 198.51.100.7/24 dev e0")
        yield


def ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


def leads_to(network: str) -> int | None:
    found = ipaddress.ip_network(network)
    return routes().get((found.network_address.packed, found.prefixlen))


def index(name: str) -> int:
    return socket.if_nametoindex(name)


def test_networks_are_reached_by_the_interface_that_is_attached() -> None:
    assert leads_to("192.0.2.0/24") == index("d0")
    assert leads_to("2001:db8::/64") == index("d0")
    assert leads_to("198.51.100.0/24") == index("e0")
    assert leads_to("0.0.0.0/0") is None


def test_this_host_itself_is_reached_by_lo() -> None:
    for network in ("127.0.0.0/8", "::1/128", "192.0.2.7/32", "2001:db8::7/128"):
        assert leads_to(network) == LOOPBACK_INDEX


def test_nobody_is_at_a_broadcast_or_behind_a_route_to_nowhere() -> None:
    ip("route add blackhole 203.0.113.0/24")
    ip("-6 route add unreachable 2001:db8:1::/48")

    for network in ("192.0.2.255/32", "203.0.113.0/24", "2001:db8:1::/48", "ff00::/8"):
        assert leads_to(network) == 0


def test_default_routes_of_both_families_are_told() -> None:
    ip("route add default via 192.0.2.1")
    ip("-6 route add default via 2001:db8::1")

    assert leads_to("0.0.0.0/0") == leads_to("::/0") == index("d0")


def test_route_of_the_lower_metric_counts() -> None:
    ip("route add 203.0.113.0/24 via 192.0.2.1 metric 20")
    ip("route add 203.0.113.0/24 via 198.51.100.1 metric 10")
    ip("route add 203.0.113.0/24 via 192.0.2.1 metric 30")

    assert leads_to("203.0.113.0/24") == index("e0")


def test_where_several_interfaces_lead_none_does() -> None:
    ip("route add 203.0.113.0/24 nexthop via 192.0.2.1 nexthop via 198.51.100.1")

    assert leads_to("203.0.113.0/24") == 0


def test_other_tables_do_not_count() -> None:
    ip("route add 203.0.113.0/24 via 192.0.2.1 table 100")

    assert leads_to("203.0.113.0/24") is None


def test_host_that_routes_for_the_world_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host_routes, "MAX_ROUTES", 4)

    with pytest.raises(KernelError, match="this host has more than 4 routes"):
        routes()
