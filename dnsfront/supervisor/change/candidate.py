"""What a config file asks for, read and validated to the last record, and not applied.

A front end is started from a candidate and reloaded with one. Whatever is wrong is told
before anything is touched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from dnsfront import __version__
from dnsfront.config.load import load
from dnsfront.config.model import Config
from dnsfront.dns.settings import CacheSettings
from dnsfront.errors import ControlError
from dnsfront.ipc.spec import (
    AccessSettings,
    EdnsSettings,
    ForwardRule,
    IdentitySettings,
    Limits,
    Listener,
    LogSettings,
    PoolSettings,
    RuleSettings,
    UpstreamServer,
    WorkerSpec,
)
from dnsfront.ring.qhash import hash_key
from dnsfront.ring.table import SlotTable, build
from dnsfront.supervisor.change.sources import Sources
from dnsfront.supervisor.zones.files import LoadedZone, ZoneFiles
from dnsfront.supervisor.zones.lists import LoadedList

#: The transports of an address that names none.
_PLAIN: Final = ("udp", "tcp")


@dataclass(frozen=True)
class Candidate:
    """A valid config, its zones, and the table of the workers that may own slots."""

    config: Config
    zones: tuple[LoadedZone, ...]
    lists: Mapping[Path, LoadedList]
    table: SlotTable
    sources: Sources = field(default_factory=Sources, compare=False)

    @property
    def loaded(self) -> tuple[LoadedZone | LoadedList, ...]:
        """The zones and the lists, which a config to come may want again."""
        return (*self.zones, *self.lists.values())

    @property
    def worker_names(self) -> tuple[str, ...]:
        """The workers that are to run, in the order of the config."""
        running = {worker.name for worker in self.table.workers}
        return tuple(w.name for w in self.config.ring.workers if w.name in running)

    def listeners(self) -> tuple[Listener, ...]:
        """Return what is served; the numbers are still open.

        Each address of the config is served over all of `_PLAIN`.
        """
        return tuple(
            Listener(x.host, x.port, x.family, transport, x.is_wildcard, index=index)
            for index, x in enumerate(self.config.listen)
            for transport in _PLAIN
        )

    def _rules(self) -> Iterator[RuleSettings]:
        for number, rule in enumerate(self.config.rules, 1):
            match = rule.match
            names: tuple[str, ...] = ()
            image = None
            if match.suffixes is not None:
                names, file = match.suffixes.names, match.suffixes.file
                image = None if file is None else self.lists[file].image
            yield rule.record(
                RuleSettings,
                number=number,
                clients=match.clients,
                transport=match.transport,
                types=match.types,
                names=names,
                image=image,
            )

    def spec(
        self,
        listeners: Sequence[Listener],
        servers: Mapping[str, tuple[UpstreamServer, ...]],
        steering: str,
    ) -> WorkerSpec:
        """Return what all workers act on; the name and the worker_id are still open.

        *servers* has those of each pool that is used.
        """
        config = self.config
        default, *pools = (
            pool.record(PoolSettings, servers=servers[name], name=name)
            for name, pool in config.used_pools.items()
        )
        return WorkerSpec(
            worker_id=0,
            name="",
            listeners=tuple(listeners),
            hash_key_hex=hash_key(config.ring.seed).hex(),
            steering=steering,
            upstreams=default,
            zones=tuple(zone.image for zone in self.zones),
            rules=tuple(self._rules()),
            special_names=self.config.special_names.in_force,
            cache=config.cache.record(CacheSettings),
            edns=config.edns.record(EdnsSettings),
            identity=config.identity.record(
                IdentitySettings,
                version=config.identity.version.replace("{version}", __version__),
            ),
            limits=config.limits.record(Limits),
            access=config.access.record(AccessSettings),
            log=config.log.record(LogSettings),
            pools=tuple(pools),
            forward=tuple(
                ForwardRule(suffix, destination)
                for suffix, destination in config.destinations.items()
            ),
        )


def read(
    path: Path,
    drained: Collection[str] = (),
    zone_files: ZoneFiles | None = None,
    sources: Sources | None = None,
) -> Candidate:
    """Return the candidate in the file at *path*, without the workers in *drained*.

    *zone_files* may know zones of before, and can be stopped. *sources* is told of
    every file before it is read, even if nothing comes of it.

    Raises:
        ConfigError: with every mistake, those of zone files included.
        RingError: nobody would be left to own slots.
    """
    zone_files = zone_files or ZoneFiles()
    sources = Sources() if sources is None else sources
    zone_files.notice = sources.note
    config = load(path, inspect=zone_files, notice=sources.note)
    table = table_without(config, drained)
    return Candidate(config, tuple(zone_files.zones), zone_files.lists, table, sources)


def table_without(config: Config, drained: Collection[str]) -> SlotTable:
    """Return the table of all workers of *config* but those in *drained*.

    Raises:
        RingError: nobody is left.
    """
    ring = config.ring
    workers = [worker for worker in ring.workers if worker.name not in drained]
    if len(workers) == len(ring.workers):
        return ring.table()
    return build(
        workers,
        method=ring.method,
        slots=ring.slots,
        vnodes=ring.vnodes,
        seed=ring.seed,
        places=ring.places,
    )


def without(wanted: Candidate, names: Collection[str]) -> Candidate:
    """Return *wanted* without the workers *names*.

    Raises:
        RingError: nobody is left.
    """
    return replace(wanted, table=table_without(wanted.config, names))


def check_applicable(before: Candidate, after: Candidate) -> None:
    """Refuse *after* where it needs another kernel program or control socket.

    Raises:
        ControlError: naming every key that only a restart can change.
    """
    old, new = before.config, after.config
    keys = [
        key
        for key, was, wanted in (
            ("ring.slots", old.ring.slots, new.ring.slots),
            ("ring.seed", old.ring.seed, new.ring.seed),
            ("admin.socket", old.admin.socket, new.admin.socket),
        )
        if was != wanted
    ]
    if not keys and before.table.slots != after.table.slots:
        # The exact method rounds slots down, to a number that depends on its places.
        is_other = old.ring.method != new.ring.method
        keys = ["ring.method" if is_other else "ring.places"]
    if keys:
        raise ControlError(
            f"{', '.join(keys)}: changed, want a restart for that (`dnsfront restart` "
            "makes no gap); nothing was applied"
        )
