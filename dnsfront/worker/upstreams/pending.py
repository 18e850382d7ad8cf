"""The fetches of a pool: bounded with those of all others, and shared fairly.

All costs are constant, and shares are not counted while there are fewer fetches than
any share may have.

Pure: no socket, no clock.
"""

from __future__ import annotations

from typing import Final

from dnsfront.dns.entry import VIEWS
from dnsfront.ipc.spec import Limits
from dnsfront.ipc.stats import Limit
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.upstreams.fetch import Fetch
from dnsfront.worker.upstreams.shares import Shares

#: Fetches from which on shares are counted, if the limits are not lower than that.
_CROWD: Final = 2000
#: All that wait, for each fetch there may be.
_WAITERS_PER_PENDING: Final = 4


class Total:
    """How many fetches all pools of a worker have, and how many queries wait there."""

    def __init__(self) -> None:
        self.count = 0
        self.waiting = 0


class Pending:
    """The fetches by view and canonical question, the oldest first, and their shares.

    They count into *total*, which the limits for all are about. Shares are a pool's
    own: that a zone is silent is known of the servers that were asked.
    """

    def __init__(self, limits: Limits, total: Total) -> None:
        self.under_way: tuple[dict[bytes, Fetch], ...] = tuple({} for _ in range(VIEWS))
        self.total = total
        self._is_counted = False
        self.bound(limits)

    @property
    def count(self) -> int:
        """How many fetches there are."""
        return sum(len(fetches) for fetches in self.under_way)

    def bound(self, limits: Limits) -> None:
        """Keep to *limits* from now on."""
        self.most = limits.pending
        self.most_waiters = limits.waiters_per_fetch
        self.most_waiting = limits.pending * _WAITERS_PER_PENDING
        self._per_zone = limits.pending_per_zone
        self._per_client = max(1, limits.pending // 2)
        self.crowd = min(self._per_zone, self._per_client, self.most, _CROWD)
        self._is_counted = False
        self._shares = Shares(self._per_zone, self._per_client)

    def add(self, fetch: Fetch, now_ns: int) -> None:
        """Count a fetch that has begun."""
        self.under_way[fetch.view][fetch.canonical] = fetch
        fetch.home = self
        total = self.total
        total.count += 1
        total.waiting += len(fetch.waiters)
        if self._is_counted:
            self._count(fetch, now_ns)

    def remove(self, fetch: Fetch) -> None:
        """Forget a fetch that is over."""
        del self.under_way[fetch.view][fetch.canonical]
        total = self.total
        total.count -= 1
        total.waiting -= len(fetch.waiters)
        if fetch.shares:
            self._shares.leave(fetch.shares)

    def heard(self, fetch: Fetch, now_ns: int) -> None:
        """Note that the zone of *fetch* has answered."""
        for share in fetch.shares:
            share.heard_ns = now_ns

    def barrier(
        self, canonical: bytes, waiter: Waiter | None, now_ns: int
    ) -> Limit | None:
        """Return the limit that keeps the question *canonical* out, if one does.

        To be asked from `crowd` fetches on. A full table is not the question here.
        """
        if not self._is_counted:
            self._is_counted = True
            for fetches in self.under_way:
                for fetch in fetches.values():
                    first = fetch.waiters[0] if fetch.waiters else None
                    began_ns = first.received_at_ns if first else fetch.asked_at_ns
                    self._count(fetch, began_ns)
        client = b"" if waiter is None else waiter.client()
        return self._shares.barrier(canonical[:-4], client, now_ns)

    def hopeless(self) -> Fetch | None:
        """Return one of the oldest fetches, if a query of it went unanswered.

        Finding the first of a dict passes over those deleted before it: 4 us on
        average with 20,000 of them, and nothing where there is room.
        """
        worst: Fetch | None = None
        for fetches in self.under_way:
            if fetches:
                fetch = next(iter(fetches.values()))
                if (fetch.tries or fetch.repeats) and (
                    worst is None or fetch.tries > worst.tries
                ):
                    worst = fetch
        return worst

    def sweep(self) -> None:
        """Stop to count shares when there is room enough again."""
        if self._is_counted and self.total.count < self.crowd // 2:
            self._is_counted = False
            self._shares = Shares(self._per_zone, self._per_client)

    def _count(self, fetch: Fetch, now_ns: int) -> None:
        client = fetch.waiters[0].client() if fetch.waiters else b""
        fetch.shares = self._shares.enter(fetch.canonical[:-4], client, now_ns)
