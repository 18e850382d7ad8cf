"""What came of the reloads so far."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dnsfront.supervisor.change.refusal import Refusal


@dataclass
class Outcome:
    """How many reloads succeeded and failed; *last_success_at* is wall-clock time.

    *refused* is there for as long as what is on disk is not what serves.
    """

    last_success_at: float
    success: int = 0
    failure: int = 0
    refused: Refusal | None = None

    def succeeded(self) -> None:
        """Note that what is on disk is in force."""
        self.success += 1
        self.last_success_at = time.time()
        self.refused = None

    def failed(self, error: Exception, config: Path, files: Iterable[Path]) -> None:
        """Note that *config*, which was read from *files*, is refused for *error*."""
        self.failure += 1
        since = time.time() if self.refused is None else self.refused.since
        self.refused = Refusal.of(error, config, files, since)
