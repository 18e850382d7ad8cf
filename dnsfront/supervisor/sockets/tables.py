"""The published slot table: in the kernel, in the workers, and counted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from dnsfront.ipc import memory
from dnsfront.kernel.steering import Steering
from dnsfront.ring.table import SlotTable, moves


class Publisher:
    """Holds the table that is in force, its *generation*, and how many slots moved.

    Generation 0 is before the first table.
    """

    def __init__(self, steering: Steering) -> None:
        self._steering = steering
        self._octets = b""
        self._fd = -1
        self.table: SlotTable | None = None
        self.generation = 0
        self.slots_moved = 0

    async def publish(self, table: SlotTable, ids: Mapping[str, int]) -> bool:
        """Put *table* in force and return whether it differs from the one before.

        On return no running program sees the old table. The kernel waits some
        milliseconds for that, in a thread: a worker's death must not wait too.

        Raises:
            DnsfrontError, OSError: the kernel refuses; the table of before is in force.
        """
        octets = table.with_worker_ids(ids)
        if octets == self._octets:
            self.table = table
            return False
        moved = 0 if self.table is None else moves(self.table, table).slots_moved
        fd = memory.sealed("dnsfront-table", octets)
        try:
            await asyncio.to_thread(self._steering.publish, octets)
        except BaseException:
            os.close(fd)
            raise
        self.close()
        self.table, self._octets, self._fd = table, octets, fd
        self.generation += 1
        self.slots_moved += moved
        return True

    @property
    def fd(self) -> int:
        """A descriptor of the table for workers, valid until the next one."""
        return self._fd

    @property
    def slots(self) -> int:
        """How many slots the table has, 0 before the first one."""
        return 0 if self.table is None else self.table.slots

    def close(self) -> None:
        """Give up the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
