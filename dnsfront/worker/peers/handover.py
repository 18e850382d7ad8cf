"""Queries passed to their owner in user space, and responses passed back.

Each worker has one receiving socket (`inbox.py`); everybody else holds its sending end.
A datagram is passed with its sender's address and is answered by its owner directly,
since all workers' sockets share the listening address. A query that came over TCP is
answered through the worker that has the connection.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
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
from dnsfront.worker.process.batch import SendBatch

#: Far longer than an owner takes that is alive: it gives up on upstreams before.
_ANSWER_TIMEOUT_NS: Final = 10_000_000_000
#: Queries taken back that are answered here in one round.
GIVEN_BACK_A_ROUND: Final = 64


def _send_parcel(sock: socket.socket, parcel: bytes) -> bool:
    """Send *parcel*; return False when there is no room for it now."""
    try:
        sock.send(KIND.pack(PARCEL) + parcel, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True  # that worker is gone
    return True


class Receivers:
    """The workers of another instance, for the time of a transfer to them."""

    def __init__(self, ids: Sequence[int], fds: Sequence[int]) -> None:
        self._sockets = {
            worker_id: socket.socket(fileno=fd)
            for worker_id, fd in zip(ids, fds, strict=True)
        }

    def __contains__(self, worker_id: object) -> bool:
        return worker_id in self._sockets

    def send(self, worker_id: int, parcel: bytes) -> bool:
        """Send *parcel*, as :meth:`Peers.pass_parcel` does."""
        return _send_parcel(self._sockets[worker_id], parcel)

    def close(self) -> None:
        """Give up the sockets, which belong to this object."""
        for sock in self._sockets.values():
            sock.close()


class Peers:
    """The other workers, and what was passed to them."""

    def __init__(
        self, worker_id: int, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._worker_id = worker_id
        self._clock = clock
        self._sockets: dict[int, socket.socket] = {}
        self._batches: dict[int, SendBatch] = {}
        self._tokens = 0
        #: By token, the oldest first: whom a query went to, when, and what it was.
        self._waiting: dict[int, tuple[int, int, bytes, Waiter]] = {}
        self._given_back: deque[tuple[bytes, Waiter]] = deque()
        self.failed = 0
        #: Responses that could not be sent back.
        self.lost = 0

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
        head = DATAGRAM_HEAD.pack(
            DATAGRAM, listener_number, len(address), len(control), address, control
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
        head = STREAM_HEAD.pack(STREAM_QUERY, self._worker_id, token)
        address = waiter.cookie_address()
        head += STREAM_CLIENT.pack(len(address), address)
        # Noted before it is passed: if its batch leaves at once and there is no room,
        # the query is taken back at once.
        self._waiting[token] = (worker_id, self._clock(), octets, waiter)
        if not self._pass(worker_id, head + octets):
            del self._waiting[token]
            return 0
        return token

    def pass_response(self, worker_id: int, token: int, message: bytes) -> None:
        """Send the response to a query that *worker_id* passed here."""
        head = STREAM_HEAD.pack(STREAM_RESPONSE, self._worker_id, token)
        if not self._pass(worker_id, head + message):
            self.lost += 1

    def take_response(self, token: int, message: bytes) -> None:
        """Give whoever waits for it the response that came to a query passed on."""
        passed = self._waiting.pop(token, None)
        if passed is not None:
            passed[3].respond(message)

    def pass_parcel(self, worker_id: int, parcel: bytes) -> bool:
        """Send cache entries to the next owner of their names.

        Returns False when there is no room for them now. An owner that is not known, or
        is gone, counts as one that took them: there is nobody to wait for.
        """
        sock = self._sockets.get(worker_id)
        return sock is None or _send_parcel(sock, parcel)

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
        batch.failed = 0
        for i, _number in batch.refused:
            octets = batch.message(i)
            if octets[0] == STREAM_RESPONSE:
                self.lost += 1
                continue
            self.failed += 1
            if octets[0] == STREAM_QUERY:
                _, _, token = STREAM_HEAD.unpack_from(octets)
                self._take_back(token)

    def _take_back(self, token: int) -> None:
        passed = self._waiting.pop(token, None)
        if passed is not None:
            self._given_back.append(passed[2:])

    @property
    def is_waiting(self) -> bool:
        """Whether an owner has not answered yet what it was passed from here."""
        return bool(self._waiting)

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

        The answer may have found no room in this worker's socket, and the client would
        wait until its connection ends.
        """
        overdue_ns = self._clock() - _ANSWER_TIMEOUT_NS
        while self._waiting:
            token = next(iter(self._waiting))
            if self._waiting[token][1] > overdue_ns:
                break
            self.failed += 1
            self._take_back(token)

    def forget(self, tokens: list[int]) -> None:
        """Stop waiting for responses that nobody wants any more."""
        for token in tokens:
            self._waiting.pop(token, None)
