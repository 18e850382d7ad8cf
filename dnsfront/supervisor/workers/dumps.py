"""What all caches hold as lines of text, a piece at a time, and the way back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dnsfront.dns.dumps import HEAD, DamagedError, pieces_in
from dnsfront.ipc import memory
from dnsfront.ipc.messages import Dump, Load, Loaded
from dnsfront.ipc.packets import Descriptor
from dnsfront.supervisor.workers.roster import Roster

_TIMEOUT_S: Final = 5.0
#: How long a stop waits for the caches to be written: what is not told by then is not
#: in the file.
_SAVE_WITHIN_S: Final = 20.0

_LOG = logging.getLogger(__name__)


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


async def save(roster: Roster, path: Path) -> None:
    """Write what all caches hold to *path*, which is replaced when that is done.

    What cannot be written is logged: a colder start, and nothing else.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    entries = 0
    is_whole = True
    try:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()  # of a process of the same number, which was killed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(partial, flags, 0o600), "w") as file:
            file.write(json.dumps(HEAD) + "\n")
            cursor: Cursor | None = Cursor()
            deadline_at = time.monotonic() + _SAVE_WITHIN_S
            while cursor is not None and (is_whole := time.monotonic() < deadline_at):
                piece = await dump(roster, cursor)
                file.writelines(line + "\n" for line in piece.lines)
                entries += len(piece.lines)
                cursor = piece.following
        partial.replace(path)
    except OSError as exc:
        _LOG.warning("cache_not_saved path=%s error=%s", path, exc.strerror or exc)
        with contextlib.suppress(OSError):
            partial.unlink()
        return
    _LOG.info("cache_saved path=%s entries=%d is_whole=%s", path, entries, is_whole)


async def restore(roster: Roster, path: Path) -> None:
    """Load what :func:`save` wrote to *path*, if it is there; damage is logged."""
    entries = kept = damaged = 0
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for _numbers, lines in pieces_in(file):
                loaded = await load(roster, lines)
                entries += len(lines)
                kept += loaded.kept
                damaged += len(loaded.damaged)
                await asyncio.sleep(0)
    except FileNotFoundError:
        return
    except (OSError, DamagedError) as exc:
        _LOG.warning("cache_not_loaded path=%s error=%s", path, exc)
        return
    _LOG.log(
        logging.WARNING if damaged else logging.INFO,
        "cache_loaded path=%s kept=%d passed=%d damaged=%d",
        path, kept, entries - kept - damaged, damaged,
    )  # fmt: skip
