"""The transports that queries come over, as the kernel sees them.

One name each, the same in config, spec, metrics and logs. What a worker does with a
transport's socket is in `worker/transports/`.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Transport:
    """The kind of its sockets, and the number of the protocol that they speak."""

    kind: socket.SocketKind
    protocol: int

    @property
    def is_datagram(self) -> bool:
        """Whether queries come in datagrams, and not over connections."""
        return self.kind == socket.SOCK_DGRAM


TRANSPORTS: Final = {
    "udp": Transport(socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "tcp": Transport(socket.SOCK_STREAM, socket.IPPROTO_TCP),
}
