"""Queries to one server over TCP, or over TLS.

Over TCP go those whose answer did not fit a datagram, and those that nothing came for
over UDP; over TLS go all, to servers that are asked no other way.

Connections are kept, shared by many queries and bounded (RFC 7766, 6.2.1): one for each
query would use up the host's ports, and a session over TLS is dear to begin.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from dnsfront.errors import TlsError
from dnsfront.ipc.spec import UpstreamServer
from dnsfront.ipc.stats import TLS_RESULTS, Upstream
from dnsfront.tls.client import Fault, TlsClient, context_of
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.process.reactor import Reactor
from dnsfront.worker.upstreams.link import Done, Exchange, Link

if TYPE_CHECKING:
    import ssl

#: Most connections to one server, and most queries under way on one of them. Further
#: queries wait until there is room.
_CONNECTIONS: Final = 4
_DEPTH: Final = 64
#: Queries on each connection before another one is opened.
_SHARED: Final = 16
_IDLE_NS: Final = 5_000_000_000
#: The same for servers that get all their queries this way.
_TLS_DEPTH: Final = 512
_TLS_SHARED: Final = 128
_TLS_IDLE_NS: Final = 30_000_000_000
#: For so long a server that closed a connection with queries under way gets no more
#: queries over one connection than it had answered over that one.
_BUDGET_NS: Final = 60_000_000_000
#: For so long none is opened for what UDP could serve, where one was of no use.
_SHY_NS: Final = 10_000_000_000
#: After a session that did not come about no other is begun for so long: longer each
#: time. What nobody listens at, or nobody is believed at, costs next to nothing then.
_FIRST_PAUSE_NS: Final = 200_000_000
_LAST_PAUSE_NS: Final = 5_000_000_000


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
        self._pause_ns = self._pause_until_ns = 0
        tls = server.tls
        self._context = None if tls is None else context_of(tls.authorities)
        self._session: ssl.SSLSession | None = None
        self._depth = _DEPTH if tls is None else _TLS_DEPTH
        self._shared = _SHARED if tls is None else _TLS_SHARED
        self._idle_ns = _IDLE_NS if tls is None else _TLS_IDLE_NS

    @property
    def now_ns(self) -> int:
        """When they were last asked for something, or swept."""
        return self._now_ns

    def __len__(self) -> int:
        """How many connections there are."""
        return len(self._links)

    def ask(self, rest: bytes, done: Done, now_ns: int) -> Exchange:
        """Send a query, whose octets behind the id are *rest*.

        It leaves by :meth:`push`, and *done* is not called before this returned.

        Raises:
            OSError: no connection can be had.
        """
        self._now_ns = now_ns
        exchange = Exchange(rest, done)
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
        if len(link.pending) >= self._depth:
            return None
        exchange = Exchange(rest, done)
        self._ask(link, exchange)
        return exchange

    def push(self) -> None:
        """Send what was asked for since the last call."""
        for link in self._links[:]:
            link.push()

    def _ask(self, link: Link, exchange: Exchange) -> None:
        link.ask(exchange, self._identities)
        if self._now_ns < self._budget_deadline_ns and link.asked >= self._budget:
            link.is_leaving = True

    def _with_room(self) -> Link | None:
        """Return where to send the next query, None if it has to wait."""
        links = [link for link in self._links if not link.is_leaving]
        best = min(links, key=lambda link: len(link.pending), default=None)
        if best is not None and len(best.pending) < self._shared:
            return best
        # Sessions are begun one at a time.
        is_opening = self._context is not None and not all(x.is_open for x in links)
        if (
            len(links) < _CONNECTIONS
            and len(self._links) < 2 * _CONNECTIONS
            and not is_opening
        ):
            try:
                return self._open()
            except OSError:
                if best is None:
                    raise
        return best if best is not None and len(best.pending) < self._depth else None

    def _open(self) -> Link:
        if self._now_ns < self._pause_until_ns:
            raise ConnectionRefusedError
        link = Link(self, self._server, self._reactor, self._tls_client())
        self._links.append(link)
        self._meter.upstream_count(self._server.index, Upstream.TCP_CONNECTIONS)
        return link

    def _tls_client(self) -> TlsClient | None:
        tls = self._server.tls
        if tls is None or self._context is None:
            return None
        sessions = (link.session for link in self._links)
        self._session = next(filter(None, sessions), self._session)
        return TlsClient(self._context, tls.name, tls.pins, self._session)

    def opened(self, link: Link) -> None:
        """Note that *link* is of use, and have it used by what waits."""
        self._pause_ns = 0
        if self._context is not None:
            self._count("resumed" if link.is_resumed else "full")
            self._serve()

    def _count(self, result: str) -> None:
        word = Upstream.TLS_HANDSHAKES + TLS_RESULTS.index(result)
        self._meter.upstream_count(self._server.index, word)

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
        self._session = link.session or self._session
        link.close()
        if link in self._links:
            self._links.remove(link)

    def _did_not_open(self, error: TlsError | None) -> None:
        """Begin no other session for a while, and not with one of before."""
        self._session = None
        self._count(error.fault if error is not None else Fault.HANDSHAKE)
        longer_ns = max(_FIRST_PAUSE_NS, 2 * self._pause_ns)
        self._pause_ns = min(longer_ns, _LAST_PAUSE_NS)
        self._pause_until_ns = self._now_ns + self._pause_ns

    def died(self, link: Link, error: TlsError | None = None) -> None:
        """Send what is pending on *link*, which is gone, over another one, once.

        Only if queries were answered over it, for a server may close at any time. A
        connection without a single answer has failed all its queries.
        """
        if self._context is not None and not link.is_open:
            self._did_not_open(error)
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
        self.push()

    def sweep(self, now_ns: int) -> None:
        """Close connections that were idle for long."""
        self._now_ns = now_ns
        for link in list(self._links):
            if link.is_overdue:
                self.died(link)
            elif not link.pending and now_ns - link.idle_at_ns >= self._idle_ns:
                self._drop(link)

    def close(self) -> None:
        """Close every connection; nobody waits any more."""
        for link in self._links:
            link.close()
        self._links.clear()
        self._waiting.clear()
