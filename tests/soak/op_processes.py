"""Operations on processes: kills, hangs, and too few descriptors."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Self

from tests.soak.model import CUT, FAILED, LATE, LOST, STALE, ZONES
from tests.soak.operations import RARELY, SOMETIMES, Operation
from tests.soak.orphans import is_running
from tests.soak.world import APPLIED_WITHIN_S, MENDED_WITHIN_S, World
from tests.system.remains import children_of

#: Five deaths within a minute, and a worker is left out for one.
_DEATHS_AT_MOST: Final = 3
_WITHIN_S: Final = 65.0
#: What a worker answers before it counts that.
_BATCH: Final = 64
#: How long a child may take over a zone, with a margin.
_CHILD_WITHIN_S: Final = 90.0


def _victim(world: World, number: int) -> tuple[str, int] | None:
    """Return the name and pid of a worker that owns names and did not die lately."""
    now_s = world.now()
    workers = [
        (name, worker["pid"])
        for name, worker in sorted(world.workers().items())
        if worker["pid"] and worker["slots"] and worker["state"] == "up"
    ]
    name, pid = workers[number % len(workers)]
    deaths = [x for x in world.deaths.get(name, []) if now_s - x < _WITHIN_S]
    if len(deaths) >= _DEATHS_AT_MOST:
        return None
    world.deaths[name] = [*deaths, now_s]
    world.unsure += _BATCH
    return name, pid


def _expect_replaced(world: World, name: str, pid: int, invariant: str) -> None:
    def is_back() -> bool:
        worker = world.workers()[name]
        assert worker["state"] == "up", worker
        assert worker["pid"] != pid, f"{name} is still {pid}"
        return True

    world.eventually(is_back, invariant, MENDED_WITHIN_S)


@dataclass(frozen=True)
class KillWorker(Operation):
    """Kill a worker: what it had in hand is lost, and nothing else."""

    number: int

    excuses: ClassVar[tuple[str, ...]] = (LOST, CUT)
    before_s: ClassVar[float] = 3.0

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randrange(6))

    def apply(self, world: World) -> None:
        victim = _victim(world, self.number)
        if victim is None:
            return
        name, pid = victim
        os.kill(pid, signal.SIGKILL)
        _expect_replaced(world, name, pid, "a dead worker is replaced")


@dataclass(frozen=True)
class StopWorker(Operation):
    """Have a worker hang: it is replaced, and its queue answered by others."""

    number: int

    excuses: ClassVar[tuple[str, ...]] = (LOST, CUT, LATE)
    before_s: ClassVar[float] = 3.0
    after_s: ClassVar[float] = 1.0

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randrange(6))

    def apply(self, world: World) -> None:
        victim = _victim(world, self.number)
        if victim is None:
            return
        name, pid = victim
        os.kill(pid, signal.SIGSTOP)
        _expect_replaced(world, name, pid, "a hang is mended")


@dataclass(frozen=True)
class StopSupervisor(Operation):
    """Have the supervisor hang for a while: nobody else is to notice."""

    seconds: float

    share: ClassVar[int] = RARELY

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice((0.3, 1.5, 3.0)))

    def apply(self, world: World) -> None:
        os.kill(world.pid, signal.SIGSTOP)
        try:
            world.pause(self.seconds)
        finally:
            os.kill(world.pid, signal.SIGCONT)
        world.expect_workers()


@dataclass(frozen=True)
class KillSupervisor(Operation):
    """Kill the supervisor: all of it goes, and a new one can start at once."""

    excuses: ClassVar[tuple[str, ...]] = (LOST, CUT, LATE, FAILED, STALE)
    before_s: ClassVar[float] = 9.0
    after_s: ClassVar[float] = 1.0
    share: ClassVar[int] = RARELY

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        del rng
        return cls()

    def apply(self, world: World) -> None:
        pids = children_of(world.pid)
        old = world.pid
        os.kill(old, signal.SIGKILL)

        def are_gone() -> bool:
            left = [pid for pid in (old, *pids) if is_running(pid)]
            assert not left, f"still there: {left}"
            return True

        world.eventually(are_gone, "workers go with their supervisor", 5)
        with contextlib.suppress(OSError, AssertionError):
            world.front.program.wait()
        world.deaths.clear()
        world.start()
        world.expect_workers()


@dataclass(frozen=True)
class KillChild(Operation):
    """Kill or stop a child of the supervisor that is no worker, while a zone is read.

    Where nothing of the kind shows up in time, nothing happens.
    """

    number: int
    is_stop: bool

    share: ClassVar[int] = SOMETIMES

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randrange(4), rng.random() < 0.1)

    def apply(self, world: World) -> None:
        zones = [zone for zone in ZONES if world.is_served(zone)]
        zone = zones[self.number % len(zones)]
        workers = {worker["pid"] for worker in world.workers().values()}
        version = world.write_zone(zone)
        world.model.zones[zone].begin(version, world.now())
        deadline_at = time.monotonic() + 1.2
        while time.monotonic() < deadline_at:
            others = [x for x in children_of(world.pid) if x not in workers]
            found = next((x for x in others if _is_at_work(x)), None)
            if found is not None:
                number = signal.SIGSTOP if self.is_stop else signal.SIGKILL
                with contextlib.suppress(ProcessLookupError):
                    os.kill(found, number)
                break
            world.pause(0.001)
        # What was refused for that is taken when it is asked for again.
        version = world.write_zone(zone)
        world.model.zones[zone].begin(version, world.now())
        world.expect_zone(zone, _CHILD_WITHIN_S if self.is_stop else APPLIED_WITHIN_S)


def _descriptor_limit(pid: int) -> int:
    [line] = [
        x
        for x in Path(f"/proc/{pid}/limits").read_text("ascii").splitlines()
        if x.startswith("Max open files")
    ]
    return int(line.split()[3])


def _limit_descriptors(pid: int, limit: int) -> None:
    """Set the soft limit, as the user whose process it is: root may lack the right."""
    status = Path(f"/proc/{pid}")
    user, group = status.stat().st_uid, status.stat().st_gid
    subprocess.run(
        [
            *("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--"),
            *("prlimit", f"--pid={pid}", f"--nofile={limit}:"),
        ],
        check=True,
        capture_output=True,
    )


def _is_at_work(pid: int) -> bool:
    """Return whether a process is past its exec, and so has its own descriptors."""
    try:
        return b"zones.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@dataclass(frozen=True)
class FewDescriptors(Operation):
    """Let a worker open hardly any more descriptors, for some operations."""

    number: int
    spare: int
    operations: int

    share: ClassVar[int] = RARELY

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randrange(6), rng.choice((1, 4, 16)), rng.randint(0, 2))

    def apply(self, world: World) -> None:
        workers = [x["pid"] for x in world.workers().values() if x["pid"]]
        pid = sorted(workers)[self.number % len(workers)]
        held = max(int(x.name) for x in Path(f"/proc/{pid}/fd").iterdir())
        limit, before = held + 1 + self.spare, _descriptor_limit(pid)
        _limit_descriptors(pid, limit)
        # A miss may find no descriptor for a port or for TCP, an order none at all:
        # then the worker is replaced, and what it had in hand is lost.
        excuse = world.excuse((FAILED, STALE, CUT, LOST), "few descriptors")
        world.unsure += _BATCH

        def undo() -> None:
            if is_running(pid):
                _limit_descriptors(pid, before)
            excuse.until_s = world.now() + 9

        world.later(self.operations, undo)
        world.pause(1)
        world.expect_workers()
