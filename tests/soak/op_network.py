"""Operations on what is around the host: upstreams, cables, addresses, strangers."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from dataclasses import dataclass
from typing import ClassVar, Self

import dns.message

from tests.soak.clients import SERVICE
from tests.soak.home import ADMIN
from tests.soak.jail import CLIENTS, UPSTREAMS
from tests.soak.model import CUT, FAILED, LATE, LOST, STALE
from tests.soak.operations import FEW_PENDING, OFTEN, RARELY, SOMETIMES, Operation
from tests.soak.resolvers import ADDRESSES, BAD_MODES, GOOD_MODES
from tests.soak.world import BrokenError, World


@dataclass(frozen=True)
class Upstream(Operation):
    """Put an upstream into another mode, until it is put into another."""

    number: int
    mode: str

    share: ClassVar[int] = OFTEN

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        modes = rng.choice((GOOD_MODES, BAD_MODES, ("good",)))
        return cls(rng.randrange(len(ADDRESSES)), rng.choice(modes))

    def apply(self, world: World) -> None:
        world.resolvers.modes[self.number] = self.mode
        world.note_upstreams()
        world.expect_misses()


@dataclass(frozen=True)
class Renumber(Operation):
    """Give the host another address towards its upstreams."""

    number: int

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(2, 20))

    def apply(self, world: World) -> None:
        world.are_upstreams_out = True
        world.note_upstreams()
        world.host.renumber(self.number)
        world.are_upstreams_out = False
        world.note_upstreams()
        world.expect_misses()


@dataclass(frozen=True)
class UnplugUpstreams(Operation):
    """Take the cable to the upstreams out for a while."""

    seconds: float

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice((0.1, 1.0, 3.0)))

    def apply(self, world: World) -> None:
        world.are_upstreams_out = True
        world.note_upstreams()
        world.host.unplug(UPSTREAMS)
        try:
            world.pause(self.seconds)
        finally:
            world.host.plug(UPSTREAMS)
        world.are_upstreams_out = False
        world.note_upstreams()
        world.expect_misses()


@dataclass(frozen=True)
class UnplugClients(Operation):
    """Take the cable to the clients out for a while."""

    seconds: float

    excuses: ClassVar[tuple[str, ...]] = (LOST, CUT, LATE)
    before_s: ClassVar[float] = 2.0
    after_s: ClassVar[float] = 3.0
    share: ClassVar[int] = RARELY

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice((0.1, 1.0)))

    def apply(self, world: World) -> None:
        world.host.unplug(CLIENTS)
        try:
            world.pause(self.seconds)
        finally:
            world.host.plug(CLIENTS)
        world.eventually(
            lambda: world.address("n0.z0.test"), "clients are answered again", 5
        )


def _connect(world: World, count: int, octets: bytes) -> list[socket.socket]:
    """Return connections on which *octets* were sent as far as that goes at once."""
    del world
    streams = []
    for _ in range(count):
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.settimeout(2)
        with contextlib.suppress(OSError):
            stream.connect(SERVICE)
            stream.settimeout(0)
            stream.send(octets)
        streams.append(stream)
    return streams


def _close(streams: list[socket.socket]) -> None:
    for stream in streams:
        stream.close()


@dataclass(frozen=True)
class GreedyTcp(Operation):
    """Have clients ask a lot over TCP and read nothing, for some operations."""

    connections: int
    queries: int
    operations: int

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(
            rng.choice((4, 32, 100)), rng.choice((10, 300)), rng.choice((0, 2, 4))
        )

    def apply(self, world: World) -> None:
        world.is_counting = False
        query = dns.message.make_query("big1.up.test", "TXT").to_wire()
        octets = (len(query).to_bytes(2, "big") + query) * self.queries
        excuse = world.excuse((CUT,), "greedy clients take connections")
        streams = _connect(world, self.connections, octets)

        def undo() -> None:
            _close(streams)
            excuse.until_s = world.now() + 3

        world.later(self.operations, undo)
        world.pause(0.5)


@dataclass(frozen=True)
class SlowTcp(Operation):
    """Have clients send half a query over TCP and wait, for some operations."""

    connections: int
    operations: int

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice((10, 200)), rng.choice((0, 2, 4)))

    def apply(self, world: World) -> None:
        excuse = world.excuse((CUT,), "slow clients take connections")
        streams = _connect(world, self.connections, b"\0\x20half")

        def undo() -> None:
            _close(streams)
            excuse.until_s = world.now() + 3

        world.later(self.operations, undo)
        world.pause(0.5)


@dataclass(frozen=True)
class SlowHttp(Operation):
    """Have clients of the admin endpoint send half a request: probes are served."""

    connections: int

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice((10, 40, 120)))

    def apply(self, world: World) -> None:
        streams = []
        try:
            for _ in range(self.connections):
                stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                streams.append(stream)
                stream.settimeout(1)
                with contextlib.suppress(OSError):
                    stream.connect(ADMIN)
                    stream.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            for path in ("/healthz", "/readyz", "/metrics"):
                try:
                    status = world.front.get(path).status
                except OSError as exc:
                    text = f"{path} beside {self.connections} slow clients: {exc!r}"
                    raise BrokenError("probes are served", text) from exc
                if status != 200:
                    raise BrokenError("probes are served", f"{path}: {status}")
        finally:
            _close(streams)


@dataclass(frozen=True)
class RandomNames(Operation):
    """Ask for names that nobody has asked for: others are answered all the same."""

    per_second: int
    seconds: float
    is_silent: bool

    share: ClassVar[int] = SOMETIMES

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice((200, 600)), rng.choice((1.0, 3.0)), rng.random() < 0.5)

    def apply(self, world: World) -> None:
        world.is_counting = False
        suffix = "silent.test" if self.is_silent else "up.test"
        excuse = None
        if not self.is_silent:
            # They may take all the pending queries that their zone may have.
            excuse = world.excuse((FAILED, STALE), "random names of the same zone")
        elif world.config.get("limits", {}).get("pending", 0) == FEW_PENDING:
            # Or all that their client may have, from whose address the others ask too.
            excuse = world.excuse((FAILED, STALE), "random names of the same client")
        seed = world.queries_fresh = world.queries_fresh + 1
        over_at = time.monotonic() + self.seconds
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)  # noqa: FBT003 - its signature
            number = 0
            while time.monotonic() < over_at:
                number += 1
                name = f"q{seed}x{number}.{suffix}"
                with contextlib.suppress(OSError):
                    sock.sendto(dns.message.make_query(name, "A").to_wire(), SERVICE)
                with contextlib.suppress(OSError):
                    while True:
                        sock.recv(4096)
                threading.Event().wait(1 / self.per_second)
        if excuse is not None:
            excuse.until_s = world.now() + 8
        world.expect_misses()
