"""One query to an upstream over TCP, for an answer that did not fit a datagram."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from dnsfront.ipc.spec import UpstreamServer
from dnsfront.worker.reactor import READ, WRITE, Reactor


class TcpExchange:
    """A connection of its own for one query (RFC 7766, 5).

    *done* is called once, with the response or with None when the connection failed.
    Time is kept by the caller, who calls :meth:`abandon` when it is over.
    """

    def __init__(
        self,
        reactor: Reactor,
        server: UpstreamServer,
        query: bytes,
        done: Callable[[bytes | None], None],
    ) -> None:
        self._reactor = reactor
        self._identity = query[:2]
        self._left = len(query).to_bytes(2, "big") + query
        self._received = bytearray()
        self._done: Callable[[bytes | None], None] | None = done
        self._socket = socket.socket(
            server.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK
        )
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect_ex((server.address, server.port))
        reactor.watch(self._socket.fileno(), self._ready, WRITE)

    def abandon(self) -> None:
        """Close the connection without a word to the caller."""
        self._done = None
        self._finish(None)

    def _finish(self, response: bytes | None) -> None:
        if self._socket.fileno() >= 0:
            self._reactor.forget(self._socket.fileno())
            self._socket.close()
        done, self._done = self._done, None
        if done is not None:
            done(response)

    def _ready(self, _event: int) -> None:
        try:
            if self._left:
                self._send()
            else:
                self._receive()
        except BlockingIOError:
            return
        except OSError:
            self._finish(None)

    def _send(self) -> None:
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        self._left = self._left[self._socket.send(self._left) :]
        if not self._left:
            self._reactor.watch(self._socket.fileno(), self._ready, READ)

    def _receive(self) -> None:
        octets = self._socket.recv(65537)
        if not octets:
            self._finish(None)
            return
        self._received += octets
        if len(self._received) < 2:
            return
        end = 2 + int.from_bytes(self._received[:2], "big")
        if len(self._received) < end:
            return
        response = bytes(self._received[2:end])
        is_valid = response[:2] == self._identity and len(response) > 12
        self._finish(response if is_valid else None)
