"""Which fetches are to be looked at again, and when.

Pure: no socket, no clock; times are monotonic nanoseconds.
"""

from __future__ import annotations

import heapq
from collections import deque

from dnsfront.worker.upstreams.fetch import Fetch
from dnsfront.worker.upstreams.round_trip import LEAST_NS


class Timers:
    """The fetches to look at again, by time.

    Nearly all are done before their first look, which comes a constant time after the
    query: those cost a place in a queue. Only what outlives it goes into the heap.
    """

    def __init__(self, timeout_ns: int) -> None:
        self._first_ns = min(LEAST_NS, timeout_ns)
        self._first: deque[tuple[int, Fetch, int]] = deque()
        self._later: list[tuple[int, int, Fetch, int]] = []
        self._number = 0

    def asked(self, batch: list[Fetch], now_ns: int) -> None:
        """Have a first look at each of *batch*, which was sent now."""
        due_ns = now_ns + self._first_ns
        self._first.extend((due_ns, fetch, fetch.sends) for fetch in batch)

    def look(self, fetch: Fetch, due_ns: int) -> None:
        """Look at *fetch* at *due_ns*, unless it was sent elsewhere until then."""
        self._number += 1
        heapq.heappush(self._later, (due_ns, self._number, fetch, fetch.sends))

    def due(self, now_ns: int) -> Fetch | None:
        """Return a fetch that is to be looked at by now, None if there is none."""
        first, later = self._first, self._later
        while first:
            due_ns, fetch, sends = first[0]
            is_over = fetch.is_done or fetch.sends != sends
            if due_ns > now_ns and not is_over:
                break
            first.popleft()
            if not is_over:
                return fetch
        while later:
            due_ns, _number, fetch, sends = later[0]
            is_over = fetch.is_done or fetch.sends != sends
            if due_ns > now_ns and not is_over:
                break
            heapq.heappop(later)
            if not is_over:
                return fetch
        return None

    def next_ns(self) -> int | None:
        """Return when something may be due, None if nothing will be."""
        if not self._later:
            return self._first[0][0] if self._first else None
        later_ns = self._later[0][0]
        return min(self._first[0][0], later_ns) if self._first else later_ns
