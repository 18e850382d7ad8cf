"""How long clients wait where there is an expired response (RFC 8767, 5).

Their timer begins with their query. What runs longer goes on without them, and who asks
for the same meanwhile does not wait at all.
"""

from __future__ import annotations

from collections import deque

from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.upstreams.fetch import Fetch
from dnsfront.worker.upstreams.outcomes import Outcomes
from dnsfront.worker.upstreams.pending import Total


class Patience:
    """The fetches of all pools for which there is an expired entry, and who waits.

    They wait for `after_ns`. Who waits counts into *total*.
    """

    def __init__(self, outcomes: Outcomes, total: Total, clock: Clock) -> None:
        self.after_ns = 0
        self._outcomes = outcomes
        self._total = total
        self._clock = clock
        # The oldest first, since all wait for the same time.
        self._due: deque[tuple[int, Fetch]] = deque()

    def begin(self, fetch: Fetch, waiter: Waiter) -> None:
        """Let *waiter*, the first one that waits for *fetch*, wait for so long."""
        self._due.append((waiter.received_at_ns + self.after_ns, fetch))

    def is_over(self, fetch: Fetch, waiter: Waiter) -> bool:
        """Answer *waiter* if others have waited for long enough; return whether so.

        If not, its own time begins where nobody else waits.
        """
        entry = fetch.entry
        if entry is None:
            return False
        if fetch.has_sent_stale and self._outcomes.send_stale(entry, [waiter]):
            return True
        if not fetch.waiters:
            self.begin(fetch, waiter)
        return False

    def expire(self) -> None:
        """Answer those whose time is over; once a round."""
        due, now_ns = self._due, self._clock.now_ns
        while due and (due[0][0] <= now_ns or due[0][1].is_done):
            fetch = due.popleft()[1]
            entry, waiters = fetch.entry, fetch.waiters
            if fetch.is_done or entry is None or not waiters:
                continue
            if self._outcomes.send_stale(entry, waiters):
                fetch.has_sent_stale = True
                self._total.waiting -= len(waiters)
                fetch.waiters = []

    def wait_s(self) -> float | None:
        """Return the seconds until somebody's time may be over, None for nobody's."""
        if not self._due:
            return None
        return max(0, self._due[0][0] - self._clock.now_ns) / 1e9
