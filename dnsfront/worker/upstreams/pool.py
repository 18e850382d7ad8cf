"""Where misses are let in: one outstanding fetch a question, and not too many.

Coalescing is a duty, not a luxury: two identical questions under way at once would
double an attacker's chance to guess an id (RFC 5452, 5).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from dnsfront.dns import edns, wire
from dnsfront.dns.entry import Entry
from dnsfront.ipc.spec import Limits, PoolSettings
from dnsfront.ipc.stats import Counter, Limit
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.process.faults import Faults
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.process.reactor import Reactor
from dnsfront.worker.upstreams.choice import Choice, order_of
from dnsfront.worker.upstreams.cookies import Cookies
from dnsfront.worker.upstreams.fetch import Beginning, Fetch
from dnsfront.worker.upstreams.fetching import Fetching
from dnsfront.worker.upstreams.letters import Letters
from dnsfront.worker.upstreams.marks import Marks
from dnsfront.worker.upstreams.outcomes import Outcomes
from dnsfront.worker.upstreams.patience import Patience
from dnsfront.worker.upstreams.pending import Pending, Total
from dnsfront.worker.upstreams.queries import edns_forms
from dnsfront.worker.upstreams.round_trip import RoundTrip
from dnsfront.worker.upstreams.server import Server

#: How old what is known of who is up may be when a fetch begins.
_RANKED_FOR_NS: Final = 500_000_000


class Pool:
    """A group of upstream servers with one policy, and the fetches that ask them.

    `is_awake` is kept by who has the pools: whether there may be something to do.

    *health* returns what the health checks say of the upstream with an index, a word
    of :class:`Health`. `under_way` has the fetches by view and canonical question; they
    count into *total*, and those with an expired entry are timed by *patience*.
    *make_room* ends a fetch, of whatever pool, and returns whether there was one to be
    ended.
    """

    def __init__(
        self,
        settings: PoolSettings,
        *,
        hash_key: bytes,
        health: Callable[[int], int],
        udp_size: int,
        limits: Limits,
        total: Total,
        patience: Patience,
        make_room: Callable[[], bool],
        reactor: Reactor,
        outcomes: Outcomes,
        meter: Meter,
        faults: Faults,
    ) -> None:
        self._pending = Pending(limits, total)
        self._total = total
        self._patience = patience
        self._make_room = make_room
        self.under_way = self._pending.under_way
        timeout_ns = round(settings.timeout_s * 1e9)
        servers = [
            Server(spec, position, RoundTrip(timeout_ns))
            for position, spec in enumerate(settings.servers)
        ]
        for server in servers:
            if server.spec.tls is None:
                server.marks = _marks(settings)
        order = order_of(settings.policy, settings.servers, hash_key)
        is_chash = settings.policy == "chash"
        self._choice = Choice(
            servers,
            order,
            health,
            bound=settings.bounded_load if is_chash else 0,
            are_placed=is_chash,
        )
        self._forms = edns_forms(udp_size)
        self._outcomes = outcomes
        self._meter = meter
        self._clock = meter.clock
        self._fetching = Fetching(
            servers,
            self._pending,
            timeout_ns=timeout_ns,
            candidates=self._choice.of,
            reactor=reactor,
            outcomes=outcomes,
            meter=meter,
            faults=faults,
            is_hedging=settings.hedge,
        )
        self.is_awake = True
        self._guests: list[Fetch] = []
        self._servers = servers
        self._ranked_at_ns = self._clock.now_ns
        self._tries = self._fetching.tries
        self._ports = self._fetching.sending.ports

    @property
    def pending(self) -> int:
        """How many fetches are under way."""
        return self._pending.count

    @property
    def is_idle(self) -> bool:
        """Whether it asks nothing, for fetches of other pools neither."""
        # One that has left is asked for by a server that is none of ours.
        self._guests = [
            x for x in self._guests if not x.is_done and x.server in self._servers
        ]
        return not self.pending and not self._guests

    def bound(self, limits: Limits) -> None:
        """Keep to *limits* from now on."""
        self._pending.bound(limits)

    def fetch(
        self,
        view: int,
        key: bytes,
        canonical: bytes,
        entry: Entry | None,
        waiter: Waiter | None,
        beginning: Beginning | None = None,
    ) -> bool:
        """Ask the upstreams; without a *waiter* only to keep *entry* fresh.

        With a *beginning* they are asked for the target of that. Nobody may be asking
        the same already: see `under_way`. Returns whether a fetch was started, which is
        not so when there are too many.
        """
        waiters = [] if waiter is None else [waiter]
        pending = self._pending
        if self._total.count >= pending.crowd and not self._has_room(canonical, waiter):
            self._outcomes.fail(entry, waiters, wire.SERVFAIL, edns.EDE_NOT_READY, b"")
            return False
        now_ns = self._clock.now_ns
        if now_ns - self._ranked_at_ns > _RANKED_FOR_NS:
            # Nobody sweeps where nothing goes on.
            self._rank(now_ns)
        target = canonical[:-4] if beginning is None else beginning.target
        candidates = self._choice.of(target)
        fetch = Fetch(view, key, canonical, entry, waiters, candidates, self._forms)
        if beginning is not None:
            fetch.partial, fetch.is_of_zone = beginning.octets, True
            fetch.asked = target + canonical[-4:]
        pending.add(fetch, now_ns)
        if entry is not None and waiter is not None:
            self._patience.begin(fetch, waiter)
        # What `Fetching.begin` does, without a call more for every miss.
        server = self._tries.begin(fetch, now_ns)
        self._ports[server.position].queue.append(fetch)
        return True

    def _has_room(self, canonical: bytes, waiter: Waiter | None) -> bool:
        """Return whether one more may be fetched, and make room for it."""
        pending = self._pending
        barrier = pending.barrier(canonical, waiter, self._clock.now_ns)
        if barrier is not None:
            self._meter.count(barrier)
            return False
        if self._total.count < pending.most:
            return True
        self._meter.count(Limit.PENDING)
        return self._make_room()

    def give_way(self) -> bool:
        """End a fetch without much hope for the sake of others, if there is one."""
        hopeless = self._pending.hopeless()
        if hopeless is None:
            return False
        self._fetching.finish(hopeless)
        self._outcomes.fail(
            hopeless.entry, hopeless.waiters, wire.SERVFAIL, edns.EDE_NOT_READY, b""
        )
        return True

    def end(self, is_wanted: Callable[[Fetch], bool]) -> list[Fetch]:
        """End the fetches that *is_wanted* takes, and return them.

        Who waits for them is the caller's to answer.
        """
        fetches = [
            fetch
            for fetches in self.under_way
            for fetch in fetches.values()
            if is_wanted(fetch)
        ]
        for fetch in fetches:
            self._fetching.finish(fetch)
        return fetches

    def go_on_with(self, fetch: Fetch, target: bytes) -> None:
        """Ask for *target*, which aliases lead to, for a fetch of another pool."""
        self._guests.append(fetch)
        self._rank(self._clock.now_ns)
        self._fetching.go_on_with(fetch, target, fetch.server)

    def fetch_again(self, fetch: Fetch) -> None:
        """Ask the question of a fetch that another pool has ended, for who waits."""
        waiters = fetch.waiters
        own = self.under_way[fetch.view].get(fetch.canonical)
        if own is None:
            first, waiters = waiters[:1], waiters[1:]
            if not first or not self.fetch(
                fetch.view, fetch.key, fetch.canonical, fetch.entry, first[0]
            ):
                error = edns.EDE_NOT_READY
                self._outcomes.fail(None, waiters, wire.SERVFAIL, error, b"")
                return
            own = self.under_way[fetch.view][fetch.canonical]
        own.waiters.extend(waiters)
        self._total.waiting += len(waiters)

    def join(self, fetch: Fetch, waiter: Waiter) -> None:
        """Let *waiter* wait for a fetch that is under way.

        Often it is the same client, which has lost its patience: then the server had
        time to answer too, and its response may have been lost.
        """
        if fetch.entry is not None and self._patience.is_over(fetch, waiter):
            return
        pending = self._pending
        is_over = len(fetch.waiters) >= pending.most_waiters
        waiting = self._total.waiting + self._outcomes.to_be_told()
        if is_over or waiting >= pending.most_waiting:
            self._meter.count(Limit.WAITERS_PER_FETCH if is_over else Limit.WAITERS)
            if waiter.is_stream:
                # It would keep other queries from its connection for nothing.
                rcode, error = wire.SERVFAIL, edns.EDE_NOT_READY
                self._outcomes.fail(fetch.entry, [waiter], rcode, error, b"")
            return
        self._meter.count(Counter.COALESCED)
        self._total.waiting += 1
        fetch.waiters.append(waiter)
        self._fetching.asked_again(fetch)

    def flush(self) -> None:
        """Send what was queued since the last call; of a great many a part."""
        self._fetching.sending.flush()

    def expire(self) -> None:
        """Look at what may be overdue, and at what was refused; not at all at once."""
        self._fetching.expire()

    def wait_s(self) -> float | None:
        """Return the seconds until something may be overdue, None if nothing can be."""
        return self._fetching.wait_s()

    def _rank(self, now_ns: int) -> None:
        self._ranked_at_ns = now_ns
        self._choice.rank()

    def sweep(self) -> None:
        """Close ports that are done with, and look who is up."""
        self._rank(self._clock.now_ns)
        self._pending.sweep()
        self._fetching.sending.sweep()

    def close(self) -> None:
        """Close every socket; fetches still under way fail."""
        for fetches in self.under_way:
            for fetch in list(fetches.values()):
                fetch.candidates.clear()
                self._fetching.fail(fetch)
        self._fetching.sending.close()


def _marks(settings: PoolSettings) -> Marks | None:
    """Return what queries to one server of a pool have on them, None for nothing."""
    if not settings.mixed_case and not settings.cookies:
        return None
    return Marks(
        Letters(os.urandom(16)) if settings.mixed_case else None,
        Cookies(os.urandom(8)) if settings.cookies else None,
    )
