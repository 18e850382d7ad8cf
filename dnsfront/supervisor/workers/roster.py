"""The workers that there are: how they come, and how they go."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from dnsfront.errors import ControlError, UnavailableError
from dnsfront.ipc.spec import ListenerKey
from dnsfront.kernel.pages import MAX_WORKER_ID
from dnsfront.supervisor.workers.peering import Peering
from dnsfront.supervisor.workers.state import Ended, State
from dnsfront.supervisor.workers.surroundings import Surroundings
from dnsfront.supervisor.workers.tally import KernelHits, Tallies
from dnsfront.supervisor.workers.worker import Worker


class Roster:
    """The workers by name. A worker_id is the lowest free one, kept across respawns.

    *tallies* hold what was counted for these workers and for those before them.
    """

    def __init__(self, around: Surroundings, tallies: Tallies) -> None:
        self._around = around
        self._workers: dict[str, Worker] = {}
        self.tallies = tallies
        self.peering = Peering(self)

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all workers, running or not, the eldest first."""
        return tuple(self._workers)

    @property
    def ids(self) -> dict[str, int]:
        """The worker_id of each name."""
        return {worker.name: worker.worker_id for worker in self}

    @property
    def up(self) -> list[Worker]:
        """Those that serve."""
        return [worker for worker in self if worker.state is State.UP]

    @property
    def receivers(self) -> dict[int, int]:
        """The send ends of the handover sockets by worker_id."""
        return {worker.worker_id: worker.handover_send.fileno() for worker in self}

    @property
    def drain_timeout_s(self) -> float:
        """How long whoever leaves has for what is pending."""
        return self._around.drain_timeout_s

    # -- coming

    def launch(
        self, names: Iterable[str], ids: Mapping[str, int] | None = None
    ) -> None:
        """Make workers of *names* and start their interpreters, which takes a while.

        They get the worker_ids in *ids*, or free ones.

        Raises:
            UnavailableError: there is no worker_id left.
        """
        ids = {} if ids is None else ids
        for name in names:
            worker = Worker(
                name,
                ids.get(name) or self._free_id(),
                self.tallies.of(name),
                self._around,
                on_change=self.peering.tell_soon,
            )
            self._workers[name] = worker
            worker.launch()

    def join(self, names: Iterable[str]) -> None:
        """Open the sockets of *names* and let the program choose them.

        Raises:
            DnsfrontError: an address is not to be had, or the kernel refuses.
        """
        for name in names:
            self._workers[name].join()

    async def start(self, names: Iterable[str]) -> list[str]:
        """Set *names* to work; return those whose first process did not get ready."""
        workers = [self._workers[name] for name in names]
        for worker in workers:
            worker.start()
        results = await asyncio.gather(
            *(asyncio.shield(worker.first_ready) for worker in workers)
        )
        return [
            worker.name
            for worker, is_ready in zip(workers, results, strict=True)
            if not is_ready
        ]

    async def bring_up(
        self, names: Iterable[str], ids: Mapping[str, int] | None = None
    ) -> None:
        """Launch, join and start *names* beside workers that serve meanwhile.

        Interpreters take whole CPUs while they start, so only half of those at once.

        Raises:
            DnsfrontError: one of them cannot be had; the others are there.
        """
        names = tuple(names)
        at_once = max(1, len(os.sched_getaffinity(0)) // 2)
        for first in range(0, len(names), at_once):
            some = names[first : first + at_once]
            self.launch(some, ids)
            self.join(some)
            if failed := await self.start(some):
                raise ControlError(self._not_started(failed))

    def _not_started(self, names: Sequence[str]) -> str:
        refused = self._workers[names[0]].refused
        why = "did not start, see the log" if refused is None else refused
        return f"{', '.join(names)}: {why}"

    def _free_id(self) -> int:
        taken = set(self.ids.values())
        for worker_id in range(1, MAX_WORKER_ID + 1):
            if worker_id not in taken:
                return worker_id
        raise UnavailableError(
            f"ring.workers: old and new ones together are over {MAX_WORKER_ID}; change "
            "them in two steps"
        )

    def give_books(self) -> None:
        """Give every worker a new book of what the kernel answers, or take it away."""
        for worker in self:
            worker.give_book()

    def kernel_hits(self) -> defaultdict[str, KernelHits]:
        """Return how many responses the kernel gave in each name, whoever bears it."""
        hits: defaultdict[str, KernelHits] = defaultdict(KernelHits)
        hits.update({name: tally.kernel_hits for name, tally in self.tallies.items()})
        now = self._around.kernel_cache.hits()
        for worker in self:
            hits[worker.name] = hits[worker.name] + now[worker.worker_id]
        return hits

    # -- going

    def withdraw(self, names: Iterable[str]) -> None:
        """Let nothing new come to *names* but what the table gives to them alone."""
        for name in names:
            self._workers[name].withdraw()

    async def retire(
        self,
        names: Iterable[str],
        kept: Mapping[str, Collection[ListenerKey]] | None = None,
    ) -> list[Ended]:
        """Drain and remove *names*, who own no slots any more.

        *kept* are the listeners whose sockets of a name a successor reads. Return
        those that did not finish what they had.
        """
        kept = {} if kept is None else kept
        workers = [self._workers[name] for name in names]
        results = await asyncio.gather(
            *(
                worker.drain(self.drain_timeout_s, kept.get(worker.name, ()))
                for worker in workers
            )
        )
        for worker in workers:
            self.discard([worker.name])
        return [ended for ended in results if ended is not None]

    def discard(self, names: Iterable[str]) -> None:
        """Remove *names* at once, with whatever they still hold."""
        for name in names:
            worker = self._workers.pop(name, None)
            if worker is not None:
                worker.close()
                self.tallies.left(name, self._workers)
                self.peering.tell_soon()

    def close(self) -> None:
        """Remove every worker at once."""
        self.discard(self.names)
