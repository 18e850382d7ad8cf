"""One configured worker: what belongs to it and outlives each of its processes."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Final

from dnsfront.errors import DnsfrontError
from dnsfront.ipc import memory, records
from dnsfront.ipc.identity import Identity
from dnsfront.ipc.messages import (
    MAX_IMAGES,
    Drain,
    Drained,
    MapImages,
    OtherCode,
    Ready,
    Said,
    Start,
)
from dnsfront.ipc.packets import Descriptor, descriptor
from dnsfront.ipc.spec import ListenerKey, WorkerSpec
from dnsfront.ipc.stats import DATAGRAM_QUERIES, Counter
from dnsfront.kernel.layouts import described
from dnsfront.supervisor.host.users import users
from dnsfront.supervisor.workers.handover_pair import handover_pair
from dnsfront.supervisor.workers.process import WorkerProcess
from dnsfront.supervisor.workers.respawn import LEFT_OUT_S, RespawnPolicy
from dnsfront.supervisor.workers.state import Ended, State
from dnsfront.supervisor.workers.surroundings import Surroundings
from dnsfront.supervisor.workers.tally import Tally
from dnsfront.supervisor.workers.watchdog import Vitals
from dnsfront.supervisor.zones.packs import pack_named

_LOG = logging.getLogger(__name__)

#: What this process began with, whatever is on disk later.
_OURS: Final = Identity.here(described())
#: An interpreter, the zones and the cache: tenths of a second, and a slow disk.
READY_TIMEOUT_S: Final = 20.0


class Worker:
    """A name, its worker_id and hand-over sockets, and the process of the moment.

    A process that dies is replaced; :attr:`first_ready` tells, once, whether the first
    one got ready.
    """

    def __init__(
        self,
        name: str,
        worker_id: int,
        tally: Tally,
        around: Surroundings,
        *,
        on_change: Callable[[], None],
    ) -> None:
        self.name = name
        self.worker_id = worker_id
        self.tally = tally
        self.state = State.STARTING
        self.first_ready: asyncio.Future[bool] = asyncio.Future()
        #: When it was told to finish, by the monotonic clock.
        self.draining_since: float | None = None
        self._around = around
        self._datapath = around.datapath
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._policy = RespawnPolicy()
        self._process: WorkerProcess | None = None
        self._is_started = False
        #: The names of the memory that the process has.
        self._shared: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        #: Why its process may not serve, an upgrade on disk.
        self.refused: str | None = None
        self._gone: asyncio.Future[None] | None = None
        self._ended: Ended | None = None
        # Both ends stay here: a respawn loses nothing.
        self._handover_receive, self.handover_send = handover_pair()

    @property
    def pid(self) -> int | None:
        """The process id, None while there is no process."""
        return None if self._process is None else self._process.pid

    @property
    def process(self) -> WorkerProcess | None:
        """The process, if one runs."""
        return self._process

    @property
    def spec(self) -> WorkerSpec:
        """What the process is to act on."""
        return replace(self._around.spec, name=self.name, worker_id=self.worker_id)

    # -- the way up

    def launch(self) -> None:
        """Start a process, which prepares itself and waits for :meth:`start`."""
        self.state = State.STARTING
        self._is_started = False
        try:
            self._process = WorkerProcess(
                self.name, on_message=self._on_message, on_exit=self._on_exit
            )
        except OSError as exc:
            _LOG.error("worker_not_spawned worker=%s error=%s", self.name, exc)
            self._after_death(lived_s=0)

    def start(self) -> None:
        """Tell the process who it is and what it serves, once there is a table."""
        if self._process is None or not self._datapath.publisher.generation:
            return
        spec = self.spec
        spec_fd = memory.sealed("dnsfront-spec", records.to_json(spec))
        datapath, chosen = self._datapath, users()
        start = Start(
            version=_OURS.version,
            layout=_OURS.layout,
            user=None if chosen is None else chosen.of(self.worker_id),
            generation=datapath.publisher.generation,
            slots=datapath.publisher.slots,
            spec_fd=Descriptor(spec_fd),
            stats_fd=Descriptor(self.tally.fd),
            live_fd=Descriptor(datapath.steering.live_fd),
            load_fd=Descriptor(datapath.steering.load_fd),
            health_fd=Descriptor(self._around.health_fd),
            table_fd=Descriptor(datapath.publisher.fd),
            handover_fd=descriptor(self._handover_receive),
            socket_fds=tuple(
                descriptor(opened.sock)
                for opened in datapath.groups.sockets_of(self.worker_id, spec.listeners)
            ),
        )
        self._process.send(start)
        os.close(spec_fd)
        self._shared = set()
        self.share_images(spec.packs)
        self._is_started = True
        if self._around.kernel_cache.is_on:
            self.give_book()
        self._set_timer(READY_TIMEOUT_S, self._on_late)

    def give_book(self) -> None:
        """Give the process a new book of what the kernel answers, or take it away."""
        if self._process is not None and self._is_started:
            self._process.send(self._around.kernel_cache.new_book(self.worker_id))

    def share_images(self, packs: Iterable[str]) -> None:
        """Give the process what it needs of the memory *packs*.

        What it has of others it gives up when it acts on the spec that names these.
        """
        wanted = set(packs)
        new = sorted(wanted - self._shared)
        self._shared = wanted
        for at in range(0, len(new), MAX_IMAGES):
            packs = tuple(new[at : at + MAX_IMAGES])
            if self._process is not None:
                fds = tuple(Descriptor(pack_named(name).fd) for name in packs)
                self._process.send(MapImages(packs, fds))

    def _on_message(self, said: Said) -> None:
        match said:
            case Ready(version, layout) if Identity(version, layout) == _OURS:
                self._on_ready()
            case Ready(version, layout) | OtherCode(version, layout):
                self._refuse(Identity(version, layout))
            case Drained():
                _LOG.debug("worker_drained worker=%s", self.name)

    def _refuse(self, other: Identity) -> None:
        """End a process that runs what was installed since this one began."""
        version = "another build of it"
        if other.version != _OURS.version:
            version = f"version {other.version or 'unknown'}"
        self.refused = (
            f"the code on disk is {version}, this server began with version "
            f"{_OURS.version}: `dnsfront restart` puts the new one in force"
        )
        _LOG.error(
            "worker_refused worker=%s pid=%s reason=%s",
            self.name, self.pid, self.refused,
        )  # fmt: skip
        if self._process is not None:
            self._process.kill()

    def _on_ready(self) -> None:
        if self.state is not State.STARTING:
            return
        self._clear_timer()
        self.state = State.UP
        self.refused = None
        self._datapath.steering.set_live(self.worker_id, is_live=True)
        _LOG.info(
            "worker_ready worker=%s worker_id=%d pid=%s generation=%d",
            self.name, self.worker_id, self.pid, self._datapath.publisher.generation,
        )  # fmt: skip
        if not self.first_ready.done():
            self.first_ready.set_result(True)
        self._on_change()

    def _on_late(self) -> None:
        _LOG.warning(
            "worker_late worker=%s pid=%s timeout_s=%g",
            self.name, self.pid, READY_TIMEOUT_S,
        )  # fmt: skip
        if self._process is not None:
            self._process.kill()

    # -- death and respawn

    def vitals(self, *, is_serving: bool, is_at_rest: bool = False) -> Vitals | None:
        """Ask for a sign of life and return those there are, None while it starts.

        Unless *is_serving*, workers may have been told to take nothing. *is_at_rest*
        says that nothing comes to any, so that it is asked less often.
        """
        process = self._process
        if process is None or self.state not in {State.UP, State.DRAINING}:
            return None
        process.ping(is_at_rest=is_at_rest)
        # Every worker can write `load`, so the kernel must confirm a backlog.
        backlog = self._datapath.steering.backlog(self.worker_id)
        if backlog and not self._datapath.groups.holds_datagrams(self.worker_id):
            backlog = 0
        return Vitals(
            pid=process.pid,
            taken=sum(self.tally.words[word] for word in DATAGRAM_QUERIES),
            backlog=backlog,
            should_take=is_serving and self.state is State.UP,
            is_answer_due=process.pings > process.pongs,
            answers=process.pongs,
        )

    def end_hung(self) -> None:
        """End a process that hangs; the next in line has its names at once."""
        _LOG.warning(
            "worker_hung worker=%s worker_id=%d pid=%s",
            self.name, self.worker_id, self.pid,
        )  # fmt: skip
        self._datapath.steering.set_live(self.worker_id, is_live=False)
        if self._process is not None:
            self._process.kill()

    def _on_exit(self) -> None:
        # First of all: one write, and the kernel gives its slots to the next in line.
        self._datapath.steering.set_live(self.worker_id, is_live=False)
        process, self._process = self._process, None
        assert process is not None, "only a process exits"
        self._clear_timer()
        is_asked_for = self.state is State.DRAINING
        if process.ending != "status=0":
            words = self.tally.words
            self._ended = Ended(
                self.name, words[Counter.PENDING], words[Counter.TCP_OPEN]
            )
        self.tally.reset_gauges()
        _LOG.log(
            logging.INFO if is_asked_for and not self._ended else logging.WARNING,
            "worker_exited worker=%s worker_id=%d pid=%d %s",
            self.name, self.worker_id, process.pid, process.ending,
        )  # fmt: skip
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        if not is_asked_for:
            self._after_death(lived_s=self._loop.time() - process.started_at)
        self._on_change()

    def _after_death(self, *, lived_s: float) -> None:
        if not self.first_ready.done():
            self.first_ready.set_result(False)
        delay_s = self._policy.delay_after_death(now=self._loop.time(), lived_s=lived_s)
        is_left_out = self._policy.is_left_out
        if self.refused is not None:
            # The next process would run the same code.
            is_left_out, delay_s = True, LEFT_OUT_S
        self.state = State.FAILED if is_left_out else State.DOWN
        if self.state is State.FAILED:
            _LOG.error("worker_left_out worker=%s retry_s=%g", self.name, delay_s)
            self._leave_groups()
        self._set_timer(delay_s, self._respawn)

    def _respawn(self) -> None:
        try:
            self.join()
        except DnsfrontError as exc:
            _LOG.error("worker_without_sockets worker=%s error=%s", self.name, exc)
            self._set_timer(LEFT_OUT_S, self._respawn)
            return
        self.tally.restarts += 1
        self.launch()
        self.start()

    def _leave_groups(self) -> None:
        """Close the sockets, where the kernel's own choice would still fill them.

        The last worker keeps them: another server could take the address meanwhile.
        """
        if len(self._datapath.groups) > 1:
            self.tally.dropped += self._datapath.groups.leave(self.worker_id)
            self.tally.steered += self._datapath.steering.steered(self.worker_id)
            self._datapath.steering.forget(self.worker_id)

    def join(self) -> None:
        """Open the sockets and put them where the program can choose them, once.

        Raises:
            DnsfrontError: an address is not to be had, or the kernel refuses.
        """
        groups = self._datapath.groups
        if self.worker_id not in groups:
            groups.bind(self.worker_id)
            try:
                groups.join(self.worker_id)
            except DnsfrontError:
                # Left open, its sockets would look as if the worker had joined.
                groups.leave(self.worker_id)
                raise

    # -- the way down

    def withdraw(self) -> None:
        """Give the worker no datagram that another could take."""
        self.state = State.DRAINING
        self._clear_timer()
        self._datapath.steering.set_live(self.worker_id, is_live=False)
        if (
            self._datapath.steering.mode == "userspace"
            and self.worker_id in self._datapath.groups
        ):
            self._datapath.groups.shut_worker(self.worker_id)
        self._on_change()

    async def drain(
        self, timeout_s: float, kept: Collection[ListenerKey] = ()
    ) -> Ended | None:
        """Let the process finish what it has; return what it did not finish.

        Who calls has seen to it that no new queries come. What is queued at the
        listeners *kept* is left to a successor. Then the process is gone.
        """
        self.state = State.DRAINING
        self.draining_since = time.monotonic()
        self._clear_timer()
        self._ended = None
        if self._process is None:
            return None
        self._gone = self._loop.create_future()
        listeners = self._around.spec.listeners
        numbers = tuple(x.number for x in listeners if x.key in kept)
        self._process.send(Drain(numbers))
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._gone)
        except TimeoutError:
            _LOG.warning(
                "worker_killed worker=%s pid=%s timeout_s=%g",
                self.name, self.pid, timeout_s,
            )  # fmt: skip
            if self._process is not None:
                self._process.kill()
            await self._gone
        return self._ended

    def close(self) -> None:
        """Give up everything: the process, if one is left, the sockets, the id."""
        self._clear_timer()
        if self._process is not None:
            self._process.close()
            self._process = None
        steering = self._datapath.steering
        steering.set_live(self.worker_id, is_live=False)
        self.tally.reset_gauges()
        self.tally.dropped += self._datapath.groups.leave(self.worker_id)
        self.tally.steered += steering.steered(self.worker_id)
        steering.forget(self.worker_id)
        self.tally.kernel_hits += self._around.kernel_cache.forget(self.worker_id)
        self._handover_receive.close()
        self.handover_send.close()

    def _set_timer(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._clear_timer()
        self._timer = self._loop.call_later(delay_s, callback)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
