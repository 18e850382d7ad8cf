"""IP addresses with a port, as config keys hold them."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Final, Self

from dnsfront.ipc.spec import endpoint_text

_IPV4: Final = re.compile(r"(?P<host>[^:\[\]]*):(?P<port>[0-9]{1,5})")
_IPV6: Final = re.compile(r"\[(?P<host>[^\[\]]*)\]:(?P<port>[0-9]{1,5})")
WANTED: Final = "IP:port, with IPv6 in brackets as in [::1]:53"


@dataclass(frozen=True)
class SocketAddress:
    """An IP address and a port; equal addresses are equal however they were spelled.

    *host* is in its shortest form, without brackets.
    """

    host: str
    port: int

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the address that *text* spells as ``IP:port`` or ``[IPv6]:port``.

        Raises:
            ValueError: *text* is none; the reason says what is wanted.
        """
        match = _IPV6.fullmatch(text) or _IPV4.fullmatch(text)
        host = text if match is None else match["host"]
        if "%" in host:
            raise ValueError("want an address without a scope (the part after %)")
        try:
            ip = ipaddress.ip_address(host)
        except ValueError as exc:
            raise ValueError(f"want {WANTED}") from exc
        if match is None and ip.version == 4:
            raise ValueError(f"want a port too, as in {ip}:53")
        if match is None or (ip.version == 6) != text.startswith("["):
            raise ValueError(f"want {WANTED}")
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
            raise ValueError(f"want {ip.ipv4_mapped}:{match['port']}")
        if ip.is_multicast:
            raise ValueError("want the address of one host, not of a multicast group")
        port = int(match["port"])
        if not 1 <= port <= 65535:
            raise ValueError("want a port from 1 to 65535")
        return cls(str(ip), port)

    def __str__(self) -> str:
        return endpoint_text(self.host, self.port)

    @property
    def family(self) -> int:
        """``socket.AF_INET`` or ``AF_INET6``."""
        return int(socket.AF_INET6 if ":" in self.host else socket.AF_INET)

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every address of its family on this host."""
        return self.host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound

    def reaches(self, other: SocketAddress) -> bool:
        """Return whether a datagram to *other* arrives at a socket bound to this.

        A wildcard is known to take the loopback addresses; which others belong to the
        host is not for the config to know.
        """
        if self == other:
            return True
        return (
            self.is_wildcard
            and (self.family, self.port) == (other.family, other.port)
            and ipaddress.ip_address(other.host).is_loopback
        )

    def overlaps(self, other: SocketAddress) -> bool:
        """Return whether two sockets could not be bound to both, each on its own."""
        return (self.family, self.port) == (other.family, other.port) and (
            self.host == other.host or self.is_wildcard or other.is_wildcard
        )
