"""The parts of one running front end, for those that act and report on it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

from dnsfront import logs
from dnsfront.kernel.steering import Steering
from dnsfront.supervisor.admin.http import AdminCounts, AdminServer
from dnsfront.supervisor.change.candidate import Candidate
from dnsfront.supervisor.change.refusal import Refusal
from dnsfront.supervisor.sockets.groups import SocketGroups
from dnsfront.supervisor.sockets.tables import Publisher
from dnsfront.supervisor.upstreams.health import HealthChecker, ProbeForm
from dnsfront.supervisor.upstreams.registry import UpstreamRegistry
from dnsfront.supervisor.workers.broadcast import Broadcast
from dnsfront.supervisor.workers.roster import Roster
from dnsfront.supervisor.workers.tally import Tallies

_LOG = logging.getLogger(__name__)

#: Datagrams that may wait for a worker whatever the mean is: some 2 ms of work.
_BACKLOG_FLOOR: Final = 256


class Phase(Enum):
    """Where in its life the front end is."""

    STARTING = "starting"
    SERVING = "serving"
    HANDING_OVER = "handing over"
    STOPPING = "stopping"


@dataclass
class Progress:
    """The change under way: its *step*, whom that is about, and when it began.

    *since* is monotonic. With *is_move* the step is told by the entries sent, too.
    """

    step: str
    since: float
    workers: tuple[str, ...] = ()
    is_move: bool = False


@dataclass
class ReloadCounts:
    """What came of the reloads so far; *last_success_at* is wall-clock time.

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


@dataclass
class Front:
    """Everything that lives as long as the front end does.

    *candidate* is what is in force, *degraded* what the lack of a right costs,
    *drained* the workers that an operator took out until they are put back. *admin* is
    there once it can show all of this.
    """

    candidate: Candidate
    steering: Steering
    degraded: str | None
    groups: SocketGroups
    publisher: Publisher
    tallies: Tallies
    roster: Roster
    broadcast: Broadcast
    upstreams: UpstreamRegistry
    health: HealthChecker
    reloads: ReloadCounts
    drained: set[str] = field(default_factory=set)
    admin: AdminServer | None = None
    admin_counts: AdminCounts = field(default_factory=AdminCounts)
    progress: Progress | None = None
    phase: Phase = Phase.STARTING
    _warned: frozenset[tuple[str, str]] = frozenset()

    @contextmanager
    def step(
        self, text: str, workers: Iterable[str] = (), *, is_move: bool = False
    ) -> Iterator[None]:
        """Show *text* as what the change does while the body runs."""
        self.progress = Progress(text, time.monotonic(), tuple(workers), is_move)
        try:
            yield
        finally:
            self.progress = None

    def apply_settings(self) -> None:
        """Put in force what of the candidate concerns no worker's process."""
        config = self.candidate.config
        logs.set_level(config.log.level)
        self._warn()
        permille = round(config.ring.bounded_load * 1000)
        self.steering.set_bound(permille, _BACKLOG_FLOOR)
        servers = self.upstreams.assign(config.upstreams.servers)
        check = config.upstreams.health
        form = ProbeForm(
            name=check.name,
            type=check.type,
            interval_s=check.interval_s,
            rise=check.rise,
            fall=check.fall,
            timeout_s=config.upstreams.timeout_s,
        )
        self.health.watch(servers, form)

    def _warn(self) -> None:
        """Log what is hardly meant in the config, each thing once while it stays."""
        told = {(x.key, x.text): x for x in self.candidate.config.told}
        for what, warning in told.items():
            if what not in self._warned:
                _LOG.warning(
                    "config_warning path=%s line=%d key=%s reason=%s",
                    self.candidate.config.path, warning.line, *what,
                )  # fmt: skip
        self._warned = frozenset(told)
