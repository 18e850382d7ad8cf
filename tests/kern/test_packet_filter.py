"""What the host's packet filter is said to judge."""

from __future__ import annotations

import select
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from dnsfront.supervisor.host.netlink import ChangeNotice
from dnsfront.supervisor.host.packet_filter import CHANGES, filters
from tests.namespaces import private_network


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    if shutil.which("nft") is None:
        pytest.skip("nft is missing: make setup installs nftables")
    with private_network():
        yield


def nft(rules: str) -> None:
    # Its grammar wants the end of a line behind every block.
    text = rules.replace("}", "}\n")
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def test_host_without_rules_filters_nothing() -> None:
    assert filters() == ()


@pytest.mark.parametrize(
    "chain",
    [
        "{ type filter hook input priority 0; policy accept; udp dport 53 drop; }",
        "{ type filter hook input priority 0; policy drop; }",
        "{ type filter hook prerouting priority -300; notrack; }",
        "{ type filter hook output priority 0; counter; }",
        "{ type nat hook postrouting priority 100; masquerade; }",
    ],
)
@pytest.mark.parametrize("family", ["inet", "ip", "ip6"])
def test_chain_that_sees_packets_of_this_host_is_named(family: str, chain: str) -> None:
    nft(f"table {family} t {{ chain c {chain} }}")

    assert filters() == (f"nftables {family} t c",)


def test_ingress_of_a_device_is_named() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    nft(
        "table netdev t { chain c"
        " { type filter hook ingress device lo priority 0; udp dport 53 drop; } }"
    )

    assert filters() == ("nftables netdev t c",)


@pytest.mark.parametrize(
    "rules",
    [
        "table inet t { chain c { type filter hook input priority 0; } }",
        "table inet t { chain c { udp dport 53 drop; } }",
        "table inet t { chain c { type filter hook forward priority 0; drop; } }",
        "table bridge t { chain c { type filter hook input priority 0; drop; } }",
    ],
)
def test_chain_that_sees_none_of_them_is_not(rules: str) -> None:
    nft(rules)

    assert filters() == ()


def test_hundred_chains_are_all_named() -> None:
    chains = [
        f"chain c{n} {{ type filter hook input priority {n}; counter; }}"
        for n in range(100)
    ]
    nft(f"table inet t {{ {' '.join(chains)} }}")

    assert set(filters()) == {f"nftables inet t c{n}" for n in range(100)}


def test_rule_that_comes_is_told() -> None:
    notice = ChangeNotice(*CHANGES)
    try:
        nft("table inet t { chain c { type filter hook input priority 0; drop; } }")
        assert select.select([notice], [], [], 10)[0]
    finally:
        notice.close()
