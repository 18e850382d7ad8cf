"""Queries to one server over TCP, for answers that did not fit a datagram.

Connections are kept, shared by many queries and bounded (RFC 7766, 6.2.1): one for each
query would use up the host's ports. Responses come in any order and are told apart by
their ids; the question is the caller's to compare.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from dnsfront.ipc.spec import UpstreamServer
from dnsfront.ipc.stats import Upstream
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.process.reactor import READ, WRITE, Reactor

#: Most connections to one server, and most queries under way on one of them. Further
#: queries wait until there is room.
_CONNECTIONS: Final = 4
_DEPTH: Final = 64
#: Queries on each connection before another one is opened.
_SHARED: Final = 16
#: Most queries given up on one connection, whose ids are not used again there.
_MAX_FORGOTTEN: Final = 1024
_IDLE_NS: Final = 5_000_000_000
#: For so long a server that closed a connection with queries under way gets no more
#: queries over one connection than it had answered over that one.
_BUDGET_NS: Final = 60_000_000_000
#: For so long a connection may take to be opened: the kernel asks for it four times.
_OPENING_NS: Final = 10_000_000_000
#: For so long none is opened for what UDP could serve, where one was of no use.
_SHY_NS: Final = 10_000_000_000

Done = Callable[[bytes | None], None]


class Exchange:
    """One query and what becomes of it.

    *rest* is the query behind its id. *done* is called once, with the response or with
    None when it failed. Time is kept by the caller, who calls :meth:`abandon` when it
    is over.
    """

    __slots__ = ("done", "identity", "link", "links", "rest", "seen", "was_resent")

    def __init__(self, links: Links, rest: bytes, done: Done) -> None:
        self.links = links
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


class Link:
    """One connection; `asked` and `answers` count what went and came over it."""

    def __init__(
        self, links: Links, server: UpstreamServer, reactor: Reactor, now_ns: int
    ) -> None:
        self.pending: dict[bytes, Exchange] = {}
        self.asked = self.answers = 0
        self.idle_at_ns = 0
        #: No more queries go this way.
        self.is_leaving = False
        self._links = links
        self._reactor = reactor
        self._forgotten: set[bytes] = set()
        self._unsent = bytearray()
        self._received = bytearray()
        self._is_open = False
        self._opening_until_ns = now_ns + _OPENING_NS
        self._socket = socket.socket(
            server.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK
        )
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect_ex((server.address, server.port))
        reactor.watch(self._socket.fileno(), self._ready, READ | WRITE)

    def ask(self, exchange: Exchange, identities: Iterator[bytes]) -> None:
        """Send a query, under an id of its own, with others as soon as that can be."""
        identity = next(identities)
        while identity in self.pending or identity in self._forgotten:
            identity = next(identities)
        self.pending[identity] = exchange
        exchange.identity, exchange.link = identity, self
        exchange.seen = self.answers
        self.asked += 1
        query = identity + exchange.rest
        if not self._unsent and self._is_open:
            self._reactor.watch(self._socket.fileno(), self._ready, READ | WRITE)
        self._unsent += len(query).to_bytes(2, "big") + query

    def forget(self, exchange: Exchange) -> None:
        """Pass over the response to *exchange*, should it come.

        If nothing came over the connection since it was asked, it may be broken; but
        where datagrams get lost, it takes its time until it is open.
        """
        del self.pending[exchange.identity]
        self._forgotten.add(exchange.identity)
        exchange.link = None
        is_opening = not self._is_open and self._links.now_ns < self._opening_until_ns
        is_silent = exchange.seen == self.answers and not is_opening
        if is_silent or len(self._forgotten) >= _MAX_FORGOTTEN:
            self.is_leaving = True
        self._links.left(self)

    def close(self) -> None:
        """Close the connection; what is pending on it is left to the caller."""
        if self._socket.fileno() >= 0:
            self._reactor.forget(self._socket.fileno())
            self._socket.close()

    def _ready(self, event: int) -> None:
        try:
            if not self._is_open:
                number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if number:
                    raise OSError(number, os.strerror(number))
                self._is_open = bool(event & WRITE)
            if event & WRITE:
                self._send()
            if event & ~WRITE:
                self._receive()
        except BlockingIOError:
            return
        except OSError:
            self._links.died(self)

    def _send(self) -> None:
        if self._unsent:
            del self._unsent[: self._socket.send(self._unsent)]
        if not self._unsent:
            self._reactor.watch(self._socket.fileno(), self._ready, READ)

    def _receive(self) -> None:
        octets = self._socket.recv(1 << 16)
        if not octets:
            raise ConnectionResetError
        received = self._received
        received += octets
        while len(received) >= 2:
            end = 2 + int.from_bytes(received[:2], "big")
            if len(received) < end:
                return
            response = bytes(received[2:end])
            del received[:end]
            self._take(response)
            if self._socket.fileno() < 0:
                return

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


class Links:
    """The connections to one server, and what waits for room on one of them."""

    def __init__(
        self,
        server: UpstreamServer,
        reactor: Reactor,
        identities: Iterator[bytes],
        meter: Meter,
    ) -> None:
        self._server = server
        self._reactor = reactor
        self._identities = identities
        self._meter = meter
        self._links: list[Link] = []
        self._waiting: deque[Exchange] = deque()
        self._now_ns = 0
        self._budget = 0
        self._budget_deadline_ns = 0
        self._shy_until_ns = 0

    @property
    def now_ns(self) -> int:
        """When they were last asked for something, or swept."""
        return self._now_ns

    def __len__(self) -> int:
        """How many connections there are."""
        return len(self._links)

    def ask(self, rest: bytes, done: Done, now_ns: int) -> Exchange:
        """Send a query, whose octets behind the id are *rest*.

        *done* is not called before this returned.

        Raises:
            OSError: no connection can be had.
        """
        self._now_ns = now_ns
        exchange = Exchange(self, rest, done)
        link = None if self._waiting else self._with_room()
        if link is None:
            self._waiting.append(exchange)
        else:
            self._ask(link, exchange)
        return exchange

    def ask_if_easy(self, rest: bytes, done: Done, now_ns: int) -> Exchange | None:
        """Send a query over a connection that is there, or the first one.

        None says that there is no room, or that the server takes no connections; one
        that is down is asked for one at a time, and left alone for a while after it.

        Raises:
            OSError: no connection can be had.
        """
        self._now_ns = now_ns
        if self._waiting or now_ns < self._shy_until_ns:
            return None
        links = [link for link in self._links if not link.is_leaving]
        link = min(links, key=lambda link: len(link.pending), default=None)
        if link is None:
            if self._links:
                return None
            link = self._open()
        if len(link.pending) >= _DEPTH:
            return None
        exchange = Exchange(self, rest, done)
        self._ask(link, exchange)
        return exchange

    def _ask(self, link: Link, exchange: Exchange) -> None:
        link.ask(exchange, self._identities)
        if self._now_ns < self._budget_deadline_ns and link.asked >= self._budget:
            link.is_leaving = True

    def _with_room(self) -> Link | None:
        """Return where to send the next query, None if it has to wait."""
        links = [link for link in self._links if not link.is_leaving]
        best = min(links, key=lambda link: len(link.pending), default=None)
        if best is not None and len(best.pending) < _SHARED:
            return best
        if len(links) < _CONNECTIONS and len(self._links) < 2 * _CONNECTIONS:
            try:
                return self._open()
            except OSError:
                if best is None:
                    raise
        return best if best is not None and len(best.pending) < _DEPTH else None

    def _open(self) -> Link:
        link = Link(self, self._server, self._reactor, self._now_ns)
        self._links.append(link)
        self._meter.upstream_count(self._server.index, Upstream.TCP_CONNECTIONS)
        return link

    def left(self, link: Link) -> None:
        """Send what waits, now that a query on *link* is over."""
        if not link.pending:
            link.idle_at_ns = self._now_ns
            if link.is_leaving:
                self._drop(link)
        self._serve()

    def _drop(self, link: Link) -> None:
        if not link.answers:
            self._shy_until_ns = self._now_ns + _SHY_NS
        link.close()
        if link in self._links:
            self._links.remove(link)

    def died(self, link: Link) -> None:
        """Send what is pending on *link*, which is gone, over another one, once.

        Only if queries were answered over it, for a server may close at any time. A
        connection without a single answer has failed all its queries.
        """
        self._drop(link)
        pending = list(link.pending.values())
        link.pending.clear()
        was_useful = link.answers > 0
        if pending and was_useful:
            # The server may take no more than so many queries on one connection.
            self._budget = link.answers
            self._budget_deadline_ns = self._now_ns + _BUDGET_NS
            for other in list(self._links):
                if other.asked >= self._budget:
                    other.is_leaving = True
                    if not other.pending:
                        self._drop(other)
        elif not was_useful and not self._links:
            pending += self._waiting
            self._waiting.clear()
        for exchange in pending:
            exchange.link = None
            if was_useful and not exchange.was_resent:
                exchange.was_resent = True
                self._waiting.append(exchange)
            else:
                exchange.finish(None)
        self._serve()

    def _serve(self) -> None:
        """Send what waits, as far as there is room."""
        while self._waiting:
            if self._waiting[0].done is None:
                self._waiting.popleft()  # its time was over
                continue
            try:
                link = self._with_room()
            except OSError:
                self._waiting.popleft().finish(None)
                continue
            if link is None:
                return
            self._ask(link, self._waiting.popleft())

    def sweep(self, now_ns: int) -> None:
        """Close connections that were idle for long."""
        self._now_ns = now_ns
        for link in list(self._links):
            if not link.pending and now_ns - link.idle_at_ns >= _IDLE_NS:
                self._drop(link)

    def close(self) -> None:
        """Close every connection; nobody waits any more."""
        for link in self._links:
            link.close()
        self._links.clear()
        self._waiting.clear()
