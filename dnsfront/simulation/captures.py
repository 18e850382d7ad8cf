"""Queries out of a packet capture, PCAP or PCAPNG: read by dpkt, which is owned here.

Messages are read by what reads them in a worker. Where the capture has the response to
a question, that one is given, else one that is made up.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from io import BufferedReader
from ipaddress import ip_address
from typing import Final, NamedTuple

import dpkt

from dnsfront.dns import wire
from dnsfront.dns.entry import view_of
from dnsfront.dns.query import Query, parse_query
from dnsfront.dns.response import Response, parse_response
from dnsfront.errors import InputError, WireError
from dnsfront.simulation.traffic import (
    CLIENT_BITS,
    AskedFor,
    Key,
    Traffic,
    made_up_response,
)

#: How a PCAP begins, with both orders of octets and both units of time, and a PCAPNG.
_MAGICS: Final = {
    bytes.fromhex(magic) for magic in ("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1")
}
_MAGIC_OF_NEXT_GENERATION: Final = bytes.fromhex("0a0d0d0a")
MAGIC_OCTETS: Final = 4
#: What a packet begins with, by the number of the link's type (tcpdump.org).
_LINKS: Final[dict[int, Callable[[bytes], dpkt.Packet]]] = {
    0: dpkt.loopback.Loopback,
    1: dpkt.ethernet.Ethernet,
    108: dpkt.loopback.Loopback,
    113: dpkt.sll.SLL,
    276: dpkt.sll2.SLL2,
}
#: Types of links whose packets begin with their IP header.
_RAW_LINKS: Final = (12, 101, 228, 229)
_OPT_OCTETS: Final = 11
#: A year; a longer capture has a clock that jumped, or is damaged.
_MAX_LASTS_S: Final = 366 * 86400
_FAST_FLAGS: Final = wire.RD | wire.AD | wire.CD
#: Codes of responses that are kept.
_KEPT_RCODES: Final = (wire.NOERROR, wire.NXDOMAIN)


class AskedServer(NamedTuple):
    """Where queries went to, at any address where *host* is None."""

    host: str | None
    number: int


class _Datagram(NamedTuple):
    at: float
    source: bytes
    source_port: int
    target: bytes
    target_port: int
    octets: bytes


def is_capture(beginning: bytes) -> bool:
    """Return whether a file is a capture, by its first four octets or more."""
    magic = beginning[:MAGIC_OCTETS]
    return magic in _MAGICS or magic == _MAGIC_OF_NEXT_GENERATION


def read_capture(
    path: str,
    file: BufferedReader,
    *,
    server: AskedServer,
    udp_size: int,
    ttl_s: int,
    size_octets: int,
    seed: str,
) -> Traffic:
    """Return the queries over UDP that *file* has, at the instants when they came.

    Only those to *server* count, which sends *udp_size* octets at most. A response that
    is not in the capture has *ttl_s* and makes a message of *size_octets*.

    Raises:
        InputError: it is no capture, or has no query; the text has the packet's number.
    """
    reading = _Reading(server, udp_size, seed)
    for datagram in _datagrams(path, file, server.number, reading.left_out):
        reading.take(datagram)
    if not reading.numbers:
        where = f"port {server.number}"
        where = where if server.host is None else f"{server.host}, {where}"
        raise InputError(f"{path}: got no query over UDP to {where}, want some")
    return reading.traffic(ttl_s, size_octets)


class _Reading:
    """What was found in a capture so far."""

    def __init__(self, server: AskedServer, udp_size: int, seed: str) -> None:
        self._port = server.number
        self._host = server.host and ip_address(server.host).packed
        self._udp_size = udp_size
        self._seed = blake2b(seed.encode(), digest_size=16).digest()
        self._asked: dict[tuple[int, bytes, bytes, int], int] = {}
        self._responses: dict[bytes, Response] = {}
        self._first_at = 0.0
        self.numbers = array("I")
        self._seconds = array("I")
        self._clients = array("I")
        self.left_out: Counter[str] = Counter()

    def take(self, datagram: _Datagram) -> None:
        octets = datagram.octets
        if len(octets) <= wire.HEADER_OCTETS:
            self.left_out["malformed"] += 1
        elif octets[2] & 0x80:
            if self._is_server(datagram.source, datagram.source_port):
                self._take_response(octets)
        elif self._is_server(datagram.target, datagram.target_port):
            self._take_query(datagram)

    def _is_server(self, host: bytes, port: int) -> bool:
        return port == self._port and self._host in (None, host)

    def _take_query(self, datagram: _Datagram) -> None:
        try:
            query = parse_query(datagram.octets)
        except WireError:
            self.left_out["malformed"] += 1
            return
        if query.qclass != wire.CLASS_IN or query.qtype == wire.ANY:
            self.left_out["class or ANY"] += 1
            return
        edns = query.edns
        view = view_of(query.flags, is_dnssec_ok=edns is not None and edns.is_dnssec_ok)
        limit = self._limit(query, len(datagram.octets))
        asked = (view, query.question.lower(), query.question[-4:], limit)
        if not self.numbers:
            self._first_at = datagram.at
        # Packets of several queues may stand a little out of order.
        latest = self._seconds[-1] if self._seconds else 1
        self._seconds.append(max(latest, 1 + int(datagram.at - self._first_at)))
        self.numbers.append(self._asked.setdefault(asked, len(self._asked)))
        self._clients.append(self._client(datagram))

    def _limit(self, query: Query, size: int) -> int:
        """Return the longest response that the kernel may give to *query*."""
        around = wire.HEADER_OCTETS + len(query.question)
        if query.flags & ~_FAST_FLAGS:
            return 0
        if query.edns is None:
            return wire.PLAIN_UDP_OCTETS if size == around else 0
        if size != around + _OPT_OCTETS:
            return 0
        return min(query.edns.udp_size, self._udp_size) - _OPT_OCTETS

    def _client(self, datagram: _Datagram) -> int:
        ports = struct.pack("!2H", datagram.source_port, datagram.target_port)
        octets = datagram.source + datagram.target + ports
        digest = blake2b(octets, digest_size=CLIENT_BITS // 8, key=self._seed)
        return int.from_bytes(digest.digest(), "big")

    def _take_response(self, octets: bytes) -> None:
        end = wire.question_end(octets)
        if octets[4:6] != b"\0\1" or end < 0 or octets[2] & wire.TC >> 8:
            return
        if octets[3] & wire.RCODE_MASK not in _KEPT_RCODES:
            return
        try:
            response = parse_response(octets, end)
        except WireError:
            return
        question = octets[wire.HEADER_OCTETS : end]
        question = question[:-4].lower() + question[-4:]
        other = self._responses.get(question)
        # What comes out of a cache has an aged TTL.
        if other is None or other.ttl_s < response.ttl_s:
            self._responses[question] = response

    def traffic(self, ttl_s: int, size_octets: int) -> Traffic:
        """Return all that was found, with a response to each question."""
        questions = []
        for view, key, tail, limit in self._asked:
            question = key[:-4] + tail
            response = self._responses.get(question) or made_up_response(
                question, ttl_s=ttl_s, size_octets=size_octets
            )
            questions.append(AskedFor(view, Key(key), tail, limit, response))
        return Traffic(
            questions, self.numbers, self._seconds, self._clients, dict(self.left_out)
        )


def _datagrams(
    path: str, file: BufferedReader, port: int, left_out: Counter[str]
) -> Iterator[_Datagram]:
    """Yield the datagrams from and to *port*, and count what else there is."""
    read, first_at = 0, 0.0
    try:
        # What comes through a pipe cannot be gone back in, as a reader for both would.
        is_next = file.peek(MAGIC_OCTETS)[:MAGIC_OCTETS] == _MAGIC_OF_NEXT_GENERATION
        reader = (dpkt.pcapng.Reader if is_next else dpkt.pcap.Reader)(file)
        link = reader.datalink()
        if link not in _LINKS and link not in _RAW_LINKS:
            wanted = "Ethernet, loopback, Linux cooked or raw IP"
            raise InputError(f"{path}: got packets of link type {link}, want {wanted}")
        for read, (at, octets) in enumerate(reader, 1):
            first_at = float(at) if read == 1 else first_at
            if float(at) - first_at > _MAX_LASTS_S:
                raise InputError(
                    f"{path}: packet {read}: got one of {float(at) - first_at:.0f} s"
                    " after the first, want a year at most"
                )
            datagram = _datagram(float(at), octets, link, port, left_out)
            if datagram is not None:
                yield datagram
    except (dpkt.Error, ValueError, struct.error, IndexError, MemoryError) as exc:
        # dpkt raises whatever its parsers meet.
        raise InputError(
            f"{path}: damaged or cut short behind packet {read}: {exc}"
        ) from exc


def _datagram(
    at: float, octets: bytes, link: int, port: int, left_out: Counter[str]
) -> _Datagram | None:
    try:
        packet = _ip(octets, link)
    except (dpkt.Error, struct.error, IndexError, AttributeError):
        left_out["unreadable packet"] += 1
        return None
    if not isinstance(packet, dpkt.ip.IP | dpkt.ip6.IP6):
        return None
    inner = packet.data
    if isinstance(inner, dpkt.tcp.TCP):
        if inner.dport == port and inner.data:
            left_out["TCP segment"] += 1
        return None
    if not isinstance(inner, dpkt.udp.UDP) or port not in (inner.sport, inner.dport):
        return None
    message = bytes(inner.data)
    if len(message) + 8 != inner.ulen:
        left_out["fragment or cut packet"] += 1
        return None
    return _Datagram(at, packet.src, inner.sport, packet.dst, inner.dport, message)


def _ip(octets: bytes, link: int) -> dpkt.Packet:
    if link in _RAW_LINKS:
        is_v6 = octets[0] >> 4 == 6
        return dpkt.ip6.IP6(octets) if is_v6 else dpkt.ip.IP(octets)
    return _LINKS[link](octets).data
