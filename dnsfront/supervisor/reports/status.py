"""What the front end tells about itself: status, the ring, and where names belong."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from dnsfront.config.sections.upstreams import ServerEntry
from dnsfront.dns.names import qname_from_text
from dnsfront.errors import ControlError, TlsError, WireError
from dnsfront.ipc.stats import QUERIES, Counter, Ruled, Upstream
from dnsfront.ring.qhash import hash_key
from dnsfront.supervisor.change.in_force import InForce
from dnsfront.supervisor.change.outcome import Outcome
from dnsfront.supervisor.change.progress import Progress
from dnsfront.supervisor.host import form
from dnsfront.supervisor.host.phase import Life
from dnsfront.supervisor.kernel_cache.kernel_cache import KernelCache
from dnsfront.supervisor.reports.counted import counted
from dnsfront.supervisor.reports.lookup import Destined, look_up
from dnsfront.supervisor.reports.readiness import Readiness
from dnsfront.supervisor.sockets.datapath import Datapath
from dnsfront.supervisor.upstreams.registry import UpstreamRegistry
from dnsfront.supervisor.workers.roster import Roster
from dnsfront.supervisor.workers.tally import KernelHits, Tally
from dnsfront.supervisor.workers.worker import Worker
from dnsfront.supervisor.zones.secondaries import Secondaries


class Reports:
    """Looks at every part, and changes none."""

    def __init__(
        self,
        life: Life,
        in_force: InForce,
        outcome: Outcome,
        progress: Progress,
        datapath: Datapath,
        kernel_cache: KernelCache,
        roster: Roster,
        upstreams: UpstreamRegistry,
        readiness: Readiness,
        secondaries: Secondaries,
    ) -> None:
        self._life = life
        self._in_force = in_force
        self._outcome = outcome
        self._progress = progress
        self._datapath = datapath
        self._kernel_cache = kernel_cache
        self._roster = roster
        self._upstreams = upstreams
        self._readiness = readiness
        self._secondaries = secondaries

    def status(self) -> dict[str, Any]:
        """Return the shape of `dnsfront status --json`."""
        config, table = self._in_force.candidate.config, self._in_force.candidate.table
        owned = table.slots_of()
        running = {worker.name: worker for worker in self._roster}
        in_kernel = self._roster.kernel_hits()
        configured = {worker.name: worker for worker in config.ring.workers}
        workers = [
            {
                "name": name,
                "slots": owned.get(name, 0),
                "share": owned.get(name, 0) / table.slots,
                "standby": name in configured and configured[name].standby,
                **self._process(name, running.get(name)),
                **_traffic(self._roster.tallies.of(name), in_kernel[name]),
            }
            for name in [*configured, *(running.keys() - configured.keys())]
        ]
        return {
            "generation": self._datapath.publisher.generation,
            "phase": self._life.phase.value,
            "config": self._config(),
            "listen": [str(address) for address in config.listen],
            "workers": workers,
            "upstreams": self._servers(),
            "pools": self._pools(),
            "forward": config.destinations,
            "rules": self._rules(),
            "kernel": {
                "steering": self._datapath.steering.mode,
                "answers": (
                    self._kernel_cache.mode if self._kernel_cache.is_on else "off"
                ),
                "reason": self._datapath.degraded,
            },
            "kernel_cache": {
                **self._kernel_cache.report(),
                "hits": sum(hits.total() for hits in in_kernel.values()),
                "entries": self._roster.tallies.sum_of(Counter.KERNEL_ENTRIES),
                "size_bytes": self._roster.tallies.sum_of(Counter.KERNEL_OCTETS),
            },
            "secondary_zones": self._secondaries.report(),
            "query_path": form.query_path(),
            "change": self._change(),
            "not_ready": self._readiness.lacks(),
        }

    def _config(self) -> dict[str, Any]:
        refused = self._outcome.refused
        return {
            "path": str(self._in_force.candidate.config.path),
            "refused": None if refused is None else refused.summary(),
            "notes": [] if refused is None else refused.lines(),
        }

    def _change(self) -> dict[str, Any] | None:
        """Return how far the change under way is, None where there is none."""
        step = self._progress.step
        if step is None:
            return None
        words = [self._roster.tallies.of(name).words for name in self._roster.names]
        moved = words if step.is_transfer else []
        return {
            "step": step.text,
            "for_s": time.monotonic() - step.since,
            "workers": list(step.workers),
            "entries": sum(word[Counter.TRANSFER_ENTRIES] for word in moved),
            "entries_sent": sum(word[Counter.TRANSFER_SENT] for word in moved),
        }

    def _rules(self) -> list[dict[str, Any]]:
        """Return what rules have decided, and what their lists hold."""
        candidate = self._in_force.candidate
        rules = []
        for at, rule in enumerate(candidate.config.rules):
            suffixes = rule.match.suffixes
            file = None if suffixes is None else suffixes.file
            loaded = None if file is None else candidate.lists[file]
            rules.append(
                {
                    "number": at + 1,
                    "name": rule.name or None,
                    "action": rule.action,
                    "hits": self._roster.tallies.sum_of(Ruled.FIRST + at),
                    "file": None if file is None else str(file),
                    "names": None if loaded is None else loaded.names,
                    "lines_left_out": 0 if loaded is None else loaded.left_out,
                    "left_out": [] if loaded is None else list(loaded.told),
                }
            )
        return rules

    def ring(self) -> dict[str, Any]:
        """Return the shape of `dnsfront ring --json`, of the table that is in force."""
        candidate = self._in_force.candidate
        generation = self._datapath.publisher.generation
        summary = candidate.table.summary(candidate.config.ring.workers)
        return {**summary, "generation": generation}

    def lookup(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """Return the shape of `dnsfront lookup --json`; owners are those that serve.

        Raises:
            ControlError: one of *names* is none.
        """
        ids = self._datapath.steering.live_ids()
        live = {worker.name for worker in self._roster if worker.worker_id in ids}
        table = self._in_force.candidate.table
        key = hash_key(self._in_force.candidate.config.ring.seed)
        try:
            placed = [look_up(name, table, key, live) for name in names]
            worker_ids = self._roster.ids
            destined = Destined(self._in_force.candidate.config, self._is_up)
            for where in placed:
                where["forward"] = destined.of(where["name"])
                worker_id = worker_ids.get(where["owner"], 0)
                qname = qname_from_text(where["name"])
                where["in_kernel"] = self._kernel_cache.types_of(qname, worker_id)
        except WireError as exc:
            raise ControlError(f"lookup: {exc}") from exc
        return placed

    def _process(self, name: str, worker: Worker | None) -> dict[str, Any]:
        if worker is None:
            return {
                "worker_id": None,
                "pid": None,
                "state": self._readiness.absence(name),
                "reason": None,
                "backlog": 0,
                "draining_for_s": None,
                "drain_within_s": None,
            }
        since = worker.draining_since
        return {
            "worker_id": worker.worker_id,
            "pid": worker.pid,
            "state": worker.state.value,
            "reason": worker.refused,
            "backlog": self._datapath.steering.backlog(worker.worker_id),
            "draining_for_s": None if since is None else time.monotonic() - since,
            "drain_within_s": None if since is None else self._roster.drain_timeout_s,
        }

    def _servers(self) -> list[dict[str, Any]]:
        return [
            {
                "address": server.text,
                "pool": name,
                "up": self._upstreams.is_up(index),
                **_why_down(self._upstreams.why_down(index)),
                "tls": server.tls
                and {
                    "name": server.tls.name,
                    **_fault(self._upstreams.tls_fault(index)),
                },
                "requests": counts[Upstream.REQUESTS],
                "failures": counts[Upstream.FAILURES],
            }
            for name, pool in self._in_force.candidate.config.used_pools.items()
            for server, index in zip(
                pool.servers, self._upstreams.indices(pool.servers, name), strict=True
            )
            for counts in [self._upstreams.counts(index)]
        ]

    def _pools(self) -> list[dict[str, Any]]:
        config, servers = self._in_force.candidate.config, self._servers()
        return [
            {
                "name": name,
                "policy": pool.policy,
                "suffixes": [x for x, y in config.destinations.items() if y == name],
                "servers": len(own),
                "up": sum(server["up"] for server in own),
                "requests": sum(server["requests"] for server in own),
                "failures": sum(server["failures"] for server in own),
            }
            for name, pool in config.used_pools.items()
            for own in [[server for server in servers if server["pool"] == name]]
        ]

    def _is_up(self, pool: str, server: ServerEntry) -> bool:
        return self._upstreams.is_up(*self._upstreams.indices([server], pool))


def _traffic(tally: Tally, in_kernel: KernelHits) -> dict[str, Any]:
    words, read = tally.words, counted(tally.words, in_kernel)
    requests = read(Counter.CACHE_REQUESTS)
    return {
        "queries": sum(read(word) for word in QUERIES.values()),
        "hit_ratio": read(Counter.CACHE_HITS) / requests if requests else None,
        "kernel_hits": in_kernel.total(),
        "cache_entries": words[Counter.CACHE_ENTRIES],
        "cache_bytes": words[Counter.CACHE_OCTETS],
        "pending": words[Counter.PENDING],
        "connections": words[Counter.TCP_OPEN],
        "restarts": tally.restarts,
    }


def _fault(error: TlsError | None) -> dict[str, str | None]:
    """Return why an upstream is not believed; both are None for one that is."""
    if error is None:
        return {"fault": None, "reason": None}
    return {"fault": error.fault, "reason": str(error)}


def _why_down(why: tuple[str, float] | None) -> dict[str, Any]:
    if why is None:
        return {"down_by": None, "down_since": None}
    reason, since_s = why
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since_s))
    return {"down_by": reason, "down_since": since}
