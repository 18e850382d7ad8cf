"""A front end whose worker processes are played, for tests of the supervisor."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from dnsfront.ipc import memory, records
from dnsfront.ipc.messages import (
    Configure,
    Configured,
    Drain,
    Flush,
    Flushed,
    KnowPeers,
    MapImages,
    Order,
    Ready,
    Refused,
    Said,
    Start,
    Transfer,
    Transferred,
    TransferToSuccessor,
)
from dnsfront.ipc.packets import pack
from dnsfront.ipc.reading import order_in
from dnsfront.ipc.spec import Listener, WorkerSpec
from dnsfront.kernel.userspace import UserspaceSteering
from dnsfront.supervisor import front, start
from dnsfront.supervisor.change import candidate
from dnsfront.supervisor.change.reload import Reloader
from dnsfront.supervisor.front import Front
from dnsfront.supervisor.workers import worker

ZONE = """\
$ORIGIN example.test.
$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 300
@ IN NS ns1
ns1 IN A 192.0.2.53
"""


def free_port() -> int:
    """Return a port that the kernel just chose, free over UDP and TCP."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        ):
            udp.bind(("127.0.0.1", 0))
            port: int = udp.getsockname()[1]
            try:
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def write_config(directory: Path, workers: str = "2", more: str = "") -> Path:
    """Write a config with a zone; called again, it keeps the ports of the first."""
    ports = directory / "ports"
    if not ports.exists():
        ports.write_text(f"{free_port()} {free_port()}")
        (directory / "zone").write_text(ZONE)
    dns, http = ports.read_text().split()
    path = directory / "dnsfront.yaml"
    path.write_text(
        f'listen: ["127.0.0.1:{dns}"]\n'
        f"ring: {{slots: 256, vnodes: 16, workers: {workers}}}\n"
        "zones: [{origin: example.test, file: zone}]\n"
        f'admin: {{listen: "127.0.0.1:{http}", socket: control.sock}}\n{more}'
    )
    return path


class PlayedProcess:
    """Stands in for a worker's process: does at once what a good one does in time.

    *events* of the class is what happened to all of them, and to steering.
    """

    events: list[tuple[Any, ...]]
    pings = pongs = 0
    #: Which code the processes say they run.
    identity: dict[str, str]
    refuses: str | None
    fails_to_start: set[str]
    by_name: dict[str, PlayedProcess]

    def __init__(
        self,
        name: str,
        *,
        on_message: Callable[[Said], None],
        on_exit: Callable[[], None],
    ) -> None:
        self.name = name
        self.pid = 1000 + len(self.events)
        self.started_at = asyncio.get_running_loop().time()
        self.ending = "status=0"
        self.spec: WorkerSpec | None = None
        self.packs: list[str] = []
        self._on_message = on_message
        self._on_exit = on_exit
        self.events.append(("spawned", name))
        self.by_name[name] = self

    def send(self, order: Order[Any]) -> None:
        assert order_in(*pack(order)) == order
        if isinstance(order, MapImages):
            assert len(order.memory_fds) == len(order.packs)
            self.packs += order.packs
            return
        ids = order.ids if isinstance(order, KnowPeers) else ()
        self.events.append((order.op, self.name, *ids))
        soon = asyncio.get_running_loop().call_soon
        if isinstance(order, Start):
            self.spec = records.from_json(WorkerSpec, memory.content(order.spec_fd))
            if self.name in self.fails_to_start:
                soon(self.die)
            else:
                soon(self._on_message, Ready(**self.identity))
        elif isinstance(order, Drain):
            soon(self.die)

    async def ask(self, order: Order[Any], *, timeout_s: float) -> Said | None:
        del timeout_s
        assert order_in(*pack(order)) == order
        self.events.append((order.op, self.name))
        if isinstance(order, Flush):
            return Flushed(3)
        if isinstance(order, Transfer | TransferToSuccessor):
            return Transferred(2)
        if not isinstance(order, Configure):
            [reply] = order.replies.values()
            return reply()
        if self.refuses == self.name:
            return Refused("too much")
        self.spec = records.from_json(WorkerSpec, memory.content(order.spec_fd))
        return Configured()

    def ping(self, *, is_at_rest: bool) -> None:
        del is_at_rest
        self.events.append(("ping", self.name))

    def die(self) -> None:
        self._on_exit()

    def kill(self) -> None:
        self.events.append(("killed", self.name))
        asyncio.get_running_loop().call_soon(self.die)

    def close(self) -> None:
        self.events.append(("closed", self.name))


class RecordingSteering(UserspaceSteering):
    """Steering without BPF that tells in which order it was used."""

    def set_live(self, worker_id: int, is_live: bool) -> None:  # noqa: FBT001 - as it is
        super().set_live(worker_id, is_live)
        PlayedProcess.events.append(("live" if is_live else "not live", worker_id))

    def publish(self, table: bytes) -> None:
        super().publish(table)
        PlayedProcess.events.append(("published", frozenset(table[::4])))

    def attach(self, sock: socket.socket) -> None:
        super().attach(sock)
        PlayedProcess.events.append(("attached", sock.type))

    def set_socket(
        self, listener: Listener, worker_id: int, sock: socket.socket
    ) -> None:
        super().set_socket(listener, worker_id, sock)
        PlayedProcess.events.append(("socket", worker_id))


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> type[PlayedProcess]:
    """Play all worker processes of this test, without a kernel program."""
    PlayedProcess.events = []
    PlayedProcess.identity = asdict(worker._OURS)
    PlayedProcess.refuses = None
    PlayedProcess.fails_to_start = set()
    PlayedProcess.by_name = {}
    monkeypatch.setattr(worker, "WorkerProcess", PlayedProcess)
    monkeypatch.setattr(
        front, "open_steering", lambda **_sizes: (RecordingSteering(), "no CAP_BPF")
    )
    return PlayedProcess


@asynccontextmanager
async def running(config_path: Path) -> AsyncIterator[Front]:
    """Start a front end, and take it down again."""
    async with AsyncExitStack() as stack:
        yield await start.start(candidate.read(config_path), stack)


Story = Callable[[Front, Reloader], Coroutine[Any, Any, None]]


def play(config_path: Path, story: Story) -> None:
    """Run *story* with a front end of the config that has just started, played."""

    async def run() -> None:
        async with running(config_path) as front:
            await everything_due()
            PlayedProcess.events.clear()
            await story(front, front.reloader)

    asyncio.run(run())


async def eventually(check: Callable[[], object], within_s: float = 30) -> None:
    """Let things happen until *check* holds; fail when it does not in time."""
    async with asyncio.timeout(within_s):
        while not check():  # noqa: ASYNC110 - nobody would set an event
            await asyncio.sleep(0)


async def everything_due() -> None:
    """Let everything happen that is due."""
    for _ in range(10):
        await asyncio.sleep(0)
