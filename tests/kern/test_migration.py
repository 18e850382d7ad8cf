"""TCP connections of a listener that closes: another worker gets them.

The cases are those of the kernel's own selftest `migrate_reuseport`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kern.lab import Group, Lab
from tests.kern.tunnel import ACK, HOSTS, PSH, SYN, Segment, Tunnel

FAMILIES = pytest.mark.parametrize(
    "family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"]
)
PAYLOAD = b"to whom it may concern"
CLIENTS = 25
LEAVING, STAYING = (1, 2, 3, 4), 5
_FAST_OPEN = Path("/proc/thread-self/net/../sys/net/ipv4/tcp_fastopen")


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    with Tunnel() as made:
        yield made


def group_at(lab: Lab, address: str) -> Group:
    """Return five listeners, all but the last of them about to leave."""
    lab.publish_everywhere(1, 2, 3, 4)
    return lab.group((*LEAVING, STAYING), address, protocol=socket.IPPROTO_TCP)


def close_leaving(lab: Lab, group: Group) -> None:
    """Do what the supervisor does when workers leave."""
    lab.publish_everywhere(STAYING)
    for worker_id in LEAVING:
        group.remove(worker_id)
        group.sockets.pop(worker_id).close()


def accepted(group: Group) -> socket.socket:
    """Return the next connection of the listener that stays."""
    listener = group.sockets[STAYING]
    listener.settimeout(5)
    connection, _peer = listener.accept()
    connection.settimeout(5)
    return connection


@FAMILIES
def test_connections_that_nobody_accepted_move(
    lab: Lab, family: socket.AddressFamily
) -> None:
    group = group_at(lab, "127.0.0.1" if family == socket.AF_INET else "::1")
    clients = []
    for number in range(CLIENTS):
        # The first four in turn, as their owners die one by one.
        lab.publish_everywhere(LEAVING[number % 4])
        clients.append(lab.keep(socket.create_connection(group.target())))
        clients[-1].sendall(PAYLOAD)

    with lab.counting(migration=CLIENTS):
        close_leaving(lab, group)

    connections = [lab.keep(accepted(group)) for _ in clients]
    assert {x.getpeername()[1] for x in connections} == {
        x.getsockname()[1] for x in clients
    }
    assert [x.recv(100) for x in connections] == [PAYLOAD] * CLIENTS
    for connection, client in zip(connections, clients, strict=True):
        connection.sendall(PAYLOAD)
        client.settimeout(5)
    assert [client.recv(100) for client in clients] == [PAYLOAD] * CLIENTS


def shake_hands(
    tunnel: Tunnel, family: socket.AddressFamily, port: int, payload: bytes = b""
) -> tuple[Segment, Segment]:
    """Send a SYN, with *payload*; return it and the SYN-ACK that answers it."""
    syn = Segment(40000, port, 1000, 0, SYN)
    tunnel.send(family, syn, payload)
    return syn, tunnel.receive(SYN | ACK)


def last_ack(tunnel: Tunnel, family: socket.AddressFamily, synack: Segment) -> None:
    """End the handshake that *synack* is the second step of, and send the payload."""
    ack = Segment(
        *(synack.port, synack.source_port, synack.acknowledged, synack.sequence + 1),
        ACK | PSH,
    )
    tunnel.send(family, ack, PAYLOAD)


@FAMILIES
def test_handshake_goes_on_at_the_last_ack(
    lab: Lab, tunnel: Tunnel, family: socket.AddressFamily
) -> None:
    group = group_at(lab, HOSTS[family][0])
    _syn, synack = shake_hands(tunnel, family, group.listener.port)

    with lab.counting(migration=1):
        close_leaving(lab, group)
        last_ack(tunnel, family, synack)
        connection = lab.keep(accepted(group))

    assert connection.recv(100) == PAYLOAD


@FAMILIES
def test_handshake_goes_on_when_the_synack_is_sent_again(
    lab: Lab, tunnel: Tunnel, family: socket.AddressFamily
) -> None:
    group = group_at(lab, HOSTS[family][0])
    shake_hands(tunnel, family, group.listener.port)

    with lab.counting(migration=1):
        close_leaving(lab, group)
        synack = tunnel.receive(SYN | ACK)  # after a second, by the kernel's timer
    last_ack(tunnel, family, synack)

    assert lab.keep(accepted(group)).recv(100) == PAYLOAD


@FAMILIES
def test_connection_opened_with_data_moves_before_its_last_ack(
    lab: Lab,
    tunnel: Tunnel,
    family: socket.AddressFamily,
    fast_open: Callable[[], None],
) -> None:
    fast_open()
    group = group_at(lab, HOSTS[family][0])
    _syn, synack = shake_hands(tunnel, family, group.listener.port, PAYLOAD)
    assert synack.acknowledged == 1000 + 1 + len(PAYLOAD)

    with lab.counting(migration=1):
        close_leaving(lab, group)

    connection = lab.keep(accepted(group))
    assert connection.recv(100) == PAYLOAD
    last_ack(tunnel, family, synack)
    assert connection.recv(100) == PAYLOAD


@pytest.fixture
def fast_open() -> Callable[[], None]:
    """Let data in a SYN through without a cookie, at every listener made after that."""
    setting = Path("/proc/sys/net/ipv4/tcp_fastopen")

    def switch_on() -> None:
        setting.write_text(str(0x1 | 0x2 | 0x200 | 0x400))

    return switch_on
