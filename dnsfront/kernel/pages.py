"""The two pages that supervisor, workers and kernel program share: `live` and `load`.

Words of 64 bits, laid out by `kern/maps.h`, each with one writer. `load` is a mmapable
BPF array, or anonymous memory of the same layout where no BPF may be loaded. `live` is
kept twice: for the program as such an array, and for workers in memory of its own that
they cannot write.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from dnsfront.ipc import memory
from dnsfront.kernel.layouts import constant, layout
from dnsfront.kernel.load import DROPPED_AT, LOAD_WORDS, STEERED_AT, TAKEN_AT, backlog

if TYPE_CHECKING:
    import mmap

#: The highest worker_id that the live bitmap and the sockarrays have room for.
MAX_WORKER_ID: Final = constant("MAX_WORKER_ID")

_LIVE: Final = layout("live")
_BITS_AT: Final = _LIVE.word_at("bits")
_PERMILLE_AT: Final = _LIVE.word_at("bounded_load_permille")
_FLOOR_AT: Final = _LIVE.word_at("backlog_floor")

LIVE_OCTETS: Final = _LIVE.size_octets
#: Elements of `load`, the unused one of worker_id 0 included.
LOAD_ENTRIES: Final = MAX_WORKER_ID + 1


class Pages:
    """Who may be chosen, how far behind each worker is, and the valve for hot names.

    The supervisor's side: nobody else writes `live`, and of `load` it writes `dropped`.
    """

    def __init__(self, load: mmap.mmap, kernel_live: mmap.mmap | None = None) -> None:
        """Make the workers' page; *kernel_live* is the program's, if there is one."""
        #: The descriptor of `live` for workers, to be mapped read-only; owned here.
        self.live_fd, live = memory.own_page("dnsfront-live", LIVE_OCTETS)
        self._live = memoryview(live).cast("Q")
        self._kernel_live = (
            None if kernel_live is None else memoryview(kernel_live).cast("Q")
        )
        self._load = memoryview(load).cast("Q")

    # -- live

    def set_live(self, worker_id: int, is_live: bool) -> None:  # noqa: FBT001 - a setter
        """Let *worker_id* be chosen, or not: one write, seen by the next datagram."""
        _check(worker_id)
        word, bit = _BITS_AT + (worker_id >> 6), 1 << (worker_id & 63)
        bits = self._live[word]
        self._set(word, bits | bit if is_live else bits & ~bit)

    def live_ids(self) -> set[int]:
        """Return the workers that may be chosen."""
        bits = self._live[_BITS_AT] | self._live[_BITS_AT + 1] << 64
        return {
            worker_id for worker_id in range(1, LOAD_ENTRIES) if bits >> worker_id & 1
        }

    def set_bound(self, permille: int, floor: int) -> None:
        """Pass a worker over when its backlog exceeds *permille* of the mean.

        A backlog of *floor* datagrams or fewer is never too much; 0 *permille* switches
        the valve off.
        """
        self._set(_FLOOR_AT, floor)
        self._set(_PERMILLE_AT, permille)

    def _set(self, word: int, value: int) -> None:
        """Write a word of `live`, first where every datagram looks."""
        if self._kernel_live is not None:
            self._kernel_live[word] = value
        self._live[word] = value

    # -- load

    def steered(self, worker_id: int) -> int:
        """Return how many datagrams the program has given to *worker_id*."""
        return self._load[_word(worker_id, STEERED_AT)]

    def taken(self, worker_id: int) -> int:
        """Return how many datagrams *worker_id* has received."""
        return self._load[_word(worker_id, TAKEN_AT)]

    def set_dropped(self, worker_id: int, datagrams: int) -> None:
        """Tell how many datagrams full sockets of *worker_id* have dropped so far."""
        self._load[_word(worker_id, DROPPED_AT)] = datagrams

    def backlog(self, worker_id: int) -> int:
        """Return how many datagrams wait for *worker_id*, as the program reckons it."""
        _check(worker_id)
        return backlog(self._load, worker_id)

    def forget(self, worker_id: int) -> None:
        """Begin anew for a *worker_id* that is not live and gets another worker."""
        start = _word(worker_id, 0)
        for word in range(start, start + LOAD_WORDS):
            self._load[word] = 0

    def release(self) -> None:
        """Unmap the pages; nothing here works afterwards."""
        self._live.release()
        if self._kernel_live is not None:
            self._kernel_live.release()
        self._load.release()
        os.close(self.live_fd)


def _word(worker_id: int, field_at: int) -> int:
    _check(worker_id)
    return worker_id * LOAD_WORDS + field_at


def _check(worker_id: int) -> None:
    """Refuse ids that the bitmap has no bit for, and 0, which is nobody."""
    if not 1 <= worker_id <= MAX_WORKER_ID:
        raise ValueError(f"worker_id {worker_id}: want 1 to {MAX_WORKER_ID}")
