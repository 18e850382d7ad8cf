"""From one config in force to another, without a query lost.

Until new listeners, new workers and the new spec are ready, everything can be undone.
Then the table changes, and what leaves finishes what it has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

from dnsfront.errors import ControlError, DnsfrontError
from dnsfront.ipc.spec import Listener, WorkerSpec
from dnsfront.supervisor.admin.http import AdminServer
from dnsfront.supervisor.change import candidate
from dnsfront.supervisor.change.candidate import Candidate
from dnsfront.supervisor.front import Front
from dnsfront.supervisor.sockets.listeners import address_text, check_free
from dnsfront.supervisor.workers.state import Ended

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """What a change did; *entries* went from cache to cache.

    *ended* are workers that were to finish what they had, and did not.
    """

    generation: int
    slots_moved: int
    entries: int
    seconds: float
    added: tuple[str, ...]
    removed: tuple[str, ...]
    ended: tuple[Ended, ...] = ()


async def apply(front: Front, after: Candidate) -> Change:
    """Bring *front* from its candidate to *after*, losing no query.

    Raises:
        DnsfrontError: it cannot be done, for the one reason given; then *front* is as
            it was.
    """
    try:
        return await _apply(front, after)
    except OSError as exc:
        raise ControlError(
            f"the system refuses: {exc.strerror}; want memory and descriptors"
        ) from exc


async def _apply(front: Front, after: Candidate) -> Change:
    roster, broadcast = front.roster, front.broadcast
    publisher, groups = front.publisher, front.groups
    before, began_at, entries = front.candidate, time.monotonic(), 0
    candidate.check_applicable(before, after)
    joining = [name for name in after.worker_names if name not in roster.names]
    leaving = [name for name in roster.names if name not in after.worker_names]
    listeners = groups.numbered(after.listeners())
    opening = [x for x in listeners if x not in groups.listeners]
    closing = [x for x in groups.listeners if x not in listeners]
    async with AsyncExitStack() as undo:
        admin = _open_admin(front, after, undo)
        _open(front, listeners, opening, undo)
        undo.push_async_callback(broadcast.configure, _spec(front, before))
        groups.want(listeners)
        await broadcast.configure(_spec(front, after))
        if opening:
            await broadcast.listen(opening)
            undo.push_async_callback(broadcast.unlisten, opening)
        undo.callback(roster.discard, joining)
        with front.step("starting workers", joining):
            await roster.bring_up(joining)
        groups.attach(opening)
        if opening:
            broadcast.read_all()
        if after.table != before.table:
            entries = await _transfer(front, after)
        undo.callback(_restore, front, before)
        front.candidate = after
        front.apply_settings()
        moved = publisher.slots_moved
        is_table_new = await publisher.publish(after.table, roster.ids)
        # What is published is in force: from here on there is only forward.
        undo.pop_all()
    _put_in_force(front, admin)
    if is_table_new:
        broadcast.announce_table()
    # Not before the table: the next in the old one's lists has not their entries.
    roster.withdraw(leaving)
    if closing:
        with _forward("shut"):
            groups.shut(closing)
        with front.step("closing listeners"):
            await broadcast.unlisten(closing)
    with front.step("draining", leaving):
        ended = await roster.retire(leaving)
    with _forward("remove"):
        groups.remove(closing)
    if opening or closing:
        _LOG.info(
            "listen_changed added=%s removed=%s", _texts(opening), _texts(closing)
        )
    moved = publisher.slots_moved - moved
    return Change(
        publisher.generation,
        moved,
        entries,
        time.monotonic() - began_at,
        tuple(joining),
        tuple(leaving),
        tuple(ended),
    )


async def _transfer(front: Front, after: Candidate) -> int:
    """Have cache entries sent to who owns them next; return how many were sent."""
    with front.step("moving caches", is_move=True):
        table = after.table.with_worker_ids(front.roster.ids)
        entries = await front.broadcast.transfer(table)
    _LOG.info("caches_moved entries=%d", entries)
    return entries


@contextmanager
def _forward(step: str) -> Iterator[None]:
    """Go on where something of before cannot be taken away; the log tells of it."""
    try:
        yield
    except (DnsfrontError, OSError) as exc:
        _LOG.error("change_left_something step=%s reason=%s", step, exc)


def _restore(front: Front, before: Candidate) -> None:
    """Put the settings of *before* in force again."""
    front.candidate = before
    front.apply_settings()


def _spec(front: Front, wanted: Candidate) -> WorkerSpec:
    servers = front.upstreams.assign(wanted.config.upstreams.servers)
    listeners = front.groups.numbered(wanted.listeners())
    return wanted.spec(listeners, servers, front.steering.mode)


def _open(
    front: Front,
    listeners: Iterable[Listener],
    opening: list[Listener],
    undo: AsyncExitStack,
) -> None:
    """Open the sockets of *opening*, which are among *listeners*.

    Raises:
        DnsfrontError: an address is not to be had, or the kernel refuses.
    """
    groups = front.groups
    check_free(tuple(listeners), groups.listeners)
    undo.callback(groups.want, groups.listeners)
    groups.add(opening)
    undo.callback(groups.remove, opening)


def _open_admin(
    front: Front, after: Candidate, undo: AsyncExitStack
) -> AdminServer | None:
    """Return the admin endpoint at its new address, None where that stays."""
    address = after.config.admin.listen
    if str(address) == str(front.candidate.config.admin.listen):
        return None
    assert front.admin is not None, "serving"
    admin = front.admin.at(address)
    undo.callback(admin.close)
    return admin


def _put_in_force(front: Front, admin: AdminServer | None) -> None:
    if admin is not None and front.admin is not None:
        front.admin.retire()
        front.admin = admin


def _texts(listeners: Iterable[Listener]) -> str:
    texts = [address_text(listener.address, listener.port) for listener in listeners]
    return ",".join(texts) or "none"
