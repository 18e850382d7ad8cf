"""UDP packets as octets, good and bad ones, and the parts of those that came back."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, replace
from typing import Final

IP, IPV6 = socket.AF_INET, socket.AF_INET6
ETHERTYPES: Final = {IP: 0x0800, IPV6: 0x86DD}
#: Ours and the client's, whose hardware addresses tell the two apart.
OURS: Final = {IP: "127.0.0.1", IPV6: "::1"}
CLIENTS: Final = {IP: "127.0.0.9", IPV6: "::1"}
PORT: Final = 5353
CLIENT_PORT: Final = 40053


@dataclass(frozen=True)
class Packet:
    """One packet; *checksum* is true, partial, none or a number that is wrong."""

    family: int
    payload: bytes
    source: str = ""
    target: str = ""
    source_port: int = CLIENT_PORT
    port: int = PORT
    checksum: str | int = "true"
    client_link: bytes = b"\2\0\0\0\0\x09"
    our_link: bytes = bytes(6)  # that of lo
    ethertype: int | None = None
    ip_options: bytes = b""
    fragment: int = 0x4000  # do not
    protocol: int = socket.IPPROTO_UDP
    hop_limit: int = 64
    ip_identity: int = 7
    ip_checksum_error: int = 0
    udp_length_error: int = 0
    padding: bytes = b""
    ip_payload: bytes = b""  # in place of all behind the IP header

    def to_wire(self) -> bytes:
        """Return the octets, from the Ethernet header on."""
        source = self._packed(self.source or CLIENTS[socket.AddressFamily(self.family)])
        target = self._packed(self.target or OURS[socket.AddressFamily(self.family)])
        udp = self.ip_payload or self._udp(source, target)
        if self.family == IP:
            total = 20 + len(self.ip_options) + len(udp)
            head = struct.pack(
                "!BBHHHBBH4s4s",
                0x45 + len(self.ip_options) // 4,
                0,
                total,
                self.ip_identity,
                self.fragment,
                self.hop_limit,
                self.protocol,
                0,
                source,
                target,
            )
            head += self.ip_options
            checksum = checksum_of(head) ^ self.ip_checksum_error
            head = head[:10] + struct.pack("!H", checksum) + head[12:]
        else:
            head = struct.pack(
                "!IHBB", 6 << 28, len(udp), self.protocol, self.hop_limit
            )
            head += source + target
        ethertype = self.ethertype or ETHERTYPES[socket.AddressFamily(self.family)]
        link = self.our_link + self.client_link + struct.pack("!H", ethertype)
        return link + head + udp + self.padding

    def _packed(self, address: str) -> bytes:
        return socket.inet_pton(self.family, address)

    def _udp(self, source: bytes, target: bytes) -> bytes:
        length = 8 + len(self.payload) + self.udp_length_error
        udp = struct.pack("!HHHH", self.source_port, self.port, length, 0)
        udp += self.payload
        pseudo = source + target + struct.pack("!II", length, socket.IPPROTO_UDP)
        checksum = self.checksum
        if checksum == "true":
            checksum = checksum_of(pseudo + udp) or 0xFFFF
        elif checksum == "partial":
            checksum = 0xFFFF ^ checksum_of(pseudo)
        elif checksum == "none":
            checksum = 0
        return udp[:6] + struct.pack("!H", checksum) + udp[8:]


def answer_to(query: Packet, payload: bytes, *, checksum: str = "true") -> Packet:
    """Return the packet in which a response has to go back."""
    family = socket.AddressFamily(query.family)
    return replace(
        query,
        payload=payload,
        source=query.target or OURS[family],
        target=query.source or CLIENTS[family],
        source_port=query.port,
        port=query.source_port,
        checksum=checksum,
        client_link=query.our_link,
        our_link=query.client_link,
        hop_limit=64,
        ip_identity=0,
        fragment=0x4000,
    )


def payload_of(octets: bytes) -> bytes:
    """Return the DNS message in a packet without IP options."""
    return octets[42:] if octets[12:14] == b"\x08\0" else octets[62:]


def checksum_of(octets: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    octets += b"\0" * (len(octets) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
