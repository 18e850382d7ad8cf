"""Who owns a name: the kernel program's choice, made again in user space.

It is asked about queries that the program did not steer by their name: those over TCP,
datagrams that reached another worker, and all queries on hosts that load no BPF.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable

from dnsfront.ipc import memory
from dnsfront.ipc.messages import SLOT_OCTETS
from dnsfront.kernel.layouts import constant, layout
from dnsfront.kernel.load import (
    DROPPED_AT,
    LOAD_OCTETS,
    LOAD_WORDS,
    STEERED_AT,
    TAKEN_AT,
    backlog,
)
from dnsfront.ring.qhash import qname_hash, slot_of


class Ownership:
    """The slot table, who is live, and how much waits for each worker.

    The table is replaced as a whole by :meth:`publish`; `live` and `load` are memory
    that the supervisor, the kernel program and the workers share.
    """

    def __init__(self, worker_id: int, key: bytes, live_fd: int, load_fd: int) -> None:
        self._worker_id = worker_id
        self._key = key
        self._table = b""
        self._slots = 0
        live = layout("live")
        self._live = memoryview(memory.read_only(live_fd)).cast("Q")
        ids = constant("MAX_WORKER_ID") + 1
        self._ids = ids
        self._load = memoryview(_map(load_fd, ids * LOAD_OCTETS)).cast("Q")
        self._bound_at = live.word_at("bounded_load_permille")
        self._floor_at = live.word_at("backlog_floor")
        self._own_at = worker_id * LOAD_WORDS
        # A predecessor may have left a backlog; what comes on top of it is noticed.
        self._surplus = -backlog(self._load, worker_id)

    @property
    def steered(self) -> int:
        """How many datagrams the program has given to this worker so far."""
        return self._load[self._own_at + STEERED_AT]

    def count_as_taken(self, steered: int) -> None:
        """Count all of the first *steered* datagrams as taken from the sockets.

        A predecessor that was killed may have received some without a chance to count
        them; they would look like a backlog for good.
        """
        load, at = self._load, self._own_at
        dropped = load[at + DROPPED_AT]
        taken = max(load[at + TAKEN_AT], steered - dropped)
        load[at + TAKEN_AT] = taken
        self._surplus = max(0, taken + dropped - load[at + STEERED_AT])

    def publish(self, table_fd: int, slots: int) -> None:
        """Use the slot table behind *table_fd* from now on."""
        self._table = memory.constant(table_fd, slots * SLOT_OCTETS)[:]
        self._slots = slots

    def count(self, datagrams: int) -> bool:
        """Count *datagrams* as received; return whether the program steered them all.

        It did not when more were taken and dropped than it steered: the later segments
        of a train pass it by, and so does what came before it was attached.
        """
        load, at = self._load, self._own_at
        taken = load[at + TAKEN_AT] + datagrams
        load[at + TAKEN_AT] = taken
        surplus = taken + load[at + DROPPED_AT] - load[at + STEERED_AT]
        if surplus <= self._surplus:
            return True
        self._surplus = surplus
        return False

    def owner(self, qname: bytes) -> int:
        """Return the worker_id that is to answer *qname*, 0 when nobody is live.

        *qname* is lower-case wire form with the root label. The rules are those of
        `kern/steer.bpf.c`: the first of the preference list that is live and not over
        its bound, or else the first that is live.
        """
        at = slot_of(qname_hash(qname[:-1], self._key), self._slots) * SLOT_OCTETS
        first = 0
        for worker_id in self._table[at : at + SLOT_OCTETS]:
            if worker_id == 0:
                break
            if not self.is_live(worker_id):
                continue
            if not self._is_over_bound(worker_id):
                return worker_id
            first = first or worker_id
        return first

    def owner_under(self, table: bytes, qname: bytes) -> int:
        """Return the worker_id that would own *qname* under another slot *table*."""
        return first_owner(table, qname, self._key, self.is_live)

    def is_live(self, worker_id: int) -> bool:
        """Return whether *worker_id* may be chosen."""
        return bool(self._live[worker_id >> 6] >> (worker_id & 63) & 1)

    def _is_over_bound(self, worker_id: int) -> bool:
        permille = self._live[self._bound_at]
        own = backlog(self._load, worker_id)
        if not permille or own <= self._live[self._floor_at]:
            return False
        live_ids = [i for i in range(1, self._ids) if self.is_live(i)]
        total = sum(backlog(self._load, i) for i in live_ids)
        return own * len(live_ids) * 1000 > permille * total


def first_owner(
    table: bytes, qname: bytes, key: bytes, may_own: Callable[[int], bool]
) -> int:
    """Return the first worker_id for *qname* in *table* that may own it, 0 for nobody.

    *key* is what names are hashed with under that table.
    """
    slots = len(table) // SLOT_OCTETS
    at = slot_of(qname_hash(qname[:-1], key), slots) * SLOT_OCTETS
    for worker_id in table[at : at + SLOT_OCTETS]:
        if worker_id and may_own(worker_id):
            return worker_id
    return 0


def _map(fd: int, octets: int) -> mmap.mmap:
    page = mmap.PAGESIZE
    size = (octets + page - 1) // page * page
    if os.fstat(fd).st_size:
        size = min(size, os.fstat(fd).st_size)
    return mmap.mmap(fd, size)
