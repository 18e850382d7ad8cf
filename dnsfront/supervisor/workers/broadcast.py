"""What is told to all workers, and what they answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final

from dnsfront.errors import ControlError
from dnsfront.ipc import memory, records, replies
from dnsfront.ipc.channel import Message
from dnsfront.ipc.spec import Listener, WorkerSpec
from dnsfront.supervisor.workers.roster import Roster
from dnsfront.supervisor.workers.surroundings import Surroundings
from dnsfront.supervisor.workers.worker import READY_TIMEOUT_S, Worker

#: For what a worker does between two batches.
_ORDER_TIMEOUT_S: Final = 5.0
_TRANSFER_TIMEOUT_S: Final = 2.0
_PAUSE_TIMEOUT_S: Final = 1.0


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
            f"{worker.name}: {reason}"
            for worker, reply in zip(workers, answers, strict=True)
            if reply is not None and (reason := replies.refusal(reply)) is not None
        ]

    def announce_table(self) -> None:
        """Give every worker the table that is in force."""
        publisher = self._around.datapath.publisher
        for worker in self._roster:
            if worker.process is not None:
                message = {"op": "table", **publisher.named()}
                worker.process.send(message, [publisher.fd])

    async def transfer(self, table: bytes) -> int:
        """Have every worker send its entries to who owns them under the next *table*.

        Returns how many were sent. What is not sent in time is fetched again by its
        next owner: a colder cache, and no wrong answer.
        """
        if self._roster.peering.is_due:
            self._roster.peering.tell()  # whoever is to receive must be known by then
        table_fd = memory.sealed("dnsfront-next-table", table)
        try:
            entries = await self._transfer({}, [table_fd])
        finally:
            os.close(table_fd)
        await self.catch_up()
        return entries

    async def transfer_to(
        self, ids: Sequence[int], hash_key_hex: str, fds: Sequence[int]
    ) -> int:
        """Have every worker send all its entries to another instance's workers.

        *fds* are that instance's table and the send end of the handover socket of each
        of *ids*. Returns how many were sent.
        """
        return await self._transfer({"ids": ids, "hash_key_hex": hash_key_hex}, fds)

    async def _transfer(self, to: Message, fds: Sequence[int]) -> int:
        message = {"op": "move", "within_s": _TRANSFER_TIMEOUT_S, **to}
        timeout_s = _TRANSFER_TIMEOUT_S + _ORDER_TIMEOUT_S
        replies_ = await self._ask_all(message, timeout_s, fds)
        return sum(int(reply["entries"]) for reply in replies_)

    async def catch_up(self) -> None:
        """Return when every worker has taken what was handed over to it until now."""
        await self._ask_all({"op": "settle"}, _ORDER_TIMEOUT_S)

    async def flush(self, what: Mapping[str, str]) -> int:
        """Drop cache entries, as *what* says; return how many there were."""
        flushed = await self._ask_all({"op": "flush", **what}, _ORDER_TIMEOUT_S)
        return sum(int(reply["entries"]) for reply in flushed)

    # -- listeners

    async def listen(self, listeners: Sequence[Listener]) -> None:
        """Have every worker know *listeners*; :meth:`read_all` has them read.

        A worker that dies meanwhile is none: its successor gets them at its start.
        """
        message = {"op": "listen", "listeners": [asdict(x) for x in listeners]}
        groups = self._around.datapath.groups
        await asyncio.gather(
            *(
                _ask(
                    worker,
                    message,
                    _ORDER_TIMEOUT_S,
                    [
                        sock.fileno()
                        for pair in groups.sockets_of(worker.worker_id, listeners)
                        for _protocol, sock in pair.by_protocol()
                    ],
                )
                for worker in self._roster.up
            )
        )

    def read_all(self) -> None:
        """Have the workers read all that they were told to listen at."""
        self._roster.peering.tell()

    async def unlisten(self, listeners: Sequence[Listener]) -> None:
        """Have every worker answer what came to *listeners*, and close them."""
        numbers = [listener.number for listener in listeners]
        timeout_s = self._around.drain_timeout_s
        leave = {"op": "unlisten", "numbers": numbers, "within_s": timeout_s}
        await self._ask_all(leave, timeout_s + _ORDER_TIMEOUT_S)
        # Not before all of them have: one may have passed something to another.
        await self._ask_all({"op": "close"}, _ORDER_TIMEOUT_S)

    async def pause(self) -> None:
        """Have no worker take anything from a listening socket any more."""
        await self._ask_all({"op": "pause"}, _PAUSE_TIMEOUT_S)

    def resume(self) -> None:
        """Have all workers take from their listening sockets again."""
        for worker in self._roster.up:
            if worker.process is not None:
                worker.process.send({"op": "resume"})

    async def _ask_all(
        self, message: Message, timeout_s: float, fds: Sequence[int] = ()
    ) -> list[Message]:
        """Return the reply of every worker that is up, and lives to tell."""
        answers = await asyncio.gather(
            *(_ask(worker, message, timeout_s, fds) for worker in self._roster.up)
        )
        return [answer for answer in answers if answer is not None]


async def _ask(
    worker: Worker, message: Message, timeout_s: float, fds: Sequence[int]
) -> Message | None:
    if worker.process is None:
        return None
    return await worker.process.ask(message, list(fds), timeout_s=timeout_s)


async def _configure(worker: Worker) -> Message | None:
    """Return what *worker* says; None where its next process gets the spec anyway."""
    if worker.process is None:
        return None
    spec = worker.spec
    worker.share_images(spec.zones)
    spec_fd = memory.sealed("dnsfront-spec", records.to_json(spec))
    try:
        return await worker.process.ask(
            {"op": "configure"}, [spec_fd], timeout_s=READY_TIMEOUT_S
        )
    finally:
        os.close(spec_fd)
