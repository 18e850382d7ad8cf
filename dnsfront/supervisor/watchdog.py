"""Which workers hang: alive, but taking nothing while their queues fill.

Pure: told the time and the counts, it reads neither a clock nor a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: How long a worker may take nothing while more and more waits for it.
HUNG_AFTER_S: Final = 1.0


@dataclass(frozen=True)
class _Seen:
    """What stood in the counts when the worker last had nothing new to take."""

    taken: int
    backlog: int
    at: float


class Watchdog:
    """Remembers of each worker_id since when more waits than it takes."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}

    def is_hung(self, worker_id: int, taken: int, backlog: int, now: float) -> bool:
        """Return whether a worker has taken nothing for too long, though more came.

        *taken* and *backlog* are datagrams, *now* is monotonic seconds. A backlog that
        does not grow is no sign: it may be a count that a dead predecessor left.
        """
        seen = self._seen.get(worker_id)
        if seen is None or taken != seen.taken or backlog <= seen.backlog:
            self._seen[worker_id] = _Seen(taken, backlog, now)
            return False
        return now - seen.at >= HUNG_AFTER_S

    def forget(self, worker_id: int) -> None:
        """Begin anew with a worker_id: its process is another, or busy on request."""
        self._seen.pop(worker_id, None)
