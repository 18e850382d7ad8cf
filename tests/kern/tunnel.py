"""A network behind a TUN device, whose hosts are played segment by segment.

So a test decides when the last ACK of a handshake arrives, or whether it ever does.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import subprocess
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import pytest

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_NAME: Final = "dnsfront-tun"

SYN, ACK, PSH = 0x02, 0x10, 0x08

#: The addresses of this host and of the one that is played, by family.
HOSTS: Final = {
    socket.AF_INET: ("10.77.0.1", "10.77.0.2", 24),
    socket.AF_INET6: ("fd00:77::1", "fd00:77::2", 64),
}


@dataclass(frozen=True)
class Segment:
    """What of a TCP segment matters here."""

    source_port: int
    port: int
    sequence: int
    acknowledged: int
    flags: int


class Tunnel:
    """The device, up, with an address of either family."""

    def __init__(self) -> None:
        try:
            self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        except OSError as exc:
            pytest.skip(f"/dev/net/tun is missing: {exc.strerror}")
        request = struct.pack("16sH22x", _NAME.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(self._fd, _TUNSETIFF, request)
        for own, _other, prefix in HOSTS.values():
            options = ["nodad"] if ":" in own else []
            _ip("address", "add", f"{own}/{prefix}", "dev", _NAME, *options)
        _ip("link", "set", _NAME, "up")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def send(
        self, family: socket.AddressFamily, segment: Segment, payload: bytes = b""
    ) -> None:
        """Send *segment* from the other host to this one."""
        own, other, _prefix = HOSTS[family]
        octets = (
            struct.pack(
                "!HHIIBBHHH",
                *(segment.source_port, segment.port),
                *(segment.sequence, segment.acknowledged),
                *(5 << 4, segment.flags, 65535, 0, 0),
            )
            + payload
        )
        source, target = socket.inet_pton(family, other), socket.inet_pton(family, own)
        pseudo = source + target + struct.pack("!II", len(octets), socket.IPPROTO_TCP)
        checksum = struct.pack("!H", _checksum(pseudo + octets))
        octets = octets[:16] + checksum + octets[18:]
        os.write(self._fd, _header(family, source, target, len(octets)) + octets)

    def receive(self, flags: int, within_s: float = 5) -> Segment:
        """Return the next segment from this host that has these *flags*."""
        while True:
            readable, _, _ = select.select([self._fd], [], [], within_s)
            assert readable, "no segment came"
            octets = os.read(self._fd, 65536)
            at = 20 if octets[0] >> 4 == 4 else 40
            protocol = octets[9] if at == 20 else octets[6]
            if protocol != socket.IPPROTO_TCP:
                continue
            source_port, port, sequence, acknowledged, _offset, seen = struct.unpack(
                "!HHIIBB", octets[at : at + 14]
            )
            if seen & flags == flags:
                return Segment(source_port, port, sequence, acknowledged, seen)


def _header(
    family: socket.AddressFamily, source: bytes, target: bytes, octets: int
) -> bytes:
    if family == socket.AF_INET6:
        return struct.pack("!IHBB", 6 << 28, octets, 6, 64) + source + target
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + octets, 0, 0, 64, 6, 0)
    checksum = _checksum(head + source + target)
    return head[:10] + struct.pack("!H", checksum) + source + target


def _checksum(octets: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    octets += b"\0" * (len(octets) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
