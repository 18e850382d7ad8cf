"""The sockets towards one server: random ports, random ids, whole batches.

RFC 5452, 9.2: a response is believed only if it comes from the address and port that
was asked (the sockets are connected) to the port that asked, with the id of the query.
Ports are chosen by the kernel at random, one of several is drawn for each batch, and
none is kept for long; ids come from the system's random numbers.

A connected socket keeps its source address whatever becomes of the host's addresses and
routes. So a port is given up when it cannot send, when the host would send from another
address by now, when nothing came to it for a whole time-out, and after a few minutes in
any case. Silence within a time-out is no reason: a resolver that has to ask others
takes its time, and what it says goes to the port and id that it was asked from.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import socket
from collections.abc import Callable, Iterator
from typing import Final

from dnsfront.ipc.spec import endpoint_text
from dnsfront.ipc.stats import Upstream
from dnsfront.worker.process.batch import SendBatch
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.process.reactor import Reactor
from dnsfront.worker.upstreams.exchange import Links
from dnsfront.worker.upstreams.fetch import Fetch, Port
from dnsfront.worker.upstreams.queries import message
from dnsfront.worker.upstreams.server import Server

_LOG = logging.getLogger(__name__)

_NS: Final = 1_000_000_000
#: Sockets, and so source ports, in use towards one server at any time.
_PORTS: Final = 16
#: Most ports that were given up and have something pending still.
_MAX_RETIRED: Final = 32
#: A socket is replaced after about this many queries.
_QUERIES_PER_SOCKET: Final = 2000
#: And after one to three times this many seconds.
_SOCKET_AGE_S: Final = 60
_SOCKET_BUFFER_OCTETS: Final = 1 << 20
_RANDOM_BLOCK: Final = 4096
#: Ports that had to be replaced are reported at most so often for one server.
_REPORT_EVERY_S: Final = 60
#: The address to send from is looked up for silent ports, at most so often.
_LOOK_EVERY_NS: Final = _NS // 10

#: A queue of this host is full: the datagram is lost, as any may be, not the port.
_BUSY: Final = frozenset((errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM))
#: Why ports are given up that would have been kept.
_LOSSES: Final = frozenset((Upstream.PORTS_ERROR, Upstream.PORTS_SILENT))
#: No descriptor is left, so that an open port has to serve.
_NO_DESCRIPTOR: Final = frozenset((errno.EMFILE, errno.ENFILE))


class Ports:
    """The ports towards *server*, and what waits to be sent to it in this round.

    *receive* is called with these ports and the one that has something to read.
    """

    def __init__(
        self,
        server: Server,
        reactor: Reactor,
        receive: Callable[[Ports, Port], None],
        meter: Meter,
    ) -> None:
        self.server = server
        self.queue: list[Fetch] = []
        #: Whether it is asked over TLS, and no other way.
        self.is_tls = server.spec.tls is not None
        #: Since when a port that was given up had heard nothing; 0 if none was.
        self.suspect_ns = 0
        self._reactor = reactor
        self._receive = receive
        self._meter = meter
        self._identities = _identities()
        self.links = Links(server.spec, reactor, self._identities, meter)
        self._sending = SendBatch(-1)
        self._retired: list[Port] = []
        self._ports: list[Port | None] = [None] * _PORTS
        self._sockets: dict[int, socket.socket] = {}
        self._replaced = 0
        self._replaced_for = ""
        self._next_report_ns = 0
        self._next_look_ns = 0

    def _open(self, now_ns: int) -> Port:
        family = self.server.spec.family
        if self.is_tls:
            raise PermissionError(errno.EPERM, "never in the clear")
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_OCTETS)
        try:
            sock.connect((self.server.spec.address, self.server.spec.port))
        except OSError:
            sock.close()
            raise
        age_ns = _SOCKET_AGE_S * _NS
        port = Port(
            self.server,
            sock.fileno(),
            left=_QUERIES_PER_SOCKET // 2 + random.randrange(_QUERIES_PER_SOCKET),
            opened_ns=now_ns,
            deadline_ns=now_ns + age_ns + random.randrange(2 * age_ns),
        )
        self._sockets[port.fd] = sock
        self._reactor.watch(port.fd, lambda _event: self._receive(self, port))
        return port

    def send(self, batch: list[Fetch], now_ns: int) -> list[Fetch]:
        """Ask for everything in *batch*, through one port; return what did not leave.

        Raises:
            OSError: no socket can be had, for instance because there is no route to
                the server; nothing was sent.
        """
        port = self._port(now_ns)
        self._send_through(port, batch, now_ns)
        refused = self._sending.refused
        return self._send_anew(port, batch, now_ns) if refused else []

    def _send_through(self, port: Port, batch: list[Fetch], now_ns: int) -> None:
        self._sending.fd = port.fd
        pending, identities = port.pending, self._identities
        payloads = []
        for fetch in batch:
            identity = next(identities)
            while identity in pending:
                identity = next(identities)
            pending[identity] = fetch
            if fetch.sent:
                # The server may still be working on what it was sent before the last
                # time-out, so it may respond to that port and id too, but to no third.
                fetch.forget_all_but_last(self.server)
            fetch.sent.append((port, identity, now_ns))
            fetch.sent_at_ns = now_ns
            payloads.append(message(identity, fetch))
        port.left -= len(batch)
        marks = self.server.marks
        if marks is not None:
            payloads = [
                marks.put_on(query, fetch.asked, now_ns)
                for query, fetch in zip(payloads, batch, strict=True)
            ]
        self._sending.send(payloads)

    def _send_anew(self, port: Port, batch: list[Fetch], now_ns: int) -> list[Fetch]:
        """Send what *port* refused through a new port; return what that refuses too."""
        failed, again, reason = [], [], 0
        for i, number in self._sending.refused:
            if number == errno.ECONNREFUSED:
                failed.append(batch[i])
            elif number not in _BUSY:
                again.append(batch[i])
                reason = number
        if not again:
            return failed
        self._report(f"error={errno.errorcode.get(reason, str(reason))}")
        self._give_up(port, Upstream.PORTS_ERROR)
        try:
            port = self._ports[self._ports.index(None)] = self._open(now_ns)
        except OSError:
            return failed + again
        self._send_through(port, again, now_ns)
        refused = self._sending.refused
        return failed + [again[i] for i, n in refused if n not in _BUSY]

    def repeat(self, fetch: Fetch, now_ns: int) -> bool:
        """Ask for *fetch* once more; return whether that left.

        It does through the same port and under the same id, so that a forger gains
        nothing by it and a response to either query will do. Another one is used only
        if that port was given up: after a time-out, or if the host's address changed.
        """
        last = fetch.last_sent(self.server)
        if last is not None:
            port, identity = last
            if port.heard_ns <= fetch.sent_at_ns:
                self._follow_the_host(now_ns)
            if not port.is_given_up:
                query, marks = message(identity, fetch), self.server.marks
                if marks is not None:
                    query = marks.put_on(query, fetch.asked, now_ns)
                try:
                    self._sockets[port.fd].send(query)
                except ConnectionRefusedError:
                    return False
                except OSError as exc:
                    if exc.errno in _BUSY:
                        return True
                    self._report(f"error={errno.errorcode.get(exc.errno or 0, '?')}")
                    self._give_up(port, Upstream.PORTS_ERROR)
                else:
                    return True
        try:
            return not self.send([fetch], now_ns)
        except OSError:
            return False

    def _port(self, now_ns: int) -> Port:
        """Return a port drawn at random; one that is worn out is replaced first.

        So is one that has heard nothing since another was given up for its silence.
        """
        index = next(self._identities)[0] % _PORTS
        port = self._ports[index]
        if port is None or port.left <= 0 or port.heard_ns <= self.suspect_ns:
            try:
                opened = self._open(now_ns)
            except OSError as exc:
                others = [other for other in self._ports if other is not None]
                if exc.errno not in _NO_DESCRIPTOR or not others:
                    raise
                return others[index % len(others)]
            if port is not None:
                is_worn = port.left <= 0
                reason = Upstream.PORTS_WORN if is_worn else Upstream.PORTS_SILENT
                self._give_up(port, reason)
            self._ports[index] = opened
            return opened
        return port

    def _give_up(self, port: Port, reason: int) -> None:
        """Send through *port* no more; what is pending on it may still be answered."""
        if port.is_given_up:
            return
        port.is_given_up = True
        self._ports[self._ports.index(port)] = None
        self._retired.append(port)
        if len(self._retired) > _MAX_RETIRED:
            self._let_go(self._retired.pop(0))
        self._meter.upstream_count(self.server.index, reason)
        if reason in _LOSSES:
            self._replaced += 1

    def _let_go(self, port: Port) -> None:
        """Close a port though fetches are pending on it, which may fail for that.

        Names that nobody answers, which anybody can ask for, would otherwise keep any
        number of ports open.
        """
        for fetch in set(port.pending.values()):
            fetch.forget_port(port)
        port.pending.clear()
        self._close(port)

    def _follow_the_host(self, now_ns: int) -> None:
        """Give up the ports that do not send from where the host would by now."""
        if now_ns < self._next_look_ns:
            return
        self._next_look_ns = now_ns + _LOOK_EVERY_NS
        try:
            with socket.socket(self.server.spec.family, socket.SOCK_DGRAM) as sock:
                sock.connect((self.server.spec.address, self.server.spec.port))
                source = sock.getsockname()[0]
        except OSError:
            return
        for port in self._ports:
            if port is None:
                continue
            if self._sockets[port.fd].getsockname()[0] != source:
                self._give_up(port, Upstream.PORTS_SILENT)
                self._report("error=address")

    def distrust(self, port: Port, since_ns: int) -> None:
        """Give up *port*, which was asked at *since_ns* and has heard nothing since."""
        if port.heard_ns > since_ns:
            return
        self._give_up(port, Upstream.PORTS_SILENT)
        self.suspect_ns = since_ns

    def gets_through(self, port: Port) -> None:
        """Decide about the silent ports, now that something came to *port*.

        If that was opened after they fell silent, they no longer work and are given
        up. If it is as old as they are, nothing is wrong with them.
        """
        suspect_ns, self.suspect_ns = self.suspect_ns, 0
        if port.opened_ns <= suspect_ns:
            return
        for other in self._ports:
            if other is not None and other.heard_ns <= suspect_ns:
                self._give_up(other, Upstream.PORTS_SILENT)
        self._report("error=silence")

    def _report(self, error: str) -> None:
        self._replaced_for = error

    def sweep(self, now_ns: int) -> None:
        """Give up old ports; close those and connections that are not used any more."""
        for port in self._ports:
            if port is not None and port.deadline_ns <= now_ns:
                self._give_up(port, Upstream.PORTS_AGE)
        self.links.sweep(now_ns)
        if self._retired:
            for port in self._retired:
                if not port.pending:
                    self._close(port)
            self._retired = [port for port in self._retired if port.pending]
        if self._replaced_for and self._next_report_ns <= now_ns:
            self._next_report_ns = now_ns + _REPORT_EVERY_S * _NS
            spec = self.server.spec
            _LOG.info(
                "upstream_ports_replaced upstream=%s times=%d %s",
                endpoint_text(spec.address, spec.port),
                self._replaced,
                self._replaced_for,
            )
            self._replaced, self._replaced_for = 0, ""

    def close(self) -> None:
        """Close every port and every connection."""
        self.links.close()
        for port in (*self._ports, *self._retired):
            if port is not None:
                self._close(port)

    def _close(self, port: Port) -> None:
        self._reactor.forget(port.fd)
        self._sockets.pop(port.fd).close()


def _identities() -> Iterator[bytes]:
    while True:
        block = os.urandom(_RANDOM_BLOCK)
        for at in range(0, _RANDOM_BLOCK, 2):
            yield block[at : at + 2]
