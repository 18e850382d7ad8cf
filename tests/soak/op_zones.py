"""Operations on zone files: good ones, broken and mended ones, late and hasty ones."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar, Self

from tests.soak.model import ZONES
from tests.soak.operations import OFTEN, WAYS, Operation
from tests.soak.world import BrokenError, World


def _served(world: World, number: int) -> str:
    """Return one of the zones that are served."""
    zones = [zone for zone in ZONES if world.is_served(zone)]
    return zones[number % len(zones)]


@dataclass(frozen=True)
class SaveZone(Operation):
    """Save new versions of a zone, one or several in a row, some *pause_s* apart."""

    number: int
    times: int
    pause_s: float
    way: str

    share: ClassVar[int] = OFTEN

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        pause_s = round(rng.choice((0, 0.01, 0.3, 0.6)), 2)
        return cls(rng.randrange(4), rng.choice((1, 1, 2, 4)), pause_s, "save")

    def apply(self, world: World) -> None:
        zone = _served(world, self.number)
        for time in range(self.times):
            if time:
                world.pause(self.pause_s)
            version = world.write_zone(zone)
            world.model.zones[zone].begin(version, world.now())
        world.expect_zone(zone)


@dataclass(frozen=True)
class BreakZone(Operation):
    """Save a zone that cannot be served, look that the old one is, and mend it."""

    number: int
    way: str
    is_mended_twice: bool

    share: ClassVar[int] = OFTEN

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randrange(4), rng.choice(WAYS), rng.random() < 0.3)

    def apply(self, world: World) -> None:
        zone = _served(world, self.number)
        result = world.reload(self.way, lambda: world.break_zone(zone))
        if result != "failure":
            raise BrokenError("a broken zone is refused", f"{zone}: reload {result}")
        told = world.ask("status").get("config")
        if isinstance(told, dict) and not told.get("refused"):
            raise BrokenError("status tells what is refused", f"{zone}: {told}")
        # Mended without a word: the file on disk is to be what serves.
        for _ in range(1 + self.is_mended_twice):
            version = world.write_zone(zone)
            world.model.zones[zone].begin(version, world.now())
        world.expect_zone(zone)


@dataclass(frozen=True)
class ServeZone(Operation):
    """Serve a zone that was not, or the other way round."""

    number: int
    way: str

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randrange(len(ZONES)), rng.choice(WAYS))

    def apply(self, world: World) -> None:
        zone = ZONES[self.number]
        timeline = world.model.zones[zone]
        entries = world.config["zones"]
        if world.is_served(zone):
            if len(entries) == 1:
                return
            entries = [entry for entry in entries if entry["origin"] != zone]
            timeline.begin(None, world.now())
        else:
            path = str(world.zone_path(zone))
            entries = [*entries, {"origin": zone, "file": path}]
            version = world.write_zone(zone)
            timeline.begin(version, world.now())
        world.config["zones"] = entries
        if world.reload(self.way) != "success":
            raise BrokenError("zones come and go", f"{zone}: refused")
        # From the moment that a reload is confirmed nothing else is told.
        if self.way == "command":
            timeline.settle(world.now())
        world.expect_zone(zone)


@dataclass(frozen=True)
class LateZone(Operation):
    """Serve a zone whose file comes only after the config that names it."""

    number: int

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randrange(len(ZONES)))

    def apply(self, world: World) -> None:
        zone = ZONES[self.number]
        if world.is_served(zone):
            return
        path = world.zone_path(zone)
        path.unlink(missing_ok=True)
        entry = {"origin": zone, "file": str(path)}
        world.config["zones"] = [*world.config["zones"], entry]
        if world.reload("save") != "failure":
            raise BrokenError("a zone without a file is refused", zone)
        timeline = world.model.zones[zone]
        version = world.write_zone(zone)
        timeline.begin(version, world.now())
        world.expect_zone(zone)
