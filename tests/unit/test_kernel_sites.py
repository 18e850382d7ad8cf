"""Where the kernel is to answer, by what the config wants and the host has."""

from __future__ import annotations

import socket

import pytest

from dnsfront.ipc.spec import Listener
from dnsfront.supervisor.host.interfaces import Interface
from dnsfront.supervisor.kernel_cache.sites import endpoints, sites

IP = int(socket.AF_INET)
LO = Interface("lo", 1, frozenset({socket.inet_aton("127.0.0.1")}))
ETH = Interface(
    "eth0",
    2,
    frozenset({socket.inet_aton("192.0.2.1"), socket.inet_pton(10, "fe80::1")}),
    driver="virtio_net",
)
VETH = Interface("veth0", 3, frozenset(), driver="veth")
TUNNEL = Interface("wg0", 4, frozenset(), has_ethernet=False)
HOST = (LO, ETH, VETH, TUNNEL)
SERVED = {("127.0.0.1", 53, IP): False, ("192.0.2.1", 53, IP): False}


def listener(address: str) -> Listener:
    family = IP if "." in address else int(socket.AF_INET6)
    return Listener(address, 53, family, "udp", address in {"0.0.0.0", "::"})  # noqa: S104


def test_wildcard_stands_for_all_addresses_but_those_of_one_link() -> None:
    found = endpoints([listener("0.0.0.0"), listener("::")], HOST)  # noqa: S104

    assert found == dict.fromkeys(SERVED, True)


def test_address_that_is_named_beside_a_wildcard_is_bound_for_itself() -> None:
    found = endpoints([listener("192.0.2.1"), listener("0.0.0.0")], HOST)  # noqa: S104

    assert found == {**SERVED, ("127.0.0.1", 53, IP): True}


def test_interfaces_that_carry_what_is_served_are_answered_at() -> None:
    assert [x.interface for x in sites("tc", (), SERVED, HOST)] == ["lo", "eth0"]


@pytest.mark.parametrize(
    ("mode", "modes"),
    [
        ("auto", [("tc",), ("tc",)]),
        ("tc", [("tc",), ("tc",)]),
        ("xdp", [("xdp", "xdp_generic"), ("xdp_generic",)]),
    ],
)
def test_veth_alone_never_gets_a_program_in_its_driver(
    mode: str, modes: list[tuple[str, ...]]
) -> None:
    found = sites(mode, ("eth0", "veth0"), SERVED, HOST)

    assert [x.modes for x in found] == modes
    assert not any(x.refusal for x in found)


def test_packet_filter_keeps_auto_alone_from_all_but_lo() -> None:
    filters = ("nftables inet f input", "nftables ip nat prerouting")

    lo, eth0 = sites("auto", (), SERVED, HOST, filters)

    assert lo.refusal == ""
    assert "(nftables inet f input and 1 more)" in eth0.refusal
    assert not any(x.refusal for x in sites("tc", (), SERVED, HOST, filters))


def test_interface_without_ethernet_is_refused_in_every_mode() -> None:
    for mode in ("auto", "tc", "xdp"):
        [site] = sites(mode, ("wg0",), SERVED, HOST)
        assert site.refusal.endswith("its packets have no Ethernet header")
