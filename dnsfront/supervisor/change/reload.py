"""Changes to a running front end: all of one is applied, or nothing of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from dnsfront.errors import ControlError, DnsfrontError, RingError
from dnsfront.supervisor.change import candidate
from dnsfront.supervisor.change.apply import Change, apply
from dnsfront.supervisor.change.candidate import Candidate
from dnsfront.supervisor.change.sources import Sources, Stamp
from dnsfront.supervisor.front import Front
from dnsfront.supervisor.host import heap, notify
from dnsfront.supervisor.zones.files import ZoneFiles

_LOG = logging.getLogger(__name__)

_POLL_S: Final = 0.5


class Reloader:
    """Applies changes to *front*, one after the other."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._lock = asyncio.Lock()
        self._current: asyncio.Task[Any] | None = None
        self._is_closed = False
        self._zone_files: ZoneFiles | None = None
        #: The files of the config that was read last, whatever came of it.
        self._sources = front.candidate.sources

    async def reload(self) -> Change:
        """Read the config again and apply what differs.

        Raises:
            ConfigError: with every mistake; the running front end is unchanged.
            DnsfrontError: it cannot be applied, for the one reason given; likewise.
        """
        async with self.turn():
            front = self._front
            try:
                change = await self._reload()
            except DnsfrontError as exc:
                self._refuse("reload_refused", exc)
                raise
            except Exception as exc:
                # Neither the watch for saved files nor a client may end with it.
                _LOG.exception("reload_failed")
                fault = ControlError(f"a fault of dnsfront's own: {exc!r}; see the log")
                self._refuse("reload_refused", fault)
                raise fault from exc
            front.reloads.succeeded()
            _LOG.info(
                "reloaded generation=%d slots_moved=%d added=%s removed=%s",
                change.generation, change.slots_moved,
                ",".join(change.added) or "none", ",".join(change.removed) or "none",
            )  # fmt: skip
            return change

    async def complete(self, wanted: Candidate) -> None:
        """Apply what of *wanted* the start has left; a failure is logged."""
        async with self.turn():
            try:
                change = await apply(self._front, wanted)
            except DnsfrontError as exc:
                self._refuse("start_incomplete", exc)
            else:
                _LOG.info(
                    "start_completed generation=%d added=%s",
                    change.generation, ",".join(change.added) or "none",
                )  # fmt: skip

    async def drain(self, name: str) -> Change:
        """Take the worker *name* out of the table, and end it when it has finished.

        It stays out, across reloads too, until :meth:`undrain`.

        Raises:
            ControlError: there is no such worker, it is out already, or is the last.
        """
        async with self.turn():
            self._check_name(name)
            if name in self._front.drained:
                raise ControlError(f"{name}: is drained already")
            return await self._change_drained(self._front.drained | {name})

    async def undrain(self, name: str) -> Change:
        """Put the worker *name* back.

        Raises:
            ControlError: there is no such worker, it was not drained, or cannot start.
        """
        async with self.turn():
            self._check_name(name)
            if name not in self._front.drained:
                raise ControlError(f"{name}: is not drained")
            return await self._change_drained(self._front.drained - {name})

    async def flush(self, what: Mapping[str, str]) -> int:
        """Drop what *what* says from all caches, and return how many entries it was.

        It has its turn: entries that a change moves are in a cache when it begins.

        Raises:
            ControlError: the server is stopping.
        """
        async with self.turn():
            return await self._front.broadcast.flush(what)

    async def watch(self) -> None:
        """Reload whenever the config or a zone file was saved; runs until cancelled."""
        before: Mapping[Path, Stamp] | None = None
        while True:
            await asyncio.sleep(_POLL_S)
            sources = self._sources
            now = sources.look()
            # Only what has come to rest: editors write in several steps.
            saved = sources.changed(now) if now == before else []
            if saved and not self._lock.locked():
                _LOG.info("config_saved path=%s", ",".join(map(str, saved)))
                with suppress(DnsfrontError):  # logged and counted
                    await self.reload()
            before = now

    async def close(self) -> None:
        """Break off the change that is under way, and refuse those that wait."""
        self.refuse_more()
        if self._zone_files is not None:
            self._zone_files.stop()
        if self._current is not None:
            self._current.cancel()
        async with self._lock:
            pass

    def refuse_more(self) -> None:
        """Refuse the changes that wait for the one under way."""
        self._is_closed = True

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until no other change is under way, and be the one that is.

        Raises:
            ControlError: the server is stopping.
        """
        async with self._lock:
            if self._is_closed:
                raise ControlError("the server is stopping")
            self._current = asyncio.current_task()
            try:
                yield
            finally:
                self._current = None
                heap.give_back()

    async def _reload(self) -> Change:
        front = self._front
        path = front.candidate.config.path
        self._sources = Sources()
        self._sources.note(path)  # whatever goes wrong, a change of it is seen
        try:
            self._zone_files = ZoneFiles(front.candidate.zones)
            with front.step("reading config and zones"):
                after = await notify.at_work(
                    asyncio.to_thread(
                        candidate.read,
                        path,
                        front.drained,
                        self._zone_files,
                        self._sources,
                    )
                )
        except RingError as exc:
            left = ", ".join(sorted(front.drained))
            raise ControlError(
                f"ring.workers: only drained workers are left ({left}); undrain one"
            ) from exc
        change = await apply(front, after)
        names = {worker.name for worker in after.config.ring.workers}
        front.drained &= names
        return change

    async def _change_drained(self, drained: set[str]) -> Change:
        front = self._front
        config = front.candidate.config
        try:
            table = await asyncio.to_thread(candidate.table_without, config, drained)
        except RingError as exc:
            raise ControlError("this is the last worker: who would answer?") from exc
        change = await apply(front, replace(front.candidate, table=table))
        front.drained = drained
        return change

    def _refuse(self, event: str, error: DnsfrontError) -> None:
        """Tell everybody who looks that what is on disk is not what serves."""
        front = self._front
        path = front.candidate.config.path
        front.reloads.failed(error, path, self._sources.files)
        for line in str(error).splitlines():
            _LOG.error("%s reason=%s", event, line)

    def _check_name(self, name: str) -> None:
        names = [worker.name for worker in self._front.candidate.config.ring.workers]
        if name not in names:
            raise ControlError(f"{name}: no such worker; there are {', '.join(names)}")
