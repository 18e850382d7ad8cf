"""Which workers know each other, so that one can hand a query over to another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from dnsfront.ipc.messages import (
    KnowPeers,
)
from dnsfront.ipc.packets import descriptor
from dnsfront.supervisor.workers.state import State
from dnsfront.supervisor.workers.worker import Worker


class Peering:
    """Tells each of *workers*, of whom there may be others later, its peers of today.

    A worker serves when it was told for the first time. *is_due* says that somebody
    came or went, and that nobody was told yet.
    """

    def __init__(self, workers: Iterable[Worker]) -> None:
        self._workers = workers
        self._is_held = False
        self.is_due = False

    def tell_soon(self) -> None:
        """Tell the peers soon: deaths and births that come together are told as one."""
        if not self.is_due:
            self.is_due = True
            asyncio.get_running_loop().call_soon(self.tell)

    def tell(self) -> None:
        """Tell every worker now who its peers are."""
        self.is_due = False
        if self._is_held:
            return
        # Whoever drains has clients of its own that wait for what others answer. Nobody
        # hands it anything: that goes by the table, and by who is live.
        running = [
            (worker, worker.process)
            for worker in self._workers
            if worker.process is not None and worker.state in {State.UP, State.DRAINING}
        ]
        for worker, process in running:
            peers = [peer for peer, _ in running if peer is not worker]
            process.send(
                KnowPeers(
                    tuple(peer.worker_id for peer in peers),
                    tuple(descriptor(peer.handover_send) for peer in peers),
                )
            )

    def hold(self) -> None:
        """Have workers get ready, and adopt entries, but serve nobody yet."""
        self._is_held = True

    def release(self) -> None:
        """Have the workers that were held serve."""
        self.stop_holding()
        self.tell()

    def stop_holding(self) -> None:
        """Tell of who comes and goes from now on; nobody serves by that alone."""
        self._is_held = False
