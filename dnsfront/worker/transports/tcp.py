"""A listening TCP socket: who connects, and who is let in (RFC 7766)."""

from __future__ import annotations

import errno
import socket
from typing import Final

from dnsfront.ipc.spec import Listener
from dnsfront.ipc.stats import Counter
from dnsfront.worker.clients.gate import Gate, client_of
from dnsfront.worker.transports.framed import FramedConnection
from dnsfront.worker.transports.listener import OpenListener
from dnsfront.worker.transports.streams import Streams

_ACCEPTS_PER_ROUND: Final = 16
#: Errors of accept(2) that leave the connection in the queue.
_LACKS: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
#: More than can wait at a listening socket.
_MAX_BACKLOG: Final = 65536


class TcpListener(OpenListener):
    """One listening TCP socket of this worker and the connections it took."""

    def __init__(
        self,
        listener: Listener,
        sock: socket.socket,
        *,
        streams: Streams,
        gate: Gate,
    ) -> None:
        super().__init__(listener, sock, streams.reactor)
        self.streams = streams
        self._gate = gate

    def ready(self, event: int) -> None:
        """Take the connections that wait."""
        del event
        for _ in range(_ACCEPTS_PER_ROUND):
            if not self._accept_one():
                return

    def _accept_one(self) -> bool:
        """Accept one connection; return False when none waits or none can be had."""
        try:
            sock, address = self.sock.accept()
        except BlockingIOError:
            return False
        except OSError as exc:
            if exc.errno not in _LACKS:
                return True  # the client that waited is gone
            if not self.streams.lack_descriptors(self.sock):
                self._pause()
            return False
        self._accept(sock, address[0])
        return True

    def _accept(self, sock: socket.socket, host: str) -> None:
        streams = self.streams
        meter = streams.answering.meter
        packed = socket.inet_pton(sock.family, host.partition("%")[0])
        client = client_of(packed)
        is_served = self._gate.lets_in(packed)
        if not is_served or not streams.has_room(client):
            meter.count(Counter.TCP_REFUSED)
            sock.close()
            return
        meter.count(Counter.TCP_CONNECTIONS)
        sock.setblocking(False)  # noqa: FBT003 - its signature
        try:
            connection = FramedConnection(sock, client, packed, self, streams)
        except OSError:
            sock.close()  # the client is gone already
            return
        streams.add(connection)
        self.connections.add(connection)

    def _pause(self) -> None:
        """Leave clients in the queue until the next tick: there is no room for them."""
        self.unwatch()
        self.is_paused = True

    def unwatch(self) -> None:
        """Leave who connects where they are."""
        self.is_paused = False
        super().unwatch()

    def expire(self) -> None:
        """Go on after :meth:`_pause`."""
        if self.is_paused:
            self.is_paused = False
            self.watch()

    def take(self) -> bool:
        """Return true: a drain takes whoever is in the queue at once.

        A listener that leaves accepts on, for connections whose handshake ends later.
        """
        if self.is_leaving:
            self.ready(0)
        return True

    def drain(self, *, is_kept: bool) -> None:
        """Take who waits, then close each connection as soon as it is owed nothing.

        If the socket *is_kept*, by a successor, who waits is the successor's to take.
        """
        super().drain(is_kept=is_kept)
        if not self.is_kept:
            for _ in range(_MAX_BACKLOG):
                if not self._accept_one():
                    break
        for connection in list(self.connections):
            connection.take_last()
