"""What is told to all workers, and what they answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from dnsfront.errors import ControlError
from dnsfront.ipc import memory, records
from dnsfront.ipc.messages import (
    CatchUp,
    Close,
    Configure,
    Configured,
    Flush,
    Listen,
    Order,
    Pause,
    Refused,
    Resume,
    Transfer,
    Transferred,
    TransferToSuccessor,
    Unlisten,
    UseTable,
)
from dnsfront.ipc.packets import Descriptor, descriptor
from dnsfront.ipc.spec import Listener, WorkerSpec
from dnsfront.supervisor.workers.roster import Roster
from dnsfront.supervisor.workers.surroundings import Surroundings
from dnsfront.supervisor.workers.worker import READY_TIMEOUT_S, Worker

#: For what a worker does between two batches.
_ORDER_TIMEOUT_S: Final = 5.0
_TRANSFER_TIMEOUT_S: Final = 2.0
_PAUSE_TIMEOUT_S: Final = 1.0

R = TypeVar("R")


class Broadcast:
    """The orders to all workers of *roster*, whoever they are at that moment."""

    def __init__(self, roster: Roster, around: Surroundings) -> None:
        self._roster = roster
        self._around = around

    # -- spec, table and caches

    async def configure(self, spec: WorkerSpec) -> None:
        """Have every worker act on *spec*, or none of them.

        Raises:
            ControlError: a worker refused, with its reason; all have the old spec.
        """
        before = self._around.spec
        if spec == before:
            return
        self._around.change_spec(spec)
        refusals = await self._configure_all()
        if refusals:
            self._around.change_spec(before)
            await self._configure_all()
            raise ControlError("; ".join(refusals))

    async def _configure_all(self) -> list[str]:
        workers = [worker for worker in self._roster if worker.process is not None]
        answers = await asyncio.gather(*(_configure(worker) for worker in workers))
        return [
            f"{worker.name}: {reply.reason}"
            for worker, reply in zip(workers, answers, strict=True)
            if isinstance(reply, Refused)
        ]

    def announce_table(self) -> None:
        """Give every worker the table that is in force."""
        publisher = self._around.datapath.publisher
        for worker in self._roster:
            if worker.process is not None:
                fd = Descriptor(publisher.fd)
                worker.process.send(UseTable(publisher.generation, publisher.slots, fd))

    async def transfer(self, table: bytes) -> int:
        """Have every worker send its entries to who owns them under the next *table*.

        Returns how many were sent. What is not sent in time is fetched again by its
        next owner: a colder cache, and no wrong answer.
        """
        if self._roster.peering.is_due:
            self._roster.peering.tell()  # whoever is to receive must be known by then
        table_fd = memory.sealed("dnsfront-next-table", table)
        try:
            order = Transfer(_TRANSFER_TIMEOUT_S, Descriptor(table_fd))
            entries = await self._transfer(order)
        finally:
            os.close(table_fd)
        await self.catch_up()
        return entries

    async def transfer_to(
        self, ids: Iterable[int], hash_key_hex: str, fds: Iterable[int]
    ) -> int:
        """Have every worker send all its entries to another instance's workers.

        *fds* are that instance's table and the send end of the handover socket of each
        of *ids*. Returns how many were sent.
        """
        table_fd, *socket_fds = map(Descriptor, fds)
        order = TransferToSuccessor(
            _TRANSFER_TIMEOUT_S,
            hash_key_hex,
            tuple(ids),
            table_fd,
            tuple(socket_fds),
        )
        return await self._transfer(order)

    async def _transfer(self, order: Order[Transferred]) -> int:
        timeout_s = _TRANSFER_TIMEOUT_S + _ORDER_TIMEOUT_S
        return sum(x.entries for x in await self._ask_all(order, timeout_s))

    async def catch_up(self) -> None:
        """Return when every worker has taken what was handed over to it until now."""
        await self._ask_all(CatchUp(), _ORDER_TIMEOUT_S)

    async def flush(self, order: Flush) -> int:
        """Drop cache entries, as *order* says; return how many there were."""
        return sum(x.entries for x in await self._ask_all(order, _ORDER_TIMEOUT_S))

    # -- listeners

    async def listen(self, listeners: Sequence[Listener]) -> None:
        """Have every worker know *listeners*; :meth:`read_all` has them read.

        A worker that dies meanwhile is none: its successor gets them at its start.
        """
        groups = self._around.datapath.groups

        def order_for(worker: Worker) -> Listen:
            sockets = groups.sockets_of(worker.worker_id, listeners)
            fds = tuple(descriptor(opened.sock) for opened in sockets)
            return Listen(tuple(listeners), fds)

        await asyncio.gather(
            *(
                _ask(worker, order_for(worker), _ORDER_TIMEOUT_S)
                for worker in self._roster.up
            )
        )

    def read_all(self) -> None:
        """Have the workers read all that they were told to listen at."""
        self._roster.peering.tell()

    async def unlisten(self, listeners: Sequence[Listener]) -> None:
        """Have every worker answer what came to *listeners*, and close them."""
        numbers = tuple(listener.number for listener in listeners)
        timeout_s = self._around.drain_timeout_s
        await self._ask_all(Unlisten(numbers, timeout_s), timeout_s + _ORDER_TIMEOUT_S)
        # Not before all of them have: one may have passed something to another.
        await self._ask_all(Close(), _ORDER_TIMEOUT_S)

    async def pause(self) -> None:
        """Have no worker take anything from a listening socket any more.

        One that gets ready meanwhile, in place of one that died, does not begin to.
        """
        self._roster.peering.hold()
        await self._ask_all(Pause(), _PAUSE_TIMEOUT_S)

    def resume(self) -> None:
        """Have all workers take from their listening sockets again."""
        self._roster.peering.release()
        for worker in self._roster.up:
            if worker.process is not None:
                worker.process.send(Resume())

    def hand_on(self) -> None:
        """Leave the listening sockets to a successor; who stays hears who is left."""
        self._roster.peering.stop_holding()

    async def _ask_all(self, order: Order[R], timeout_s: float) -> list[R]:
        """Return the reply of every worker that is up, and lives to tell."""
        answers = await asyncio.gather(
            *(_ask(worker, order, timeout_s) for worker in self._roster.up)
        )
        return [answer for answer in answers if answer is not None]


async def _ask(worker: Worker, order: Order[R], timeout_s: float) -> R | None:
    if worker.process is None:
        return None
    return await worker.process.ask(order, timeout_s=timeout_s)


async def _configure(worker: Worker) -> Configured | Refused | None:
    """Return what *worker* says; None where its next process gets the spec anyway."""
    if worker.process is None:
        return None
    spec = worker.spec
    worker.share_images(spec.packs)
    spec_fd = memory.sealed("dnsfront-spec", records.to_json(spec))
    try:
        order = Configure(Descriptor(spec_fd))
        return await worker.process.ask(order, timeout_s=READY_TIMEOUT_S)
    finally:
        os.close(spec_fd)
