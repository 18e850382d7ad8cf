"""The supervisor: how its parts are put together, and in which order they go again.

It owns the sockets and every kernel object, and it never sees a query.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import signal
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from dnsfront import logs
from dnsfront.errors import DnsfrontError, UnavailableError
from dnsfront.kernel.steering import open_steering
from dnsfront.ring.qhash import hash_key
from dnsfront.supervisor import candidate, memory, metrics, notify, page, reports
from dnsfront.supervisor.admin import AdminServer, Page, PageMaker
from dnsfront.supervisor.candidate import Candidate
from dnsfront.supervisor.commands import Commands
from dnsfront.supervisor.control import ControlSocket
from dnsfront.supervisor.fleet import Fleet
from dnsfront.supervisor.front import Front, Phase, ReloadCounts
from dnsfront.supervisor.groups import SocketGroups
from dnsfront.supervisor.health import HealthChecker
from dnsfront.supervisor.listeners import check_free
from dnsfront.supervisor.reload import Reloader
from dnsfront.supervisor.tables import Publisher
from dnsfront.supervisor.tally import Tallies
from dnsfront.supervisor.upstreams import UpstreamRegistry
from dnsfront.supervisor.watchdog import Watchdog

_LOG = logging.getLogger(__name__)

_DROPS_EVERY_S: Final = 1.0
_HANGS_EVERY_S: Final = 0.2


def run(config_path: Path) -> int:
    """Serve what the config asks for until SIGTERM, SIGINT or `stop`; return 0.

    Raises:
        ConfigError: with every mistake.
        DnsfrontError: the front end cannot start; nothing is left of it.
    """
    started_at = time.monotonic()
    memory.use_one_arena()
    wanted = candidate.read(config_path)
    logs.set_up(wanted.config.log.level, "supervisor")
    _raise_descriptor_limit()
    asyncio.run(_Supervisor().run(wanted, started_at))
    return os.EX_OK


class _Supervisor:
    """One run, from the first socket to the last."""

    def __init__(self) -> None:
        self._stop_asked = asyncio.Event()
        self._reload_asked = asyncio.Event()
        self._stopped = asyncio.Event()

    async def run(self, wanted: Candidate, started_at: float) -> None:
        """Start, serve, stop. What was opened is closed in the opposite order."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_asked.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_asked.set)
        check_free(wanted.listeners())
        control = ControlSocket(wanted.config.admin.socket)
        try:
            async with AsyncExitStack() as stack:
                starting = asyncio.create_task(_start(wanted, stack))
                if await self._is_started(starting):
                    front = starting.result()
                    _log_serving(front, time.monotonic() - started_at)
                    notify.notify(notify.READY)
                    await self._serve(front, control)
        finally:
            # Whoever asked for the stop hears of it when nothing is bound any more.
            self._stopped.set()
            await control.close()
        _LOG.info("stopped")

    async def _is_started(self, starting: asyncio.Task[Front]) -> bool:
        """Wait for the start, or for a signal that makes it pointless."""
        stop = asyncio.create_task(self._stop_asked.wait())
        await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
        return not starting.cancelled()

    async def _serve(self, front: Front, control: ControlSocket) -> None:
        reloader = Reloader(front)
        await control.serve(Commands(front, reloader, self._stop_and_wait))
        tasks = [
            _watched("watch files", reloader.watch()),
            _watched("reload on SIGHUP", self._reload_on_signal(reloader)),
            _watched("report drops", _report_drops(front)),
            _watched("watch for hangs", _watch_for_hangs(front)),
        ]
        await self._stop_asked.wait()
        front.phase = Phase.STOPPING
        notify.notify(notify.STOPPING)
        _LOG.info("stopping workers=%d", len(front.fleet.names))
        for task in tasks:
            task.cancel()
        await reloader.close()
        await front.fleet.retire(front.fleet.names)

    async def _stop_and_wait(self) -> None:
        self._stop_asked.set()
        await self._stopped.wait()

    async def _reload_on_signal(self, reloader: Reloader) -> None:
        while True:
            await self._reload_asked.wait()
            self._reload_asked.clear()
            with suppress(DnsfrontError):  # logged and counted
                await reloader.reload()


async def _start(wanted: Candidate, stack: AsyncExitStack) -> Front:
    """Return the front end that serves *wanted*; *stack* takes all of it down.

    Raises:
        DnsfrontError: something is not to be had; the text says what.
    """
    front = _open(wanted, stack)
    admin = AdminServer(wanted.config.admin.listen, _pages(front))
    stack.callback(admin.close)
    names = wanted.worker_names
    # Interpreters start, and sockets are bound, while the loader compiles.
    front.fleet.launch(names)
    front.fleet.join(names)
    front.steering.wait_loaded()
    front.apply_settings()
    await front.publisher.publish(wanted.table, front.fleet.ids)
    front.groups.attach()
    if len(await front.fleet.start(names)) == len(names):
        raise UnavailableError("no worker got ready; the lines above say why")
    front.phase = Phase.SERVING
    memory.give_back()
    return front


def _open(wanted: Candidate, stack: AsyncExitStack) -> Front:
    """Return a front end without sockets and workers, its loader already at work."""
    key = hash_key(wanted.config.ring.seed)
    steering, degraded = open_steering(slots=wanted.table.slots, hash_key=key)
    stack.callback(steering.close)
    if degraded:
        _LOG.warning('steering_in_user_space reason="%s"', degraded)
    publisher = Publisher(steering)
    stack.callback(publisher.close)
    tallies = Tallies()
    stack.callback(tallies.close)
    upstreams = UpstreamRegistry()
    stack.callback(upstreams.close)
    health = HealthChecker(upstreams)
    stack.push_async_callback(health.close)
    groups = SocketGroups(wanted.listeners(), steering)
    servers = upstreams.assign(wanted.config.upstreams.servers)
    fleet = Fleet(
        steering=steering,
        groups=groups,
        publisher=publisher,
        tallies=tallies,
        health_fd=upstreams.health_fd,
        spec=wanted.spec(servers, steering.mode),
    )
    stack.callback(fleet.close)
    return Front(
        candidate=wanted,
        steering=steering,
        degraded=degraded,
        groups=groups,
        publisher=publisher,
        tallies=tallies,
        fleet=fleet,
        upstreams=upstreams,
        health=health,
        reloads=ReloadCounts(last_success_at=time.time()),
    )


def _pages(front: Front) -> dict[str, PageMaker]:
    """Return what is to be seen over HTTP."""
    expose = metrics.exposition(front)

    def metrics_page(accept: str) -> Page:
        return Page(*expose(accept))

    def ready(_accept: str) -> Page:
        if reasons := reports.not_ready(front):
            body = "".join(f"{reason}\n" for reason in reasons).encode()
            return Page(body, status=HTTPStatus.SERVICE_UNAVAILABLE)
        return Page(b"ready\n")

    def ring(_accept: str) -> Page:
        body = json.dumps(reports.ring(front), indent=2) + "\n"
        return Page(body.encode(), "application/json")

    def overview(_accept: str) -> Page:
        return Page(page.html(reports.status(front)), "text/html; charset=utf-8")

    return {
        "/": overview,
        "/metrics": metrics_page,
        "/healthz": lambda _accept: Page(b"ok\n"),
        "/readyz": ready,
        "/ring.json": ring,
    }


async def _report_drops(front: Front) -> None:
    while True:
        front.groups.report_drops()
        await asyncio.sleep(_DROPS_EVERY_S)


async def _watch_for_hangs(front: Front) -> None:
    """Have workers that hang replaced; in user space nobody knows their backlog."""
    watchdog, steering = Watchdog(), front.steering
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_HANGS_EVERY_S)
        for worker in front.fleet:
            number = worker.worker_id
            if not worker.should_take:
                watchdog.forget(number)
                continue
            taken, backlog = steering.taken(number), steering.backlog(number)
            if watchdog.is_hung(number, taken, backlog, loop.time()):
                watchdog.forget(number)
                worker.end_hung()


def _watched(name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Return a task for *work* that does not fail unheard; serving goes on without."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (exc := task.exception()):
            _LOG.error("task_failed task=%s", task.get_name(), exc_info=exc)

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(ended)
    return task


def _log_serving(front: Front, took_s: float) -> None:
    _LOG.info(
        "serving listen=%s workers=%d steering=%s generation=%d start_s=%.2f",
        ",".join(str(address) for address in front.candidate.config.listen),
        len(front.fleet.names), front.steering.mode, front.publisher.generation, took_s,
    )  # fmt: skip


def _raise_descriptor_limit() -> None:
    """Allow as many descriptors as we may have: each worker takes two a listener."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
