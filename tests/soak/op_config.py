"""Operations on the config: any key, workers, weights, drains, flushes, a restart."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from dnsfront.errors import ControlError
from tests.soak import model
from tests.soak.clients import SERVICE
from tests.soak.home import home
from tests.soak.jail import HOST, WORLD
from tests.soak.operations import FEW_PENDING, OFTEN, RARELY, SOMETIMES, WAYS, Operation
from tests.soak.orphans import is_running
from tests.soak.resolvers import ADDRESSES
from tests.soak.world import BrokenError, World
from tests.system.front import Address

_SECOND: Final = Address(HOST, 5310)
_SIX: Final = Address("fd00:1::2", 5300)
_SERVERS: Final = [{"address": str(address)} for address in ADDRESSES]
_EVERYBODY: Final = ["10.1.0.0/24", "127.0.0.0/8"]
_NO_STRANGER: Final = [f"{WORLD}/32", "127.0.0.0/8"]

#: What each key may be changed to. A key that is not here keeps its default.
CHOICES: Final[dict[str, list[Any]]] = {
    "listen": [
        [str(SERVICE)],
        [str(SERVICE), str(_SECOND)],
        [str(_SIX), str(SERVICE)],
    ],
    "ring.workers": [
        *(1, 2, 3, 4, 5, 6),
        [{"name": "w1"}, {"name": "w2", "weight": 3}],
        [{"name": "w1"}, {"name": "w2"}, {"name": "w7", "standby": True}],
        [{"name": "w9", "weight": 2}, {"name": "w3"}],
    ],
    "ring.method": ["ring", "exact"],
    "ring.vnodes": [64, 1024, 4096],
    "ring.places": [9, 12],
    "ring.bounded_load": [0, 1.25, 2.0],
    "upstreams.policy": ["chash", "ordered", "least_outstanding"],
    "upstreams.servers": [
        _SERVERS,
        _SERVERS[:1],
        _SERVERS[1:],
        _SERVERS[::-1],
        [{**_SERVERS[0], "weight": 5}, _SERVERS[2]],
    ],
    "upstreams.timeout": ["200ms", "400ms", "800ms"],
    "cache.max_entries": [1, 50, 2000, 100_000],
    "cache.min_ttl": ["0s", "2s"],
    "cache.max_ttl": ["3s", "60s", "1d"],
    "cache.serve_stale": ["0s", "60s", "1d"],
    "cache.prefetch": [True, False],
    "kernel_cache.mode": ["off", "auto", "xdp", "tc"],
    "kernel_cache.max_size": ["64KiB", "1MiB", "16MiB"],
    "kernel_cache.max_answer": ["512B", "1232B"],
    "access.allow": [
        _EVERYBODY,
        _NO_STRANGER,
        [*_EVERYBODY, *(f"10.9.{number}.0/24" for number in range(200))],
    ],
    "log.level": ["debug", "info", "warning"],
    "limits.tcp_connections": [20, 1000],
    "limits.tcp_connections_per_client": [10, 100],
    "limits.pending": [FEW_PENDING, 20_000],
    "limits.pending_per_zone": [50, 2000],
    "limits.tcp_idle": ["1s", "10s"],
    "limits.tcp_queries_per_connection": [0, 5],
    "limits.tcp_memory": ["1MiB", "64MiB"],
    "limits.waiters_per_fetch": [50, 1000],
    "cache.max_size": ["1MiB", "64MiB"],
    "cache.rotate": [True, False],
    "edns.udp_size": [512, 1232],
    "identity.id": ["", "{worker}"],
    "identity.version": ["", "7"],
    "access.deny": ["refuse", "drop"],
    "admin.allow": [["10.1.0.0/24"], ["10.1.0.1/32", "127.0.0.0/8"]],
    "cache.max_entry_size": ["1KiB", "16KiB"],
}
_UNITS: Final = {"s": 1, "d": 86400}


def _seconds(text: str) -> int:
    return int(text[:-1]) * _UNITS[text[-1]]


def put(world: World, key: str, value: Any) -> Any:  # noqa: ANN401 - any key's
    """Put *value* at *key* into the config that will be saved; return that of before.

    None is for a key that is not there.
    """
    section, _, name = key.partition(".")
    if not name:
        before, world.config[section] = world.config.get(section), value
        return before
    fields = dict(world.config.get(section, {}))
    before = fields.pop(name, None)
    if value is not None:
        fields[name] = value
    world.config[section] = fields
    return before


def _announce(world: World, key: str, value: Any) -> None:  # noqa: ANN401 - any key's
    """Tell the rules what may be seen from now on."""
    rules = world.model
    if key == "cache.min_ttl":
        rules.largest_min_ttl_s = max(rules.largest_min_ttl_s, _seconds(value))
    elif key == "cache.max_ttl":
        rules.max_ttl_s = max(rules.max_ttl_s, _seconds(value))
    elif key == "access.allow":
        rules.stranger.begin(int(value != _NO_STRANGER), world.now())


def _settle(world: World, key: str, value: Any) -> None:  # noqa: ANN401 - any key's
    """Tell the rules what may be seen no more."""
    if key == "cache.max_ttl":
        world.model.max_ttl_s = _seconds(value)
        world.model.max_ttl_since_s = world.now()
    elif key == "access.allow":
        world.model.stranger.settle(world.now())
    elif key == "upstreams.servers":
        world.note_upstreams()


def _leave_one(world: World) -> None:
    """Put drained workers back if no other would be left, which is refused rightly."""
    if set(world.configured()) <= world.drained:
        for name in sorted(world.drained):
            world.ask("undrain", worker=name)
        world.drained.clear()


@dataclass(frozen=True)
class Edit(Operation):
    """Change one key."""

    key: str
    value: Any
    way: str

    share: ClassVar[int] = OFTEN

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        key = rng.choice(list(CHOICES))
        return cls(key, rng.choice(CHOICES[key]), rng.choice(WAYS))

    def apply(self, world: World) -> None:
        before = put(world, self.key, self.value)
        _leave_one(world)
        _announce(world, self.key, self.value)
        if self.key == "upstreams.servers":
            world.note_upstreams()
        result = world.reload(self.way)
        code, text = world.front.command("check")
        if (result == "success") != (code == 0) and not _wants_restart(world):
            wanted = "takes" if code == 0 else "refuses"
            told = f"{self.key}: {self.value!r}: reload {result}, check {wanted} it"
            raise BrokenError("reload and check agree", f"{told}: {text}")
        value = self.value
        if result != "success":
            put(world, self.key, before)
            value = before
            if world.reload(self.way) != "success":
                raise BrokenError("the config of before is taken again", self.key)
            if value is not None:
                _announce(world, self.key, value)
        if value is not None:
            _settle(world, self.key, value)
        world.expect_workers()


def _wants_restart(world: World) -> bool:
    """Return whether what is on disk is right, but nothing for a reload."""
    try:
        world.ask("reload")
    except ControlError as exc:
        return "want a restart" in str(exc)
    return False


@dataclass(frozen=True)
class Resize(Operation):
    """Change the workers several times in a row, without waiting for one."""

    counts: list[int]

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls([rng.randint(1, 6) for _ in range(rng.randint(1, 3))])

    def apply(self, world: World) -> None:
        for count in self.counts:
            put(world, "ring.workers", count)
            world.save()
            world.pause(0.05)
        put(world, "ring.method", "ring")
        _leave_one(world)
        if world.reload("command") != "success":
            raise BrokenError("workers may be resized", str(self.counts))
        world.expect_workers()


@dataclass(frozen=True)
class Drain(Operation):
    """Drain a worker, or put it back."""

    number: int
    is_back: bool

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.randint(0, 5), rng.random() < 0.6)

    def apply(self, world: World) -> None:
        if self.is_back and world.drained:
            self._undrain(world)
            return
        names = [x for x in world.configured() if x not in world.drained]
        name = names[self.number % len(names)]
        try:
            world.ask("drain", worker=name)
        except ControlError as exc:
            if "last worker" not in str(exc):
                raise BrokenError("a worker may be drained", str(exc)) from exc
        else:
            world.drained.add(name)
        world.expect_workers()

    def _undrain(self, world: World) -> None:
        name = sorted(world.drained)[self.number % len(world.drained)]
        try:
            world.ask("undrain", worker=name)
        except ControlError as exc:
            raise BrokenError("a worker may be put back", str(exc)) from exc
        world.drained.discard(name)
        world.expect_workers()


@dataclass(frozen=True)
class Flush(Operation):
    """Forget a name, a zone or everything: nothing older may be told after it."""

    what: str

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        names = [f"a{rng.randrange(60)}.up.test" for _ in range(2)]
        return cls(rng.choice((*names, "zone up.test", "all")))

    def apply(self, world: World) -> None:
        began_s = world.now()
        kind, _, zone = self.what.partition(" ")
        if kind == "all":
            world.ask("flush")
            suffix = ""
        elif zone:
            world.ask("flush", zone=zone)
            suffix = f".{zone}"
        else:
            world.ask("flush", qname=kind)
            suffix = kind
        world.model.flushed_s[suffix] = began_s
        # What is asked between the two may be answered from before the flush.
        world.pause(0.2)


@dataclass(frozen=True)
class Restart(Operation):
    """Have a new process take over, by command or by starting one."""

    by: str

    share: ClassVar[int] = SOMETIMES

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        return cls(rng.choice(("command", "takeover")))

    def apply(self, world: World) -> None:
        old = world.front.program
        if self.by == "takeover":
            world.front.take_over()
        else:
            try:
                pid = world.ask("restart")["pid"]
            except ControlError as exc:
                raise BrokenError("a restart succeeds", str(exc)) from exc
            world.eventually(lambda: old.exit_code == 0, "the old process goes", 20)
            world.adopt(pid)
        if is_running(old.pid):
            raise BrokenError("the old process is gone", str(old.pid))
        world.expect_workers()


@dataclass(frozen=True)
class Home(Operation):
    """Go back to the config of the start, with all in order and nothing cached."""

    share: ClassVar[int] = RARELY

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        del rng
        return cls()

    def apply(self, world: World) -> None:
        from tests.soak.invariants import check_flat  # noqa: PLC0415 - a circle

        world.undo_what_is_due(is_all=True)
        world.resolvers.modes = ["good"] * len(ADDRESSES)
        for worker in sorted(world.drained):
            if worker in world.configured():
                world.ask("undrain", worker=worker)
        world.drained.clear()
        world.config = home(world.folder)
        rules = world.model
        rules.max_ttl_s = 86400
        rules.stranger.begin(1, world.now())
        for zone in model.ZONES:
            version = world.write_zone(zone)
            if zone != model.ZONES[3]:
                rules.zones[zone].begin(version, world.now())
            else:
                rules.zones[zone].begin(None, world.now())
        if world.reload("command") != "success":
            raise BrokenError("the first config is taken again", world.config_text())
        rules.stranger.settle(world.now())
        world.note_upstreams()
        world.expect_workers()
        for zone in model.ZONES:
            world.expect_zone(zone)
        world.expect_misses()
        Flush("all").apply(world)
        check_flat(world)
