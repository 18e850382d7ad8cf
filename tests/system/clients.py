"""Clients: one question, or thousands of them from one port."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Sequence
from typing import Final

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode

from tests.kern.queries import query
from tests.system.front import Address

#: Behind a question: an OPT record of 1232 octets that asks for NSID (RFC 5001).
_NSID_OPT: Final = struct.pack("!xHHIHHH", 41, 1232, 0, 4, 3, 0)
_PATIENCE_S: Final = 15.0
#: Queries under way at once. A worker's backlog stays under the floor of its bound, and
#: the responses fit the default receive buffer.
_WINDOW: Final = 100


def text_of(qname: bytes) -> str:
    """Return a qname in wire form without the root label as people write it."""
    return dns.name.from_wire(qname + b"\0", 0)[0].to_text(omit_final_dot=True)


def ask(
    address: Address,
    qname: str,
    rdtype: str = "A",
    *,
    nsid: bool = True,
    payload: int = 1232,
    over_tcp: bool = False,
    dnssec: bool = False,
    flags: int = dns.flags.RD,
    timeout_s: float = _PATIENCE_S,
) -> dns.message.Message:
    """Return the response to one question; *payload* 0 is for a client without EDNS."""
    options: list[dns.edns.Option] = []
    if nsid and payload:
        options.append(dns.edns.NSIDOption(b""))
    message = dns.message.make_query(
        qname,
        rdtype,
        use_edns=0 if payload else -1,
        payload=payload or None,
        want_dnssec=dnssec,
        options=options or None,
        flags=flags,
    )
    send = dns.query.tcp if over_tcp else dns.query.udp
    return send(message, address.host, timeout=timeout_s, port=address.port)


def nsid_of(response: dns.message.Message) -> str:
    """Return the name of the worker that answered."""
    [nsid] = [x.nsid for x in response.options if isinstance(x, dns.edns.NSIDOption)]
    return nsid.decode()


def errors_of(response: dns.message.Message) -> list[int]:
    """Return the Extended DNS Errors of a response (RFC 8914)."""
    return [int(x.code) for x in response.options if isinstance(x, dns.edns.EDEOption)]


def summary(response: dns.message.Message) -> tuple[str, list[int]]:
    """Return the rcode and the Extended DNS Errors of a response."""
    return dns.rcode.to_text(response.rcode()), errors_of(response)


def nsid_query(qname: bytes, number: int) -> bytes:
    """Return the query *number* for a *qname* in wire form without the root label."""
    octets = query(qname, rest=_NSID_OPT)
    return number.to_bytes(2, "big") + octets[2:]


def ask_all(address: Address, qnames: Sequence[bytes]) -> list[dns.message.Message]:
    """Return the response to each of *qnames*, asked for with NSID from one port.

    *qnames* are in wire form without the root label.

    Raises:
        AssertionError: some have no response.
    """
    responses: dict[int, bytes] = {}
    with socket.socket(address.family, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        sent = 0
        while len(responses) < len(qnames):
            while sent < len(qnames) and sent - len(responses) < _WINDOW:
                sock.send(nsid_query(qnames[sent], sent))
                sent += 1
            octets = receive(sock)
            assert octets, f"{len(qnames) - len(responses)} queries have no response"
            responses[int.from_bytes(octets[:2], "big")] = octets
    return [dns.message.from_wire(responses[number]) for number in range(len(qnames))]


def receive(sock: socket.socket, within_s: float = _PATIENCE_S) -> bytes:
    """Return the next datagram, or nothing when none comes."""
    readable, _, _ = select.select([sock], [], [], within_s)
    return sock.recv(65535) if readable else b""
