"""All configured workers: who there is, who knows whom, and what is told to all."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Final

from dnsfront.errors import ControlError, UnavailableError
from dnsfront.ipc import memory, records, replies
from dnsfront.ipc.channel import Message
from dnsfront.ipc.spec import Listener, Place, WorkerSpec
from dnsfront.kernel.pages import MAX_WORKER_ID
from dnsfront.kernel.steering import Steering
from dnsfront.supervisor.sockets.groups import SocketGroups
from dnsfront.supervisor.sockets.tables import Publisher
from dnsfront.supervisor.workers.tally import Tallies
from dnsfront.supervisor.workers.worker import (
    READY_WITHIN_S,
    Ended,
    State,
    Surroundings,
    Worker,
)

_LOG = logging.getLogger(__name__)

_FLUSH_WITHIN_S: Final = 5.0
_MOVE_WITHIN_S: Final = 2.0
_PAUSE_WITHIN_S: Final = 1.0


class Fleet:
    """The workers by name. A worker_id is the lowest free one, kept across respawns."""

    def __init__(
        self,
        *,
        steering: Steering,
        groups: SocketGroups,
        publisher: Publisher,
        tallies: Tallies,
        health_fd: int,
        spec: WorkerSpec,
    ) -> None:
        self._around = Surroundings(
            steering, groups, publisher, health_fd, spec, self._peers_are_due
        )
        self._tallies = tallies
        self._workers: dict[str, Worker] = {}
        self._are_peers_due = False
        self._is_held = False
        #: How long whoever leaves has for what is pending.
        self.drain_within_s = spec.drain_within_s

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

    # -- coming and going

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
            worker_id = ids.get(name) or self._free_id()
            worker = Worker(name, worker_id, self._tallies.of(name), self._around)
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
        for at in range(0, len(names), at_once):
            some = names[at : at + at_once]
            self.launch(some, ids)
            self.join(some)
            if failed := await self.start(some):
                raise ControlError(self._not_started(failed))

    def _not_started(self, names: Sequence[str]) -> str:
        refused = self._workers[names[0]].refused
        why = "did not start, see the log" if refused is None else refused
        return f"{', '.join(names)}: {why}"

    def withdraw(self, names: Iterable[str]) -> None:
        """Let nothing new come to *names* but what the table gives to them alone."""
        for name in names:
            self._workers[name].withdraw()

    async def retire(
        self, names: Iterable[str], kept: Mapping[str, Collection[Place]] | None = None
    ) -> list[Ended]:
        """Drain and remove *names*, who own no slots any more.

        *kept* are the places where a successor reads the sockets of a name. Return
        those that did not finish what they had.
        """
        kept = {} if kept is None else kept
        workers = [self._workers[name] for name in names]
        results = await asyncio.gather(
            *(
                worker.drain(self.drain_within_s, kept.get(worker.name, ()))
                for worker in workers
            )
        )
        for worker in workers:
            self.discard(worker.name)
        return [ended for ended in results if ended is not None]

    def discard(self, name: str) -> None:
        """Remove a worker at once, with whatever it still holds."""
        worker = self._workers.pop(name, None)
        if worker is not None:
            worker.close()
            self._tallies.left(name, self._workers)
            self._peers_are_due()

    def close(self) -> None:
        """Remove every worker at once."""
        for name in list(self._workers):
            self.discard(name)

    def _free_id(self) -> int:
        taken = set(self.ids.values())
        for worker_id in range(1, MAX_WORKER_ID + 1):
            if worker_id not in taken:
                return worker_id
        raise UnavailableError(
            f"ring.workers: old and new ones together are over {MAX_WORKER_ID}; change "
            "them in two steps"
        )

    # -- what is told to all

    async def move_caches(self, table: bytes) -> int:
        """Have every worker send its entries to who owns them under the next *table*.

        Returns how many were sent. What is not sent in time is fetched again by its
        next owner: a colder cache, and no wrong answer.
        """
        if self._are_peers_due:
            self._announce_peers()  # whoever is to receive must be known by then
        table_fd = memory.sealed("dnsfront-next-table", table)
        try:
            entries = await self._move({}, [table_fd])
        finally:
            os.close(table_fd)
        await self.settle()
        return entries

    async def settle(self) -> None:
        """Return when every worker has taken the entries that were sent to it."""
        await self._ask_all({"op": "settle"}, _FLUSH_WITHIN_S)

    async def send_caches(
        self, ids: Sequence[int], hash_key_hex: str, fds: Sequence[int]
    ) -> int:
        """Have every worker send all its entries to another instance's workers.

        *fds* are that instance's table and the send end of the handover socket of each
        of *ids*. Returns how many were sent.
        """
        return await self._move({"ids": ids, "hash_key_hex": hash_key_hex}, fds)

    async def _move(self, to: Message, fds: Sequence[int]) -> int:
        message = {"op": "move", "within_s": _MOVE_WITHIN_S, **to}
        timeout_s = _MOVE_WITHIN_S + _FLUSH_WITHIN_S
        moved = await self._ask_all(message, timeout_s, fds)
        return sum(int(reply["entries"]) for reply in moved)

    async def _ask_all(
        self, message: Message, timeout_s: float, fds: Sequence[int] = ()
    ) -> list[Message]:
        """Return the reply of every worker that is up, and lives to tell."""
        answers = await asyncio.gather(
            *(self._ask(worker, message, timeout_s, fds) for worker in self._up())
        )
        return [answer for answer in answers if answer is not None]

    async def _ask(
        self,
        worker: Worker,
        message: Message,
        timeout_s: float,
        fds: Sequence[int],
    ) -> Message | None:
        if worker.process is None:
            return None
        return await worker.process.ask(message, list(fds), timeout_s=timeout_s)

    def _up(self) -> list[Worker]:
        return [worker for worker in self if worker.state is State.UP]

    def announce_table(self) -> None:
        """Give every worker the table that is in force."""
        publisher = self._around.publisher
        for worker in self:
            if worker.process is not None:
                message = {"op": "table", **publisher.named()}
                worker.process.send(message, [publisher.fd])

    async def configure(self, spec: WorkerSpec) -> None:
        """Have every worker act on *spec*, or none of them.

        Raises:
            ControlError: a worker refused, with its reason; all have the old spec.
        """
        before = self._around.spec
        if spec == before:
            return
        self._around.spec = spec
        # Fetches that are under way end as the spec of their beginning has it.
        self.drain_within_s = max(before.drain_within_s, spec.drain_within_s)
        refusals = await self._configure_all()
        if refusals:
            self._around.spec = before
            await self._configure_all()
            raise ControlError("; ".join(refusals))

    async def _configure_all(self) -> list[str]:
        workers = [worker for worker in self if worker.process is not None]
        answers = await asyncio.gather(*(self._configure(worker) for worker in workers))
        return [
            f"{worker.name}: {reason}"
            for worker, reply in zip(workers, answers, strict=True)
            if reply is not None and (reason := replies.refusal(reply)) is not None
        ]

    async def _configure(self, worker: Worker) -> Message | None:
        """Return what *worker* says; None where its next process gets it anyway."""
        if worker.process is None:
            return None
        spec = replace(self._around.spec, name=worker.name, worker_id=worker.worker_id)
        worker.share_images(spec.zones)
        spec_fd = memory.sealed("dnsfront-spec", records.to_json(spec))
        try:
            return await worker.process.ask(
                {"op": "configure"}, [spec_fd], timeout_s=READY_WITHIN_S
            )
        finally:
            os.close(spec_fd)

    async def flush(self, what: Mapping[str, str]) -> int:
        """Drop cache entries, as *what* says; return how many there were."""
        flushed = await self._ask_all({"op": "flush", **what}, _FLUSH_WITHIN_S)
        return sum(int(reply["entries"]) for reply in flushed)

    # -- between a predecessor and its successor

    def hold(self) -> None:
        """Have workers get ready, and adopt entries, but serve nobody yet."""
        self._is_held = True

    def release(self) -> None:
        """Have the workers that were held serve."""
        self._is_held = False
        self._announce_peers()

    def receivers(self) -> dict[int, int]:
        """Return the send ends of the handover sockets by worker_id."""
        return {worker.worker_id: worker.handover_send.fileno() for worker in self}

    # -- listeners

    async def listen(self, listeners: Sequence[Listener]) -> None:
        """Have every worker know *listeners*; :meth:`serve_all` has them read.

        A worker that dies meanwhile is none: its successor gets them at its start.
        """
        message = {"op": "listen", "listeners": [asdict(x) for x in listeners]}
        groups = self._around.groups
        await asyncio.gather(
            *(
                self._ask(
                    worker,
                    message,
                    _FLUSH_WITHIN_S,
                    [
                        sock.fileno()
                        for pair in groups.sockets_of(worker.worker_id, listeners)
                        for _protocol, sock in pair.by_protocol()
                    ],
                )
                for worker in self._up()
            )
        )

    def serve_all(self) -> None:
        """Have the workers read what they were told to listen at."""
        self._announce_peers()

    async def unlisten(self, listeners: Sequence[Listener]) -> None:
        """Have every worker answer what came to *listeners*, and close them."""
        numbers = [listener.number for listener in listeners]
        within_s = self.drain_within_s
        leave = {"op": "unlisten", "numbers": numbers, "within_s": within_s}
        await self._ask_all(leave, within_s + _FLUSH_WITHIN_S)
        # Not before all of them have: one may have passed something to another.
        await self._ask_all({"op": "close"}, _FLUSH_WITHIN_S)

    async def pause(self) -> None:
        """Have no worker take anything from a listening socket any more."""
        await self._ask_all({"op": "pause"}, _PAUSE_WITHIN_S)

    def resume(self) -> None:
        """Have all workers take from their listening sockets again."""
        for worker in self:
            if worker.process is not None and worker.state is State.UP:
                worker.process.send({"op": "resume"})

    def _peers_are_due(self) -> None:
        """Tell the peers soon: deaths and births that come together are told as one."""
        if not self._are_peers_due:
            self._are_peers_due = True
            asyncio.get_running_loop().call_soon(self._announce_peers)

    def _announce_peers(self) -> None:
        self._are_peers_due = False
        if self._is_held:
            return
        running = [worker for worker in self if worker.state is State.UP]
        for worker in self:
            if worker.process is None or worker.state not in {State.UP, State.DRAINING}:
                continue
            peers = [peer for peer in running if peer is not worker]
            worker.process.send(
                {"op": "peers", "ids": [peer.worker_id for peer in peers]},
                [peer.handover_send.fileno() for peer in peers],
            )
