"""From one config in force to another, without a query lost.

Until new listeners, new workers and the new spec are ready, everything can be undone.
Then the table changes, and what leaves finishes what it has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

from dnsfront.config.address import SocketAddress
from dnsfront.errors import ControlError, DnsfrontError
from dnsfront.ipc.spec import Listener
from dnsfront.supervisor.admin.endpoint import AdminEndpoint
from dnsfront.supervisor.admin.http import AdminServer
from dnsfront.supervisor.change import candidate
from dnsfront.supervisor.change.candidate import Candidate
from dnsfront.supervisor.change.in_force import InForce
from dnsfront.supervisor.change.progress import Progress
from dnsfront.supervisor.change.settings import Settings
from dnsfront.supervisor.sockets.datapath import Datapath
from dnsfront.supervisor.sockets.listeners import check_free
from dnsfront.supervisor.workers.broadcast import Broadcast
from dnsfront.supervisor.workers.roster import Roster
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


@dataclass(frozen=True)
class _Difference:
    """Who and what comes and goes with a change."""

    listeners: tuple[Listener, ...]
    opening: tuple[Listener, ...]
    closing: tuple[Listener, ...]
    joining: tuple[str, ...]
    leaving: tuple[str, ...]


class Applier:
    """Brings a running front end from the candidate in force to another."""

    def __init__(
        self,
        in_force: InForce,
        progress: Progress,
        settings: Settings,
        datapath: Datapath,
        roster: Roster,
        broadcast: Broadcast,
        endpoint: AdminEndpoint,
    ) -> None:
        self._in_force = in_force
        self._progress = progress
        self._settings = settings
        self._datapath = datapath
        self._roster = roster
        self._broadcast = broadcast
        self._endpoint = endpoint

    async def apply(self, after: Candidate) -> Change:
        """Put *after* in force, losing no query.

        Raises:
            DnsfrontError: it cannot be done, for the one reason given; then all is as
                it was.
        """
        try:
            return await self._apply(after)
        except OSError as exc:
            raise ControlError(
                f"the system refuses: {exc.strerror}; want memory and descriptors"
            ) from exc

    async def _apply(self, after: Candidate) -> Change:
        publisher, began_at = self._datapath.publisher, time.monotonic()
        candidate.check_applicable(self._in_force.candidate, after)
        what = self._difference(after)
        moved = publisher.slots_moved
        async with AsyncExitStack() as undo:
            admin = self._open_admin(after, undo)
            await self._prepare(after, what, undo)
            entries = await self._transfer(after)
            undo.callback(self._restore, self._in_force.candidate)
            self._in_force.candidate = after
            self._settings.apply(after)
            is_table_new = await publisher.publish(after.table, self._roster.ids)
            # What is published is in force: from here on there is only forward.
            undo.pop_all()
        if admin is not None:
            self._endpoint.move_to(admin)
        if is_table_new:
            self._broadcast.announce_table()
        ended = await self._finish(what)
        if what.opening or what.closing:
            _LOG.info(
                "listen_changed added=%s removed=%s",
                _texts(what.opening), _texts(what.closing),
            )  # fmt: skip
        return Change(
            publisher.generation,
            publisher.slots_moved - moved,
            entries,
            time.monotonic() - began_at,
            what.joining,
            what.leaving,
            tuple(ended),
        )

    def _difference(self, after: Candidate) -> _Difference:
        groups, names = self._datapath.groups, self._roster.names
        listeners = groups.numbered(after.listeners())
        return _Difference(
            listeners=listeners,
            opening=tuple(x for x in listeners if x not in groups.listeners),
            closing=tuple(x for x in groups.listeners if x not in listeners),
            joining=tuple(name for name in after.worker_names if name not in names),
            leaving=tuple(name for name in names if name not in after.worker_names),
        )

    # -- what can be undone

    def _open_admin(self, after: Candidate, undo: AsyncExitStack) -> AdminServer | None:
        """Return the admin endpoint at its new address, None where that stays."""
        address = after.config.admin.listen
        if str(address) == str(self._in_force.candidate.config.admin.listen):
            return None
        admin = self._endpoint.server.at(address)
        undo.callback(admin.close)
        return admin

    async def _prepare(
        self, after: Candidate, what: _Difference, undo: AsyncExitStack
    ) -> None:
        """Have sockets, spec and workers ready before any table names them.

        Raises:
            DnsfrontError: something is not to be had, or a worker refuses.
        """
        roster, broadcast = self._roster, self._broadcast
        groups, before = self._datapath.groups, self._in_force.candidate
        check_free(what.listeners, groups.listeners)
        undo.callback(groups.want, groups.listeners)
        groups.add(what.opening)
        undo.callback(groups.remove, what.opening)
        undo.push_async_callback(broadcast.configure, self._settings.spec(before))
        groups.want(what.listeners)
        await broadcast.configure(self._settings.spec(after))
        if what.opening:
            await broadcast.listen(what.opening)
            undo.push_async_callback(broadcast.unlisten, what.opening)
        undo.callback(roster.discard, what.joining)
        with self._progress.show("starting workers", what.joining):
            await roster.bring_up(what.joining)
        groups.attach(what.opening)
        if what.opening:
            broadcast.read_all()

    async def _transfer(self, after: Candidate) -> int:
        """Have cache entries sent to who owns them next; return how many were sent."""
        if after.table == self._in_force.candidate.table:
            return 0
        with self._progress.show("transferring entries", is_transfer=True):
            table = after.table.with_worker_ids(self._roster.ids)
            entries = await self._broadcast.transfer(table)
        _LOG.info("transferred entries=%d", entries)
        return entries

    def _restore(self, before: Candidate) -> None:
        """Put the settings of *before* in force again."""
        self._in_force.candidate = before
        self._settings.apply(before)

    # -- what is left when the table is in force

    async def _finish(self, what: _Difference) -> Sequence[Ended]:
        """Let leaving workers and closing listeners finish what they have."""
        groups = self._datapath.groups
        # Who is next in the lists of the old table has not got their entries.
        self._roster.withdraw(what.leaving)
        if what.leaving:
            # Until it has the new table, a worker hands queries over to those that
            # leave; they must have them all before they are told to finish.
            await self._broadcast.catch_up()
        if what.closing:
            with _forward("shut"):
                groups.shut(what.closing)
            with self._progress.show("closing listeners"):
                await self._broadcast.unlisten(what.closing)
        with self._progress.show("draining", what.leaving):
            ended = await self._roster.retire(what.leaving)
        with _forward("remove"):
            groups.remove(what.closing)
        return ended


@contextmanager
def _forward(step: str) -> Iterator[None]:
    """Go on where something of before cannot be taken away; the log tells of it."""
    try:
        yield
    except (DnsfrontError, OSError) as exc:
        _LOG.error("change_left_something step=%s reason=%s", step, exc)


def _texts(listeners: Iterable[Listener]) -> str:
    texts = [
        str(SocketAddress(listener.address, listener.port)) for listener in listeners
    ]
    # Once each, whatever the transports.
    return ",".join(dict.fromkeys(texts)) or "none"
