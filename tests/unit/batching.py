"""Loopback sockets of either family, for tests of batches."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest

from dnsfront.worker.process.batch import COMPACT, AnswerBatch

HOSTS: dict[int, str] = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
FAMILIES = pytest.mark.parametrize("family", HOSTS, ids=["IPv4", "IPv6"])
SIZES = [0, 1, COMPACT - 1, COMPACT, COMPACT + 1, 1232, 65507]


@contextmanager
def sockets(family: int, *hosts: str) -> Iterator[list[socket.socket]]:
    """Yield a UDP socket for each host, on ports that the kernel chose."""
    with ExitStack() as stack:
        made = []
        for host in hosts:
            sock = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            sock.bind((host, 0))
            sock.settimeout(0)
            made.append(sock)
        yield made


def pair(family: int) -> AbstractContextManager[list[socket.socket]]:
    return sockets(family, HOSTS[family], HOSTS[family])


def connected(sock: socket.socket, to: socket.socket) -> socket.socket:
    sock.connect(to.getsockname())
    return sock


def taken(sock: socket.socket) -> list[bytes]:
    found = []
    try:
        while True:
            found.append(sock.recv(70000))
    except BlockingIOError:
        return found


def port_of(address: bytes) -> int:
    return int.from_bytes(address[2:4], "big")


def payload(number: int, size: int) -> bytes:
    return (number.to_bytes(2, "big") * (size // 2 + 1))[:size]


def answer(answering: AnswerBatch, sock: socket.socket, messages: list[bytes]) -> None:
    """Send *messages* as the fast path does: vectors first, then all octets at once."""
    at = answering.buffer_at
    for j, octets in enumerate(messages):
        answering.vectors[2 * j] = at
        answering.vectors[2 * j + 1] = len(octets)
        at += len(octets)
    answering.send_joined(sock.fileno(), b"".join(messages), len(messages))
