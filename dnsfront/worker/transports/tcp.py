"""A listening TCP socket: who connects, and who is let in (RFC 7766)."""

from __future__ import annotations

import errno
import socket
from typing import Final

from dnsfront.ipc.stats import Counter
from dnsfront.worker.clients.access import AccessList, client_of
from dnsfront.worker.transports.connection import Origin
from dnsfront.worker.transports.framed import FramedConnection
from dnsfront.worker.transports.streams import Streams

_ACCEPTS_PER_ROUND: Final = 16
#: What keeps a connection waiting that is there: accept(2).
_LACKS: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
#: More than can wait at a listening socket.
_MAX_BACKLOG: Final = 65536


class TcpListener(Origin):
    """One listening TCP socket of this worker and the connections it took."""

    def __init__(
        self, sock: socket.socket, *, streams: Streams, access: AccessList
    ) -> None:
        super().__init__()
        self.streams = streams
        self.access = access
        #: Whether it has to be resumed by the next tick.
        self.is_paused = False
        self._socket = sock

    def fileno(self) -> int:
        """Return the descriptor, for the reactor."""
        return self._socket.fileno()

    def ready(self, _event: int) -> None:
        """Take the connections that wait."""
        for _ in range(_ACCEPTS_PER_ROUND):
            if not self._take():
                return

    def _take(self) -> bool:
        """Take one connection; return False when none waits or none can be had."""
        try:
            sock, address = self._socket.accept()
        except BlockingIOError:
            return False
        except OSError as exc:
            if exc.errno not in _LACKS:
                return True  # who waited is gone
            if not self.streams.lack_descriptors(self._socket):
                self._pause()
            return False
        self._accept(sock, address[0])
        return True

    def _accept(self, sock: socket.socket, host: str) -> None:
        streams = self.streams
        meter = streams.answering.meter
        packed = socket.inet_pton(sock.family, host.partition("%")[0])
        client = client_of(packed)
        if not self.access.allows(packed) or not streams.has_room(client):
            meter.count(Counter.TCP_REFUSED)
            sock.close()
            return
        meter.count(Counter.TCP_CONNECTIONS)
        sock.setblocking(False)  # noqa: FBT003 - its signature
        try:
            connection = FramedConnection(sock, client, packed, self, streams)
        except OSError:
            sock.close()  # it is gone already
            return
        streams.add(connection)
        self.connections.add(connection)

    def _pause(self) -> None:
        """Leave who waits alone for a while: looking again at once is no use."""
        self.is_paused = True
        self.streams.reactor.forget(self.fileno())

    def resume(self) -> None:
        """Go on after :meth:`_pause`."""
        if self.is_paused:
            self.is_paused = False
            self.streams.reactor.watch(self.fileno(), self.ready)

    def close(self) -> None:
        """Close all connections, and give up this worker's listening descriptor."""
        for connection in list(self.connections):
            connection.close()
        self._socket.close()

    def drain(self, *, is_kept: bool) -> None:
        """Take who waits, then close each connection as soon as it is owed nothing.

        If the socket *is_kept*, by a successor, who waits is the successor's to take.
        """
        if not is_kept:
            for _ in range(_MAX_BACKLOG):
                if not self._take():
                    break
        self.is_draining = True
        for connection in list(self.connections):
            connection.take_last()
