from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from dnsfront.config.model import MAX_LISTEN
from dnsfront.errors import ControlError, PrivilegeError, UnavailableError
from dnsfront.ipc.spec import Listener
from dnsfront.ipc.transports import TRANSPORTS
from dnsfront.kernel.steering import MAX_GROUPS
from dnsfront.kernel.userspace import UserspaceSteering
from dnsfront.supervisor.sockets.groups import SocketGroups
from dnsfront.supervisor.sockets.listeners import bind_error, check_free, open_sockets
from dnsfront.worker.peers.envelopes import DATAGRAM, DATAGRAM_HEAD
from tests.unit.supervisor_fakes import free_port


@pytest.fixture
def listener() -> Listener:
    return Listener("127.0.0.1", free_port(), socket.AF_INET, "udp", is_wildcard=False)


@pytest.fixture
def both(listener: Listener) -> list[Listener]:
    return [listener, replace(listener, transport="tcp")]


@pytest.fixture
def groups(both: list[Listener]) -> Iterator[SocketGroups]:
    with ExitStack() as stack:
        steering = UserspaceSteering()
        stack.callback(steering.close)
        groups = SocketGroups(both, steering)
        yield groups
        for worker_id in range(1, 4):
            groups.leave(worker_id)


def test_a_reload_may_replace_all_that_the_config_allows() -> None:
    """Who adds a transport meets these bounds first."""
    assert 2 * MAX_LISTEN * len(TRANSPORTS) <= MAX_GROUPS
    in_a_datagram = DATAGRAM_HEAD.pack(DATAGRAM, MAX_GROUPS - 1, 0, 0, b"", b"")
    assert DATAGRAM_HEAD.unpack(in_a_datagram)[1] == MAX_GROUPS - 1


def test_listeners_that_are_too_many_together_are_refused_in_a_sentence() -> None:
    def some(host: int) -> list[Listener]:
        return [
            Listener(f"192.0.2.{host}", port, 2, "udp", is_wildcard=False)
            for port in range(1, MAX_GROUPS // 2 + 2)
        ]

    with closing(UserspaceSteering()) as steering:
        groups = SocketGroups(some(1), steering)
        before = groups.listeners

        with pytest.raises(ControlError, match=r"^listen: got 258 listeners, .*256 at"):
            groups.numbered(some(2))

        assert len({x.number for x in groups.numbered(some(1) + some(2)[2:])}) == 256
        assert groups.listeners == before


def test_a_free_address_is_free_and_stays_so(both: list[Listener]) -> None:
    check_free(both)
    check_free(both)


@pytest.mark.parametrize(
    ("kind", "transport"),
    [(socket.SOCK_DGRAM, "UDP"), (socket.SOCK_STREAM, "TCP")],
    ids=["UDP", "TCP"],
)
def test_an_address_shared_by_another_server_is_in_use(
    both: list[Listener], kind: socket.SocketKind, transport: str
) -> None:
    listener, _ = both
    with socket.socket(socket.AF_INET, kind) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((listener.address, listener.port))
        if kind == socket.SOCK_STREAM:
            other.listen()

        with pytest.raises(UnavailableError) as caught:
            check_free(both)

    assert str(caught.value) == (
        f"listen[0] 127.0.0.1:{listener.port}: {transport} address is in use; stop the "
        "other server (a running dnsfront? `dnsfront status`) or change listen"
    )


def test_an_address_of_another_host_is_named() -> None:
    stranger = Listener(
        "192.0.2.1", free_port(), socket.AF_INET, "udp", is_wildcard=False
    )

    with pytest.raises(
        UnavailableError, match=r"listen\[0\] 192\.0\.2\.1:.* no such a"
    ):
        check_free([stranger])


def test_a_reserved_port_is_a_matter_of_rights() -> None:
    error = bind_error(
        "listen[1]", "[::1]:53", "UDP", PermissionError(errno.EACCES, "")
    )

    assert isinstance(error, PrivilegeError)
    assert str(error).startswith("listen[1] [::1]:53: no right to bind the UDP port;")


def test_workers_share_an_address_and_listen(both: list[Listener]) -> None:
    first = open_sockets(both)
    second = open_sockets(both)

    for udp, tcp in (first, second):
        assert tcp.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert not udp.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert udp.sock.getblocking() is False
        udp.close()
        tcp.close()


@pytest.mark.parametrize(
    ("address", "family", "option"),
    [
        ("0.0.0.0", socket.AF_INET, (socket.IPPROTO_IP, 8)),  # noqa: S104 - under test
        ("::", socket.AF_INET6, (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)),
    ],
    ids=["IPv4", "IPv6"],
)
def test_wildcard_sockets_tell_the_address_that_was_asked(
    address: str, family: int, option: tuple[int, int]
) -> None:
    wildcard = Listener(address, free_port(), family, "udp", is_wildcard=True)

    [opened] = open_sockets([wildcard])

    assert opened.sock.getsockopt(*option) == 1
    opened.close()


def test_both_wildcards_serve_the_same_port() -> None:
    port = free_port()
    wildcards = [
        Listener(host, port, family, transport, is_wildcard=True)
        for host, family in (("0.0.0.0", socket.AF_INET), ("::", socket.AF_INET6))  # noqa: S104 - under test
        for transport in TRANSPORTS
    ]

    check_free(wildcards)
    sockets = open_sockets(wildcards)

    assert [opened.listener for opened in sockets] == wildcards
    for opened in sockets:
        opened.close()


def test_datagrams_that_find_the_socket_full_are_counted(
    groups: SocketGroups, listener: Listener
) -> None:
    groups.bind(1)
    groups.join(1)
    udp, _tcp = groups.sockets_of(1, groups.listeners)
    udp.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for _ in range(100):
            client.sendto(b"x" * 500, (listener.address, listener.port))

    received = 0
    while True:
        try:
            udp.sock.recv(600)
        except BlockingIOError:
            break
        received += 1

    assert 0 < received < 100
    assert groups.dropped(1) == 100 - received
    assert groups.leave(1) == 100 - received
    assert groups.leave(1) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="root is missing, to have the buffer")
def test_burst_of_twenty_thousand_queries_waits_for_one_worker(
    groups: SocketGroups, listener: Listener
) -> None:
    groups.bind(1)
    groups.join(1)
    udp, _tcp = groups.sockets_of(1, groups.listeners)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((listener.address, listener.port))
        for _ in range(20_000):
            client.send(bytes(60))

    assert groups.dropped(1) == 0
    assert sum(1 for _ in range(20_000) if udp.sock.recv(600)) == 20_000


def test_a_worker_that_left_frees_its_place(groups: SocketGroups) -> None:
    for worker_id in (1, 2):
        groups.bind(worker_id)
        groups.join(worker_id)

    groups.leave(1)

    assert 1 not in groups
    assert len(groups) == 1
    groups.bind(1)
    groups.join(1)
    assert len(groups) == 2
