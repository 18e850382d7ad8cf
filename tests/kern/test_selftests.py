"""Rows of the kernel's own selftests that no other file here covers.

CONFORMANCE.md has the whole table.
"""

from __future__ import annotations

import errno
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dnsfront.errors import KernelError
from dnsfront.kernel.attachment import attach, detach
from tests.kern.lab import SLOTS, reuseport_socket
from tests.kern.queries import qname_of, query, random_qname
from tests.kern.tunnel import HOSTS

if TYPE_CHECKING:
    from tests.kern.lab import Lab

QUERY = query(qname_of("www.example.test"))
TCP = socket.IPPROTO_TCP
_SYNCOOKIES = Path("/proc/sys/net/ipv4/tcp_syncookies")


@pytest.fixture
def syncookies() -> Iterator[None]:
    """Have every SYN answered with a cookie, and none remembered."""
    before = _SYNCOOKIES.read_text()
    _SYNCOOKIES.write_text("2")
    yield
    _SYNCOOKIES.write_text(before)


@pytest.mark.usefixtures("syncookies")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "::"])  # noqa: S104
def test_connection_by_cookie_is_accepted_where_its_last_ack_is_steered(
    lab: Lab, address: str
) -> None:
    group = lab.group((1, 2, 3), address, protocol=TCP)
    lab.publish_everywhere(2, 3)

    # The SYN is one run, the ACK that brings the cookie back another.
    with lab.counting(connection=2):
        lab.keep(socket.create_connection(group.target()))
        assert group.readable() == 2


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("sockets", [10, 20, 32])
def test_program_is_replaced_on_a_live_group(
    lab: Lab, sockets: int, address: str
) -> None:
    """Beyond ten sockets, UDP look-ups take another way through the kernel."""
    group = lab.group(tuple(range(1, sockets + 1)), address)
    client = lab.client(group)
    for half in (sockets, sockets // 2):
        attach(group.sockets[half], lab.steering._program_fd)
        for worker_id in (1, half):
            lab.publish_everywhere(worker_id)
            with lab.counting(primary=1):
                client.sendto(QUERY, group.target())
                assert group.receive() == (worker_id, QUERY)


def test_program_may_be_attached_before_the_socket_is_bound(lab: Lab) -> None:
    group = lab.group((1,))
    sock = lab.keep(reuseport_socket(socket.AF_INET))

    attach(sock, lab.steering._program_fd)
    sock.bind(("127.0.0.3", group.listener.port))
    client = lab.client(group)
    with lab.counting(no_group=1):  # it runs; the listener is in no map of ours
        client.sendto(QUERY, sock.getsockname())
        sock.settimeout(2)
        assert sock.recv(500) == QUERY


def test_socket_with_a_program_of_its_own_cannot_join_a_group(lab: Lab) -> None:
    first, second = (lab.keep(reuseport_socket(socket.AF_INET)) for _ in range(2))
    for sock in (first, second):
        attach(sock, lab.steering._program_fd)
    first.bind(("127.0.0.1", 0))

    with pytest.raises(OSError, match="in use") as caught:
        second.bind(first.getsockname())

    assert caught.value.errno == errno.EADDRINUSE


def test_socket_without_reuseport_gets_no_program(lab: Lab) -> None:
    sock = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))

    with pytest.raises(KernelError, match=r"attach steer to .*: EINVAL"):
        attach(sock, lab.steering._program_fd)


def test_sockets_that_are_never_bound_take_their_program_along(lab: Lab) -> None:
    for _ in range(100):
        with reuseport_socket(socket.AF_INET) as sock:
            attach(sock, lab.steering._program_fd)
            detach(sock)
            attach(sock, lab.steering._program_fd)


@pytest.mark.parametrize(
    "pair",
    [("127.0.0.1", "0.0.0.0"), ("::1", "::")],  # noqa: S104 - in a namespace
    ids=["IPv4", "IPv6"],
)
@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
def test_socket_of_the_address_is_preferred_to_wildcards(
    lab: Lab, pair: tuple[str, str], *, is_first: bool
) -> None:
    addresses = list(pair)
    if not is_first:
        addresses.reverse()
    one = lab.group((1, 2), addresses[0])
    other = lab.group((1, 2), addresses[1], port=one.listener.port)
    specific = one if is_first else other
    lab.publish_everywhere(2, 1)
    client = lab.client(specific)

    with lab.counting(primary=1):
        client.sendto(QUERY, (pair[0], one.listener.port))
        assert specific.receive() == (2, QUERY)


@pytest.mark.parametrize("family", HOSTS, ids=["IPv4", "IPv6"])
def test_fragmented_datagram_is_placed_by_its_name(
    lab: Lab, family: socket.AddressFamily
) -> None:
    group = lab.group((1, 2), "127.0.0.1" if family == socket.AF_INET else "::1")
    lab.publish_everywhere(2, 1)
    client = lab.client(group)
    octets = query(qname_of("large.example.test"), rest=b"\xa5" * 20_000)
    subprocess.run(["ip", "link", "set", "lo", "mtu", "1500"], check=True)
    try:
        with lab.counting(primary=1):
            client.sendto(octets, group.target())
            assert group.receive() == (2, octets)
    finally:
        subprocess.run(["ip", "link", "set", "lo", "mtu", "65536"], check=True)


def test_every_socket_of_a_group_is_chosen_by_map_and_not_by_place(lab: Lab) -> None:
    """Sockets are bound in the reverse order of their ids (`tests/kern/lab.py`)."""
    workers = tuple(range(1, 33))
    group = lab.group(workers)
    lab.publish(b"".join(bytes((i % 32 + 1, 0, 0, 0)) for i in range(SLOTS)))
    client = lab.client(group)
    rng = random.Random(9)

    for _ in range(100):
        qname = random_qname(rng)
        client.sendto(query(qname), group.target())
        assert group.receive()[0] == lab.preference(qname)[0]
