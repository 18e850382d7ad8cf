"""Which upstreams a name goes to, and the end of those that were replaced."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from dnsfront.dns.destinations import Destinations
from dnsfront.dns.names import qname_from_text
from dnsfront.ipc.spec import (
    DEFAULT_POOL,
    REFUSING,
    ForwardRule,
    Limits,
    PoolSettings,
)
from dnsfront.worker.process.faults import Faults
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.process.reactor import Reactor
from dnsfront.worker.upstreams.aliases import LocalMessage
from dnsfront.worker.upstreams.fetch import Fetch
from dnsfront.worker.upstreams.outcomes import Outcomes
from dnsfront.worker.upstreams.patience import Patience
from dnsfront.worker.upstreams.pending import Total
from dnsfront.worker.upstreams.pool import Pool


class Forwarding:
    """The pools that misses go to, and those of before whose fetches are not over.

    `default` is the pool of names that no suffix fits, None without servers; while
    `destinations` is None, which it is without `forward`, that is all there is to know.
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
        self._patience = Patience(outcomes, self._total, meter.clock)
        self.default: Pool | None = None
        self.destinations: Destinations | None = None
        self._pools: dict[str, Pool] = {}
        self._made_of: dict[str, tuple[PoolSettings, bytes, int]] = {}
        # A fetch ends where it began, so the pool that has it is kept for so long.
        self._replaced: list[Pool] = []
        self._all: list[Pool] = []
        #: Those of all that may have something to do in a round.
        self._awake: list[Pool] = []

    def find(self, canonical: bytes) -> Pool | None:
        """Return the pool that misses of a question go to, None where there is none."""
        if self.destinations is None:
            return self.default
        pool = self._pools.get(self.destinations.of(canonical))
        if pool is not None and not pool.is_awake:
            pool.is_awake = True
            self._awake.append(pool)
        return pool

    def replace(
        self,
        settings: PoolSettings,
        *,
        hash_key: bytes,
        udp_size: int,
        pools: Sequence[PoolSettings] = (),
        rules: Sequence[ForwardRule] = (),
    ) -> None:
        """Ask the servers of *settings* from now on, but for what *rules* say.

        A pool that is as it was stays, with all that it knows of its servers.
        """
        wanted = {
            x.name: (x, hash_key, udp_size) for x in (settings, *pools) if x.servers
        }
        for name in [x for x in self._pools if wanted.get(x) != self._made_of[x]]:
            self._replaced.append(self._pools.pop(name))
        for name in wanted.keys() - self._pools.keys():
            self._pools[name] = self._made(*wanted[name])
        self._made_of = wanted
        self.default = self._pools.get(DEFAULT_POOL)
        self.destinations = None
        if rules:
            self.destinations = Destinations(
                {qname_from_text(x.suffix): x.destination for x in rules},
                default=DEFAULT_POOL,
                refusing=REFUSING,
            )
        self._outcomes.is_elsewhere = self._is_elsewhere if rules else None
        self._outcomes.ask_elsewhere = self._ask_elsewhere if rules else None
        self._note()

    def _made(self, settings: PoolSettings, hash_key: bytes, udp_size: int) -> Pool:
        return Pool(
            settings,
            hash_key=hash_key,
            health=self._health,
            udp_size=udp_size,
            limits=self._limits,
            total=self._total,
            patience=self._patience,
            make_room=self._make_room,
            reactor=self._reactor,
            outcomes=self._outcomes,
            meter=self._meter,
            faults=self._faults,
        )

    def _note(self) -> None:
        """Note which pools there are, and which of them may have something to do."""
        self._all = [*self._pools.values(), *self._replaced]
        for pool in self._all:
            pool.is_awake = pool is self.default or not pool.is_idle
        self._awake = [pool for pool in self._all if pool.is_awake]

    def _is_elsewhere(self, asked: bytes, canonical: bytes) -> bool:
        """Return whether another pool is asked *canonical* than the question before."""
        destinations = self.destinations
        return destinations is not None and (
            destinations.of(asked) != destinations.of(canonical)
        )

    def _ask_elsewhere(self, fetch: Fetch, target: bytes) -> bool:
        """Have another pool ask for *target*; return whether that is so.

        It is what aliases lead to that the pool of the question before told.
        """
        canonical = target + fetch.asked[-4:]
        if not self._is_elsewhere(fetch.asked, canonical):
            return False
        pool = self.find(canonical)
        if pool is None:
            return False
        pool.go_on_with(fetch, target)
        return True

    def bound(self, limits: Limits) -> None:
        """Keep to *limits* from now on."""
        self._limits = limits
        for pool in self._pools.values():
            pool.bound(limits)

    def be_patient(self, after_s: float) -> None:
        """Send what has expired to who has waited for so long, from now on."""
        self._patience.after_ns = round(after_s * 1e9)

    def know_zones(self, local_message: LocalMessage | None) -> None:
        """Have what zones of ours say instead of an upstream, from now on."""
        self._outcomes.local_message = local_message

    def _make_room(self) -> bool:
        """End one fetch without much hope, of a pool of before if one has it."""
        pools = [*self._replaced, *self._pools.values()]
        return any(pool.give_way() for pool in pools)

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
        return self.end_fetches(lambda fetch: is_wanted(fetch.canonical))

    def end_fetches(self, is_wanted: Callable[[Fetch], bool]) -> list[Fetch]:
        """End the fetches that *is_wanted* takes, as :meth:`end` does."""
        return [fetch for pool in self._all for fetch in pool.end(is_wanted)]

    def expire(self) -> None:
        """Look at what may be overdue, and who has waited enough; once a round."""
        self._patience.expire()
        for pool in self._awake:
            pool.expire()

    def flush(self) -> None:
        """Send what was queued; at the end of a round."""
        for pool in self._awake:
            pool.flush()

    def wait_s(self) -> float | None:
        """Return the seconds until something may be overdue, None if nothing can be."""
        waits = [pool.wait_s() for pool in self._awake]
        waits.append(self._patience.wait_s())
        return min((wait_s for wait_s in waits if wait_s is not None), default=None)

    def sweep(self) -> None:
        """Close what is done with, and look who is up; about four times a second.

        Where nothing is under way it may be later than that.
        """
        for pool in self._all:
            pool.sweep()
        for pool in [x for x in self._replaced if x.is_idle]:
            pool.close()
            self._replaced.remove(pool)
        self._note()

    def close(self) -> None:
        """Close every socket; fetches still under way fail."""
        for pool in self._all:
            pool.close()
        self._pools.clear()
        self._made_of.clear()
        self.default = None
        self._replaced.clear()
        self._note()
