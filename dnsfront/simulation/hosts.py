"""A host of so many workers, as traffic finds it: real ring, real caches, no processes.

Workers have nothing in common but the traffic, so one is simulated after the other, and
only one cache is in memory at a time.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from dnsfront.dns.cache import Cache
from dnsfront.dns.settings import CacheSettings
from dnsfront.kernel.book import tag_of
from dnsfront.ring.qhash import qname_digest, slot_of
from dnsfront.ring.table import SlotTable
from dnsfront.simulation.kernel import KernelSettings, KernelSide
from dnsfront.simulation.traffic import CLIENT_BITS, Traffic
from dnsfront.simulation.worker import SimulatedWorker

_HASH_MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class Result:
    """What became of the queries that were counted, summed up over all workers.

    *asked* are the queries for each worker, *woken* those that it had to answer itself.
    *fetches* are questions asked of upstreams, those before an entry expires included.
    """

    hits: int
    kernel_hits: int
    fetches: int
    evictions: int
    asked: tuple[int, ...]
    woken: tuple[int, ...]

    @property
    def queries(self) -> int:
        """How many queries were counted."""
        return sum(self.asked)

    def summary(self) -> dict[str, float]:
        """Return the figures as `dnsfront simulate --json` shows them."""
        queries = self.queries or 1
        largest = max(self.asked)
        return {
            "hit_ratio": self.hits / queries,
            "kernel_ratio": self.kernel_hits / queries,
            "upstream_queries": self.fetches,
            "upstream_ratio": self.fetches / queries,
            "evictions": self.evictions,
            "largest_share": largest / queries,
            "largest_over_mean": largest * len(self.asked) / queries,
            "largest_woken_share": max(self.woken) / queries,
        }


class Host:
    """What stays the same however many workers there are."""

    def __init__(
        self,
        traffic: Traffic,
        *,
        hash_key: bytes,
        cache: CacheSettings,
        kernel: KernelSettings,
        warm_up: int = 0,
    ) -> None:
        """Have *traffic* asked of caches as *cache* says and of books as *kernel* does.

        The first *warm_up* queries are asked, and not counted.
        """
        self._traffic = traffic
        self._hash_key = hash_key
        self._cache = cache
        self._kernel = kernel
        self._warm_up = warm_up
        digests = [
            qname_digest(question.key[:-5], hash_key) for question in traffic.questions
        ]
        self._hashes = [digest & _HASH_MASK for digest in digests]
        self._tags = [
            tag_of(digest, question.tail, question.view)
            for digest, question in zip(digests, traffic.questions, strict=True)
        ]

    def by_ring(self, table: SlotTable) -> Result:
        """Return what happens where every name has one owner, by *table*."""
        owners = table.owners()
        owner_of = [owners[slot_of(each, table.slots)] - 1 for each in self._hashes]
        parts = _parts(len(table.workers))
        for at, number in enumerate(self._traffic.numbers):
            parts[owner_of[number]].append(at)
        return self._result(parts, self._kernel)

    def by_client(self, workers: int) -> Result:
        """Return what happens where the kernel chooses by the client, as by default.

        That is the hash over addresses and ports, scaled by the number of sockets.
        Kernel answers need owners, so there are none.
        """
        parts = _parts(workers)
        for at, client in enumerate(self._traffic.clients):
            parts[client * workers >> CLIENT_BITS].append(at)
        return self._result(parts, KernelSettings(0, 0))

    def _result(self, parts: Sequence[array[int]], kernel: KernelSettings) -> Result:
        done = []
        for part in parts:
            cache = Cache(self._cache)
            side = None
            if kernel.max_size_octets:
                side = KernelSide(kernel, len(parts), cache, self._hash_key)
            worker = SimulatedWorker(self._traffic, self._tags, cache, side)
            counted_from = bisect_left(part, self._warm_up)
            worker.ask(part[:counted_from])
            worker.forget_counts()
            worker.ask(part[counted_from:])
            done.append(worker.counts())
        return Result(
            hits=sum(each.hits + each.kernel_hits for each in done),
            kernel_hits=sum(each.kernel_hits for each in done),
            fetches=sum(each.fetches for each in done),
            evictions=sum(each.evictions for each in done),
            asked=tuple(each.asked for each in done),
            woken=tuple(each.asked - each.kernel_hits for each in done),
        )


def _parts(workers: int) -> list[array[int]]:
    return [array("I") for _ in range(workers)]
