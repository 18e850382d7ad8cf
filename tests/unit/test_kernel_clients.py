from __future__ import annotations

import socket
import struct

import pytest

from dnsfront.kernel.clients import tries

IP, IPV6 = socket.AF_INET, socket.AF_INET6


def key(network: str) -> bytes:
    address, _, bits = network.partition("/")
    family = IPV6 if ":" in address else IP
    return struct.pack("=I", int(bits)) + socket.inet_pton(family, address)


def test_each_network_is_an_entry_of_its_family() -> None:
    found = tries(["10.0.0.0/8", "0.0.0.0/0", "::1/128"], [])

    assert found == {
        IP: {key("10.0.0.0/8"): 1, key("0.0.0.0/0"): 1},
        IPV6: {key("::1/128"): 1},
    }


@pytest.mark.parametrize(
    ("networks", "own", "expected"),
    [
        (["10.0.0.0/8"], "10.1.2.3", {"10.0.0.0/8": 1, "10.1.2.3/32": 2}),
        (["10.0.0.0/8"], "11.1.2.3", {"10.0.0.0/8": 1}),
        (["10.1.2.3/32"], "10.1.2.3", {"10.1.2.3/32": 2}),
        ([], "10.1.2.3", {}),
    ],
    ids=["in-a-network", "in-none", "as-a-network", "nobody-served"],
)
def test_own_address_is_a_client_over_lo_if_it_is_one_at_all(
    networks: list[str], own: str, expected: dict[str, int]
) -> None:
    found = tries(networks, [own])[IP]

    assert found == {key(network): value for network, value in expected.items()}


def test_own_ipv6_address_is_found_in_its_network() -> None:
    found = tries(["2001:db8::/33"], ["2001:db8::5", "2001:db8:8000::5"])[IPV6]

    assert found == {key("2001:db8::/33"): 1, key("2001:db8::5/128"): 2}


def test_nobody_sends_from_a_broadcast() -> None:
    found = tries(["10.0.0.0/8"], ["10.1.2.3"], but=["10.255.255.255"])[IP]

    assert found[key("10.255.255.255/32")] == 0
