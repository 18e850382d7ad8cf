"""Upstream servers that say what a test lets them say."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

import dns.message
import dns.rcode
import dns.rrset

from dnsfront.ipc.spec import UpstreamServer

#: The record that a fake upstream gives for the question of `query_for()`.
ADDRESS: Final = "www.example.com. 300 A 192.0.2.1"


class FakeUpstream:
    """A resolver that says what a test lets it say, over UDP and TCP."""

    def __init__(self, index: int = 0, family: int = socket.AF_INET) -> None:
        host = "127.0.0.1" if family == socket.AF_INET else "::1"
        self.index = index
        self.udp, self.tcp = twin_sockets(family, host)
        self.udp.settimeout(0)
        self.tcp.settimeout(0)
        self.tcp.listen()
        port = self.udp.getsockname()[1]
        self.spec = UpstreamServer(index, host, port, family, 1)

    def take(self) -> list[tuple[dns.message.Message, tuple[str, int]]]:
        """Return the queries that came over UDP since the last call, with senders."""
        return [
            (dns.message.from_wire(octets), sender)
            for octets, sender in self.take_octets()
        ]

    def take_octets(self) -> list[tuple[bytes, tuple[str, int]]]:
        """Return what :meth:`take` does, unread."""
        taken = []
        with contextlib.suppress(BlockingIOError):
            while True:
                taken.append(self.udp.recvfrom(65535))
        return taken

    def take_one(self) -> tuple[dns.message.Message, tuple[str, int]]:
        [one] = self.take()
        return one

    def send(self, octets: bytes, sender: tuple[str, int]) -> None:
        self.udp.sendto(octets, sender)

    def answer(self, *records: str, **said: int) -> dns.message.Message:
        """Respond to the one query that came; return it."""
        query, sender = self.take_one()
        octets = said_to(query, *records, **said).to_wire(max_size=65535)
        self.send(octets, sender)
        return query

    def accept(self) -> socket.socket:
        """Return the connection that came over TCP."""
        connection, _address = self.tcp.accept()
        connection.settimeout(5)
        return connection

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


def twin_sockets(family: int, host: str) -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a TCP socket on one port that the kernel chose."""
    while True:
        udp = socket.socket(family, socket.SOCK_DGRAM)
        tcp = socket.socket(family, socket.SOCK_STREAM)
        udp.bind((host, 0))
        try:
            tcp.bind((host, udp.getsockname()[1]))
        except OSError:
            udp.close()
            tcp.close()
            continue
        return udp, tcp


def said_to(
    query: dns.message.Message,
    *records: str,
    rcode: int = 0,
    flags: int = 0,
    edns: int = 0,
) -> dns.message.Message:
    """Return a response with *records*, each ``name ttl type data``, dot or no dot."""
    response = dns.message.make_response(query, recursion_available=True)
    response.flags |= flags
    for record in records:
        owner, ttl, kind, data = record.split(maxsplit=3)
        owner = owner.removesuffix(".") + "."
        response.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, data))
    if edns < 0:
        response.use_edns(-1)
    response.set_rcode(dns.rcode.Rcode(rcode))
    return response
