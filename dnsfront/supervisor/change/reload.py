"""Changes to a running front end: all of one is applied, or nothing of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from dnsfront.errors import ControlError, DnsfrontError, RingError
from dnsfront.ipc.messages import Flush
from dnsfront.supervisor.change import candidate
from dnsfront.supervisor.change.apply import Applier, Change
from dnsfront.supervisor.change.candidate import Candidate
from dnsfront.supervisor.change.in_force import InForce
from dnsfront.supervisor.change.outcome import Outcome
from dnsfront.supervisor.change.progress import Progress
from dnsfront.supervisor.change.sources import Sources, Stamp
from dnsfront.supervisor.change.turns import Turns
from dnsfront.supervisor.host import notify
from dnsfront.supervisor.host.beat import next_beat
from dnsfront.supervisor.workers.broadcast import Broadcast
from dnsfront.supervisor.zones.files import ZoneFiles

_LOG = logging.getLogger(__name__)

_POLL_S: Final = 1.0


class Reloader:
    """Applies changes to a running front end, one after the other."""

    def __init__(
        self,
        in_force: InForce,
        outcome: Outcome,
        progress: Progress,
        turns: Turns,
        applier: Applier,
        broadcast: Broadcast,
    ) -> None:
        self._in_force = in_force
        self._outcome = outcome
        self._progress = progress
        self._turns = turns
        self._applier = applier
        self._broadcast = broadcast
        self._zone_files: ZoneFiles | None = None
        #: The files of the config that was read last, whatever came of it.
        self._sources = in_force.candidate.sources

    async def reload(self) -> Change:
        """Read the config again and apply what differs.

        Raises:
            ConfigError: with every mistake; the running front end is unchanged.
            DnsfrontError: it cannot be applied, for the one reason given; likewise.
        """
        async with self._turns.turn():
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
            self._outcome.succeeded()
            _LOG.info(
                "reloaded generation=%d slots_moved=%d added=%s removed=%s",
                change.generation, change.slots_moved,
                ",".join(change.added) or "none", ",".join(change.removed) or "none",
            )  # fmt: skip
            return change

    async def complete(self, wanted: Candidate) -> None:
        """Apply what of *wanted* the start has left; a failure is logged."""
        async with self._turns.turn():
            try:
                change = await self._applier.apply(wanted)
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
        async with self._turns.turn():
            self._check_name(name)
            if name in self._in_force.drained:
                raise ControlError(f"{name}: is drained already")
            return await self._change_drained(self._in_force.drained | {name})

    async def undrain(self, name: str) -> Change:
        """Put the worker *name* back.

        Raises:
            ControlError: there is no such worker, it was not drained, or cannot start.
        """
        async with self._turns.turn():
            self._check_name(name)
            if name not in self._in_force.drained:
                raise ControlError(f"{name}: is not drained")
            return await self._change_drained(self._in_force.drained - {name})

    async def flush(self, order: Flush) -> int:
        """Drop what *order* says from all caches, and return how many entries it was.

        It has its turn: entries that a change moves are in a cache when it begins.

        Raises:
            ControlError: the server is stopping.
        """
        async with self._turns.turn():
            return await self._broadcast.flush(order)

    async def watch(self) -> None:
        """Reload whenever the config or a zone file was saved; runs until cancelled."""
        before: Mapping[Path, Stamp] | None = None
        is_moving = False
        while True:
            # Once something moves, it is soon looked whether it has come to rest.
            await next_beat(_POLL_S / 2 if is_moving else _POLL_S)
            sources = self._sources
            now = sources.look()
            # Only what has come to rest: editors write in several steps.
            saved = sources.changed(now) if now == before else []
            if saved and not self._turns.is_taken:
                _LOG.info("config_saved path=%s", ",".join(map(str, saved)))
                with suppress(DnsfrontError):  # logged and counted
                    await self.reload()
            is_moving = now != before
            before = now

    async def close(self) -> None:
        """Break off the change that is under way, and refuse those that wait."""
        if self._zone_files is not None:
            self._zone_files.stop()
        await self._turns.close()

    async def _reload(self) -> Change:
        in_force = self._in_force
        path = in_force.candidate.config.path
        self._sources = Sources()
        self._sources.note(path)  # whatever goes wrong, a change of it is seen
        try:
            self._zone_files = ZoneFiles(in_force.candidate.loaded)
            with self._progress.show("reading config and zones"):
                after = await notify.at_work(
                    asyncio.to_thread(
                        candidate.read,
                        path,
                        in_force.drained,
                        self._zone_files,
                        self._sources,
                    )
                )
        except RingError as exc:
            left = ", ".join(sorted(in_force.drained))
            raise ControlError(
                f"ring.workers: only drained workers are left ({left}); undrain one"
            ) from exc
        change = await self._applier.apply(after)
        names = {worker.name for worker in after.config.ring.workers}
        in_force.drained &= names
        return change

    async def _change_drained(self, drained: set[str]) -> Change:
        in_force = self._in_force
        config = in_force.candidate.config
        try:
            table = await asyncio.to_thread(candidate.table_without, config, drained)
        except RingError as exc:
            raise ControlError("this is the last worker: who would answer?") from exc
        change = await self._applier.apply(replace(in_force.candidate, table=table))
        in_force.drained = drained
        return change

    def _refuse(self, event: str, error: DnsfrontError) -> None:
        """Tell everybody who looks that what is on disk is not what serves."""
        path = self._in_force.candidate.config.path
        self._outcome.failed(error, path, self._sources.files)
        for line in str(error).splitlines():
            _LOG.error("%s reason=%s", event, line)

    def _check_name(self, name: str) -> None:
        names = [worker.name for worker in self._in_force.candidate.config.ring.workers]
        if name not in names:
            raise ControlError(f"{name}: no such worker; there are {', '.join(names)}")
