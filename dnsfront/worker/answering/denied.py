"""Questions about names that upstreams denied when they were asked for another type."""

from __future__ import annotations

from dnsfront.dns.cache import Cache
from dnsfront.dns.denials import denied_alike, denied_below
from dnsfront.dns.entry import Entry
from dnsfront.errors import WireError
from dnsfront.ipc.stats import Counter, Source
from dnsfront.worker.answering.delivery import Delivery
from dnsfront.worker.answering.ruling import Ruling
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.upstreams.forwarding import Forwarding
from dnsfront.worker.upstreams.pool import Pool


class Denied:
    """Answers misses by what the cache knows of their names."""

    def __init__(
        self,
        cache: Cache,
        forwarding: Forwarding,
        ruling: Ruling,
        delivery: Delivery,
        meter: Meter,
    ) -> None:
        self._cache = cache
        self._forwarding = forwarding
        self._ruling = ruling
        self._delivery = delivery
        self._clock = meter.clock
        self._meter = meter

    def answer(
        self, denial: Entry, pool: Pool, canonical: bytes, key: bytes, waiter: Waiter
    ) -> bool:
        """Answer that there is no such name, as *denial* says; return whether it does.

        It counts where the same *pool* would be asked (for DS records at a suffix that
        is the parent's), and where no rule wants every response fetched. What it comes
        to is kept, so that who asks again is answered by the fast path.
        """
        now_s = self._clock.now_s
        forwarding = self._forwarding
        if denial.expires_at <= now_s or (
            forwarding.destinations is not None
            and forwarding.find(denial.canonical) is not pool
        ):
            return False
        if self._ruling.forbids_keeping(canonical):
            return False
        entry = self._entry_for(denial, canonical, key, now_s)
        if entry is None:
            return False
        self._meter.count(Counter.CACHE_HITS)
        self._delivery.send(waiter, entry, Source.HIT)
        return True

    def _entry_for(
        self, denial: Entry, canonical: bytes, key: bytes, now_s: int
    ) -> Entry | None:
        cache, tail = self._cache, canonical[-4:]
        cache.fresh(denial, now_s)
        if denial.key[:-4] == key[:-4]:
            entry = denied_alike(denial, key, tail)
            cache.adopt(entry, now_s)
            return entry
        try:
            response = denied_below(denial, canonical)
        except WireError:
            return None
        return cache.put(denial.view, key, tail, response, now_s)
