from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING

import pytest

from tests.kern.lab import SLOTS
from tests.kern.queries import qname_of, query, random_qname

if TYPE_CHECKING:
    from tests.kern.lab import Lab

QUERY = query(qname_of("www.example.test"))
UDP, TCP = socket.IPPROTO_UDP, socket.IPPROTO_TCP
ADDRESSES = ["127.0.0.1", "::1", "0.0.0.0", "::"]  # noqa: S104 - in a namespace
IDS = ["IPv4", "IPv6", "IPv4 wildcard", "IPv6 wildcard"]


@pytest.mark.parametrize("address", ADDRESSES, ids=IDS)
def test_datagrams_of_every_kind_of_address_are_steered(lab: Lab, address: str) -> None:
    rng = random.Random(5)
    group = lab.group((1, 2, 3, 4), address)
    lab.publish(
        bytes(rng.sample((1, 2, 3, 4), 4)) * (SLOTS // 2) + b"\4\3\2\1" * (SLOTS // 2)
    )
    client = lab.client(group)

    with lab.counting(primary=50):
        for _ in range(50):
            qname = random_qname(rng)
            client.sendto(query(qname), group.target())
            assert group.receive()[0] == lab.preference(qname)[0]


@pytest.mark.parametrize("address", ADDRESSES, ids=IDS)
def test_connections_of_every_kind_of_address_are_steered(
    lab: Lab, address: str
) -> None:
    group = lab.group((1, 2, 3), address, protocol=TCP)
    lab.publish_everywhere(2, 3, 1)

    with lab.counting(connection=2):
        for owner in (2, 3):
            client = lab.keep(socket.create_connection(group.target()))
            assert group.readable() == owner
            accepted, peer = group.sockets[owner].accept()
            lab.keep(accepted)
            assert peer[:2] == client.getsockname()[:2]
            lab.steering.set_live(2, is_live=False)

    assert [lab.steering.steered(worker_id) for worker_id in (1, 2, 3)] == [0, 0, 0]


def test_connections_spread_over_the_table(lab: Lab) -> None:
    group = lab.group((1, 2), protocol=TCP)
    lab.publish(b"\1\2\0\0" * (SLOTS // 2) + b"\2\1\0\0" * (SLOTS // 2))
    owners = set()

    with lab.counting(connection=40):
        for _ in range(40):
            lab.keep(socket.create_connection(group.target()))
            owner = group.readable()
            lab.keep(group.sockets[owner].accept()[0])
            owners.add(owner)

    assert owners == {1, 2}


def test_listeners_on_one_port_keep_apart(lab: Lab) -> None:
    first = lab.group((1, 2), "127.0.0.1")
    port = first.listener.port
    addresses = ("127.0.0.2", "::1", "0.0.0.0")  # noqa: S104 - in a namespace
    groups = [first, *(lab.group((1, 2), other, port=port) for other in addresses)]
    tcp = lab.group((1, 2), "127.0.0.1", port=port, protocol=TCP)
    lab.publish_everywhere(1, 2)
    senders = [lab.client(group) for group in groups]
    targets = ["127.0.0.1", "127.0.0.2", "::1", "127.0.0.3"]

    with lab.counting(primary=4, connection=1):
        for group, client, target in zip(groups, senders, targets, strict=True):
            client.sendto(QUERY + target.encode(), (target, port))
            assert group.receive() == (1, QUERY + target.encode())
        lab.keep(socket.create_connection(tcp.target()))
        assert tcp.readable() == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"], ids=["IPv4", "IPv6"])
def test_datagram_of_60_kb_is_placed_by_its_name(lab: Lab, address: str) -> None:
    group = lab.group((1, 2), address)
    lab.publish_everywhere(2, 1)
    client = lab.client(group)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    octets = query(qname_of("large.example.test"), rest=b"\xa5" * 60_000)

    with lab.counting(primary=1):
        client.sendto(octets, group.target())
        assert group.receive() == (2, octets)


def test_replacing_a_socket_moves_the_worker_at_once(lab: Lab) -> None:
    group = lab.group((1, 2))
    lab.publish_everywhere(1, 2)
    client = lab.client(group)
    client.sendto(b"before", group.target())
    assert group.receive() == (1, b"before")
    displaced, successor = group.sockets[1], group.bind()

    group.set(1, successor)
    lab.keep(displaced)
    group.sockets[1] = successor
    with lab.counting(primary=1):
        client.sendto(QUERY, group.target())
        assert group.receive() == (1, QUERY)

    # The displaced one is free for another place.
    group.set(3, displaced)
    group.sockets[3] = displaced
    lab.steering.set_live(3, is_live=True)
    lab.publish_everywhere(3)
    with lab.counting(primary=1):
        client.sendto(QUERY, group.target())
        assert group.receive() == (3, QUERY)


def test_worker_without_a_socket_is_passed_over(lab: Lab) -> None:
    group = lab.group((1, 2))
    lab.publish_everywhere(1, 2)
    client = lab.client(group)

    group.remove(1)
    group.remove(1)
    with lab.counting(backup=1):
        client.sendto(QUERY, group.target())
        assert group.receive() == (2, QUERY)

    assert lab.steering.steered(1) == 0


def test_socket_that_closes_leaves_the_sockarray(lab: Lab) -> None:
    group = lab.group((1, 2))
    lab.publish_everywhere(1, 2)
    client = lab.client(group)

    group.sockets.pop(1).close()
    with lab.counting(backup=1):
        client.sendto(QUERY, group.target())
        assert group.receive() == (2, QUERY)


def test_without_any_socket_in_the_sockarray_the_kernel_chooses(lab: Lab) -> None:
    group = lab.group((1, 2))
    lab.publish_everywhere(1, 2)
    client = lab.client(group)

    group.remove(1)
    group.remove(2)
    with lab.counting(no_socket=2):
        for octets in (QUERY, b"x"):
            client.sendto(octets, group.target())
            assert group.receive()[1] == octets


def test_listener_that_is_not_in_the_groups_is_left_to_the_kernel(lab: Lab) -> None:
    group = lab.group((1, 2), is_steered=False)
    lab.publish_everywhere(1, 2)
    client = lab.client(group)

    with lab.counting(no_group=1):
        client.sendto(QUERY, group.target())
        assert group.receive()[1] == QUERY


def test_group_comes_and_goes_while_attached(lab: Lab) -> None:
    group = lab.group((1, 2))
    lab.publish_everywhere(2, 1)
    client = lab.client(group)

    lab.steering.remove_group(group.listener)
    with lab.counting(no_group=1):
        client.sendto(QUERY, group.target())
        assert group.receive()[1] == QUERY

    lab.steering.add_group(group.listener)
    for worker_id, sock in group.sockets.items():
        group.set(worker_id, sock)
    with lab.counting(primary=1):
        client.sendto(QUERY, group.target())
        assert group.receive() == (2, QUERY)


def test_detached_group_goes_uncounted_and_can_be_attached_again(lab: Lab) -> None:
    group = lab.group((1, 2))
    lab.publish_everywhere(2, 1)
    client = lab.client(group)

    lab.steering.detach(group.sockets[1])
    lab.steering.detach(group.sockets[2])
    with lab.counting():
        client.sendto(QUERY, group.target())
        assert group.receive()[1] == QUERY

    lab.steering.attach(group.sockets[2])
    with lab.counting(primary=1):
        client.sendto(QUERY, group.target())
        assert group.receive() == (2, QUERY)


def test_socket_that_joins_later_is_steered_too(lab: Lab) -> None:
    group = lab.group((1,))
    late = group.bind()
    group.sockets[2] = late

    group.set(2, late)
    lab.steering.set_live(2, is_live=True)
    lab.publish_everywhere(2)
    client = lab.client(group)
    with lab.counting(primary=1):
        client.sendto(QUERY, group.target())
        assert group.receive() == (2, QUERY)


@pytest.mark.parametrize("workers", [1, 10, 20, 32, 64, 127])
def test_every_worker_can_be_reached(lab: Lab, workers: int) -> None:
    group = lab.group(tuple(range(1, workers + 1)))
    client = lab.client(group)
    reached = []

    with lab.counting(primary=workers):
        for worker_id in range(1, workers + 1):
            lab.publish_everywhere(worker_id)
            client.sendto(QUERY, group.target())
            reached.append(group.receive()[0])

    assert reached == list(range(1, workers + 1))


def test_two_groups_of_one_table_keep_apart(lab: Lab) -> None:
    first = lab.group((1, 2))
    second = lab.group((3, 4))
    lab.publish_everywhere(3, 1)
    client = lab.client(first)

    with lab.counting(primary=1, backup=1):
        client.sendto(QUERY, first.target())
        assert first.receive() == (1, QUERY)
        client.sendto(QUERY, second.target())
        assert second.receive() == (3, QUERY)
