"""What parts of a worker count by themselves, brought to its shared counters.

They know no meter, or count where a call each time would cost too much.
"""

from __future__ import annotations

from dnsfront.dns.cache import Cache
from dnsfront.ipc.stats import Counter, Limit
from dnsfront.worker.peers.handover import Peers
from dnsfront.worker.peers.inbox import Inbox
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.transports.listening import Listening
from dnsfront.worker.upstreams.forwarding import Forwarding


class Counts:
    """Counts what happened since it last looked, and shows how much there is."""

    def __init__(
        self,
        meter: Meter,
        *,
        cache: Cache,
        forwarding: Forwarding,
        listening: Listening,
        peers: Peers,
        inbox: Inbox,
    ) -> None:
        self._meter = meter
        self._cache = cache
        self._forwarding = forwarding
        self._listening = listening
        self._peers = peers
        self._inbox = inbox

    def flush(self) -> None:
        """Count what the cache let go; call it at the end of every round."""
        losses = self._cache.losses
        if losses.evictions or losses.oversized:
            self._meter.count(Counter.CACHE_EVICTIONS, losses.evictions)
            self._meter.count(Limit.CACHE_SIZE, losses.for_weight)
            self._meter.count(Limit.CACHE_ENTRY_SIZE, losses.oversized)
            losses.clear()

    def show(self) -> None:
        """Set the gauges, and count what is rare; about four times a second."""
        meter, peers, inbox = self._meter, self._peers, self._inbox
        meter.set_gauge(Counter.CACHE_ENTRIES, len(self._cache))
        meter.set_gauge(Counter.CACHE_OCTETS, self._cache.octets)
        meter.set_gauge(Counter.PENDING, self._forwarding.pending)
        meter.set_gauge(Counter.TCP_OPEN, self._listening.connections)
        if peers.failed:
            meter.count(Counter.HANDOVER_FAILED, peers.failed)
            peers.failed = 0
        if peers.lost:
            meter.count(Counter.HANDOVER_LOST, peers.lost)
            peers.lost = 0
        if inbox.refused:
            meter.count(Counter.HANDOVER_REFUSED, inbox.refused)
            inbox.refused = 0
