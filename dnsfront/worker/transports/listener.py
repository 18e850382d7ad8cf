"""A listener that this worker has open: what all transports have in common."""

from __future__ import annotations

import socket
from typing import ClassVar

from dnsfront.ipc.spec import Listener
from dnsfront.ipc.stats import QUERIES
from dnsfront.worker.process.reactor import Reactor
from dnsfront.worker.transports.connection import Connection


class OpenListener:
    """One socket of one transport, and the connections that came by it.

    The socket belongs to the supervisor too, so closing it here loses nothing. *number*
    is what all workers call the listener.
    """

    #: Whether answers are collected, and leave by :meth:`flush` once a round.
    is_flushed: ClassVar[bool] = False

    def __init__(
        self, listener: Listener, sock: socket.socket, reactor: Reactor
    ) -> None:
        self.number = listener.number
        #: What counts its queries.
        self.queries = int(QUERIES[listener.transport])
        self.sock = sock
        self.connections: set[Connection] = set()
        self.is_draining = False
        self.is_leaving = False
        self.is_kept = False
        #: Whether it is not read until the next tick.
        self.is_paused = False
        self._reactor = reactor

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.sock.fileno()

    def ready(self, event: int) -> bool | None:
        """Take what the socket holds, but not for long: others have their turn.

        Returns True if the end of the round has nothing to do for it.
        """
        raise NotImplementedError

    def watch(self) -> None:
        """Take whatever comes, from now on; one that leaves takes nothing new."""
        if not self.is_leaving:
            self._reactor.watch(self.fileno(), self.ready)

    def unwatch(self) -> None:
        """Leave what comes where it is."""
        self._reactor.forget(self.fileno())

    def take(self) -> bool:
        """Take what waits in the socket; return whether it was found empty."""
        raise NotImplementedError

    def drain(self, *, is_kept: bool) -> None:
        """Finish what there is; if the socket *is_kept*, a successor takes the rest."""
        self.is_draining = True
        self.is_kept = self.is_kept or is_kept

    def leave(self) -> None:
        """Begin to close: nothing new comes, and what is here is finished."""
        self.is_leaving = True
        self.unwatch()
        self.drain(is_kept=False)

    def has_left(self) -> bool:
        """Take what the socket still holds; return whether nobody is connected."""
        return self.take() and not self.connections

    def answer_passed(self, address: bytes, control: bytes, octets: bytes) -> None:
        """Answer a datagram that another worker passed here, with its sender.

        Raises:
            ValueError: no datagrams come over this transport.
        """
        del address, control, octets
        raise ValueError("no datagrams come over this transport")

    def flush(self) -> None:
        """Send the responses that were collected."""

    def expire(self) -> None:
        """Do what is due about four times a second."""

    def close(self) -> None:
        """Close all connections, and give up this worker's descriptor."""
        for connection in list(self.connections):
            connection.close()
        self.sock.close()
