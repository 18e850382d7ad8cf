"""The fetches under way: bounded, and shared fairly between zones and clients.

Random names below one zone whose servers are silent would else take all places, and
every other zone's misses would fail. Which names belong to one zone is not known, so it
is guessed from their last labels. All costs are constant, and nothing is counted while
there are fewer fetches than any share may have.

Pure: no socket, no clock of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dnsfront.dns.entry import VIEWS
from dnsfront.ipc.stats import Limit

if TYPE_CHECKING:
    from dnsfront.ipc.spec import Limits
    from dnsfront.worker.clients.waiter import Waiter
    from dnsfront.worker.upstreams.fetch import Fetch

#: Fetches from which on shares are counted, if the limits are not lower than that.
_CROWD: Final = 2000
#: A zone that has not answered for so long while it was asked is taken for silent.
_SILENT_AFTER_NS: Final = 500_000_000
#: Names of four labels and more count for what their last two are below as well, so
#: that two random labels are no way around. Those two may be a registry's, like co.uk,
#: so it takes several zones' worth of silence.
_ZONES_BELOW: Final = 4
#: All that wait, for each fetch there may be.
_WAITERS_PER_PENDING: Final = 4


class Share:
    """What one zone or client has under way; `heard_ns` is when it last had a response.

    Or, before the first one, when it was first asked.
    """

    __slots__ = ("count", "heard_ns", "key", "most")

    def __init__(self, key: bytes, most: int, now_ns: int) -> None:
        self.key = key
        self.most = most
        self.heard_ns = now_ns
        self.count = 0


class Pending:
    """The fetches by view and question, the oldest first, and their shares.

    `count` is how many there are, `waiting` how many queries they will answer.
    """

    def __init__(self, limits: Limits) -> None:
        self.under_way: tuple[dict[bytes, Fetch], ...] = tuple({} for _ in range(VIEWS))
        self.count = 0
        self.waiting = 0
        self._shares: dict[bytes, Share] = {}
        self._is_counted = False
        self.bound(limits)

    def bound(self, limits: Limits) -> None:
        """Keep to *limits* from now on."""
        self.most = limits.pending
        self.most_waiters = limits.waiters_per_fetch
        self.most_waiting = limits.pending * _WAITERS_PER_PENDING
        self._per_zone = limits.pending_per_zone
        self._per_client = max(1, limits.pending // 2)
        self.crowd = min(self._per_zone, self._per_client, self.most, _CROWD)
        self._forget()

    def add(self, fetch: Fetch, now_ns: int) -> None:
        """Count a fetch that has begun."""
        self.under_way[fetch.view][fetch.exact] = fetch
        self.count += 1
        self.waiting += len(fetch.waiters)
        if self._is_counted:
            self._count(fetch, now_ns)

    def remove(self, fetch: Fetch) -> None:
        """Forget a fetch that is over."""
        del self.under_way[fetch.view][fetch.exact]
        self.count -= 1
        self.waiting -= len(fetch.waiters)
        if fetch.shares:
            for share in fetch.shares:
                share.count -= 1
                if not share.count and self._shares.get(share.key) is share:
                    del self._shares[share.key]

    def heard(self, fetch: Fetch, now_ns: int) -> None:
        """Note that the zone of *fetch* has answered."""
        for share in fetch.shares:
            share.heard_ns = now_ns

    def barrier(self, exact: bytes, waiter: Waiter | None, now_ns: int) -> Limit | None:
        """Return the limit that keeps the question *exact* out, if one does.

        To be asked from `crowd` fetches on. A full table is not the question here.
        """
        if not self._is_counted:
            self._is_counted = True
            for fetches in self.under_way:
                for fetch in fetches.values():
                    first = fetch.waiters[0] if fetch.waiters else None
                    began_ns = first.received_at_ns if first else fetch.asked_at_ns
                    self._count(fetch, began_ns)
        for key, most in self._zones(exact[:-4]):
            share = self._shares.get(key)
            if (
                share is not None
                and share.count >= most
                and now_ns - share.heard_ns >= _SILENT_AFTER_NS
            ):
                return Limit.PENDING_PER_ZONE
        client = b"" if waiter is None else waiter.client()
        share = self._shares.get(b"\xff" + client) if client else None
        if share is not None and share.count >= share.most:
            return Limit.PENDING_PER_CLIENT
        return None

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
        if self._is_counted and self.count < self.crowd // 2:
            self._forget()

    def _forget(self) -> None:
        self._is_counted = False
        self._shares = {}

    def _count(self, fetch: Fetch, now_ns: int) -> None:
        wanted = self._zones(fetch.exact[:-4])
        client = fetch.waiters[0].client() if fetch.waiters else b""
        if client:
            # No label begins like this.
            wanted.append((b"\xff" + client, self._per_client))
        shares = []
        for key, most in wanted:
            share = self._shares.get(key)
            if share is None:
                share = self._shares[key] = Share(key, most, now_ns)
            share.count += 1
            shares.append(share)
        fetch.shares = shares

    def _zones(self, qname: bytes) -> list[tuple[bytes, int]]:
        """Return what stands for the zones of *qname*, and their limits."""
        starts = []
        at = 0
        while qname[at]:
            starts.append(at)
            at += qname[at] + 1
        most = self._per_zone
        if len(starts) <= 3:
            return [(qname[starts[-2] if len(starts) > 1 else 0 :], most)]
        # The first is three labels long, the second has an octet before its two.
        return [
            (qname[starts[-3] :], most),
            (b"\xfe" + qname[starts[-2] :], most * _ZONES_BELOW),
        ]
