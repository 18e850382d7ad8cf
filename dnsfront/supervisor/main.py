"""The supervisor's run: from the first signal handler to the last socket closed.

It owns the sockets and every kernel object, and it never sees a query.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from dnsfront import logs
from dnsfront.errors import DnsfrontError
from dnsfront.ipc import signals
from dnsfront.supervisor.admin.control_socket import ControlSocket
from dnsfront.supervisor.change import candidate
from dnsfront.supervisor.change.candidate import Candidate
from dnsfront.supervisor.change.reload import Reloader
from dnsfront.supervisor.commands import Commands
from dnsfront.supervisor.front import Front
from dnsfront.supervisor.host import form, heap, notify, spawning
from dnsfront.supervisor.host.beat import next_beat
from dnsfront.supervisor.host.phase import Phase
from dnsfront.supervisor.host.tasks import watched
from dnsfront.supervisor.host.users import users
from dnsfront.supervisor.sockets.listeners import check_free
from dnsfront.supervisor.start import start, start_after
from dnsfront.supervisor.takeover.intake import Intake
from dnsfront.supervisor.takeover.offer import Offer
from dnsfront.supervisor.takeover.predecessor import Predecessor
from dnsfront.supervisor.takeover.successor import Succession
from dnsfront.supervisor.workers.dumps import restore, save
from dnsfront.supervisor.workers.state import Ended
from dnsfront.supervisor.workers.watchdog import Watchdog
from dnsfront.supervisor.zones.files import ZoneFiles

_LOG = logging.getLogger(__name__)

_DROPS_EVERY_S: Final = 1.0
_HANGS_EVERY_S: Final = 0.2
#: The same while nothing comes and nobody is late.
_REST_S: Final = 1.0


def run(config_path: Path, *, is_takeover: bool = False) -> int:
    """Serve what the config asks for until SIGTERM, SIGINT or `stop`; return 0.

    With *is_takeover*, take over from the front end that runs with the same control
    socket; it goes on if anything is wrong here. A successor ends this one likewise.

    Raises:
        ConfigError: with every mistake.
        DnsfrontError: the front end cannot start; nothing is left of it.
    """
    started_at = time.monotonic()
    # Ignored until the loop handles signals: there is nothing to reload yet.
    signals.ignore(signal.SIGHUP)
    heap.use_one_arena()
    asyncio.run(_run(config_path, started_at, is_takeover=is_takeover))
    return os.EX_OK


async def _run(config_path: Path, started_at: float, *, is_takeover: bool) -> None:
    stop_asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_asked.set)
    # Where the log goes, and how much of it, is known when the config has been read.
    with logs.held():
        wanted = await _read(config_path, stop_asked, is_urgent=not is_takeover)
        if wanted is None:
            return
        logs.set_up(wanted.config.log.level, "supervisor")
    with spawning.nursery():
        await _Supervisor(wanted, started_at, stop_asked).run(is_takeover=is_takeover)


async def _read(
    config_path: Path, stop_asked: asyncio.Event, *, is_urgent: bool
) -> Candidate | None:
    """Return what the config asks for, None if a stop was asked for before."""
    zone_files = ZoneFiles(is_urgent=is_urgent)
    # Large zones take a while, and a stop must not wait for them.
    reading = asyncio.create_task(
        notify.at_work(asyncio.to_thread(candidate.read, config_path, (), zone_files))
    )
    stopping = asyncio.create_task(stop_asked.wait())
    await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop_asked.is_set():
        zone_files.stop()
        await asyncio.wait({reading})
        reading.exception()  # taken, so that asyncio does not log it as lost
        return None
    return reading.result()


class _Supervisor:
    """One run, from the first socket to the last."""

    def __init__(
        self, wanted: Candidate, started_at: float, stop_asked: asyncio.Event
    ) -> None:
        self._wanted = wanted
        self._started_at = started_at
        self._stop_asked = stop_asked
        self._reload_asked = asyncio.Event()
        self._stopped = asyncio.Event()
        self._ended: list[Ended] = []
        self._ignored: set[int] = set()

    async def run(self, *, is_takeover: bool) -> None:
        """Start, serve, stop. What was opened is closed in the opposite order."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._reload_asked.set)
        for number in signals.WITHOUT_MEANING:
            loop.add_signal_handler(number, self._ignore, number)
        path = self._wanted.config.admin.socket
        predecessor = await Predecessor.meet(path) if is_takeover else None
        if predecessor is None:
            check_free(self._wanted.listeners())
            users()  # what lacks is said before a port is bound: workers come last
            await self._run_alone(ControlSocket(path))
        else:
            await self._run_after(predecessor)
        _LOG.info("stopped")

    def _ignore(self, number: int) -> None:
        """Tell, once, of a signal that means nothing here."""
        if number not in self._ignored:
            self._ignored.add(number)
            _LOG.warning(
                "signal_ignored signal=%s reason=%s", signals.name_of(number),
                "SIGTERM stops, SIGHUP reloads; this one means nothing here",
            )  # fmt: skip

    async def _run_alone(self, control: ControlSocket) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._end, control)
            starting = asyncio.create_task(start(self._wanted, stack))
            if await self._is_started(starting):
                front = starting.result()
                self._log_serving(front)
                notify.notify(notify.READY)
                path = self._wanted.config.cache.dump_file
                if path is None:
                    await self._serve(front, control)
                    return
                # While it serves: what is asked for meanwhile is fetched.
                loading = watched("load the cache", restore(front.roster, path))
                await self._serve(front, control)
                loading.cancel()

    async def _run_after(self, predecessor: Predecessor) -> None:
        async with AsyncExitStack() as stack:
            stack.callback(predecessor.close)
            starting = asyncio.create_task(
                start_after(predecessor, self._wanted, stack)
            )
            if not await self._is_started(starting):
                return
            front = starting.result()
            assert predecessor.control_socket is not None, "offered"
            control = ControlSocket(
                self._wanted.config.admin.socket, predecessor.control_socket.dup()
            )
            stack.push_async_callback(self._end, control)
            predecessor.close()
            self._log_serving(front)
            notify.notify(f"MAINPID={os.getpid()}\n{notify.READY}")
            rest = candidate.without(self._wanted, front.in_force.drained)
            is_all = rest.worker_names == front.in_force.candidate.worker_names
            await self._serve(front, control, None if is_all else rest)

    async def _end(self, control: ControlSocket) -> None:
        """Tell whoever asked for the stop, when nothing is bound any more."""
        self._stopped.set()
        await control.close()

    def _log_serving(self, front: Front) -> None:
        listen, datapath = front.in_force.candidate.config.listen, front.datapath
        _LOG.info(
            "serving listen=%s workers=%d steering=%s query_path=%s generation=%d"
            " start_s=%.2f",
            ",".join(map(str, listen)), len(front.roster.names),
            datapath.steering.mode, form.query_path(), datapath.publisher.generation,
            time.monotonic() - self._started_at,
        )  # fmt: skip

    async def _is_started(self, starting: asyncio.Task[Front]) -> bool:
        """Wait for the start, or for a signal that makes it pointless."""
        await _first_of(starting, self._stop_asked.wait())
        await asyncio.wait({starting})
        return not starting.cancelled()

    async def _serve(
        self, front: Front, control: ControlSocket, rest: Candidate | None = None
    ) -> None:
        """Serve until told to stop; *rest* is what the start has left to be applied."""
        reloader, succession = front.reloader, _succession(front, control)
        commands = Commands(
            *(front.in_force, front.reports, reloader, succession, front.roster),
            stop=self._stop_and_wait,
        )
        await control.serve(commands)
        # Watched to the very end: a worker may hang while it finishes.
        hangs = watched("watch for hangs", _watch_for_hangs(front))
        tasks = [
            watched("watch files", reloader.watch()),
            watched("reload on SIGHUP", self._reload_on_signal(reloader)),
            watched("report drops", _report_drops(front)),
        ]
        if rest is not None:
            tasks.append(watched("complete the start", reloader.complete(rest)))
        await _first_of(self._stop_asked.wait(), succession.done.wait())
        front.life.phase = Phase.STOPPING
        if not succession.done.is_set():
            notify.notify(notify.STOPPING)
        _LOG.info("stopping workers=%d", len(front.roster.names))
        for task in tasks:
            task.cancel()
        await reloader.close()
        path = front.in_force.candidate.config.cache.dump_file
        if path is not None and not succession.done.is_set():
            await save(front.roster, path)
        if succession.done.is_set():
            ids = front.roster.ids
            front.datapath.groups.abandon(
                {ids[name]: places for name, places in succession.kept.items()}
            )
        self._ended = await front.roster.retire(front.roster.names, succession.kept)
        hangs.cancel()

    async def _stop_and_wait(self) -> list[Ended]:
        self._stop_asked.set()
        await self._stopped.wait()
        return self._ended

    async def _reload_on_signal(self, reloader: Reloader) -> None:
        while True:
            await self._reload_asked.wait()
            self._reload_asked.clear()
            with suppress(DnsfrontError):  # logged and counted
                await reloader.reload()


def _succession(front: Front, control: ControlSocket) -> Succession:
    """Return what lets a successor of *front* take over."""
    datapath, broadcast, endpoint = front.datapath, front.broadcast, front.endpoint
    return Succession(
        Offer(
            front.in_force, datapath, front.settings, front.roster, endpoint, control
        ),
        Intake(front.life, datapath, front.kernel_cache, broadcast, endpoint, control),
        front.turns,
        front.progress,
        broadcast,
    )


async def _report_drops(front: Front) -> None:
    while True:
        front.datapath.groups.report_drops()
        await next_beat(_DROPS_EVERY_S)


async def _watch_for_hangs(front: Front) -> None:
    """Have workers that hang replaced."""
    watchdog, loop = Watchdog(), asyncio.get_running_loop()
    looked_at = loop.time()
    watched_s = 0.0
    while True:
        is_at_rest = watchdog.is_calm
        await next_beat(_REST_S if is_at_rest else _HANGS_EVERY_S)
        # While nobody looked, it could not be seen that workers took anything.
        watched_s += min(loop.time() - looked_at, 2 * _HANGS_EVERY_S)
        looked_at = loop.time()
        is_serving = front.life.phase is Phase.SERVING
        vitals = {
            worker: signs
            for worker in front.roster
            if (signs := worker.vitals(is_serving=is_serving, is_at_rest=is_at_rest))
            is not None
        }
        for worker in watchdog.hung(vitals, watched_s):
            worker.end_hung()


async def _first_of(*waits: Awaitable[object]) -> None:
    """Return when the first of *waits* has come to its end, however it ended."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
