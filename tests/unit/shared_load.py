"""The memory in which the kernel counts for workers, written by a test."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Final

from dnsfront.ipc import memory
from dnsfront.worker.peers.ownership import Ownership

KEY: Final = bytes(range(16))


def shared(octets: int) -> int:
    """Return memory of *octets* zeroes."""
    return memory.shared_page("test", octets)


class Load:
    """The memory that the kernel program, the supervisor and the workers share."""

    def __init__(self, *, live_ids: Sequence[int] = (1,)) -> None:
        self.live_fd = shared(4096)
        self.load_fd = shared(128 * 192)
        self.table_fd = -1
        self.set_live(live_ids)

    def set_live(
        self, ids: Sequence[int], *, permille: int = 0, floor: int = 0
    ) -> None:
        bits = sum(1 << worker_id for worker_id in ids)
        words = (bits & (1 << 64) - 1, bits >> 64, permille, floor)
        os.pwrite(self.live_fd, struct.pack("=4Q", *words), 0)

    def set_load(
        self, worker_id: int, *, steered: int = 0, taken: int = 0, dropped: int = 0
    ) -> None:
        for index, count in enumerate((steered, taken, dropped)):
            at = worker_id * 192 + index * 64
            os.pwrite(self.load_fd, struct.pack("=Q", count), at)

    def steer(self, worker_id: int, datagrams: int) -> None:
        """Count *datagrams* as given to a worker, as the kernel program does."""
        at = worker_id * 192
        [steered] = struct.unpack("=Q", os.pread(self.load_fd, 8, at))
        os.pwrite(self.load_fd, struct.pack("=Q", steered + datagrams), at)

    def taken(self, worker_id: int) -> int:
        at = worker_id * 192 + 64
        count: int = struct.unpack("=Q", os.pread(self.load_fd, 8, at))[0]
        return count

    def ownership(self, worker_id: int = 1, *, table: bytes = b"\1\0\0\0") -> Ownership:
        ownership = Ownership(worker_id, KEY, self.live_fd, self.load_fd)
        self.publish(ownership, table)
        return ownership

    def publish(self, ownership: Ownership, table: bytes) -> None:
        fd = memory.sealed("table", table)
        ownership.publish(fd, len(table) // 4)
        os.close(fd)

    def close(self) -> None:
        os.close(self.live_fd)
        os.close(self.load_fd)
