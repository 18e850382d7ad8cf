from __future__ import annotations

import socket
import struct
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from dnsfront.kernel.clients import tries

IP, IPV6 = socket.AF_INET, socket.AF_INET6
OWN, LAN, WAN = 1, 2, 3


def split(network: str) -> tuple[bytes, int]:
    found = ip_network(network)
    return found.network_address.packed, found.prefixlen


def key(network: str) -> bytes:
    packed, bits = split(network)
    return struct.pack("=I", bits) + packed


ROUTES = {
    split(network): index
    for network, index in {
        "0.0.0.0/0": WAN,
        "10.0.0.0/8": LAN,
        "10.9.0.0/16": 0,
        "10.1.2.3/32": OWN,
        "10.1.2.255/32": 0,
        "2001:db8::/32": LAN,
    }.items()
}


def test_each_network_is_answered_by_the_interface_that_leads_there() -> None:
    assert tries(["192.0.2.0/24", "10.1.0.0/16"], ROUTES) == {
        IP: {
            key("192.0.2.0/24"): WAN,
            key("10.1.0.0/16"): LAN,
            key("10.1.2.3/32"): OWN,
            key("10.1.2.255/32"): 0,
        },
        IPV6: {},
    }


def test_network_that_no_route_leads_to_is_left_to_workers() -> None:
    assert tries(["2001:db8::/33", "2001:db9::/32"], ROUTES)[IPV6] == {
        key("2001:db8::/33"): LAN,
        key("2001:db9::/32"): 0,
    }


def test_network_that_is_a_route_has_its_interface() -> None:
    assert tries(["10.1.2.3/32"], ROUTES)[IP] == {key("10.1.2.3/32"): OWN}


def test_nobody_is_answered_where_nobody_is_served() -> None:
    assert tries([], ROUTES) == {IP: {}, IPV6: {}}


networks = st.builds(
    lambda address, bits: ip_network(
        (address << 24 | address << 10, bits), strict=False
    ),
    st.integers(0, 255),
    st.integers(0, 32),
)


@given(
    st.sets(networks, max_size=6),
    st.dictionaries(networks, st.integers(0, 3), max_size=8),
    st.integers(0, 255),
)
def test_every_client_goes_by_its_longest_route_if_a_network_holds_it(
    allowed: set, routes: dict, octet: int
) -> None:
    client = ip_address(octet << 24 | octet << 10)
    entries = tries(
        [str(x) for x in allowed],
        {(x.network_address.packed, x.prefixlen): i for x, i in routes.items()},
    )[IP]

    holding = [x for x in routes if client in x]
    best = routes[max(holding, key=lambda x: x.prefixlen)] if holding else 0
    expected = best if any(client in x for x in allowed) else None

    longest = max(
        (x for x in [*allowed, *routes] if client in x and key(str(x)) in entries),
        key=lambda x: x.prefixlen,
        default=None,
    )
    assert (None if longest is None else entries[key(str(longest))]) == expected
