"""One connection to an upstream server, plain or over TLS, and the queries on it.

Responses come in any order and are told apart by their ids; the question is the
caller's to compare.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from dnsfront.errors import TlsError
from dnsfront.ipc.spec import UpstreamServer
from dnsfront.tls.client import TlsClient
from dnsfront.worker.process.reactor import READ, WRITE, Reactor

if TYPE_CHECKING:
    import ssl

#: Most queries given up on one connection, whose ids are not used again there.
_MAX_FORGOTTEN: Final = 1024
#: For so long a connection may take to be opened: the kernel asks for it four times.
_OPENING_NS: Final = 10_000_000_000
#: The same until the server has proved who it is.
_TLS_OPENING_NS: Final = 3_000_000_000
_READ_OCTETS: Final = 1 << 16

Done = Callable[[bytes | None], None]


class Exchange:
    """One query and what becomes of it.

    *rest* is the query behind its id. *done* is called once, with the response or with
    None when it failed. Time is kept by the caller, who calls :meth:`abandon` when it
    is over.
    """

    __slots__ = ("done", "identity", "link", "rest", "seen", "was_resent")

    def __init__(self, rest: bytes, done: Done) -> None:
        self.rest = rest
        self.done: Done | None = done
        self.identity = b""
        self.link: Link | None = None
        self.was_resent = False
        self.seen = 0

    def abandon(self) -> None:
        """Take no response any more, without a word to the caller."""
        if self.done is None:
            return
        self.done = None
        if self.link is not None:
            self.link.forget(self)

    def finish(self, response: bytes | None) -> None:
        """Tell the caller."""
        done, self.done = self.done, None
        self.link = None
        if done is not None:
            done(response)


class Owner(Protocol):
    """Who has connections, and hears what becomes of them."""

    @property
    def now_ns(self) -> int:
        """The time, or one shortly before it."""

    def opened(self, link: Link) -> None:
        """Queries go over *link* from now on."""

    def left(self, link: Link) -> None:
        """A query on *link* is over."""

    def died(self, link: Link, error: TlsError | None = None) -> None:
        """*link* is of no use any more; *error* is what is wrong with the server."""


class Link:
    """One connection; `asked` and `answers` count what went and came over it.

    With *tls* it is a session over it.
    """

    def __init__(
        self,
        links: Owner,
        server: UpstreamServer,
        reactor: Reactor,
        tls: TlsClient | None = None,
    ) -> None:
        self.pending: dict[bytes, Exchange] = {}
        self.asked = self.answers = 0
        self.idle_at_ns = 0
        #: No more queries go this way.
        self.is_leaving = False
        self._links = links
        self._reactor = reactor
        self._forgotten: set[bytes] = set()
        self._tls = tls
        self._queued = bytearray()
        self._unsent = bytearray()
        self._received = bytearray()
        self._is_connected = False
        opening_ns = _TLS_OPENING_NS if tls else _OPENING_NS
        self._opening_until_ns = links.now_ns + opening_ns
        self._socket = socket.socket(
            server.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK
        )
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect_ex((server.address, server.port))
        self._events = READ | WRITE
        reactor.watch(self._socket.fileno(), self._ready, self._events)

    @property
    def is_open(self) -> bool:
        """Whether queries go over it, and do not wait."""
        return self._is_connected and (self._tls is None or self._tls.is_open)

    @property
    def is_overdue(self) -> bool:
        """Whether it should have been open long since."""
        return not self.is_open and self._links.now_ns >= self._opening_until_ns

    @property
    def is_resumed(self) -> bool:
        """Whether its session is one of before."""
        return self._tls is not None and self._tls.is_resumed

    @property
    def session(self) -> ssl.SSLSession | None:
        """What another connection may resume, once this one was of use."""
        return self._tls.session if self._tls is not None and self.answers else None

    def ask(self, exchange: Exchange, identities: Iterator[bytes]) -> None:
        """Queue a query, under an id of its own, until :meth:`push`."""
        identity = next(identities)
        while identity in self.pending or identity in self._forgotten:
            identity = next(identities)
        self.pending[identity] = exchange
        exchange.identity, exchange.link = identity, self
        exchange.seen = self.answers
        self.asked += 1
        query = identity + exchange.rest
        self._queued += len(query).to_bytes(2, "big") + query

    def push(self) -> None:
        """Send what is queued, at once if that can be."""
        if self._queued and self.is_open:
            self._guarded(self._send)

    def forget(self, exchange: Exchange) -> None:
        """Pass over the response to *exchange*, should it come.

        If nothing came over the connection since it was asked, it may be broken; but
        where datagrams get lost, it takes its time until it is open.
        """
        del self.pending[exchange.identity]
        self._forgotten.add(exchange.identity)
        exchange.link = None
        is_opening = not self.is_open and not self.is_overdue
        is_silent = exchange.seen == self.answers and not is_opening
        if is_silent or len(self._forgotten) >= _MAX_FORGOTTEN:
            self.is_leaving = True
        self._links.left(self)

    def close(self) -> None:
        """Close the connection; what is pending on it is left to the caller."""
        if self._socket.fileno() < 0:
            return
        if self._tls is not None and self._is_connected:
            # Who is gone needs no farewell.
            with contextlib.suppress(OSError):
                self._socket.send(self._tls.farewell())
        self._reactor.forget(self._socket.fileno())
        self._socket.close()

    def _ready(self, event: int) -> None:
        def serve() -> None:
            if not self._is_connected:
                self._connected(event)
            if event & WRITE:
                self._send()
            if event & ~WRITE:
                self._receive()

        self._guarded(serve)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BlockingIOError:
            return
        except TlsError as error:
            self._links.died(self, error)
        except OSError:
            self._links.died(self)

    def _connected(self, event: int) -> None:
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        self._is_connected = bool(event & WRITE)
        if self.is_open:
            self._links.opened(self)

    def _send(self) -> None:
        tls, unsent = self._tls, self._unsent
        if tls is None:
            unsent += self._queued
            self._queued.clear()
        elif tls.is_open:
            unsent += tls.seal(self._queued)
            self._queued.clear()
        else:
            unsent += tls.outgoing()
        if unsent:
            # What there is no room for goes later.
            with contextlib.suppress(BlockingIOError):
                del unsent[: self._socket.send(unsent)]
        events = READ | WRITE if unsent else READ
        if events != self._events:
            self._events = events
            self._reactor.watch(self._socket.fileno(), self._ready, events)

    def _receive(self) -> None:
        octets = self._socket.recv(_READ_OCTETS)
        if not octets:
            raise ConnectionResetError
        if self._tls is not None:
            was_open = self._tls.is_open
            octets = self._tls.feed(octets)
            if not was_open:
                self._send()
                if self.is_open:
                    self._links.opened(self)
        received = self._received
        received += octets
        while len(received) >= 2:
            end = 2 + int.from_bytes(received[:2], "big")
            if len(received) < end:
                break
            response = bytes(received[2:end])
            del received[:end]
            self._take(response)
            if self._socket.fileno() < 0:
                return
        if self._tls is not None and self._tls.is_ended:
            raise ConnectionResetError

    def _take(self, response: bytes) -> None:
        identity = response[:2]
        exchange = self.pending.pop(identity, None)
        if exchange is None and identity not in self._forgotten:
            # Not what was asked for: nothing else from there is to be trusted.
            raise ConnectionAbortedError
        self._forgotten.discard(identity)
        if exchange is None:
            return
        self.answers += 1
        exchange.finish(response if len(response) > 12 else None)
        self._links.left(self)
