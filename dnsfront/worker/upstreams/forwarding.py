"""Which upstreams a name goes to, and the end of those that were replaced."""

from __future__ import annotations

from collections.abc import Callable, Collection

from dnsfront.ipc.spec import Limits, PoolSettings
from dnsfront.worker.process.faults import Faults
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.process.reactor import Reactor
from dnsfront.worker.upstreams.aliases import LocalMessage
from dnsfront.worker.upstreams.fetch import Fetch
from dnsfront.worker.upstreams.outcomes import Outcomes
from dnsfront.worker.upstreams.pending import Total
from dnsfront.worker.upstreams.pool import Pool


class Forwarding:
    """The pools that misses go to, and those of before whose fetches are not over.

    *health* returns what the health checks say of the upstream with an index; *limits*
    bound all pools together.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        outcomes: Outcomes,
        health: Callable[[int], int],
        reactor: Reactor,
        meter: Meter,
        faults: Faults,
    ) -> None:
        self._limits = limits
        self._outcomes = outcomes
        self._health = health
        self._reactor = reactor
        self._meter = meter
        self._faults = faults
        self._total = Total()
        self._pool: Pool | None = None
        # A fetch ends where it began, so the pool that has it is kept for so long.
        self._replaced: list[Pool] = []
        self._all: list[Pool] = []

    def find(self, qname: bytes) -> Pool | None:
        """Return the pool that misses of *qname* go to, None where there is none."""
        del qname  # all names go to one pool
        return self._pool

    def replace(
        self, settings: PoolSettings, *, hash_key: bytes, udp_size: int
    ) -> None:
        """Ask the servers of *settings* from now on."""
        if self._pool is not None:
            self._replaced.append(self._pool)
        self._pool = None
        if settings.servers:
            self._pool = Pool(
                settings,
                hash_key=hash_key,
                health=self._health,
                udp_size=udp_size,
                limits=self._limits,
                total=self._total,
                make_room=self._make_room,
                reactor=self._reactor,
                outcomes=self._outcomes,
                meter=self._meter,
                faults=self._faults,
            )
        self._note()

    def _note(self) -> None:
        self._all = [x for x in (self._pool, *self._replaced) if x is not None]

    def bound(self, limits: Limits) -> None:
        """Keep to *limits* from now on."""
        self._limits = limits
        if self._pool is not None:
            self._pool.bound(limits)

    def know_zones(self, local_message: LocalMessage | None) -> None:
        """Have what zones of ours say instead of an upstream, from now on."""
        self._outcomes.local_message = local_message

    def _make_room(self) -> bool:
        """End one fetch without much hope, of a pool of before if one has it."""
        pools = [*self._replaced, self._pool]
        return any(pool is not None and pool.give_way() for pool in pools)

    @property
    def pending(self) -> int:
        """How many fetches are under way, those of replaced pools included."""
        return self._total.count

    @property
    def is_idle(self) -> bool:
        """Whether no fetch is under way, those of replaced pools included."""
        return self._total.count == 0

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing that :meth:`sweep` would be late for."""
        return self.is_idle and not self._replaced

    def is_awaited_at(self, listeners: Collection[object]) -> bool:
        """Return whether a client of one of these UDP listeners waits for a fetch."""
        return any(
            waiter.is_at(listeners)
            for pool in self._all
            for fetches in pool.under_way
            for fetch in fetches.values()
            for waiter in fetch.waiters
        )

    def end(self, is_wanted: Callable[[bytes], bool]) -> list[Fetch]:
        """End the fetches whose question *is_wanted* takes, and return them.

        Who waits for them is the caller's to answer.
        """
        return [fetch for pool in self._all for fetch in pool.end(is_wanted)]

    def expire(self) -> None:
        """Look at what may be overdue; once a round."""
        for pool in self._all:
            pool.expire()

    def flush(self) -> None:
        """Send what was queued; at the end of a round."""
        for pool in self._all:
            pool.flush()

    def wait_s(self) -> float | None:
        """Return the seconds until something may be overdue, None if nothing can be."""
        waits = [pool.wait_s() for pool in self._all]
        return min((wait_s for wait_s in waits if wait_s is not None), default=None)

    def sweep(self) -> None:
        """Close what is done with, and look who is up; about four times a second.

        Where nothing is under way it may be later than that.
        """
        if self._pool is not None:
            self._pool.sweep()
        for pool in [x for x in self._replaced if not x.pending]:
            pool.close()
            self._replaced.remove(pool)
        self._note()

    def close(self) -> None:
        """Close every socket; fetches still under way fail."""
        for pool in self._all:
            pool.close()
        self._pool = None
        self._replaced.clear()
        self._note()
