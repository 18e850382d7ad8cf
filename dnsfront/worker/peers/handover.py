"""Queries passed to their owner in user space, and responses passed back.

Each worker has one receiving socket; everybody else holds its sending end. A datagram
is passed with its sender's address and is answered by its owner directly, since all
workers' sockets share the listening address. A query that came over TCP is answered
through the worker that has the connection.
"""

from __future__ import annotations

import socket
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.peers.transfer import MAX_PARCEL_OCTETS
from dnsfront.worker.process.batch import (
    ADDRESS_OCTETS,
    CONTROL_OCTETS,
    ReceiveBatch,
    SendBatch,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dnsfront.worker.answering.answering import Answering
    from dnsfront.worker.transports.udp import UdpListener

_DATAGRAM: Final = 1
_STREAM_QUERY: Final = 2
_STREAM_RESPONSE: Final = 3
#: The number tells the form of a parcel, too: a predecessor may be another version.
_ENTRIES: Final = 6

#: Far longer than any owner takes that is alive: it gives up on upstreams before.
_ANSWERED_WITHIN_NS: Final = 10_000_000_000
#: Queries taken back that are answered here in one round.
GIVEN_BACK_A_ROUND: Final = 64

_KIND = struct.Struct("=B")
#: kind, listener number, octets of address and of control message, then both padded.
_DATAGRAM_HEAD = struct.Struct(f"=BBBB{ADDRESS_OCTETS}s{CONTROL_OCTETS}s")
#: kind, worker_id of the sender, token.
_STREAM_HEAD = struct.Struct("=BBQ")


class StreamWaiter(Waiter):
    """A client of another worker, whose TCP connection is there."""

    __slots__ = ("_peers", "_token", "_worker_id")

    is_tcp = True

    def __init__(self, peers: Peers, worker_id: int, token: int) -> None:
        self._peers = peers
        self._worker_id = worker_id
        self._token = token
        self.is_placed = True

    def respond(self, message: bytes) -> None:
        """Send *message* back to the worker that has the connection."""
        self._peers.pass_response(self._worker_id, self._token, message)

    def hand_over(self, worker_id: int, octets: bytes) -> bool:
        """Refuse: what was handed over once stays where it is."""
        del worker_id, octets
        return False


def _send_entries(sock: socket.socket, parcel: bytes) -> bool:
    """Send cache entries; return False when there is no room for them now."""
    try:
        sock.send(_KIND.pack(_ENTRIES) + parcel, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True  # whoever it was is gone
    return True


class Receivers:
    """The workers of another instance, while cache entries go there."""

    def __init__(self, ids: list[int], fds: list[int]) -> None:
        self._sockets = {
            worker_id: socket.socket(fileno=fd)
            for worker_id, fd in zip(ids, fds, strict=True)
        }

    def __contains__(self, worker_id: object) -> bool:
        return worker_id in self._sockets

    def send(self, worker_id: int, parcel: bytes) -> bool:
        """Send cache entries, as :meth:`Peers.pass_entries` does."""
        return _send_entries(self._sockets[worker_id], parcel)

    def close(self) -> None:
        """Give up the sockets, which belong to this object."""
        for sock in self._sockets.values():
            sock.close()


class Peers:
    """The other workers, and this worker's own receiving socket."""

    def __init__(
        self,
        worker_id: int,
        receiving: socket.socket,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._worker_id = worker_id
        self._clock = clock
        self._socket = receiving
        self._received = ReceiveBatch(longest=MAX_PARCEL_OCTETS)
        self._sockets: dict[int, socket.socket] = {}
        self._batches: dict[int, SendBatch] = {}
        self._tokens = 0
        #: By token, the oldest first: whom a query went to, when, and what it was.
        self._waiting: dict[int, tuple[int, int, bytes, Waiter]] = {}
        self._given_back: deque[tuple[bytes, Waiter]] = deque()
        self.failed = 0
        #: Messages that were cut, or that no sense could be made of.
        self.refused = 0

    def fileno(self) -> int:
        """Return the receiving descriptor, for the reactor."""
        return self._socket.fileno()

    def replace(self, sockets: dict[int, socket.socket]) -> None:
        """Know these workers from now on, by worker_id.

        Takes the queries over TCP back that were passed to others than these.
        """
        self.flush()
        lost = [
            token
            for token, (worker_id, *_rest) in self._waiting.items()
            if worker_id not in sockets
        ]
        for sock in self._sockets.values():
            sock.close()
        self._sockets = sockets
        self._batches = {
            worker_id: SendBatch(sock.fileno()) for worker_id, sock in sockets.items()
        }
        for token in lost:
            self._take_back(token)

    def pass_datagram(
        self,
        worker_id: int,
        listener_number: int,
        address: bytes,
        control: bytes,
        octets: bytes,
    ) -> bool:
        """Pass a client's datagram to its owner; return whether the owner is known."""
        head = _DATAGRAM_HEAD.pack(
            _DATAGRAM, listener_number, len(address), len(control), address, control
        )
        return self._pass(worker_id, head + octets)

    def pass_query(self, worker_id: int, octets: bytes, waiter: Waiter) -> int:
        """Pass a query that came over TCP; *waiter* gets the response.

        Returns a token for :meth:`forget`, or 0 when the owner is not known. If the
        owner has no room for it, does not answer or dies meanwhile, :meth:`given_back`
        has the query.
        """
        self._tokens += 1
        token = self._tokens
        head = _STREAM_HEAD.pack(_STREAM_QUERY, self._worker_id, token)
        # Ahead of the passing, which may take it back at once.
        self._waiting[token] = (worker_id, self._clock(), octets, waiter)
        if not self._pass(worker_id, head + octets):
            del self._waiting[token]
            return 0
        return token

    def pass_response(self, worker_id: int, token: int, message: bytes) -> None:
        """Send the response to a query that *worker_id* passed here."""
        head = _STREAM_HEAD.pack(_STREAM_RESPONSE, self._worker_id, token)
        self._pass(worker_id, head + message)

    def pass_entries(self, worker_id: int, parcel: bytes) -> bool:
        """Send cache entries to the next owner of their names, or tell to come again.

        An owner that is not known, or gone, takes everything: there is nobody to wait
        for.
        """
        sock = self._sockets.get(worker_id)
        return sock is None or _send_entries(sock, parcel)

    def _pass(self, worker_id: int, octets: bytes) -> bool:
        batch = self._batches.get(worker_id)
        if batch is None:
            return False
        batch.add(octets)
        if not len(batch):
            self._note_failed(batch)
        return True

    def flush(self) -> None:
        """Send what was collected."""
        for batch in self._batches.values():
            batch.flush()
            self._note_failed(batch)

    def _note_failed(self, batch: SendBatch) -> None:
        """Count what the last call did not send; take queries over TCP back."""
        if not batch.failed:
            return
        self.failed += batch.failed
        batch.failed = 0
        for i, _number in batch.refused:
            octets = batch.message(i)
            if octets[0] == _STREAM_QUERY:
                _, _, token = _STREAM_HEAD.unpack_from(octets)
                self._take_back(token)

    def _take_back(self, token: int) -> None:
        passed = self._waiting.pop(token, None)
        if passed is not None:
            self._given_back.append(passed[2:])

    @property
    def has_given_back(self) -> bool:
        """Whether :meth:`given_back` has something."""
        return bool(self._given_back)

    def given_back(self) -> list[tuple[bytes, Waiter]]:
        """Return queries over TCP that are to be answered here after all, a round's.

        Their owner is gone, had no room for them, or did not answer in a long time.
        """
        found: list[tuple[bytes, Waiter]] = []
        while self._given_back and len(found) < GIVEN_BACK_A_ROUND:
            found.append(self._given_back.popleft())
        return found

    def take_overdue_back(self) -> None:
        """Take the queries back that were not answered in a long time.

        The answer may have found no room here; who waits would wait until the
        connection ends.
        """
        overdue_ns = self._clock() - _ANSWERED_WITHIN_NS
        while self._waiting:
            token = next(iter(self._waiting))
            if self._waiting[token][1] > overdue_ns:
                break
            self.failed += 1
            self._take_back(token)

    def receive(
        self, answering: Answering, listeners: Mapping[int, UdpListener]
    ) -> int:
        """Serve what other workers passed here; return how many messages it was."""
        received = self._received
        count = received.receive(self._socket.fileno())
        for i in range(max(count, 0)):
            if received.is_cut(i):
                self.refused += 1
                continue
            try:
                self._take(received.datagram(i), answering, listeners)
            except (struct.error, ValueError, KeyError):
                # Another worker says what this one does not know: a listener that was
                # closed meanwhile, or the words of another version.
                self.refused += 1
        return count

    def _take(
        self, octets: bytes, answering: Answering, listeners: Mapping[int, UdpListener]
    ) -> None:
        """Serve one message.

        Raises:
            struct.error, ValueError, KeyError: there is no sense in it.
        """
        [kind] = _KIND.unpack_from(octets)
        if kind == _DATAGRAM:
            self._datagram(octets, answering, listeners)
            return
        if kind == _ENTRIES:
            answering.adopt(octets[_KIND.size :])
            return
        _, worker_id, token = _STREAM_HEAD.unpack_from(octets)
        payload = octets[_STREAM_HEAD.size :]
        if kind == _STREAM_QUERY:
            answering.query(payload, StreamWaiter(self, worker_id, token))
        elif kind == _STREAM_RESPONSE:
            passed = self._waiting.pop(token, None)
            if passed is not None:
                passed[3].respond(payload)
        else:
            raise ValueError(f"got a message of kind {kind}")

    def _datagram(
        self, octets: bytes, answering: Answering, listeners: Mapping[int, UdpListener]
    ) -> None:
        _, number, address_octets, control_octets, address, control = (
            _DATAGRAM_HEAD.unpack_from(octets)
        )
        waiter = listeners[number].waiter_at(
            address[:address_octets], control[:control_octets]
        )
        answering.query(octets[_DATAGRAM_HEAD.size :], waiter)

    def forget(self, tokens: list[int]) -> None:
        """Stop waiting for responses that nobody wants any more."""
        for token in tokens:
            self._waiting.pop(token, None)
