"""A second server asked besides, where the first takes longer than it nearly ever does.

What comes first is the answer. `upstreams.hedge` switches it on: it costs upstreams one
query in twenty more, and no client waits for the slow ones.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from dnsfront.ipc.stats import Upstream
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.upstreams.fetch import Fetch
from dnsfront.worker.upstreams.server import Server
from dnsfront.worker.upstreams.timers import Timers
from dnsfront.worker.upstreams.tries import Act, Step

#: To ask the next server, and still take the answer of this one.
_HEDGE: Final = Step(Act.GO_ON)


class Hedging:
    """When the fetches of one pool are to be asked of a second server, by *timers*.

    That a server failed is known when nothing came from it in a whole time-out.
    """

    def __init__(self, timers: Timers, meter: Meter, timeout_ns: int) -> None:
        self._timers = timers
        self._meter = meter
        self._timeout_ns = timeout_ns
        self._lost: deque[tuple[int, Server]] = deque()

    def asked(self, batch: list[Fetch], now_ns: int) -> None:
        """Have a look at each of *batch*, which was sent now, in time for a hedge."""
        self._timers.asked(batch, now_ns)
        for fetch in batch:
            if fetch.sends == 1 and len(fetch.candidates) > 0:
                late_ns = fetch.server.round_trip.late_ns
                self._timers.look(fetch, now_ns + late_ns)

    def heard(self, server: Server, now_ns: int, took_ns: int | None) -> None:
        """Note that *server* answered, and how long one of its answers took."""
        server.heard_ns = now_ns
        if took_ns is not None:
            server.round_trip.was_late(took_ns > server.round_trip.late_ns)

    def is_due(self, fetch: Fetch, now_ns: int) -> bool:
        """Return whether *fetch* is to be asked of another server now."""
        candidates, server = fetch.candidates, fetch.server
        return (
            fetch.sends == 1
            and now_ns - fetch.sent_at_ns >= server.round_trip.late_ns
            and bool(candidates)
            and candidates[-1] is not server
            and fetch.is_over_udp
        )

    def begin(self, fetch: Fetch) -> Step:
        """Return what has another server asked besides."""
        server = fetch.server
        server.round_trip.was_late(True)  # noqa: FBT003 - as it says
        self._meter.upstream_count(server.index, Upstream.HEDGES)
        self._lost.append((fetch.sent_at_ns, server))
        return _HEDGE

    def expire(self, now_ns: int) -> None:
        """Count the servers that nothing came from since they were asked in vain."""
        lost = self._lost
        while lost and lost[0][0] + self._timeout_ns <= now_ns:
            sent_at_ns, server = lost.popleft()
            if server.heard_ns <= sent_at_ns:
                self._meter.upstream_failed(server.index)
                server.round_trip.missed()
