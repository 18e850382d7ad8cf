"""The sockets towards one upstream: random ports, random ids, whole batches.

RFC 5452, 9.2: a response is believed only if it comes from the address and port that
was asked (the sockets are connected) to the port that asked, with the id of the query.
Ports are chosen by the kernel at random, one of a pool is drawn for each batch, and
none is kept for long; ids come from the system's random numbers.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Iterator
from typing import Final

from dnsfront.ipc.spec import UpstreamServer
from dnsfront.worker.batch import SendBatch
from dnsfront.worker.fetch import Fetch, message
from dnsfront.worker.plainness import EdnsMemory
from dnsfront.worker.reactor import Reactor

#: Sockets, and so source ports, in use towards one upstream at any time.
_POOL: Final = 16
#: A socket is replaced after about this many queries.
_QUERIES_PER_SOCKET: Final = 2000
_SOCKET_BUFFER_OCTETS: Final = 1 << 20
_RANDOM_BLOCK: Final = 4096


class Port:
    """One connected socket of a pool, and what is pending on it by message id."""

    __slots__ = ("left", "pending", "server", "socket")

    def __init__(self, server: Server, sock: socket.socket, left: int) -> None:
        self.server = server
        self.socket = sock
        self.left = left
        self.pending: dict[bytes, Fetch] = {}


class Server:
    """One upstream: its ports, and what waits to be sent to it in this round.

    *receive* is called with the port that has something to read.
    """

    def __init__(
        self,
        spec: UpstreamServer,
        reactor: Reactor,
        receive: Callable[[Port], None],
    ) -> None:
        self.spec = spec
        self.index = spec.index
        self.outstanding = 0
        self.queue: list[Fetch] = []
        self.edns = EdnsMemory()
        self._reactor = reactor
        self._receive = receive
        self._identities = _identities()
        self._sending = SendBatch(-1)
        self._retired: list[Port] = []
        self._ports: list[Port | None] = [None] * _POOL

    def _open(self) -> Port:
        family = self.spec.family
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_OCTETS)
        try:
            sock.connect((self.spec.address, self.spec.port))
        except OSError:
            sock.close()
            raise
        wear = _QUERIES_PER_SOCKET // 2 + random.randrange(_QUERIES_PER_SOCKET)
        port = Port(self, sock, wear)
        self._reactor.watch(sock.fileno(), lambda _event: self._receive(port))
        return port

    def send(self, batch: list[Fetch], now_ns: int) -> None:
        """Ask for everything in *batch*, through one port.

        Raises:
            OSError: no socket can be had, for instance because there is no route to
                the server; nothing was sent.
        """
        port = self._port()
        self._sending.fd = port.socket.fileno()
        pending, identities, add = port.pending, self._identities, self._sending.add
        for fetch in batch:
            identity = next(identities)
            while identity in pending:
                identity = next(identities)
            pending[identity] = fetch
            fetch.places.append((port, identity))
            fetch.sent_at_ns = now_ns
            add(message(identity, fetch))
        port.left -= len(batch)
        self._sending.flush()

    def identity(self) -> bytes:
        """Return a message id nobody can foresee."""
        return next(self._identities)

    def _port(self) -> Port:
        """Return a port drawn at random; one that is worn out is replaced first."""
        at = next(self._identities)[0] % _POOL
        port = self._ports[at]
        if port is None or port.left <= 0:
            opened = self._ports[at] = self._open()
            if port is not None:
                self._retired.append(port)
            return opened
        return port

    def sweep(self) -> None:
        """Close worn-out ports on which nothing is pending any more."""
        for port in self._retired:
            if not port.pending:
                self._close(port)
        self._retired = [port for port in self._retired if port.pending]

    def close(self) -> None:
        """Close every port."""
        for port in (*self._ports, *self._retired):
            if port is not None:
                self._close(port)

    def _close(self, port: Port) -> None:
        self._reactor.forget(port.socket.fileno())
        port.socket.close()


def _identities() -> Iterator[bytes]:
    while True:
        block = os.urandom(_RANDOM_BLOCK)
        for at in range(0, _RANDOM_BLOCK, 2):
            yield block[at : at + 2]
