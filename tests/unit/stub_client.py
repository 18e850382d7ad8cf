"""Clients of a worker, and what they ask."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import dns.message


class Client:
    """A stub resolver with one UDP socket."""

    def __init__(self, address: tuple[str, int], host: str = "") -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        if host:
            self.socket.bind((host, 0))
        self.socket.connect(address)
        self.socket.settimeout(0)

    def send(self, octets: bytes) -> None:
        self.socket.send(octets)

    def receive(self) -> list[bytes]:
        received = []
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            while True:
                received.append(self.socket.recv(65535))
        return received

    def close(self) -> None:
        self.socket.close()


def query_for(
    name: str = "www.example.com",
    rtype: str = "A",
    **edns: Any,  # noqa: ANN401 - as in dnspython
) -> dns.message.Message:
    return dns.message.make_query(name, rtype, use_edns=0 if edns else None, **edns)


def received(client: Client) -> list[dns.message.Message]:
    return [dns.message.from_wire(octets) for octets in client.receive()]


def received_one(client: Client) -> dns.message.Message:
    [response] = received(client)
    return response
