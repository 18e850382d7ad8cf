"""What no part of a worker was meant to raise: logged, counted, and survived.

A worker reads what strangers send. Whatever one message meets in it, the others are
served, and the next round comes.
"""

from __future__ import annotations

import logging
from typing import Final

from dnsfront.ipc.stats import Counter
from dnsfront.worker.process.meter import Meter

_LOG = logging.getLogger(__name__)

#: A fault that meets every query must not fill the disk: one line a second and part.
_LOG_EVERY_NS: Final = 1_000_000_000


class Faults:
    """Counts every fault, and logs the first ones of each part in every second."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._logged: dict[str, tuple[int, int]] = {}

    def caught(self, part: str) -> None:
        """Take note of the exception at hand, met in *part* of the worker."""
        now_ns = self._meter.clock.now_ns
        self._meter.count(Counter.EXCEPTIONS)
        at_ns, unsaid = self._logged.get(part, (now_ns - _LOG_EVERY_NS, 0))
        if now_ns - at_ns < _LOG_EVERY_NS:
            self._logged[part] = (at_ns, unsaid + 1)
            return
        self._logged[part] = (now_ns, 0)
        _LOG.exception("fault part=%s unsaid=%d", part, unsaid)
