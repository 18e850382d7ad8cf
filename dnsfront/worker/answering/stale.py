"""Expired data where upstreams fail, or take their time (RFC 8767)."""

from __future__ import annotations

from dnsfront.dns import edns, wire
from dnsfront.dns.cache import Cache
from dnsfront.dns.entry import Entry
from dnsfront.ipc.stats import Counter, Source
from dnsfront.worker.answering.delivery import Delivery
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.process.meter import Meter


class Stale:
    """What is sent where upstreams have no answer: an expired one, or an rcode."""

    def __init__(
        self, cache: Cache, delivery: Delivery, clock: Clock, meter: Meter
    ) -> None:
        self._cache = cache
        self._delivery = delivery
        self._clock = clock
        self._meter = meter

    def fail(
        self,
        entry: Entry | None,
        waiters: list[Waiter],
        rcode: int,
        error: int | None,
        errors: bytes = b"",
    ) -> None:
        """Send the expired *entry* if it may still be used, or *rcode*.

        *error* and *errors* are as in :meth:`Delivery.send_failure`.
        """
        if entry is None or not self.send(entry, waiters):
            self._delivery.send_failure(waiters, rcode, error, errors)

    def send(self, entry: Entry, waiters: list[Waiter]) -> bool:
        """Send the expired *entry*; return whether it may still be used."""
        body = self._cache.stale_body(entry, self._clock.now_s)
        if body is None:
            return False
        rcode, head, stale = entry.rcode, entry.head, body
        is_nxdomain = rcode == wire.NXDOMAIN
        error = edns.EDE_STALE_NXDOMAIN if is_nxdomain else edns.EDE_STALE_ANSWER

        def tell(waiters: list[Waiter]) -> None:
            for waiter in waiters:
                shape = waiter.shape.with_error(error)
                self._meter.sent(rcode, Source.STALE, waiter.received_at_ns)
                self._meter.count(Counter.CACHE_STALE)
                waiter.respond(
                    shape.message(waiter.identity, waiter.question, head, stale)
                )

        self._delivery.tell(waiters, tell, len(stale))
        return True
