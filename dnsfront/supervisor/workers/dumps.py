"""What all caches hold as lines of text, a piece at a time, and the way back."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dnsfront.ipc import memory
from dnsfront.ipc.messages import Dump, Load, Loaded
from dnsfront.ipc.packets import Descriptor
from dnsfront.supervisor.workers.roster import Roster

_TIMEOUT_S: Final = 5.0
#: Lines that workers are given at once.
MAX_LINES: Final = 500


@dataclass(frozen=True)
class Cursor:
    """Where a dump goes on: at which worker, in which of its dumps, and where there."""

    worker_id: int = 0
    ticket: int = 0
    at: int = 0


@dataclass(frozen=True)
class Piece:
    """Lines of a dump, and where it goes on; None after the last one."""

    lines: list[str]
    left_out: int
    following: Cursor | None


async def dump(roster: Roster, cursor: Cursor) -> Piece:
    """Return the piece of a dump at *cursor*; a worker that dies has no more to tell.

    A worker is asked for one piece, so that it serves in between.
    """
    ids = sorted(worker.worker_id for worker in roster.up)
    later = [worker_id for worker_id in ids if worker_id >= cursor.worker_id]
    if not later:
        return Piece([], 0, None)
    worker_id = later[0]
    if worker_id != cursor.worker_id:
        cursor = Cursor(worker_id)
    [process] = [x.process for x in roster.up if x.worker_id == worker_id]
    reply = None
    if process is not None:
        order = Dump(cursor.at, cursor.ticket, int(time.time()))
        reply = await process.ask(order, timeout_s=_TIMEOUT_S)
    if reply is None:
        return Piece([], 0, Cursor(worker_id + 1))
    following = Cursor(worker_id, reply.ticket, reply.at)
    if reply.at <= cursor.at:  # the end, or none that would ever come
        following = Cursor(worker_id + 1)
    lines = "".join(reply.texts).splitlines()
    return Piece(lines, reply.left_out, following)


async def load(roster: Roster, lines: Sequence[str]) -> Loaded:
    """Give *lines* to every worker, each of which keeps what it owns."""
    text = "\n".join(line.replace("\n", " ") for line in lines)
    lines_fd = memory.sealed("dnsfront-lines", text.encode("utf-8", "replace"))
    kept = 0
    damaged: set[int] = set()
    try:
        order = Load(int(time.time()), Descriptor(lines_fd))
        for worker in roster.up:
            if worker.process is not None:
                reply = await worker.process.ask(order, timeout_s=_TIMEOUT_S)
                if reply is not None:
                    kept += reply.kept
                    damaged.update(reply.damaged)
    finally:
        os.close(lines_fd)
    return Loaded(kept, tuple(sorted(x for x in damaged if x < len(lines))))
