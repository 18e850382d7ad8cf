"""The access list: who is served, what it costs to find out, what the others get."""

from __future__ import annotations

import ipaddress
import socket
import time
from contextlib import ExitStack

import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.dns import wire
from dnsfront.ipc.stats import Counter
from dnsfront.worker.clients.access import AccessList
from tests.unit.datagrams import message, padded, said, with_opt, www
from tests.unit.stub_client import query_for
from tests.unit.worker_rig import ZONE, Rig

V4 = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda pair: ipaddress.ip_network(pair, strict=False)
)
V6 = st.tuples(
    st.sampled_from([0, 2**127, 0x20010DB8 << 96, (0x20010DB8 << 96) + 2**64 - 1]),
    st.integers(0, 128),
).map(
    lambda pair: ipaddress.ip_network((ipaddress.IPv6Address(pair[0]), pair[1]), False)  # noqa: FBT003 - its signature
)


@given(
    networks=st.lists(st.one_of(V4, V6), max_size=12),
    addresses=st.lists(st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)),
)
def test_verdicts_are_those_of_a_walk_over_the_list(
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network],
    addresses: list[ipaddress.IPv4Address],
) -> None:
    access = AccessList([str(network) for network in networks])
    edges = [
        edge
        for network in networks
        for edge in (network.network_address, network.broadcast_address)
    ]
    beyond = [x + 1 for x in edges if int(x) + 1 < 2**x.max_prefixlen]

    for address in (*addresses, *edges, *beyond):
        is_allowed = any(address in network for network in networks)
        assert access.allows(address.packed) == is_allowed


def cost_of_a_denial(networks: int) -> float:
    """Return the least of several times that a thousand denials took."""
    access = AccessList(
        [
            f"10.{n >> 15 & 255}.{n >> 7 & 255}.{(n & 127) * 2}/32"
            for n in range(networks)
        ]
    )
    strangers = [
        ipaddress.IPv4Address(f"10.{n % 256}.{n % 199}.{n % 127 * 2 + 1}").packed
        for n in range(1000)
    ]
    took = []
    for _ in range(5):
        began = time.perf_counter()
        assert not any(map(access.allows, strangers))
        took.append(time.perf_counter() - began)
    return min(took)


def test_denial_costs_about_the_same_whatever_the_length_of_the_list() -> None:
    # A walk would take 5,000 times as long, a busy machine does not.
    assert cost_of_a_denial(100_000) < 20 * cost_of_a_denial(20)


def test_clients_that_are_not_allowed_get_silence_where_that_is_wanted() -> None:
    with Rig(zone=ZONE) as rig:
        rig.admit("192.0.2.0/24", deny="drop")

        answers = [
            rig.ask(query_for("www.example.test", **edns).to_wire())
            for edns in ({}, {"payload": 1232})
        ]

        assert answers == [[], []]
        assert rig.counted() == {"QUERIES_UDP": 2, "IGNORED_DENIED": 2}


@pytest.mark.parametrize("edns", [{}, {"payload": 1232}], ids=["plain", "EDNS"])
def test_quick_refusal_is_the_one_that_parsing_gives(edns: dict[str, int]) -> None:
    with Rig(zone=ZONE) as rig:
        octets = query_for("wWw.example.test", **edns).to_wire()
        rig.admit("192.0.2.0/24")
        [parsed] = rig.ask(octets)
        rig.admit("127.0.0.0/8")
        rig.ask(octets)
        rig.admit("192.0.2.0/24")

        [quick] = rig.ask(octets)

        assert quick == parsed
        assert rig.answering.shapes.refusal(octets) == quick
        assert rig.count(Counter.REFUSED) == 2
        assert rig.count(Counter.EXCEPTIONS) == 0


@pytest.mark.parametrize(
    "question",
    [b"", b"\1", b"\3www", b"\xc0\x0c\0\1\0\1", b"\0\0\1\0"],
    ids=["none", "a length", "no end", "a pointer", "a type and half a class"],
)
def test_question_that_is_none_is_not_echoed_by_a_quick_refusal(
    question: bytes,
) -> None:
    with Rig(zone=ZONE, allow=["192.0.2.0/24"]) as rig:
        [response] = rig.ask(b"\0\1\1\0\0\1\0\0\0\0\0\0" + question)

        assert response[3] & 15 == dns.rcode.REFUSED
        assert response[4:6] == bytes(2)
        assert len(response) == 12


def test_allowed_and_denied_clients_share_a_batch() -> None:
    query = query_for("www.example.test").to_wire()
    with Rig(zone=ZONE, allow=["127.0.0.1/32"]) as rig, ExitStack() as stack:
        rig.ask(query)
        clients = []
        for source in ("127.0.0.2", "127.0.0.1"):
            client = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            client.bind((source, 0))
            client.settimeout(1)
            client.connect(rig.address)
            clients.append(client)

        for client in 3 * clients:
            client.send(query)
        rig.round()

        rcodes = [[x.recv(512)[3] & 15 for _ in range(3)] for x in clients]
        assert rcodes == [[5, 5, 5], [0, 0, 0]]
        assert rig.count(Counter.REFUSED) == 3


def test_client_that_is_not_allowed_is_refused_with_the_reason() -> None:
    with Rig(zone=ZONE, allow=("192.0.2.0/24",)) as rig:
        for octets in (message(), with_opt(), padded(1000), message(flags=4 << 11)):
            [response] = rig.ask(octets)
            assert said(response) == "REFUSED"
        refused = rig.ask_for(www(payload=1232))
        silent = rig.ask(b"") + rig.ask(message(flags=wire.QR))

        assert [error.code for error in refused.extended_errors()] == [18]
        assert silent == []
        assert rig.counted() == {
            "QUERIES_UDP": 7,
            "NOT_ALLOWED": 5,
            "REFUSED": 5,
            "IGNORED_SHORT": 1,
            "IGNORED_RESPONSE": 1,
        }


def test_client_that_is_no_longer_allowed_is_refused_at_once() -> None:
    with Rig(zone=ZONE) as rig:
        rig.ask_for(www())

        rig.admit("192.0.2.0/24")

        assert rig.ask_for(www()).rcode() == dns.rcode.REFUSED


def test_clients_are_served_over_ipv6() -> None:
    with Rig(zone=ZONE, host="::1") as rig:
        for _ in range(3):
            assert rig.ask_for(www()).rcode() == dns.rcode.NOERROR
        rig.admit("127.0.0.0/8")

        assert rig.ask_for(www()).rcode() == dns.rcode.REFUSED
