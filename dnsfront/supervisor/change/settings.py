"""What of a config concerns no worker's process, and the spec that concerns all."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from dnsfront import logs
from dnsfront.config.sections.upstreams import ServerEntry, Upstreams
from dnsfront.ipc.spec import WorkerSpec
from dnsfront.supervisor.change.candidate import Candidate
from dnsfront.supervisor.kernel_cache.kernel_cache import KernelCache
from dnsfront.supervisor.sockets.datapath import Datapath
from dnsfront.supervisor.upstreams.health import HealthChecker
from dnsfront.supervisor.upstreams.probe import ProbeForm
from dnsfront.supervisor.upstreams.registry import UpstreamRegistry
from dnsfront.supervisor.zones.secondaries import Secondaries

_LOG = logging.getLogger(__name__)

#: Datagrams that may wait for a worker whatever the mean is: some 2 ms of work.
_BACKLOG_FLOOR: Final = 256


class Settings:
    """Puts the settings of a candidate in force: in the kernel, of probes, the log.

    *cookie_secret*, in hex, is what cookies are made with where the config has none.
    """

    def __init__(
        self,
        datapath: Datapath,
        kernel_cache: KernelCache,
        upstreams: UpstreamRegistry,
        health: HealthChecker,
        secondaries: Secondaries,
        cookie_secret: str,
    ) -> None:
        self.cookie_secret = cookie_secret
        self._datapath = datapath
        self._kernel_cache = kernel_cache
        self._upstreams = upstreams
        self._health = health
        self._secondaries = secondaries
        self._warned: frozenset[tuple[str, str]] = frozenset()

    def apply(self, candidate: Candidate) -> None:
        """Put in force what of *candidate* concerns no worker's process."""
        config = candidate.config
        logs.set_level(config.log.level)
        self._warn(candidate)
        permille = round(config.ring.bounded_load * 1000)
        self._datapath.steering.set_bound(permille, _BACKLOG_FLOOR)
        listeners = self._datapath.groups.numbered(candidate.listeners())
        self._kernel_cache.apply(config, listeners)
        pools = config.used_pools
        self._secondaries.apply(config)
        forms = {name: _probe_form(name, pool) for name, pool in pools.items()}
        assigned = self._upstreams.assign_all(_servers(pools))
        self._health.watch(
            (server, forms[name])
            for name, servers in assigned.items()
            for server in servers
        )

    def spec(self, candidate: Candidate) -> WorkerSpec:
        """Return what all workers act on when *candidate* is in force."""
        pools = candidate.config.used_pools
        servers = self._upstreams.assign_all(_servers(pools))
        listeners = self._datapath.groups.numbered(candidate.listeners())
        spec = candidate.spec(listeners, servers, self._datapath.steering.mode)
        if spec.edns.cookie_secrets:
            return spec
        edns = replace(spec.edns, cookie_secrets=(self.cookie_secret,))
        return replace(spec, edns=edns)

    def _warn(self, candidate: Candidate) -> None:
        """Log what is hardly meant in the config, each thing once while it stays."""
        told = {(x.key, x.text): x for x in candidate.config.told}
        for what, warning in told.items():
            if what not in self._warned:
                _LOG.warning(
                    "config_warning path=%s line=%d key=%s reason=%s",
                    candidate.config.path, warning.line, *what,
                )  # fmt: skip
        self._warned = frozenset(told)


def _servers(pools: Mapping[str, Upstreams]) -> dict[str, tuple[ServerEntry, ...]]:
    return {name: pool.servers for name, pool in pools.items()}


def _probe_form(name: str, pool: Upstreams) -> ProbeForm:
    check = pool.health
    return ProbeForm(
        name=check.name,
        type=check.type,
        interval_s=check.interval_s,
        rise=check.rise,
        fall=check.fall,
        timeout_s=pool.timeout_s,
        slow_start_s=check.slow_start_s,
        pool=name,
    )
