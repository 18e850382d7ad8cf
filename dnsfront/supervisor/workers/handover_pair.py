"""The sockets through which one worker hands queries over to another."""

from __future__ import annotations

import socket
from typing import Final

_BUFFER_OCTETS: Final = 4 << 20
#: include/uapi/asm-generic/socket.h
_SO_SNDBUFFORCE: Final = 32


def handover_pair() -> tuple[socket.socket, socket.socket]:
    """Return the receive end of a worker, and the send end for all its peers.

    They are connected both ways, so that only the buffer bounds what may wait, and not
    net.unix.max_dgram_qlen; the buffer is larger than the 200 kB of the default.
    """
    receive, send = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        send.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER_OCTETS)
    except PermissionError:
        send.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_OCTETS)
    return receive, send
