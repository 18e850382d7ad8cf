"""The datagrams of one listening socket: a batch in, its hits out, its misses on.

This is the hot path. A hit costs a handful of slices and dictionary look-ups: the
header and the OPT record are recognised by their octets (`dns/shape.py`), the folded
question is the key of the cache, and the response is joined from prepared pieces.
Anything that is not recognised goes to `worker/answering/` as a whole.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from dnsfront.dns import wire
from dnsfront.dns.entry import (
    ODD_ANY,
    ODD_ERRORS,
    ODD_ROTATES,
    ODD_RULED,
    ODD_TAIL,
    ODD_ZONE,
)
from dnsfront.ipc.stats import Counter, Source
from dnsfront.worker.clients.gate import Gate, Verdict
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.process.batch import (
    ADDRESS_OCTETS,
    BATCH,
    COMPACT,
    AnswerBatch,
    ReceiveBatch,
    SendBatch,
)
from dnsfront.worker.process.calls import HEADER_WORDS
from dnsfront.worker.transports.listener import OpenListener

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from dnsfront.dns.entry import Entry
    from dnsfront.dns.shape import Shape
    from dnsfront.ipc.spec import Listener
    from dnsfront.worker.answering.answering import Answering
    from dnsfront.worker.peers.handover import Peers
    from dnsfront.worker.peers.ownership import Ownership
    from dnsfront.worker.process.reactor import Reactor

#: Batches taken from one socket before the others get their turn.
_ROUNDS: Final = 4
#: Batches that hold more small datagrams than the largest receive buffer here.
_DRAIN_ROUNDS: Final = 256


class UdpWaiter(Waiter):
    """The sender of one datagram, and where its response goes."""

    __slots__ = ("_address", "_control", "_listener", "_replies")

    def __init__(
        self,
        listener: UdpListener,
        address: bytes,
        control: bytes,
        *,
        is_to_answer: bool,
    ) -> None:
        self._listener = listener
        self._replies = listener.replies
        self._address = address
        self._control = control
        self.is_to_answer = is_to_answer

    def is_at(self, listeners: Collection[object]) -> bool:
        """Return whether the datagram came to one of *listeners*."""
        return self._listener in listeners

    def client(self) -> bytes:
        """Return the IPv4 address of the client, or the /64 of its IPv6 address."""
        address = self._address
        return address[8:16] if len(address) > 16 else address[4:8]

    def address(self) -> bytes:
        """Return the packed address of the client."""
        address = self._address
        return address[8:24] if len(address) > 16 else address[4:8]

    def respond(self, message: bytes) -> None:
        """Queue *message*; it leaves at the end of the round."""
        self._replies.add(message, self._address, self._control)

    def hand_over(self, worker_id: int, octets: bytes) -> bool:
        """Pass the query on with the way back, so that its owner answers directly."""
        listener = self._listener
        return listener.peers.pass_datagram(
            worker_id, listener.number, self._address, self._control, octets
        )


class UdpListener(OpenListener):
    """One UDP socket of this worker."""

    is_flushed = True

    def __init__(
        self,
        listener: Listener,
        sock: socket.socket,
        *,
        reactor: Reactor,
        answering: Answering,
        ownership: Ownership,
        gate: Gate,
        peers: Peers,
        clock: Callable[[], int],
    ) -> None:
        super().__init__(listener, sock, reactor)
        is_wildcard = listener.is_wildcard
        self.peers = peers
        self._gate = gate
        self._fd = sock.fileno()
        self._answering = answering
        self._ownership = ownership
        self._clock = clock
        self._received = ReceiveBatch(family=sock.family, with_control=is_wildcard)
        self._answers = AnswerBatch(self._received)
        self.replies = SendBatch(self._fd, family=sock.family, with_control=is_wildcard)
        self._is_to_answer = False
        # Datagrams of this round that were not answered from the cache at once.
        self._left = 0
        # The packed address inside struct sockaddr_in and struct sockaddr_in6.
        self._packed = (4, 8) if sock.family == socket.AF_INET else (8, 24)

    def ready(self, event: int) -> bool:
        """Serve what the socket holds, up to a few batches."""
        del event
        self._left = 0
        for _ in range(_ROUNDS):
            if self._batch() < BATCH:
                break
        # A hit may be the one that has its entry fetched again.
        return self._left == 0 and not self._answering.cache.due

    def take(self) -> bool:
        """Serve what the socket holds; return whether it was found empty.

        Never more than a full receive buffer: under a steady load there is always one
        datagram more, and others wait for their turn.
        """
        for _ in range(_DRAIN_ROUNDS):
            count = self._batch()
            self.flush()
            if count < BATCH:
                return True
        return False

    def flush(self) -> None:
        """Send the responses that were queued."""
        self.replies.flush()
        self._count_failures(self.replies)

    def _count_failures(self, batch: AnswerBatch | SendBatch) -> None:
        if batch.failed:
            self._answering.meter.count(Counter.SEND_ERRORS, batch.failed)
            batch.failed = 0

    def _batch(self) -> int:
        """Receive and serve one batch; return how many datagrams it had."""
        received = self._received
        count = received.receive(self._fd)
        if count <= 0:
            return 0
        self._is_to_answer = self._ownership.count(count)
        self._answering.meter.count(self.queries, count)
        self._serve(count)
        return count

    def _serve(self, count: int) -> None:  # noqa: C901, PLR0912, PLR0915 - see below
        # One function, long and flat: a call per datagram costs more than what is done.
        answering = self._answering
        clock = answering.clock
        started_at_ns, now_s = clock.now_ns, clock.now_s
        cache, shapes = answering.cache, answering.shapes
        plain, with_opt, fresh = shapes.plain, shapes.with_opt, cache.fresh
        received, answers = self._received, self._answers
        arena, sizes, vectors = received.arena, received.sizes, answers.vectors
        has_control = received.has_control
        addresses = received.senders(count)
        packed_at, packed_end = self._packed
        gate = self._gate
        served = gate.served
        pieces: list[bytes] = []
        buffer_at = answers.buffer_at
        hits = zone_hits = odd_rcodes = denied = 0
        is_shifted = False
        for i in range(count):
            try:
                size = sizes[i * HEADER_WORDS]
                at = i * ADDRESS_OCTETS
                client = addresses[at + packed_at : at + packed_end]
                if client not in served and (
                    (verdict := gate.verdict(client)) is not Verdict.SERVE
                ):
                    message = self._denial(i, verdict)
                    if not message:
                        continue
                    denied += 1
                    size = len(message)
                    pieces.append(message)
                else:
                    if size > COMPACT:
                        answering.query(received.datagram(i), self._waiter(i))
                        continue
                    at = i * COMPACT
                    octets = arena[at : at + size]
                    header = octets[2:12]
                    by_opt = with_opt.get(header)
                    if by_opt is None:
                        shape = plain.get(header)
                        question = octets[12:]
                    else:
                        shape = by_opt.get(octets[-11:])
                        if shape is not None:
                            # Not before: compiled, a slice that ends too early raises.
                            question = octets[12:-11]
                    if shape is None:
                        shape = shapes.with_cookie(octets, client, now_s)
                        if shape is None:
                            answering.query(octets, self._waiter(i))
                            continue
                        question = octets[12:-39]
                    key = question.lower()
                    entry = shape.lookup(key)
                    if entry is None or (
                        entry.stamp != now_s and not fresh(entry, now_s)
                    ):
                        self._miss(i, octets, question, key, shape, entry)
                        continue
                    odd = entry.odd
                    if odd:
                        if odd & ODD_ANY or (
                            odd & ODD_TAIL and entry.tail != question[-4:]
                        ):
                            self._miss(i, octets, question, key, shape, None)
                            continue
                        if odd & ODD_ZONE:
                            zone_hits += 1
                            if odd & ODD_RULED:
                                answering.meter.count_rule(entry.lifetime_s)
                        if odd & ODD_ROTATES:
                            entry.rotate()
                        if odd & ODD_ERRORS:
                            size -= len(shape.opt)
                            inner = len(question) + len(entry.body)
                            shape = shape.with_errors(entry.errors, inner)
                            size += len(shape.opt)
                        rcode = entry.rcode
                        if rcode:
                            odd_rcodes += 1
                            answering.meter.count_rcode(rcode)
                    body = entry.body
                    size += len(body)
                    if size <= shape.limit:
                        pieces += (
                            octets[:2],
                            shape.heads[entry.head],
                            question,
                            body,
                            shape.opt,
                        )
                    else:
                        message = shape.truncated(octets[:2], question, entry.head)
                        size = len(message)
                        pieces.append(message)
                vectors[2 * hits] = buffer_at
                vectors[2 * hits + 1] = size
                buffer_at += size
                if hits != i:
                    answers.redirect(hits, i)
                    is_shifted = True
                if has_control:
                    received.clear_interface(i)
                hits += 1
            except Exception:  # noqa: BLE001 - one datagram, not the batch
                answering.survive(received.datagram(i), self._waiter(i))
        self._left += count - hits
        if hits:
            answers.send_joined(self._fd, b"".join(pieces), hits)
            self._count_failures(answers)
            if is_shifted:
                answers.restore(hits)
            if denied:
                answering.meter.count(Counter.REFUSED, denied)
                answering.meter.count_rcode(wire.REFUSED, denied)
                hits -= denied
            self._count_hits(hits, zone_hits, odd_rcodes, started_at_ns)

    def _count_hits(
        self, hits: int, zone_hits: int, odd_rcodes: int, started_at_ns: int
    ) -> None:
        meter = self._answering.meter
        duration_ns = self._clock() - started_at_ns
        meter.count_rcode(0, hits - odd_rcodes)
        cache_hits = hits - zone_hits
        if cache_hits:
            meter.hits(cache_hits, duration_ns)
        if zone_hits:
            meter.observe(Source.ZONE, duration_ns, zone_hits)

    def _denial(self, i: int, verdict: Verdict) -> bytes:
        """Return the refusal for a client that is not served, empty if none is due.

        None is where it gets no response, and where its query had to be parsed, so that
        the refusal has been queued. A client that rules look at is answered there.
        """
        answering = self._answering
        if verdict is Verdict.DROP:
            answering.meter.count(Counter.IGNORED_DENIED)
            return b""
        octets = self._received.datagram(i)
        if verdict is Verdict.RULE:
            answering.query(octets, self._waiter(i))
            return b""
        refusal = answering.shapes.refusal(octets)
        if not refusal:
            answering.refuse(octets, self._waiter(i))
        return refusal

    def answer_passed(self, address: bytes, control: bytes, octets: bytes) -> None:
        """Answer a datagram that another worker passed here, with its sender."""
        self._answering.query(
            octets, UdpWaiter(self, address, control, is_to_answer=True)
        )

    def _waiter(self, i: int) -> UdpWaiter:
        received = self._received
        control = received.control(i) if received.has_control else b""
        return UdpWaiter(
            self, received.address(i), control, is_to_answer=self._is_to_answer
        )

    def _miss(
        self,
        i: int,
        octets: bytes,
        question: bytes,
        key: bytes,
        shape: Shape,
        entry: Entry | None,
    ) -> None:
        answering, received = self._answering, self._received
        # As in `_waiter`, without a call more for every miss.
        control = received.control(i) if received.has_control else b""
        waiter = UdpWaiter(
            self, received.address(i), control, is_to_answer=self._is_to_answer
        )
        waiter.identity = octets[:2]
        waiter.question = question
        waiter.shape = shape
        waiter.received_at_ns = answering.clock.now_ns
        answering.miss(octets, key, entry, waiter)
