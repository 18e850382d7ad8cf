"""DNS over TCP for clients (RFC 7766): pipelined, answered out of order, bounded.

A connection costs a descriptor and two buffers. The limits below are per worker; when
they are reached, the connection that has been idle longest makes room.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Final

from dnsfront.dns import wire
from dnsfront.ipc.stats import Counter
from dnsfront.worker.reactor import READ, WRITE, Reactor
from dnsfront.worker.waiter import Waiter

if TYPE_CHECKING:
    from dnsfront.worker.access import AccessList
    from dnsfront.worker.frontend import Frontend
    from dnsfront.worker.handover import Peers

MAX_CONNECTIONS: Final = 1000
#: Queries of one connection under way at once; it is not read meanwhile.
MAX_OUTSTANDING: Final = 100
#: RFC 7766, 6.2.3 asks for a few seconds.
IDLE_S: Final = 10
#: A drain waits no longer for the first query of whoever just connected.
SILENT_S: Final = 1
#: A client that does not read its responses is not read either.
_MAX_UNSENT_OCTETS: Final = 1 << 20
_ACCEPTS_PER_ROUND: Final = 64


class TcpWaiter(Waiter):
    """One query of a connection, as the front end sees its client."""

    __slots__ = ("_connection", "token")

    is_tcp = True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.token = 0
        self.is_placed = False

    def respond(self, message: bytes) -> None:
        """Write *message* behind its length, in one go (RFC 7766, 8)."""
        self._connection.answered(self, message)

    def hand_over(self, worker_id: int, octets: bytes) -> bool:
        """Pass the query to its owner; the response comes back to this connection."""
        self.token = self._connection.peers.pass_query(worker_id, octets, self)
        return self.token != 0


class Connection:
    """One client's connection: what it sent, what it is owed."""

    def __init__(
        self, sock: socket.socket, listener: TcpListener, *, now_ns: int
    ) -> None:
        self.peers = listener.peers
        self.active_at_ns = now_ns
        self._socket = sock
        self._listener = listener
        self._received = bytearray()
        self._unsent = bytearray()
        self._under_way: set[TcpWaiter] = set()
        self._has_asked = False
        self._has_ended = False
        self._watched = 0
        self._is_closed = False
        self._watch()

    @property
    def is_idle(self) -> bool:
        """Whether the client is owed nothing."""
        return not self._under_way and not self._unsent

    @property
    def _takes_more(self) -> bool:
        return (
            len(self._under_way) < MAX_OUTSTANDING
            and len(self._unsent) < _MAX_UNSENT_OCTETS
        )

    def _watch(self) -> None:
        events = WRITE if self._unsent else 0
        if self._takes_more and not self._has_ended:
            events |= READ
        if events != self._watched:
            self._watched = events
            self._listener.reactor.watch(self._socket.fileno(), self._ready, events)

    def _ready(self, event: int) -> None:
        self.active_at_ns = self._listener.frontend.now_ns
        try:
            if event & WRITE:
                self._send()
            if event & ~WRITE and not self._is_closed:
                self._receive()
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _receive(self) -> None:
        if self._has_ended:
            # The client said it is done, and now the connection broke as well.
            self.close()
            return
        octets = self._socket.recv(65536)
        if not octets:
            self._has_ended = True
        self._received += octets
        self._serve()

    def _serve(self) -> None:
        """Answer the complete queries that were received, as far as the limits go."""
        at = 0
        received = self._received
        while self._takes_more and not self._is_closed:
            end = at + 2 + int.from_bytes(received[at : at + 2], "big")
            if len(received) < at + 2 or len(received) < end:
                break
            octets = bytes(received[at + 2 : end])
            at = end
            if len(octets) < wire.HEADER_OCTETS or octets[2] & 0x80:
                # Nothing sensible comes from a client that sends this.
                self.close()
                return
            query = TcpWaiter(self)
            self._has_asked = True
            self._under_way.add(query)
            self._listener.frontend.meter.count(Counter.QUERIES_TCP)
            self._listener.frontend.query(octets, query)
        del received[:at]
        self.settle()

    def answered(self, query: TcpWaiter, message: bytes) -> None:
        """Write the response to *query*; nothing happens on a closed connection."""
        if query not in self._under_way:
            return
        self._under_way.remove(query)
        self._unsent += len(message).to_bytes(2, "big") + message
        self._listener.written.append(self)

    def flush(self) -> None:
        """Send what was answered in this round, then go on with what waits."""
        if self._is_closed:
            return
        try:
            self._send()
        except BlockingIOError:
            self._watch()
        except OSError:
            self.close()

    def _send(self) -> None:
        if self._unsent:
            sent = self._socket.send(self._unsent)
            del self._unsent[:sent]
        self._serve()

    def settle(self) -> None:
        """Close the connection if nothing keeps it open, or wait for what it needs."""
        if self._is_closed:
            return
        is_over = self._has_ended or (self._listener.is_draining and self._has_asked)
        if self.is_idle and is_over:
            self.close()
            return
        self._watch()

    def take_last(self) -> None:
        """Take what the client has sent so far, then :meth:`settle`."""
        if self._takes_more and not self._has_ended:
            self._ready(READ)
        self.settle()

    def is_silent_since(self, limit_ns: int) -> bool:
        """Return whether nothing was asked at all, for as long as since *limit_ns*."""
        return not self._has_asked and self.active_at_ns < limit_ns

    def close(self) -> None:
        """Close the connection; responses under way are dropped."""
        if self._is_closed:
            return
        self._is_closed = True
        self._listener.reactor.forget(self._socket.fileno())
        self._socket.close()
        self.peers.forget([query.token for query in self._under_way if query.token])
        self._under_way.clear()
        self._listener.connections.discard(self)


class TcpListener:
    """One listening TCP socket of this worker and the connections it took."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        frontend: Frontend,
        reactor: Reactor,
        access: AccessList,
        peers: Peers,
    ) -> None:
        self.frontend = frontend
        self.reactor = reactor
        self.access = access
        self.peers = peers
        self.connections: set[Connection] = set()
        self.written: list[Connection] = []
        self.is_draining = False
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
        except ConnectionAbortedError:
            return True
        except OSError as exc:
            if exc.errno in {errno.EMFILE, errno.ENFILE}:
                self._close_idlest()
            return False
        self._accept(sock, address[0])
        return True

    def _accept(self, sock: socket.socket, host: str) -> None:
        meter = self.frontend.meter
        packed = socket.inet_pton(sock.family, host.partition("%")[0])
        if not self.access.allows(packed) or not self._has_room():
            meter.count(Counter.TCP_REFUSED)
            sock.close()
            return
        meter.count(Counter.TCP_CONNECTIONS)
        sock.setblocking(False)  # noqa: FBT003 - its signature
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections.add(Connection(sock, self, now_ns=self.frontend.now_ns))

    def _has_room(self) -> bool:
        return len(self.connections) < MAX_CONNECTIONS or self._close_idlest()

    def _close_idlest(self) -> bool:
        idle = [connection for connection in self.connections if connection.is_idle]
        if not idle:
            return False
        min(idle, key=lambda connection: connection.active_at_ns).close()
        return True

    def flush(self) -> None:
        """Send the responses of this round."""
        while self.written:
            written, self.written = self.written, []
            for connection in dict.fromkeys(written):
                connection.flush()

    def expire(self, now_ns: int) -> None:
        """Close the connections on which nothing happened for too long."""
        limit_ns = now_ns - IDLE_S * 1_000_000_000
        silent_ns = now_ns - SILENT_S * 1_000_000_000
        for connection in list(self.connections):
            if connection.active_at_ns < limit_ns or (
                self.is_draining and connection.is_silent_since(silent_ns)
            ):
                connection.close()

    def close(self) -> None:
        """Close all connections, and give up this worker's listening descriptor."""
        for connection in list(self.connections):
            connection.close()
        self._socket.close()

    def drain(self, *, is_kept: bool) -> None:
        """Take who waits, then close each connection as soon as it is owed nothing.

        If the socket *is_kept*, by a successor, who waits is the successor's to take.
        """
        while not is_kept and self._take():
            pass
        self.is_draining = True
        for connection in list(self.connections):
            connection.take_last()
