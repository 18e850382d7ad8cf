"""Queries on their way out: in batches over UDP, one by one again, and over TCP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from dnsfront.ipc.stats import Upstream
from dnsfront.worker.process.batch import BATCH
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.process.reactor import Reactor
from dnsfront.worker.upstreams.fetch import Fetch, Port
from dnsfront.worker.upstreams.link import Done
from dnsfront.worker.upstreams.ports import Ports
from dnsfront.worker.upstreams.queries import message, padded_message
from dnsfront.worker.upstreams.server import Server

#: Batches that leave towards one server in one round. More would keep those waiting
#: whose answers are there.
_BATCHES: Final = 16


class Sending:
    """The sockets towards *servers*; `ports` has those of each, by its position.

    *receive* is called with the port that has something to read, *take* with what came
    over TCP or TLS, or None if nothing will, *on_sent* with those that were sent or
    tried to, *fail* with each that did not leave.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        reactor: Reactor,
        meter: Meter,
        *,
        receive: Callable[[Ports, Port], None],
        take: Callable[[Fetch, bytes | None], None],
        on_sent: Callable[[list[Fetch], int], None],
        fail: Callable[[Fetch], None],
    ) -> None:
        self.ports = [Ports(server, reactor, receive, meter) for server in servers]
        self._meter = meter
        self._clock = meter.clock
        self._take = take
        self._on_sent = on_sent
        self._fail = fail

    @property
    def has_queue(self) -> bool:
        """Whether something waits to be sent."""
        return any(ports.queue for ports in self.ports)

    def flush(self) -> None:
        """Send what was queued since the last call, a batch a system call.

        Of a great many the rest stays for the next round, which comes at once.
        """
        batches = _BATCHES
        busy = self.ports
        while busy and batches:
            for ports in busy:
                if ports.queue:
                    self._send_batch(ports)
            batches -= 1
            # What could not be sent is queued for the next server.
            busy = [ports for ports in self.ports if ports.queue]

    def _send_batch(self, ports: Ports) -> None:
        now_ns = self._clock.now_ns
        batch, ports.queue = ports.queue[:BATCH], ports.queue[BATCH:]
        # A late response to an earlier send may have come since they were queued.
        batch = [x for x in batch if not x.is_done and x.abandon_tcp is None]
        self._meter.upstream_sent(ports.server.index, len(batch))
        try:
            if ports.is_tls:
                unsent = self._send_over_tls(ports, batch, now_ns)
            else:
                unsent = ports.send(batch, now_ns)
        except OSError:
            unsent = batch
        self._on_sent(batch, now_ns)
        for fetch in unsent:
            self._fail(fetch)

    def _send_over_tls(
        self, ports: Ports, batch: list[Fetch], now_ns: int
    ) -> list[Fetch]:
        """Ask for everything in *batch* over TLS; return what cannot be asked."""
        links, unsent = ports.links, []
        for fetch in batch:
            fetch.sent_at_ns = now_ns
            done = partial(self._take_measured, fetch)
            try:
                exchange = links.ask(padded_message(fetch), done, now_ns)
            except OSError:
                unsent.append(fetch)
            else:
                fetch.abandon_tcp = exchange.abandon
        links.push()
        return unsent

    def _take_measured(self, fetch: Fetch, octets: bytes | None) -> None:
        if octets is not None:
            took_ns = self._clock.now_ns - fetch.sent_at_ns
            fetch.server.round_trip.took(took_ns, is_repeated=False)
        self._take(fetch, octets)

    def repeat(self, fetch: Fetch, *, is_new_try: bool) -> None:
        """Send the query of *fetch* to its server once more."""
        server = fetch.server
        if is_new_try:
            self._meter.upstream_sent(server.index, 1)
        else:
            self._meter.upstream_count(server.index, Upstream.RETRANSMISSIONS)
        if not self.ports[server.position].repeat(fetch, self._clock.now_ns):
            self._fail(fetch)

    def ask_over_tcp(self, fetch: Fetch) -> bool:
        """Ask its server over TCP; return whether there is a connection for it."""
        server, now_ns = fetch.server, self._clock.now_ns
        self._meter.upstream_sent(server.index, 1)
        links = self.ports[server.position].links
        done = partial(self._take, fetch)
        try:
            fetch.abandon_tcp = links.ask(message(b"", fetch), done, now_ns).abandon
        except OSError:
            return False
        links.push()
        return True

    def ask_over_tcp_too(self, fetch: Fetch, done: Done) -> bool:
        """Ask its server over TCP besides, if a connection has room for that."""
        server, now_ns = fetch.server, self._clock.now_ns
        links = self.ports[server.position].links
        try:
            exchange = links.ask_if_easy(message(b"", fetch), done, now_ns)
        except OSError:
            return False
        if exchange is None:
            return False
        self._meter.upstream_count(server.index, Upstream.TCP_RETRIES)
        fetch.abandon_tcp = exchange.abandon
        links.push()
        return True

    def distrust_port(self, fetch: Fetch) -> None:
        """Give up the port of an overdue *fetch*, if nothing comes to it any more."""
        server = fetch.server
        for port, _identity, _since_ns in fetch.sent:
            if port.server is server:
                self.ports[server.position].distrust(port, fetch.sent_at_ns)

    def sweep(self) -> None:
        """Close what is done with."""
        for ports in self.ports:
            ports.sweep(self._clock.now_ns)

    def close(self) -> None:
        """Close every socket."""
        for ports in self.ports:
            ports.close()
