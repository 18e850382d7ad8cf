"""A worker's hand on its shared counters: plain stores to memory, no system call."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from dnsfront.ipc.stats import (
    BUCKET_BOUNDS_S,
    BUCKETS,
    RCODES,
    Counter,
    Rcode,
    Ruled,
    Source,
    Upstream,
    upstream_at,
)
from dnsfront.worker.process.clock import Clock

_BOUNDS_NS: Final = tuple(round(bound * 1e9) for bound in BUCKET_BOUNDS_S)
_FASTEST_NS: Final = _BOUNDS_NS[0]
# Plain numbers: looking a member of an Enum up costs as much as counting.
_RCODE_0: Final = int(Rcode.FIRST)
_RULE_1: Final = int(Ruled.FIRST)
_REQUESTS: Final = int(Counter.CACHE_REQUESTS)
_HITS: Final = int(Counter.CACHE_HITS)
_HIT: Final = int(Source.HIT)
_DURATION: Final = int(Upstream.DURATION)
_OTHER: Final = RCODES - 1


class Meter:
    """Counts into the 64-bit *words* of one worker's page.

    Responses that leave in one round and came in one batch took the same time: such
    runs are counted up here and stored by :meth:`flush`, so that a response costs a
    comparison.
    """

    def __init__(self, words: memoryview, clock: Clock) -> None:
        self.words = words
        self.clock = clock
        self._run = (0, 0, 0)
        self._run_length = 0
        self._answers = (0, 0)
        self._answers_length = 0

    def count(self, counter: int, amount: int = 1) -> None:
        """Add *amount* to a counter."""
        self.words[counter] += amount

    def set_gauge(self, counter: int, value: int) -> None:
        """Set a gauge."""
        self.words[counter] = value

    def count_rcode(self, rcode: int, amount: int = 1) -> None:
        """Count responses with *rcode*; what has no word of its own is OTHER."""
        self.words[_RCODE_0 + min(rcode, _OTHER)] += amount

    def count_rule(self, number: int) -> None:
        """Count a query that the rule with this *number* decided, from 1."""
        self.words[_RULE_1 + number - 1] += 1

    def hits(self, amount: int, duration_ns: int) -> None:
        """Count *amount* responses out of the cache that took so long each."""
        words = self.words
        words[_REQUESTS] += amount
        words[_HITS] += amount
        self.observe(_HIT, duration_ns, amount)

    def sent(self, rcode: int, source: int, received_at_ns: int) -> None:
        """Count a response, sent now, to a query received then."""
        run = (rcode, source, received_at_ns)
        if run != self._run:
            self.flush()
            self._run = run
        self._run_length += 1

    def upstream_answered(self, index: int, sent_at_ns: int) -> None:
        """Count a response of upstream *index*, arrived now, to a query sent then."""
        run = (index, sent_at_ns)
        if run != self._answers:
            self.flush()
            self._answers = run
        self._answers_length += 1

    def flush(self) -> None:
        """Store what was counted in runs; call it at the end of every round."""
        if self._run_length:
            rcode, source, received_at_ns = self._run
            self.count_rcode(rcode, self._run_length)
            self.observe(source, self.clock.now_ns - received_at_ns, self._run_length)
            self._run_length = 0
        if self._answers_length:
            index, sent_at_ns = self._answers
            at = upstream_at(index) + _DURATION
            self.observe(at, self.clock.now_ns - sent_at_ns, self._answers_length)
            self._answers_length = 0

    def observe(self, at: int, duration_ns: int, amount: int) -> None:
        """Put *amount* times *duration_ns* into the histogram that begins at a word."""
        words = self.words
        words[at + BUCKETS] += duration_ns * amount
        if duration_ns > _FASTEST_NS:
            at += bisect_left(_BOUNDS_NS, duration_ns)
        words[at] += amount

    def upstream_sent(self, index: int, amount: int) -> None:
        """Count queries sent to upstream *index*."""
        self.words[upstream_at(index) + Upstream.REQUESTS] += amount

    def upstream_refused(self, index: int) -> None:
        """Count a response of upstream *index* that was of no use."""
        self.words[upstream_at(index) + Upstream.REFUSALS] += 1

    def upstream_failed(self, index: int) -> None:
        """Count a query that upstream *index* did not answer, or answered in error."""
        self.words[upstream_at(index) + Upstream.FAILURES] += 1

    def upstream_count(self, index: int, word: int, amount: int = 1) -> None:
        """Add *amount* to one of the other counters of upstream *index*."""
        self.words[upstream_at(index) + word] += amount
