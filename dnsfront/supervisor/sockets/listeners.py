"""The listening sockets: one for every worker and listener.

All of them are bound here, under one uid, because a reuseport group demands it. They
stay open for as long as the worker is configured, so that its death closes no socket,
loses no queued datagram, and its successor gets the very same ones.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from dnsfront.config.address import SocketAddress
from dnsfront.errors import DnsfrontError, PrivilegeError, UnavailableError
from dnsfront.ipc.spec import Listener, ListenerKey

_LOG = logging.getLogger(__name__)

#: Socket options that the socket module does not name: include/uapi/linux/in.h and
#: include/uapi/asm-generic/socket.h.
_IP_PKTINFO: Final = 8
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
#: struct sk_meminfo: nine 32-bit words, the last one counts drops.
_MEMINFO: Final = struct.Struct("=9I")
_MEMINFO_RECEIVED: Final = 0
_MEMINFO_DROPS: Final = 8

#: Room for some twenty thousand queries, of which the kernel counts 768 octets each and
#: allows twice this: while a worker is away, or new names come faster than it asks.
_RECEIVE_BUFFER_OCTETS: Final = 8 << 20
_TCP_BACKLOG: Final = 1024

_NOTHING: Final[Mapping[ListenerKey, socket.socket]] = MappingProxyType({})


@dataclass(frozen=True)
class ListeningSocket:
    """One worker's socket of one listener."""

    listener: Listener
    sock: socket.socket

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.sock.fileno()

    def dropped(self) -> int:
        """Return how many datagrams it dropped so far, modulo 2**32."""
        if not self.listener.over.is_datagram:
            return 0
        return _memory_of(self.sock)[_MEMINFO_DROPS]

    def holds_datagrams(self) -> bool:
        """Return whether there is a datagram that nobody has taken from it."""
        if not self.listener.over.is_datagram:
            return False
        return _memory_of(self.sock)[_MEMINFO_RECEIVED] > 0

    def shut(self) -> None:
        """Let no more datagrams come to it; it keeps those that it has.

        Connected, to itself, it is no match for those of anybody else, and is no choice
        for its group (`reuseport_select_sock`, net/core/sock_reuseport.c).
        """
        if not self.listener.over.is_datagram:
            return
        try:
            self.sock.connect(self.sock.getsockname())
        except OSError as exc:
            # Its address is gone from the host: nothing comes there any more.
            _LOG.debug("listener_not_shut error=%s", exc)

    def close(self) -> None:
        """Close it; what it still holds is lost."""
        self.sock.close()


def overlaps(one: Listener, other: Listener) -> bool:
    """Return whether both can get the same packets: equal, or one is a wildcard."""
    return one.over == other.over and SocketAddress(one.address, one.port).overlaps(
        SocketAddress(other.address, other.port)
    )


def check_free(listeners: Iterable[Listener], ours: Collection[Listener] = ()) -> None:
    """Bind every address alone, and let go of it again, but for what *ours* overlap.

    SO_REUSEPORT would let a second server of the same user join the group of the first
    and take half of its queries, so this asks without it.

    Raises:
        UnavailableError: an address is taken, or is not one of this host.
        PrivilegeError: the port is reserved.
    """
    for listener in listeners:
        if not any(overlaps(listener, own) for own in ours):
            _bind(listener, is_shared=False).close()


def open_sockets(
    listeners: Iterable[Listener],
    inherited: Mapping[ListenerKey, socket.socket] = _NOTHING,
) -> tuple[ListeningSocket, ...]:
    """Return one worker's sockets, bound, and listening where they take connections.

    Those in *inherited* are open already, and taken as they are.

    Raises:
        UnavailableError, PrivilegeError: as :func:`check_free`; then none is left open.
    """
    opened: list[ListeningSocket] = []
    try:
        for listener in listeners:
            sock = inherited.get(listener.key)
            is_new = sock is None
            if sock is None:
                sock = _bind(listener, is_shared=True)
            opened.append(ListeningSocket(listener, sock))
            if is_new:
                _prepare(sock, listener)
    except BaseException:
        for one in opened:
            one.close()
        raise
    return tuple(opened)


def _memory_of(sock: socket.socket) -> tuple[int, ...]:
    octets = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    return _MEMINFO.unpack(octets)


def bind_error(where: str, address: str, transport: str, exc: OSError) -> DnsfrontError:
    """Return the sentence for an operator whose *where* asks for *address* in vain."""
    key = where.partition("[")[0]
    where = f"{where} {address}:"
    match exc.errno:
        case errno.EADDRINUSE:
            return UnavailableError(
                f"{where} {transport} address is in use; stop the other server "
                f"(a running dnsfront? `dnsfront status`) or change {key}"
            )
        case errno.EACCES | errno.EPERM:
            return PrivilegeError(
                f"{where} no right to bind the {transport} port; run as root, grant "
                "CAP_NET_BIND_SERVICE or use a port from 1024"
            )
        case errno.EADDRNOTAVAIL:
            return UnavailableError(
                f"{where} this host has no such address; add it to an interface or "
                f"change {key}"
            )
        case errno.EAFNOSUPPORT:
            return UnavailableError(
                f"{where} this kernel does not speak that address family; enable it "
                f"or change {key}"
            )
    return UnavailableError(f"{where} cannot bind {transport}: {exc.strerror or exc}")


def _bind(listener: Listener, *, is_shared: bool) -> socket.socket:
    kind = listener.over.kind
    sock: socket.socket | None = None
    try:
        sock = socket.socket(listener.family, kind | socket.SOCK_NONBLOCK)
        if listener.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            # Connections of the run before may linger in TIME_WAIT. Never for UDP:
            # there it would let anyone bind the same address.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((listener.address, listener.port))
    except OSError as exc:
        if sock is not None:
            sock.close()
        address = str(SocketAddress(listener.address, listener.port))
        where, transport = f"listen[{listener.index}]", listener.transport.upper()
        raise bind_error(where, address, transport, exc) from exc
    return sock


def _prepare(sock: socket.socket, listener: Listener) -> None:
    if not listener.over.is_datagram:
        sock.listen(_TCP_BACKLOG)
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_OCTETS)
    except PermissionError:
        # Without CAP_NET_ADMIN the kernel cuts it to net.core.rmem_max.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_OCTETS)
    if not listener.is_wildcard:
        return
    if listener.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
