"""What other workers pass to this one: read here, and given to whoever it is for."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Final

from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.peers.envelopes import (
    DATAGRAM,
    DATAGRAM_HEAD,
    KIND,
    PARCEL,
    STREAM_CLIENT,
    STREAM_HEAD,
    STREAM_QUERY,
    STREAM_RESPONSE,
)
from dnsfront.worker.peers.handover import Peers
from dnsfront.worker.peers.transfer import MAX_PARCEL_OCTETS
from dnsfront.worker.process.batch import ReceiveBatch

#: More batches than fit into the socket, whose messages may never end.
_CATCH_UP_ROUNDS: Final = 1024


class StreamWaiter(Waiter):
    """A client of another worker, whose TCP connection is there.

    Rules have looked at its address there, and it is known here for its cookie alone.
    """

    __slots__ = ("_address", "_peers", "_token", "_worker_id")

    is_stream = True

    def __init__(
        self, peers: Peers, worker_id: int, token: int, address: bytes
    ) -> None:
        self._address = address
        self._peers = peers
        self._worker_id = worker_id
        self._token = token
        self.is_to_answer = True

    def cookie_address(self) -> bytes:
        """Return the packed address that a cookie of the client is for."""
        return self._address

    def respond(self, message: bytes) -> None:
        """Send *message* back to the worker that has the connection."""
        self._peers.pass_response(self._worker_id, self._token, message)

    def hand_over(self, worker_id: int, octets: bytes) -> bool:
        """Refuse: what was handed over once stays where it is."""
        del worker_id, octets
        return False


class Inbox:
    """This worker's own receiving socket, and who takes what comes there.

    *on_datagram* takes a client's datagram: the number of its listener, the client's
    address, the control message for the reply, and the query. *on_query* takes a query
    that came over TCP, with who waits for it; *on_parcel* takes cache entries.
    Responses to what this worker passed on go to *peers*.
    """

    def __init__(
        self,
        receiving: socket.socket,
        peers: Peers,
        *,
        on_datagram: Callable[[int, bytes, bytes, bytes], None],
        on_query: Callable[[bytes, Waiter], None],
        on_parcel: Callable[[bytes], None],
    ) -> None:
        self._socket = receiving
        self._peers = peers
        self._on_datagram = on_datagram
        self._on_query = on_query
        self._on_parcel = on_parcel
        self._received = ReceiveBatch(longest=MAX_PARCEL_OCTETS)
        #: Messages that were cut, or that no sense could be made of.
        self.refused = 0

    def fileno(self) -> int:
        """Return the receiving descriptor, for the reactor."""
        return self._socket.fileno()

    def receive(self) -> int:
        """Give on what other workers passed here; return how many messages it was."""
        received = self._received
        count = received.receive(self._socket.fileno())
        for i in range(max(count, 0)):
            if received.is_cut(i):
                self.refused += 1
                continue
            try:
                self._take(received.datagram(i))
            except (struct.error, ValueError, KeyError):
                # Another worker says what this one does not know: a listener that was
                # closed meanwhile, or the words of another version.
                self.refused += 1
        return count

    def catch_up(self) -> None:
        """Take what was passed here until now, and pass on what is for others.

        Who is told of it may end one of them, once that has caught up too.
        """
        for _ in range(_CATCH_UP_ROUNDS):
            if self.receive() <= 0:
                break
        self._peers.flush()

    def _take(self, octets: bytes) -> None:
        """Give one message on.

        Raises:
            struct.error, ValueError, KeyError: there is no sense in it.
        """
        [kind] = KIND.unpack_from(octets)
        if kind == DATAGRAM:
            _, number, address_octets, control_octets, address, control = (
                DATAGRAM_HEAD.unpack_from(octets)
            )
            self._on_datagram(
                number,
                address[:address_octets],
                control[:control_octets],
                octets[DATAGRAM_HEAD.size :],
            )
            return
        if kind == PARCEL:
            self._on_parcel(octets[KIND.size :])
            return
        _, worker_id, token = STREAM_HEAD.unpack_from(octets)
        payload = octets[STREAM_HEAD.size :]
        if kind == STREAM_QUERY:
            size, address = STREAM_CLIENT.unpack_from(payload)
            self._on_query(
                payload[STREAM_CLIENT.size :],
                StreamWaiter(self._peers, worker_id, token, address[:size]),
            )
        elif kind == STREAM_RESPONSE:
            self._peers.take_response(token, payload)
        else:
            raise ValueError(f"got a message of kind {kind}")
