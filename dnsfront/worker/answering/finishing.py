"""What a zone of ours begins and upstreams finish: aliases that lead out of all zones.

The zone's part is the beginning of a fetch, which asks for the target. What comes of it
is kept as any response is, but it lives no longer than the zone stays as it is: a
change ends the fetch, and has the cache forget what its aliases led to.
"""

from __future__ import annotations

from dnsfront.dns import edns, wire
from dnsfront.dns.entry import Entry
from dnsfront.ipc.stats import Counter
from dnsfront.worker.answering.failures import Failures
from dnsfront.worker.answering.stale import Stale
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.upstreams.fetch import Beginning
from dnsfront.worker.upstreams.forwarding import Forwarding


class Finishing:
    """Has the pools of *forwarding* asked for what aliases of a zone lead to."""

    def __init__(
        self, forwarding: Forwarding, failures: Failures, stale: Stale, meter: Meter
    ) -> None:
        self._forwarding = forwarding
        self._failures = failures
        self._stale = stale
        self._meter = meter

    def is_forwarded(self, canonical: bytes) -> bool:
        """Return whether there is a pool for a question that no zone answers."""
        return self._forwarding.find(canonical) is not None

    def finish(
        self,
        view: int,
        key: bytes,
        canonical: bytes,
        beginning: Beginning,
        entry: Entry | None,
        waiter: Waiter | None,
    ) -> bool:
        """Have *waiter* get the whole answer; return whether upstreams may be asked.

        *entry* is the expired one. Without a waiter it is only to be kept fresh.
        """
        pool = self._forwarding.find(beginning.target + canonical[-4:])
        if pool is None:
            return False
        failure = self._failures.find(view, canonical)
        fetch = pool.under_way[view].get(canonical)
        if waiter is None:
            if (
                failure is None
                and fetch is None
                and pool.fetch(view, key, canonical, entry, None, beginning)
            ):
                self._meter.count(Counter.CACHE_PREFETCHES)
            return True
        self._meter.count(Counter.CACHE_REQUESTS)
        if fetch is not None:
            pool.join(fetch, waiter)
        elif failure is not None:
            rcode, errors = failure
            cached = edns.EDE_CACHED_ERROR if rcode == wire.SERVFAIL else None
            self._stale.fail(entry, [waiter], rcode, cached, errors)
        else:
            pool.fetch(view, key, canonical, entry, waiter, beginning)
        return True
