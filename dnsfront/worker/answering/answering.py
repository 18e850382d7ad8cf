"""A query in, a response out: from cache, from a zone, from an upstream or its owner.

The fast path of `udp.py` answers hits itself and brings here what it does not find; all
other queries come here as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dnsfront.dns import wire
from dnsfront.dns.cache import Cache
from dnsfront.dns.entry import (
    ODD_ANY,
    ODD_ERRORS,
    ODD_ROTATES,
    ODD_STUB,
    ODD_ZONE,
    Entry,
)
from dnsfront.dns.response import Response
from dnsfront.dns.shape import Shapes
from dnsfront.dns.zones.records import DS
from dnsfront.errors import WireError
from dnsfront.ipc.stats import Counter, Limit, Source
from dnsfront.worker.answering.crowds import AT_ONCE, Crowds, Tell
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.peers.transfer import unpack
from dnsfront.worker.process.faults import Faults
from dnsfront.worker.upstreams.outcomes import Outcomes

if TYPE_CHECKING:
    from dnsfront.dns.zones.authority import Zone
    from dnsfront.dns.zones.zone_set import ZoneSet
    from dnsfront.worker.peers.ownership import Ownership
    from dnsfront.worker.process.meter import Meter
    from dnsfront.worker.upstreams.fetch import Fetch
    from dnsfront.worker.upstreams.pool import Pool

#: How long a failed resolution is remembered (RFC 9520, 3.2: 1 second to 5 minutes).
FAILURE_TTL_S: Final = 5
MAX_FAILURES: Final = 10000

#: Types that name no data: transfers, TKEY and TSIG, mailbox relics, OPT.
_META_TYPES: Final = frozenset((wire.OPT, *range(249, 255)))
_IN: Final = wire.CLASS_IN.to_bytes(2, "big")
_ANY_IN: Final = wire.ANY.to_bytes(2, "big") + _IN
_DS_IN: Final = DS.to_bytes(2, "big") + _IN
_EMPTY: Final = bytes(6)
#: TXT and ANY of class CHAOS, and the head of the response to them: one answer.
_CHAOS: Final = frozenset(bytes((0, t, 0, 3)) for t in (wire.TXT, wire.ANY))
_CHAOS_HEAD: Final = (wire.QR | wire.AA | wire.RA).to_bytes(2, "big") + bytes(
    (0, 1, 0, 0, 0, 0)
)
#: Types of which nearly all queries are: A, NS, MX, TXT, AAAA, SRV, HTTPS, class IN.
_PLAIN: Final = frozenset(bytes((0, t)) + _IN for t in (1, 2, 15, 16, 28, 33, 65))


class Answering:
    """What one worker knows about answering.

    `now_s` (whole monotonic seconds, for the cache) and `now_ns` are set before every
    round of the worker's loop.
    """

    def __init__(
        self,
        *,
        worker_id: int,
        cache: Cache,
        shapes: Shapes,
        ownership: Ownership,
        meter: Meter,
        is_steered: bool,
    ) -> None:
        self.cache = cache
        self.shapes = shapes
        self.meter = meter
        self.faults = Faults(meter)
        self.crowds = Crowds()
        self._zones: ZoneSet | None = None
        self.resolver: Pool | None = None
        self.outcomes = Outcomes(
            deliver=self.deliver,
            fail=self.fail,
            send_stale=self.send_stale,
            remember_failure=self.remember_failure,
            to_be_told=lambda: self.crowds.waiting,
        )
        #: What is told of class CHAOS: a record for each qname.
        self.identity: dict[bytes, bytes] = {}
        self.now_s = 0
        self.now_ns = 0
        self._worker_id = worker_id
        self._ownership = ownership
        self._handover_counter = (
            Counter.HANDOVER_MISPLACED if is_steered else Counter.HANDOVER_USERSPACE
        )
        self._failures: dict[tuple[int, bytes], tuple[int, int, bytes]] = {}

    @property
    def zones(self) -> ZoneSet | None:
        """The zones that are answered here, None without any."""
        return self._zones

    @zones.setter
    def zones(self, zones: ZoneSet | None) -> None:
        self._zones = zones
        self.outcomes.local_message = None if zones is None else self.local_message
        self.cache.is_local = None if zones is None else self._is_local

    def _is_local(self, exact: bytes) -> bool:
        return self._zone_for(exact) is not None

    def _zone_for(self, exact: bytes) -> Zone | None:
        """Return the zone that answers the question *exact*, None for an upstream."""
        if self._zones is None:
            return None
        if exact.endswith(_DS_IN) and self.resolver is not None:
            return self._zones.find_for_ds(exact[:-4])
        return self._zones.find(exact[:-4])

    def local_message(self, exact: bytes) -> bytes | None:
        """Return what a zone of ours says to the question *exact*, None for others."""
        zone = self._zone_for(exact)
        if zone is None:
            return None
        qtype = int.from_bytes(exact[-4:-2], "big")
        sections = zone.respond(exact[:-4], qtype, wire.CLASS_IN, exact)
        return (
            wire.HEADER.pack(
                0,
                wire.QR | wire.RA | sections.rcode,
                1,
                sections.answers,
                sections.authorities,
                sections.additionals,
            )
            + exact
            + sections.octets
        )

    def reclaim(self, resolver: Pool) -> None:
        """Answer what *resolver* asks and a zone of ours answers now.

        What is cached of such names is the caller's to forget.
        """
        self.cache.due.clear()
        for fetch in resolver.take_back(self._is_local):
            self._answer_here(fetch)

    def _answer_here(self, fetch: Fetch) -> None:
        exact, key = fetch.canonical, fetch.key

        def tell(waiters: list[Waiter]) -> None:
            for waiter in waiters:
                try:
                    self._is_answered_here(exact, key, waiter)
                except Exception:  # noqa: BLE001 - as in survive()
                    self.faults.caught("reclaim")
                    self._break([waiter])

        self._tell(fetch.waiters, tell)

    def _tell(self, waiters: list[Waiter], tell: Tell, octets: int = 0) -> None:
        """Have *tell* called for *waiters*: now, or some at a time if they are many."""
        if len(waiters) <= AT_ONCE:
            tell(waiters)
        elif self.crowds.has_room(octets):
            self.crowds.add(waiters, tell, octets)
        else:
            self.meter.count(Limit.WAITERS)
            self.fail(None, waiters, wire.SERVFAIL, wire.EDE_NOT_READY)

    def go_on(self) -> None:
        """Tell some of those who wait in a crowd; once a round."""
        if self.crowds.waiting:
            self.crowds.go_on(self._lose)

    def _lose(self, waiters: list[Waiter]) -> None:
        """Answer SERVFAIL to all *waiters*, for the exception at hand."""
        self.faults.caught("deliver")
        self._tell(waiters, self._break)

    def query(self, octets: bytes, waiter: Waiter) -> None:
        """Answer any message from a client, well formed or not."""
        try:
            self._query(octets, waiter)
        except Exception:  # noqa: BLE001 - see there
            self.survive(octets, waiter)

    def survive(self, octets: bytes, waiter: Waiter) -> None:
        """Answer SERVFAIL, for the exception at hand: no query takes others with it.

        Called at several places, since a shared guard would cost every miss a call.
        """
        self.faults.caught("query")
        if self._is_ignored(octets):
            return
        try:
            self._reject(octets, wire.SERVFAIL, waiter)
        except Exception:  # noqa: BLE001 - now there is nobody left to tell
            self.faults.caught("response")

    def _is_ignored(self, octets: bytes) -> bool:
        """Count and tell what gets no response, since it may not be a query at all."""
        if len(octets) < wire.HEADER_OCTETS:
            self.meter.count(Counter.IGNORED_SHORT)
            return True
        if octets[2] & 0x80:
            # Two servers that answer each other's responses would never stop.
            self.meter.count(Counter.IGNORED_RESPONSE)
            return True
        return False

    def _query(self, octets: bytes, waiter: Waiter) -> None:
        if self._is_ignored(octets):
            return
        try:
            query = wire.parse_query(octets)
        except WireError as exc:
            self._reject(octets, exc.rcode, waiter)
            return
        if query.edns is not None and query.edns.version > 0:
            self._reject(octets, wire.BADVERS, waiter)
            return
        shape = self.shapes.of(query, is_tcp=waiter.is_tcp)
        if not waiter.is_tcp:
            self.shapes.learn(octets, query)
        waiter.identity = query.identity
        waiter.question = query.question
        waiter.shape = shape
        waiter.received_at_ns = self.now_ns
        key = query.question.lower()
        entry = self.cache.get(shape.view, key, query.question[-4:])
        if entry is not None and waiter.is_tcp and entry.odd & ODD_STUB:
            entry = None
        if (
            entry is not None
            and self.cache.fresh(entry, self.now_s)
            and (waiter.is_tcp or not entry.odd & ODD_ANY)
        ):
            is_zone = bool(entry.odd & ODD_ZONE)
            if not is_zone:
                self.meter.count(Counter.CACHE_REQUESTS)
                self.meter.count(Counter.CACHE_HITS)
            self._send(waiter, entry, Source.ZONE if is_zone else Source.HIT)
            return
        self._miss(octets, key, entry, waiter)

    def _reject(self, octets: bytes, rcode: int, waiter: Waiter) -> None:
        self.meter.count_rcode(rcode)
        error = wire.EDE_PROHIBITED if rcode == wire.REFUSED else None
        waiter.respond(
            wire.error_response(
                octets, rcode, error=error, udp_size=self.shapes.udp_size
            )
        )

    def refuse(self, octets: bytes, waiter: Waiter) -> None:
        """Answer REFUSED to a client that the access list does not allow."""
        if not self._is_ignored(octets):
            self.meter.count(Counter.REFUSED)
            self._reject(octets, wire.REFUSED, waiter)

    def miss(
        self, octets: bytes, key: bytes, entry: Entry | None, waiter: Waiter
    ) -> None:
        """Answer a query that the cache has no fresh *entry* for.

        *key* is its folded question; *octets* is the query as it came, for its owner.
        """
        try:
            self._miss(octets, key, entry, waiter)
        except Exception:  # noqa: BLE001 - see there
            self.survive(octets, waiter)

    def _miss(
        self, octets: bytes, key: bytes, entry: Entry | None, waiter: Waiter
    ) -> None:
        question, view = waiter.question, waiter.shape.view
        tail = question[-4:]
        exact = key if key.endswith(tail) else key[:-4] + tail
        resolver = self.resolver
        if resolver is not None:
            fetch = resolver.under_way[view].get(exact)
            if fetch is not None and (waiter.is_tcp or tail != _ANY_IN):
                self.meter.count(Counter.CACHE_REQUESTS)
                resolver.join(fetch, waiter)
                return
        if entry is None:
            if wire.question_end(question, 0) != len(question):
                # The octets at the end only looked like an OPT record met before.
                self._query(octets, waiter)
                return
        elif entry.tail != tail:
            entry = None
        if not waiter.is_ours and self._handed_over(key[:-4], octets, waiter):
            return
        if (tail not in _PLAIN or self._zones is not None) and self._is_answered_here(
            exact, key, waiter
        ):
            return
        if resolver is None:
            self.fail(entry, [waiter], wire.REFUSED, wire.EDE_NOT_AUTHORITATIVE)
            return
        self.meter.count(Counter.CACHE_REQUESTS)
        failure = self.failure(view, exact) if self._failures else None
        if failure is not None:
            rcode, errors = failure
            # RFC 8914, 4.14: this one is about SERVFAIL alone.
            error = wire.EDE_CACHED_ERROR if rcode == wire.SERVFAIL else None
            self.fail(entry, [waiter], rcode, error, errors)
            return
        resolver.fetch(view, key, exact, entry, waiter)

    def _handed_over(self, qname: bytes, octets: bytes, waiter: Waiter) -> bool:
        owner = self._ownership.owner(qname)
        if owner in (0, self._worker_id):
            return False
        if not waiter.hand_over(owner, octets):
            self.meter.count(Counter.HANDOVER_FAILED)
            return False
        counter = Counter.HANDOVER_TCP if waiter.is_tcp else self._handover_counter
        self.meter.count(counter)
        return True

    def _is_answered_here(self, exact: bytes, key: bytes, waiter: Waiter) -> bool:
        """Answer what needs no upstream: zones, and types that cannot be forwarded."""
        tail = exact[-4:]
        if tail[2:] != _IN or int.from_bytes(tail[:2], "big") in _META_TYPES:
            self._tell_identity(exact, waiter)
            return True
        zone = self._zone_for(exact)
        if zone is not None:
            qtype = int.from_bytes(tail[:2], "big")
            find = None if self._zones is None else self._zones.find
            sections = zone.respond(exact[:-4], qtype, wire.CLASS_IN, exact, find)
            entry = self.cache.put_zone(
                waiter.shape.view, key, tail, sections, self.now_s
            )
            self._send(waiter, entry, Source.ZONE)
            return True
        if tail == _ANY_IN and not waiter.is_tcp:
            # RFC 8482, 4.4: over UDP, ANY is a tool of amplification; TCP proves the
            # client's address.
            self.meter.sent(wire.NOERROR, Source.MISS, waiter.received_at_ns)
            head = (wire.QR | wire.RA).to_bytes(2, "big")
            shape = waiter.shape
            waiter.respond(shape.truncated(waiter.identity, waiter.question, head))
            return True
        return False

    def _tell_identity(self, exact: bytes, waiter: Waiter) -> None:
        """Answer a question that is not about the Internet's data; most are REFUSED."""
        record = self.identity.get(exact[:-4])
        if record is None or exact[-4:] not in _CHAOS:
            self._send_rcode(waiter, wire.REFUSED)
            return
        self.meter.sent(wire.NOERROR, Source.MISS, waiter.received_at_ns)
        waiter.respond(
            waiter.shape.message(waiter.identity, waiter.question, _CHAOS_HEAD, record)
        )

    def _send(self, waiter: Waiter, entry: Entry, source: Source) -> None:
        self.meter.sent(entry.rcode, source, waiter.received_at_ns)
        shape = waiter.shape
        if entry.odd & ODD_ROTATES:
            entry.rotate()
        if entry.odd & ODD_ERRORS:
            size = len(waiter.question) + len(entry.body)
            shape = shape.with_errors(entry.errors, size)
        waiter.respond(
            shape.message(waiter.identity, waiter.question, entry.head, entry.body)
        )

    def _send_rcode(self, waiter: Waiter, rcode: int) -> None:
        self.meter.sent(rcode, Source.MISS, waiter.received_at_ns)
        head = (wire.QR | wire.RA | rcode).to_bytes(2, "big") + _EMPTY
        waiter.respond(
            waiter.shape.message(waiter.identity, waiter.question, head, b"")
        )

    def deliver(self, fetch: Fetch, response: Response) -> None:
        """Keep an upstream's response and send it to all who wait for it."""
        try:
            entry = self.cache.put(
                fetch.view, fetch.key, fetch.canonical[-4:], response, self.now_s
            )
            if entry is None:
                self._answer_here(fetch)
                return
            rcode, head, body = response.rcode, entry.head, entry.body
            errors = response.errors
            if len(fetch.waiters) > AT_ONCE:

                def tell(waiters: list[Waiter]) -> None:
                    self._deliver(waiters, rcode, head, body, errors)

                self._tell(fetch.waiters, tell, len(body))
                return
            self._deliver(fetch.waiters, rcode, head, body, errors)
        except Exception:  # noqa: BLE001 - as in survive()
            self._lose(fetch.waiters)

    def _deliver(
        self, waiters: list[Waiter], rcode: int, head: bytes, body: bytes, errors: bytes
    ) -> None:
        for waiter in waiters:
            if errors:
                size = len(waiter.question) + len(body)
                waiter.shape = waiter.shape.with_errors(errors, size)
            self.meter.sent(rcode, Source.MISS, waiter.received_at_ns)
            waiter.respond(
                waiter.shape.message(waiter.identity, waiter.question, head, body)
            )

    def _break(self, waiters: list[Waiter]) -> None:
        """Answer SERVFAIL to all who wait for what met a fault."""
        for waiter in waiters:
            try:
                self._send_rcode(waiter, wire.SERVFAIL)
            except Exception:  # noqa: BLE001 - the others are told
                self.faults.caught("response")

    def fail(
        self,
        entry: Entry | None,
        waiters: list[Waiter],
        rcode: int,
        error: int | None,
        errors: bytes = b"",
    ) -> None:
        """Send the expired *entry* if it may still be used (RFC 8767), or *rcode*.

        *error* is the Extended DNS Error for those who speak EDNS, *errors* are those
        of the upstream, as EDNS options.
        """
        if entry is not None and self.send_stale(entry, waiters):
            return
        if error is not None:
            errors = wire.error_option(error) + errors

        def tell(waiters: list[Waiter]) -> None:
            for waiter in waiters:
                if errors:
                    waiter.shape = waiter.shape.with_options(errors)
                self._send_rcode(waiter, rcode)

        self._tell(waiters, tell)

    def send_stale(self, entry: Entry, waiters: list[Waiter]) -> bool:
        """Send the expired *entry*; return whether it may still be used."""
        body = self.cache.stale_body(entry, self.now_s)
        if body is None:
            return False
        rcode, head, stale = entry.rcode, entry.head, body
        is_nxdomain = rcode == wire.NXDOMAIN
        error = wire.EDE_STALE_NXDOMAIN if is_nxdomain else wire.EDE_STALE_ANSWER

        def tell(waiters: list[Waiter]) -> None:
            for waiter in waiters:
                shape = waiter.shape.with_error(error)
                self.meter.sent(rcode, Source.STALE, waiter.received_at_ns)
                self.meter.count(Counter.CACHE_STALE)
                waiter.respond(
                    shape.message(waiter.identity, waiter.question, head, stale)
                )

        self._tell(waiters, tell, len(stale))
        return True

    def adopt(self, parcel: bytes) -> None:
        """Keep cache entries of names that this worker is about to own."""
        adopted = sum(self.cache.adopt(entry, self.now_s) for entry in unpack(parcel))
        self.meter.count(Counter.CACHE_ADOPTED, adopted)

    def remember_failure(
        self, view: int, exact: bytes, rcode: int, errors: bytes = b""
    ) -> None:
        """Answer the same question with *rcode* for a while without asking upstream."""
        key = (view, exact)
        if (
            self._failures.pop(key, None) is None
            and len(self._failures) >= MAX_FAILURES
        ):
            # The oldest, which would be the first to be tried again anyway.
            del self._failures[next(iter(self._failures))]
            self.meter.count(Limit.FAILURES)
        self._failures[key] = (self.now_s + FAILURE_TTL_S, rcode, errors)

    def failure(self, view: int, exact: bytes) -> tuple[int, bytes] | None:
        """Return what failure is remembered, if any; do not ask meanwhile.

        It is an rcode, and the upstream's Extended DNS Errors as EDNS options.
        """
        failure = self._failures.get((view, exact))
        if failure is None or failure[0] <= self.now_s:
            return None
        return failure[1:]

    def caught(self, part: str) -> None:
        """Take note of the exception at hand, met in *part* of the worker."""
        self.faults.caught(part)

    def forget_failures(self) -> None:
        """Let every question go upstream again, because something changed."""
        self._failures.clear()
