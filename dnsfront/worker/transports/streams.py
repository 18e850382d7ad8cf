"""All TCP connections of one worker: whose turn it is, and what they may cost.

They have an epoll of their own, of which the worker's loop sees one descriptor: however
many clients pipeline however much, a round serves so many of their queries, and then
looks at the datagrams again.

Bounds are shared fairly between clients: when there is no room, whoever holds most has
to give way, first by what it does not use.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections import deque
from itertools import islice
from typing import Final

from dnsfront.ipc.spec import Limits
from dnsfront.ipc.stats import Limit
from dnsfront.worker.answering.answering import Answering
from dnsfront.worker.clients.gate import Gate
from dnsfront.worker.peers.handover import Peers
from dnsfront.worker.process.reactor import Reactor
from dnsfront.worker.transports.connection import Connection

#: What all connections together are served in a round, in queries: no more than what
#: a quarter of the datagrams that the round may have taken cost.
QUERIES_A_ROUND: Final = 64
_EVENTS_A_ROUND: Final = 64
_ARENA_OCTETS: Final = 1 << 14
#: How long a client that was told goodbye may take to hear it, and how long a drain
#: waits for the first query of whoever just connected.
SILENT_S: Final = 1
#: A query that is under way for so long was lost; no upstream has as much time.
STUCK_S: Final = 120
#: Connections of the greediest clients that are looked at to find the one that goes.
_LOOKED_AT: Final = 64

_NS: Final = 1_000_000_000


class Streams:
    """The connections of all listeners of this worker.

    `octets` is what all of them hold in memory, `room` the most there may be.
    """

    def __init__(
        self,
        *,
        answering: Answering,
        reactor: Reactor,
        peers: Peers,
        limits: Limits,
        descriptors: int,
    ) -> None:
        self.answering = answering
        self.peers = peers
        self.octets = 0
        self.arena = memoryview(bytearray(_ARENA_OCTETS))
        self.silent_ns = SILENT_S * _NS
        self.reactor = reactor
        self._epoll = select.epoll()
        self._by_fd: dict[int, Connection] = {}
        self._clients: dict[bytes, dict[Connection, None]] = {}
        self._turns: deque[Connection] = deque()
        self._written: list[Connection] = []
        self._spare = -1
        self._take_spare()
        self.configure(limits, descriptors)
        reactor.watch(self._epoll.fileno(), self.ready)

    def __len__(self) -> int:
        return len(self._by_fd)

    def configure(self, limits: Limits, descriptors: int) -> None:
        """Keep to *limits* and to so many *descriptors* from now on."""
        self.limits = limits
        self.idle_ns = round(limits.tcp_idle_s * _NS)
        self.stuck_ns = max(self.idle_ns, STUCK_S * _NS)
        self.room = min(limits.tcp_connections, descriptors)

    # -- turns

    @property
    def has_work(self) -> bool:
        """Whether somebody waits for a turn, so that the loop may not sleep."""
        return bool(self._turns or self._written)

    def ready(self, _event: int) -> None:
        """Put those on the list for whom there is something to do."""
        by_fd = self._by_fd
        for fd, event in self._epoll.poll(0, _EVENTS_A_ROUND):
            connection = by_fd.get(fd)
            if connection is not None:
                connection.events |= event
                self.queue(connection)

    def queue(self, connection: Connection) -> None:
        """Give *connection* a turn, in this round or in one of the next."""
        if not connection.is_queued:
            connection.is_queued = True
            self._turns.append(connection)

    def note_written(self, connection: Connection) -> None:
        """Send what *connection* has to send at the end of this round."""
        if not connection.is_written:
            connection.is_written = True
            self._written.append(connection)

    def work(self) -> None:
        """Do a round's share of what there is to do; see :attr:`has_work`."""
        turns = self._turns
        left = QUERIES_A_ROUND
        # Nobody has two turns in a round.
        for _ in range(len(turns)):
            if left <= 0:
                break
            connection = turns.popleft()
            connection.is_queued = False
            try:
                left -= connection.take_turn()
            except Exception:  # noqa: BLE001 - one connection, not all
                self._give_up(connection)
        if self._written:
            self._flush()
        if self.octets > self.limits.tcp_memory_octets:
            # Only a lower limit than before comes to this.
            self.save_memory(0)

    def _flush(self) -> None:
        written, self._written = self._written, []
        for connection in written:
            connection.is_written = False
            try:
                connection.flush()
            except Exception:  # noqa: BLE001 - one connection, not all
                self._give_up(connection)

    def _give_up(self, connection: Connection) -> None:
        self.answering.faults.caught("tcp")
        connection.close()

    # -- who is there

    def watch(self, fd: int, events: int) -> None:
        """Begin to look at a descriptor."""
        self._epoll.register(fd, events)

    def rewatch(self, fd: int, events: int) -> None:
        """Look at a descriptor for other events."""
        self._epoll.modify(fd, events)

    def add(self, connection: Connection) -> None:
        """Know a new connection; :meth:`has_room` was asked before."""
        self._by_fd[connection.fileno()] = connection
        self._clients.setdefault(connection.client, {})[connection] = None

    def forget(self, connection: Connection) -> None:
        """Know a connection no more, which is about to be closed."""
        fd = connection.fileno()
        if self._by_fd.pop(fd, None) is None:
            return
        self._epoll.unregister(fd)
        held = self._clients[connection.client]
        del held[connection]
        if not held:
            del self._clients[connection.client]

    def keep_out(self, gate: Gate) -> None:
        """Close the connections of clients that are not served any more."""
        for connection in list(self._by_fd.values()):
            if not gate.lets_in(connection.address):
                connection.close()

    def expire(self, now_ns: int) -> None:
        """Close the connections on which nothing happened for too long."""
        for connection in list(self._by_fd.values()):
            connection.expire(now_ns)

    def close(self) -> None:
        """Close what is left."""
        for connection in list(self._by_fd.values()):
            connection.close()
        self.reactor.forget(self._epoll.fileno())
        self._epoll.close()
        self._give_spare()

    # -- bounds

    def has_room(self, client: bytes) -> bool:
        """Return whether *client* may have one more connection, and make room for it.

        A client at its own bound gives up one of its own. When the table is full, one
        goes of those who hold most, and more than *client*: first what was idle for
        longest, then what is oldest, whatever it is busy with.
        """
        mine = self._clients.get(client, {})
        if len(mine) >= self.limits.tcp_connections_per_client:
            self.answering.meter.count(Limit.TCP_CONNECTIONS_PER_CLIENT)
            return self._displace(list(mine), is_busy_too=False)
        if len(self._by_fd) < self.room:
            return True
        is_short = self.room < self.limits.tcp_connections
        self.answering.meter.count(
            Limit.DESCRIPTORS if is_short else Limit.TCP_CONNECTIONS
        )
        return self._make_room(mine)

    def _make_room(self, mine: dict[Connection, None]) -> bool:
        most = max(map(len, self._clients.values()), default=0)
        if most <= len(mine):
            return self._displace(list(mine), is_busy_too=False)
        greediest = (
            connection
            for held in self._clients.values()
            if len(held) == most
            for connection in held
        )
        return self._displace(list(islice(greediest, _LOOKED_AT)), is_busy_too=True)

    def _displace(self, candidates: list[Connection], *, is_busy_too: bool) -> bool:
        """Close one of *candidates*, oldest first; return whether one had to go."""
        idle = [connection for connection in candidates if connection.is_idle]
        if idle:
            min(idle, key=lambda connection: connection.active_at_ns).close()
            return True
        if is_busy_too and candidates:
            candidates[0].close()
            return True
        return False

    def lack_descriptors(self, sock: socket.socket) -> bool:
        """Do without a descriptor for who waits at *sock*.

        Whoever was idle for long makes room; if nobody is, the one who waits is turned
        away, by a descriptor that is kept for that. Returns whether something could be
        done: the socket stays ready otherwise, and must not be looked at.
        """
        self.answering.meter.count(Limit.DESCRIPTORS)
        oldest = islice(self._by_fd.values(), _LOOKED_AT)
        if self._displace(list(oldest), is_busy_too=False):
            return True
        self._give_spare()
        try:
            sock.accept()[0].close()
        except OSError:
            return False
        finally:
            self._take_spare()
        return True

    def _take_spare(self) -> None:
        # Where even this cannot be had, the next who waits is left waiting.
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _give_spare(self) -> None:
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def save_memory(self, wanted: int) -> None:
        """Cut clients off until there are *wanted* octets, and some to go on with.

        First those who do not take what they asked for, whoever holds most first.
        """
        limit = self.limits.tcp_memory_octets
        most = max(0, limit - limit // 8 - wanted)
        held = {
            client: sum(connection.octets for connection in connections)
            for client, connections in self._clients.items()
        }
        ranked = sorted(
            self._by_fd.values(),
            key=lambda x: (x.is_stalled, held[x.client], x.octets),
            reverse=True,
        )
        for connection in ranked:
            if self.octets <= most:
                return
            self.answering.meter.count(Limit.TCP_MEMORY)
            connection.close()
