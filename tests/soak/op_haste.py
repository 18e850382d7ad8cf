"""Operations in haste, and on files that are wrong: all at once, or nothing of it."""

from __future__ import annotations

import os
import random
import threading
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from dnsfront.errors import ControlError, DnsfrontError
from dnsfront.ipc.asking import ask as ask_control
from tests.soak.jail import RESOLVERS
from tests.soak.model import FAILED, STALE, ZONES
from tests.soak.op_config import put
from tests.soak.operations import RARELY, SOMETIMES, WAYS, Operation
from tests.soak.resolvers import ADDRESSES
from tests.soak.world import APPLIED_WITHIN_S, BrokenError, World

_COMMANDS: Final[tuple[dict[str, str], ...]] = (
    {"command": "reload"},
    {"command": "flush"},
    {"command": "flush", "zone": "up.test"},
    {"command": "status"},
    {"command": "drain", "worker": "w1"},
    {"command": "undrain", "worker": "w1"},
)
#: How long a zone of many records may keep others waiting, on a busy machine.
_WAIT_AT_MOST_S: Final = 2.0


@dataclass(frozen=True)
class Rush(Operation):
    """Give several commands at once: each is done, or refused with a reason."""

    commands: list[int]

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls([rng.randrange(len(_COMMANDS)) for _ in range(rng.randint(2, 5))])

    def apply(self, world: World) -> None:
        wrong: list[str] = []

        def give(request: dict[str, str]) -> None:
            try:
                ask_control(world.front.control, request, APPLIED_WITHIN_S)
            except ControlError as exc:
                if "did not respond" in str(exc):
                    wrong.append(f"{request}: {exc}")
            except DnsfrontError as exc:
                wrong.append(f"{request}: {exc}")

        threads = [
            threading.Thread(target=give, args=(_COMMANDS[number],))
            for number in self.commands
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if wrong:
            raise BrokenError("commands are answered", wrong[0])
        states = {name: x["state"] for name, x in world.workers().items()}
        if states.get("w1") in ("drained", "draining"):
            world.drained.add("w1")
        else:
            world.drained.discard("w1")
        world.expect_workers()


@dataclass(frozen=True)
class RewriteZone(Operation):
    """Write a zone in place, and give it the time that it had before."""

    number: int

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randrange(len(ZONES)))

    def apply(self, world: World) -> None:
        zones = [zone for zone in ZONES if world.is_served(zone)]
        zone = zones[self.number % len(zones)]
        path = world.zone_path(zone)
        before = path.stat()
        old = path.with_suffix(".old")
        os.link(path, old)
        version = world.write_zone(zone)
        text = path.read_bytes()
        old.replace(path)
        world.model.zones[zone].begin(version, world.now())
        path.write_bytes(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        world.expect_zone(zone)


@dataclass(frozen=True)
class BreakConfig(Operation):
    """Save a config that is wrong: nothing changes, it is told, and it can be mended.

    A restart with it is refused too.
    """

    way: str
    is_restart: bool

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice(WAYS), rng.random() < 0.3)

    def apply(self, world: World) -> None:
        path = world.front.path
        good = path.read_text("utf-8")
        pids = world.front.pids()
        broken = good.replace('"ring"', '"rng"', 1)

        def save(text: str) -> None:
            draft = path.with_suffix(".broken")
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)

        if world.reload(self.way, lambda: save(broken)) != "failure":
            raise BrokenError("a wrong config is refused", "rng")
        self._expect_told(world, is_refused=True)
        if self.is_restart:
            try:
                world.ask("restart")
            except ControlError:
                pass
            else:
                raise BrokenError("a restart with a wrong config is refused", "rng")
        if world.front.pids() != pids:
            raise BrokenError("a wrong config changes nothing", "other processes")
        if world.reload(self.way, lambda: save(good)) != "success":
            raise BrokenError("the config of before is taken again", "after rng")
        self._expect_told(world, is_refused=False)
        world.expect_workers()

    def _expect_told(self, world: World, *, is_refused: bool) -> None:
        def is_told() -> bool:
            told: Any = world.ask("status").get("config")
            if isinstance(told, dict):
                assert bool(told.get("refused")) == is_refused, told
                gauge = world.front.metrics().value("config_last_reload_successful")
                assert bool(gauge) != is_refused, gauge
            return True

        world.eventually(is_told, "status tells what is refused", 5)


@dataclass(frozen=True)
class BigZone(Operation):
    """Save a zone of many records, while others are not to wait for it."""

    number: int
    records: int

    share: ClassVar[int] = RARELY

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randrange(len(ZONES)), rng.choice((5_000, 40_000)))

    def apply(self, world: World) -> None:
        zones = [zone for zone in ZONES if world.is_served(zone)]
        zone = zones[self.number % len(zones)]
        world.clients.longest_s = 0.0
        version = world.write_zone(zone, more=self.records)
        world.model.zones[zone].begin(version, world.now())
        world.expect_zone(zone)
        longest_s = world.clients.longest_s
        version = world.write_zone(zone)
        world.model.zones[zone].begin(version, world.now())
        world.expect_zone(zone)
        if longest_s > _WAIT_AT_MOST_S:
            text = f"{self.records} records: {longest_s:.2f} s"
            raise BrokenError("nobody waits for a zone to be read", text)


@dataclass(frozen=True)
class ManyUpstreams(Operation):
    """Configure many other upstreams for a moment: there is room for all of them."""

    first: int
    count: int

    share: ClassVar[int] = SOMETIMES

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randrange(1000), rng.choice((5, 40)))

    def apply(self, world: World) -> None:
        excuse = world.excuse((FAILED, STALE), "upstreams that are not there")
        others = [
            {"address": f"{RESOLVERS}:{7000 + self.first + number}"}
            for number in range(self.count)
        ]
        own = [{"address": str(address)} for address in ADDRESSES]
        before = put(world, "upstreams.servers", [*others, *own])
        results = [world.reload("command")]
        put(world, "upstreams.servers", before)
        results.append(world.reload("command"))
        excuse.until_s = world.now() + 9
        if results != ["success", "success"]:
            raise BrokenError("there is room for new upstreams", repr(results))
        world.note_upstreams()
        world.expect_misses()
