"""Queries over a connection, each behind its length (RFC 1035, 4.2.2; RFC 7766).

A connection does nothing of its own accord. It is given turns by `streams.py`, in each
of which it reads a little, serves a few queries and sends what it can, so that whoever
asks most waits longest.
"""

from __future__ import annotations

import socket
from typing import Final

from dnsfront.dns import wire
from dnsfront.ipc.stats import Counter, Limit
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.process.reactor import READ, WRITE
from dnsfront.worker.transports.connection import Connection
from dnsfront.worker.transports.listener import OpenListener
from dnsfront.worker.transports.streams import Streams

#: Queries of one connection under way at once; no more are read meanwhile.
MAX_OUTSTANDING: Final = 100
#: Queries that one connection is served in a turn.
QUERIES_A_TURN: Final = 16
#: A client that does not read its responses is not served on.
MAX_UNSENT_OCTETS: Final = 1 << 16
#: What the kernel may hold beyond what is on its way: more would be out of our bound.
_MAX_NOT_SENT_OCTETS: Final = 1 << 16
#: What a query under way costs here, besides its response.
_QUERY_OCTETS: Final = 1024
#: Octets sent that take as long as a query served.
_OCTETS_A_QUERY: Final = 4096
#: How long a drain reads on from a client that is owed something all the time: long
#: enough for nearly all to be owed nothing for a moment, and a part of a drain's time.
BUSY_NS: Final = 500_000_000


class FramedWaiter(Waiter):
    """One query of a connection, as those who answer it see its client."""

    __slots__ = ("_connection", "token")

    is_stream = True

    def __init__(self, connection: FramedConnection) -> None:
        self._connection = connection
        self.token = 0
        self.is_to_answer = False

    def client(self) -> bytes:
        """Return what the connection is counted under."""
        return self._connection.client

    def address(self) -> bytes:
        """Return the packed address of the client."""
        return self._connection.address

    def respond(self, message: bytes) -> None:
        """Write *message* behind its length, in one go (RFC 7766, 8)."""
        self._connection.answered(self, message)

    def is_wanted(self) -> bool:
        """Return whether the connection is still there, and owes the answer."""
        return self._connection.is_owed(self)

    def hand_over(self, worker_id: int, octets: bytes) -> bool:
        """Pass the query to its owner; the response comes back to this connection."""
        peers = self._connection.streams.peers
        self.token = peers.pass_query(worker_id, octets, self)
        return self.token != 0


class FramedConnection(Connection):
    """One client's connection: what it sent, what it is owed, how it ends."""

    def __init__(
        self,
        sock: socket.socket,
        client: bytes,
        address: bytes,
        listener: OpenListener,
        streams: Streams,
    ) -> None:
        super().__init__(sock, client, address, streams.answering.clock.now_ns)
        self.streams = streams
        self._listener = listener
        self._received = bytearray()
        self._unsent = bytearray()
        #: What the queries under way cost, each with its octets.
        self._under_way: dict[FramedWaiter, int] = {}
        self._under_way_octets = 0
        self._asked = 0
        #: The client has closed its side.
        self._has_ended = False
        #: Nothing more is taken from it.
        self._is_ending = False
        #: All was said, and what the client still sends is thrown away.
        self._is_lingering = False
        #: A drain takes what was sent before it, and before the last answer.
        self._is_to_be_read = False
        #: When a drain was noticed; 0 for not yet.
        self._draining_since_ns = 0
        #: A drain lasts for too long: one more read, when nothing is owed.
        self._is_past_reading = False
        self._is_blocked = False
        self._is_in_turn = False
        self._is_closed = False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MAX_NOT_SENT_OCTETS
        )
        self._watched = READ
        self.streams.watch(sock.fileno(), READ)

    @property
    def is_idle(self) -> bool:
        """Whether the client is owed nothing."""
        return not (self._under_way or self._unsent or self._has_query)

    @property
    def is_stalled(self) -> bool:
        """Whether the client is owed what it does not take."""
        return self._is_blocked

    @property
    def _takes_more(self) -> bool:
        return (
            len(self._under_way) < MAX_OUTSTANDING
            and len(self._unsent) < MAX_UNSENT_OCTETS
            and not self._is_ending
        )

    @property
    def _has_query(self) -> bool:
        """Whether a complete query was received and not yet served."""
        received = self._received
        size = len(received)
        return size >= 2 and size >= 2 + int.from_bytes(received[:2], "big")

    # -- a turn

    def take_turn(self) -> int:
        """Do what there is to do, but not for long; return what that cost in queries.

        Whoever wants more gets another turn.
        """
        if self._is_closed:
            return 0
        events, self.events = self.events, 0
        if events & ~(READ | WRITE):
            # It broke, or both sides are closed: there is nobody to answer to.
            self.close()
            return 1
        cost = 1
        try:
            if events & WRITE:
                self._is_blocked = False
            if events & READ and (self._is_lingering or not self._has_query):
                self._receive()
            before = len(self._unsent)
            self._is_in_turn = True
            cost += self._serve()
            self._is_in_turn = False
            cost += (len(self._unsent) - before) // _OCTETS_A_QUERY
            self._send()
        except OSError:
            self.close()
        self._go_on()
        return cost

    def _receive(self) -> None:
        if self._has_ended:
            return
        is_last = self._is_past_reading and not self._is_lingering
        if is_last and not self._is_to_be_read:
            return
        arena = self.streams.arena
        try:
            count = self.sock.recv_into(arena)
        except BlockingIOError:
            self._is_to_be_read = False
            return
        if is_last or count < len(arena):
            self._is_to_be_read = False
        if not count:
            self._has_ended = True
        elif not self._is_ending and self._may_keep(count):
            self._received += arena[:count]

    def _serve(self) -> int:
        """Serve complete queries, as far as the limits go; return how many it were."""
        at = served = 0
        received = self._received
        answering = self.streams.answering
        most = self.streams.limits.tcp_queries_per_connection
        while served < QUERIES_A_TURN and self._takes_more:
            end = at + 2 + int.from_bytes(received[at : at + 2], "big")
            if len(received) < at + 2 or len(received) < end:
                break
            octets = bytes(received[at + 2 : end])
            at = end
            if len(octets) < wire.HEADER_OCTETS or octets[2] & 0x80:
                # Nothing sensible comes from a client that sends this; what it asked
                # before is answered all the same.
                is_short = len(octets) < wire.HEADER_OCTETS
                answering.meter.count(
                    Counter.IGNORED_SHORT if is_short else Counter.IGNORED_RESPONSE
                )
                self._is_ending = True
                break
            cost = _QUERY_OCTETS + len(octets)
            if not self._may_keep(cost):
                break
            served += 1
            self._asked += 1
            query = FramedWaiter(self)
            self._under_way[query] = cost
            self._under_way_octets += cost
            answering.meter.count(self._listener.queries)
            answering.query(octets, query)
            if self._asked == most:
                answering.meter.count(Limit.TCP_QUERIES_PER_CONNECTION)
                self._is_ending = True
        del received[:at]
        if self._is_ending:
            received.clear()
        if served:
            self.active_at_ns = answering.clock.now_ns
        return served

    def answered(self, query: FramedWaiter, message: bytes) -> None:
        """Take the response to *query*; nothing happens on a closed connection."""
        cost = self._under_way.pop(query, 0)
        if not cost:
            return
        self._under_way_octets -= cost
        if not self._may_keep(2 + len(message) - cost):
            return
        self._unsent += len(message).to_bytes(2, "big")
        self._unsent += message
        if not self._is_in_turn:
            self.streams.note_written(self)

    def is_owed(self, query: FramedWaiter) -> bool:
        """Return whether there still is somebody to answer *query* to."""
        return query in self._under_way

    def _may_keep(self, octets: int) -> bool:
        """Charge so many *octets* more; return whether there still is a connection.

        Where memory is short, a connection is closed first, which may be this one.
        """
        streams = self.streams
        if streams.octets + octets > streams.limits.tcp_memory_octets:
            streams.save_memory(octets)
            if self._is_closed:
                return False
        streams.octets += octets
        self.octets += octets
        return True

    def flush(self) -> None:
        """Send what was answered since the last turn, then go on with what waits."""
        if self._is_closed:
            return
        self.active_at_ns = self.streams.answering.clock.now_ns
        try:
            self._send()
        except OSError:
            self.close()
        self._go_on()

    def _send(self) -> None:
        if self._is_blocked or not self._unsent:
            return
        try:
            sent = self.sock.send(self._unsent)
        except BlockingIOError:
            self._is_blocked = True
            return
        del self._unsent[:sent]
        self._is_blocked = bool(self._unsent)
        if self._listener.is_draining and not self._is_past_reading:
            self._is_to_be_read = True  # meanwhile the client may have asked more
        self.active_at_ns = self.streams.answering.clock.now_ns

    def _go_on(self) -> None:
        """Close the connection if nothing keeps it open, or wait for what it needs."""
        if self._is_closed:
            return
        self._account()
        if self._is_lingering:
            if self._has_ended:
                self.close()
            return
        if self._has_query and self._takes_more:
            self.streams.queue(self)
        elif self.is_idle and self._is_over:
            if self._is_ending or self._has_ended or not self._is_to_be_read:
                self._finish()
                return
            self.take_last()
        self._watch()

    @property
    def _is_over(self) -> bool:
        return (
            self._has_ended
            or self._is_ending
            or (self._listener.is_draining and self._asked > 0)
        )

    def _account(self) -> None:
        """Tell `streams` how many octets this connection holds."""
        octets = len(self._received) + len(self._unsent)
        octets += self._under_way_octets
        self.streams.octets += octets - self.octets
        self.octets = octets

    def _watch(self) -> None:
        events = WRITE if self._unsent else 0
        if self._takes_more and not (self._has_ended or self._is_past_reading):
            events |= READ
        if events != self._watched:
            self._watched = events
            self.streams.rewatch(self.sock.fileno(), events)

    # -- the end

    def take_last(self) -> None:
        """Take what the client has sent so far before this is over."""
        if not (self._is_closed or self._has_ended or self._is_ending):
            self._is_to_be_read = True
            self.events |= READ
            self.streams.queue(self)

    def expire(self, now_ns: int) -> None:
        """Close the connection if nothing happened for too long.

        What counts is a complete query, an answer, and octets that the client takes: a
        query that comes octet by octet keeps no connection open.
        """
        streams = self.streams
        idle_ns = now_ns - self.active_at_ns
        if self._is_lingering or (self._listener.is_draining and not self._asked):
            if idle_ns > streams.silent_ns:
                self.close()
            return
        if self._listener.is_draining and not self._is_past_reading:
            since_ns = self._draining_since_ns = self._draining_since_ns or now_ns
            if now_ns - since_ns > BUSY_NS:
                # RFC 7766, 6.2.4: what is not answered is asked again elsewhere.
                self._is_past_reading = self._is_to_be_read = True
                self._go_on()
                return
        is_owed = self._under_way and not self._is_blocked
        if idle_ns > (streams.stuck_ns if is_owed else streams.idle_ns):
            streams.answering.meter.count(Limit.TCP_IDLE)
            self.close()

    def _finish(self) -> None:
        """Say goodbye: all that is owed was sent.

        A socket closed while the client still sends is reset, and the reset may arrive
        before the last answers are read: so only this side is closed, and the client
        has a moment to close the other.
        """
        self._received.clear()
        if self._has_ended:
            self.close()
            return
        self._is_ending = self._is_lingering = True
        self.active_at_ns = self.streams.answering.clock.now_ns
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._account()
        if self._watched != READ:
            self._watched = READ
            self.streams.rewatch(self.sock.fileno(), READ)

    def close(self) -> None:
        """Close the connection; responses under way are dropped."""
        if self._is_closed:
            return
        self._is_closed = True
        peers = self.streams.peers
        peers.forget([query.token for query in self._under_way if query.token])
        self._under_way.clear()
        self._under_way_octets = 0
        self._received.clear()
        self._unsent.clear()
        self._account()
        self._listener.connections.discard(self)
        self.streams.forget(self)
        self.sock.close()
