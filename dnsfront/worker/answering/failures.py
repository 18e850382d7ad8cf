"""Failed resolutions, which are not tried again for a while (RFC 9520)."""

from __future__ import annotations

from typing import Final

from dnsfront.ipc.stats import Limit
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.process.meter import Meter

#: How long a failed resolution is remembered (RFC 9520, 3.2: 1 second to 5 minutes).
FAILURE_TTL_S: Final = 5
MAX_FAILURES: Final = 10000


class Failures:
    """The questions that upstreams could not answer, and what they said instead.

    `remembered` is false while there are none, which is all that most misses ask.
    """

    def __init__(self, clock: Clock, meter: Meter) -> None:
        self.remembered: dict[tuple[int, bytes], tuple[int, int, bytes]] = {}
        self._clock = clock
        self._meter = meter

    def remember(
        self, view: int, canonical: bytes, rcode: int, errors: bytes = b""
    ) -> None:
        """Answer the same question with *rcode* for a while without asking upstream.

        *errors* are the upstream's Extended DNS Errors as EDNS options.
        """
        key = (view, canonical)
        remembered = self.remembered
        if remembered.pop(key, None) is None and len(remembered) >= MAX_FAILURES:
            # The oldest, which would be the first to be tried again anyway.
            del remembered[next(iter(remembered))]
            self._meter.count(Limit.FAILURES)
        remembered[key] = (self._clock.now_s + FAILURE_TTL_S, rcode, errors)

    def find(self, view: int, canonical: bytes) -> tuple[int, bytes] | None:
        """Return the rcode and the errors of a failure that still counts, if any."""
        failure = self.remembered.get((view, canonical))
        if failure is None or failure[0] <= self._clock.now_s:
            return None
        return failure[1:]

    def forget(self) -> None:
        """Let every question go upstream again, because something changed."""
        self.remembered.clear()
