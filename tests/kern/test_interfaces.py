"""What this host's interfaces and addresses are."""

from __future__ import annotations

import select
import socket
import subprocess

import pytest

from dnsfront.supervisor.host.interfaces import CHANGES, interfaces
from dnsfront.supervisor.host.netlink import ChangeNotice
from tests.namespaces import private_network


def test_lo_has_the_loopback_addresses() -> None:
    with private_network():
        [lo] = interfaces()

    assert (lo.name, lo.index) == ("lo", 1)
    assert socket.inet_aton("127.0.0.1") in lo.addresses


def test_interfaces_that_are_down_are_none() -> None:
    with private_network():
        _ip("link add d0 type veth peer name d1")
        _ip("addr add 192.0.2.7/32 dev d0")
        assert [x.name for x in interfaces()] == ["lo"]
        _ip("link set d0 up")
        found = {x.name: x.addresses for x in interfaces()}

    assert socket.inet_aton("192.0.2.7") in found["d0"]


def test_tunnel_is_known_by_its_packets_without_ethernet() -> None:
    with private_network():
        _ip("tuntap add t0 mode tun")
        _ip("link add d0 type veth peer name d1")
        _ip("addr add 192.0.2.7/32 dev t0")
        _ip("link set t0 up")
        _ip("link set d0 up")
        found = {x.name: (x.has_ethernet, x.driver) for x in interfaces()}

    assert found == {"lo": (True, ""), "t0": (False, "tun"), "d0": (True, "veth")}


@pytest.mark.parametrize(
    "change",
    [
        "addr add 192.0.2.7/32 dev lo",
        "link set lo down",
        "route add blackhole 192.0.2.0/24",
    ],
)
def test_changes_are_told_and_cleared(change: str) -> None:
    with private_network():
        notice = ChangeNotice(*CHANGES)
        try:
            notice.clear()
            _ip(change)
            assert select.select([notice], [], [], 10)[0]
            notice.clear()
            assert not select.select([notice], [], [], 0)[0]
        finally:
            notice.close()


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)
