"""One worker, as far as its cache and its book decide what becomes of a query.

A fetch takes no time here, and an upstream always answers: nobody waits for another's
fetch, and nothing stale is given out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dnsfront.dns.cache import Cache
from dnsfront.simulation.kernel import KernelSide
from dnsfront.simulation.traffic import AskedFor, Traffic


@dataclass
class Seen:
    """What one worker counted: *hits* are its own, *asked* is all it was asked for."""

    asked: int = 0
    hits: int = 0
    kernel_hits: int = 0
    fetches: int = 0
    evictions: int = 0


class SimulatedWorker:
    """Asks its cache, behind the kernel, and fetches what is missing."""

    def __init__(
        self,
        traffic: Traffic,
        tags: Sequence[int],
        cache: Cache,
        kernel: KernelSide | None,
    ) -> None:
        """Answer queries of *traffic*; *tags* are those of its questions.

        *kernel* answers before the *cache* is asked.
        """
        self._traffic = traffic
        self._tags = tags
        self._cache = cache
        self._kernel = kernel
        # The question behind an entry that is to be fetched before it expires.
        self._behind: dict[tuple[int, bytes], int] = {}
        self._seen = Seen()

    def forget_counts(self) -> None:
        """Begin to count anew."""
        self._seen = Seen()
        self._cache.losses.clear()

    def counts(self) -> Seen:
        """Return what was counted."""
        self._seen.evictions = self._cache.losses.evictions
        return self._seen

    def ask(self, positions: Iterable[int]) -> None:
        """Answer the queries of the traffic that stand at *positions*, in order."""
        traffic, cache, kernel = self._traffic, self._cache, self._kernel
        numbers, seconds, questions = (
            traffic.numbers,
            traffic.seconds,
            traffic.questions,
        )
        tags = self._tags
        asked = hits = kernel_hits = 0
        last_s = -1
        for at in positions:
            number, now_s = numbers[at], seconds[at]
            question = questions[number]
            asked += 1
            if kernel is not None:
                if now_s != last_s:
                    last_s = now_s
                    kernel.set_clock(now_s)
                if kernel.answers(tags[number], question.limit):
                    kernel_hits += 1
                    continue
            entry = cache.views[question.view].get(question.key)
            if entry is None or entry.tail != question.tail:
                self._fetch(number, question, now_s)
                continue
            # As in the worker: the stamp of this second says that it may be sent.
            if entry.stamp != now_s and not cache.fresh(entry, now_s):
                self._fetch(number, question, now_s)
                continue
            hits += 1
            if cache.due:
                self._fetch_due(now_s)
            if kernel is not None:
                kernel.end_round()
        self._seen.asked += asked
        self._seen.hits += hits
        self._seen.kernel_hits += kernel_hits

    def _fetch(self, number: int, question: AskedFor, now_s: int) -> None:
        self._seen.fetches += 1
        self._cache.put(
            question.view, question.key, question.tail, question.response, now_s
        )
        self._behind[question.view, question.key] = number

    def _fetch_due(self, now_s: int) -> None:
        for entry in self._cache.take_due():
            number = self._behind[entry.view, entry.key]
            self._fetch(number, self._traffic.questions[number], now_s)
