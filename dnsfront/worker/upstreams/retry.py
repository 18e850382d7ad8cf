"""When a question is asked again: measured round trips, and a clock of what is due.

Pure: no socket, no clock of its own; times are monotonic nanoseconds.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dnsfront.worker.upstreams.fetch import Fetch

#: RFC 9520, 3.1: at most three queries for one question to one server over UDP.
MAX_ASKED: Final = 3

#: No repetition sooner: an upstream that has to ask others takes its time, and its
#: answers to what it has in its cache say little about that.
_LEAST_NS: Final = 200_000_000
#: Before anything was measured.
_FIRST_NS: Final = 300_000_000
#: After so many responses that may belong to either of two queries in a row, the way
#: has become longer: otherwise nothing would ever be measured again.
_AMBIGUOUS: Final = 3


class RoundTrip:
    """How long one server takes, and so when to ask it again (RFC 6298 in kind).

    `repeat_ns` is the time from a query to its repetition. It fits twice into the
    time-out, *most_ns*, unless the server's responses take longer than that: a client
    must not wait long for the second repetition because the first was lost too.
    """

    __slots__ = (
        "_ambiguous",
        "_least_ns",
        "_most_ns",
        "_smoothed_ns",
        "_variation_ns",
        "repeat_ns",
    )

    def __init__(self, most_ns: int) -> None:
        self._most_ns = most_ns
        self._least_ns = min(_LEAST_NS, most_ns)
        self._smoothed_ns = 0
        self._variation_ns = 0
        self._ambiguous = 0
        self.repeat_ns = min(_FIRST_NS, max(most_ns // 2, self._least_ns))

    def took(self, duration_ns: int, *, is_repeated: bool) -> None:
        """Learn from a response, which came *duration_ns* after the first query.

        *is_repeated* tells that there was more than one, so that it may belong to
        another (Karn's rule).
        """
        if is_repeated and self._smoothed_ns:
            self._ambiguous += 1
            if self._ambiguous < _AMBIGUOUS:
                return
        self._ambiguous = 0
        if self._smoothed_ns:
            off_ns = abs(self._smoothed_ns - duration_ns)
            self._variation_ns += (off_ns - self._variation_ns) // 4
            self._smoothed_ns += (duration_ns - self._smoothed_ns) // 8
        else:
            self._smoothed_ns = max(1, duration_ns)
            self._variation_ns = duration_ns // 2
        wanted_ns = self._smoothed_ns + 4 * self._variation_ns
        bound_ns = max(self._most_ns // 2, self._smoothed_ns + self._smoothed_ns // 4)
        wanted_ns = max(min(wanted_ns, bound_ns), self._least_ns)
        self.repeat_ns = min(wanted_ns, self._most_ns)

    def interval_ns(self, repeats: int) -> int:
        """Return how long to wait after so many repetitions: each time twice as long.

        But no longer than half a time-out, if the first wait was not.
        """
        return min(self.repeat_ns << repeats, max(self.repeat_ns, self._most_ns // 2))


class Timers:
    """Which fetches are to be looked at again, and when.

    Nearly all are done before their first look, which comes a constant time after the
    query: those cost a place in a queue. Only what outlives it goes into the heap.
    """

    def __init__(self, timeout_ns: int) -> None:
        self._first_ns = min(_LEAST_NS, timeout_ns)
        self._first: deque[tuple[int, Fetch, int]] = deque()
        self._later: list[tuple[int, int, Fetch, int]] = []
        self._number = 0

    def asked(self, batch: list[Fetch], now_ns: int) -> None:
        """Have a first look at each of *batch*, which was sent now."""
        at_ns = now_ns + self._first_ns
        self._first.extend((at_ns, fetch, fetch.sends) for fetch in batch)

    def look(self, fetch: Fetch, at_ns: int) -> None:
        """Look at *fetch* at that time, unless it was sent elsewhere until then."""
        self._number += 1
        heapq.heappush(self._later, (at_ns, self._number, fetch, fetch.sends))

    def due(self, now_ns: int) -> Fetch | None:
        """Return a fetch that is to be looked at by now, None if there is none."""
        first, later = self._first, self._later
        while first:
            at_ns, fetch, sends = first[0]
            is_over = fetch.is_done or fetch.sends != sends
            if at_ns > now_ns and not is_over:
                break
            first.popleft()
            if not is_over:
                return fetch
        while later:
            at_ns, _number, fetch, sends = later[0]
            is_over = fetch.is_done or fetch.sends != sends
            if at_ns > now_ns and not is_over:
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
