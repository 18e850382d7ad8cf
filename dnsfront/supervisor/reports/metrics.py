"""Every metric, made at scrape time from the shared pages and the kernel's counters.

Nothing is kept here: a metric is as right as what it is read from.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from dnsfront import __version__
from dnsfront.ipc import stats
from dnsfront.kernel.layouts import layout
from dnsfront.supervisor.admin.http import AdminCounts
from dnsfront.supervisor.change.in_force import InForce
from dnsfront.supervisor.change.outcome import Outcome
from dnsfront.supervisor.kernel_cache.kernel_cache import KernelCache
from dnsfront.supervisor.reports.counted import counted
from dnsfront.supervisor.reports.families import (
    add,
    by_metric,
    counter,
    family_of,
    gauge,
)
from dnsfront.supervisor.reports.readiness import DRAINED, Readiness
from dnsfront.supervisor.sockets.datapath import Datapath
from dnsfront.supervisor.upstreams.registry import Known, UpstreamRegistry
from dnsfront.supervisor.workers.roster import Roster
from dnsfront.supervisor.workers.state import State
from dnsfront.supervisor.zones.secondaries import Secondaries

#: Bounds of the admin endpoint are shown with those of workers.
_LIMIT_REACHED: Final = stats.Limit.CACHE_SIZE.metric


_OF_WORKERS: Final = by_metric(stats.PAGE_WORDS)
_OF_UPSTREAMS: Final = by_metric(stats.Upstream)

#: What is told of pools too, and the word that it is made from.
_OF_POOLS: Final = {
    stats.Metric(
        word.metric.name.replace("upstream_", "pool_"),
        word.metric.text,
        ("pool",),
        word.metric.kind,
    ): word
    for word in (
        stats.Upstream.REQUESTS,
        stats.Upstream.FAILURES,
        stats.Upstream.DURATION,
    )
}
Exposition = Callable[[str], tuple[bytes, str]]


def exposition(
    *,
    in_force: InForce,
    outcome: Outcome,
    datapath: Datapath,
    kernel_cache: KernelCache,
    roster: Roster,
    upstreams: UpstreamRegistry,
    readiness: Readiness,
    admin: AdminCounts,
    secondaries: Secondaries,
) -> Exposition:
    """Return a function from an Accept header to the metrics and their content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        _FrontCollector(
            in_force,
            outcome,
            datapath,
            kernel_cache,
            roster,
            upstreams,
            readiness,
            admin,
            secondaries,
        )
    )

    def expose(accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    return expose


@dataclass(frozen=True, eq=False)
class _FrontCollector(Collector):
    """Reads the parts of one front end; nothing is left between two scrapes."""

    in_force: InForce
    outcome: Outcome
    datapath: Datapath
    kernel_cache: KernelCache
    roster: Roster
    upstreams: UpstreamRegistry
    readiness: Readiness
    admin: AdminCounts
    secondaries: Secondaries

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        yield InfoMetricFamily(
            "dnsfront_build",
            "What runs.",
            value={"version": __version__, "python": platform.python_version()},
        )
        yield from self._page_metrics()
        yield from self._worker_metrics()
        yield from self._upstream_metrics()
        yield from self._kernel_metrics()
        yield from self._kernel_cache_metrics()
        yield from self._ring_metrics()
        lists = self.in_force.candidate.lists.values()
        left_out = {str(x.path): x.left_out for x in lists}
        text = "Lines of a list that say nothing of a name."
        yield gauge("list_lines_left_out", text, "file", left_out)
        fresh = {
            x["origin"]: int(x["state"] == "fresh") for x in self.secondaries.report()
        }
        text = (
            "0 while a zone's primary cannot be reached, or says what is not the zone."
        )
        yield gauge("zone_fresh", text, "zone", fresh)
        yield from self._reload_metrics()

    def _page_metrics(self) -> Iterator[Metric]:
        pages = {name: tally.words for name, tally in self.roster.tallies.items()}
        in_kernel = self.roster.kernel_hits()
        readers = {name: counted(x, in_kernel[name]) for name, x in pages.items()}

        def read_all(at: int) -> int:
            return sum(page[at] for page in pages.values())

        for metric, words in _OF_WORKERS.items():
            family = family_of(metric)
            if "worker" in metric.labels:
                for worker, word in product(readers, words):
                    add(family, (worker,), word, readers[worker])
            else:
                for word in words:
                    add(family, (), word, read_all)
            if metric is _LIMIT_REACHED and isinstance(family, CounterMetricFamily):
                for limit, reached in self.admin.reached.items():
                    family.add_metric((limit,), reached)
            yield family

    def _worker_metrics(self) -> Iterator[Metric]:
        tallies = self.roster.tallies.items()
        steered = {name: tally.steered for name, tally in tallies}
        dropped = {name: tally.dropped for name, tally in tallies}
        backlogs = dict.fromkeys(steered, 0)
        for worker in self.roster:
            name, worker_id = worker.name, worker.worker_id
            steered[name] += self.datapath.steering.steered(worker_id)
            dropped[name] += self.datapath.groups.dropped(worker_id)
            backlogs[name] = self.datapath.steering.backlog(worker_id)
        restarts = {name: tally.restarts for name, tally in tallies}
        yield counter("steered", "Datagrams steered to it.", "worker", steered)
        yield counter(
            "socket_drops", "Datagrams that found its socket full.", "worker", dropped
        )
        yield counter(
            "worker_restarts", "Starts of the worker after a death.", "worker", restarts
        )
        yield gauge("worker_backlog", "Datagrams waiting for it.", "worker", backlogs)
        yield from self._state_metrics()

    def _state_metrics(self) -> Iterator[Metric]:
        """Yield how configured workers are; of others there is nothing to expect."""
        states = self.readiness.states()
        # Who was told to leave, and nobody else, drains or is drained.
        serving = {State.UP.value, State.DRAINING.value, DRAINED}
        yield gauge(
            "worker_up",
            "1 for a configured worker that serves, or was drained on purpose.",
            "worker",
            {name: int(state in serving) for name, state in states.items()},
        )
        yield gauge(
            "cache_max_size_bytes",
            "What cache.max_size allows.",
            "worker",
            dict.fromkeys(states, self.in_force.candidate.config.cache.max_size_octets),
        )
        family = GaugeMetricFamily(
            "dnsfront_worker_state",
            "1 for the state that a configured worker is in.",
            labels=("worker", "state"),
        )
        for name, state in states.items():
            for value in (*State, DRAINED):
                family.add_metric((name, str(value)), int(state == value))
        yield family

    def _upstream_metrics(self) -> Iterator[Metric]:
        known = self.upstreams.known()
        counts = [self.upstreams.counts(upstream.index) for upstream in known]
        sums = _sums((x.text, words) for x, words in zip(known, counts, strict=True))
        families = {}
        for metric, words in _OF_UPSTREAMS.items():
            family = families[metric.name] = family_of(metric)
            for word, text in product(words, sums):
                add(family, (text,), word, sums[text].__getitem__)
        durations = families.pop("upstream_duration_seconds")
        yield from families.values()
        is_up = {
            (name, server.text): int(self.upstreams.is_up(index))
            for name, pool in self.in_force.candidate.config.used_pools.items()
            for server, index in zip(
                pool.servers, self.upstreams.indices(pool.servers, name), strict=True
            )
        }
        # One that a pool passes over is to be looked at, whatever others think of it.
        texts = dict.fromkeys(text for _pool, text in is_up)
        yield gauge(
            "upstream_up",
            "1 for an upstream that is asked: it answers queries, or at least probes.",
            "upstream",
            {x: min(up for (_, text), up in is_up.items() if text == x) for x in texts},
        )
        yield durations
        yield from _pool_metrics(
            _sums((x.pool, words) for x, words in zip(known, counts, strict=True))
        )
        family = GaugeMetricFamily(
            "dnsfront_pool_upstream_up",
            "1 for an upstream that its pool asks.",
            labels=("pool", "upstream"),
        )
        for labels, up in is_up.items():
            family.add_metric(labels, up)
        yield family
        yield self._disbelief(known)

    def _disbelief(self, known: list[Known]) -> Metric:
        family = GaugeMetricFamily(
            "dnsfront_upstream_not_believed",
            "1 for an upstream that does not prove over TLS who it is, and why.",
            labels=("pool", "upstream", "fault"),
        )
        for upstream in known:
            error = self.upstreams.tls_fault(upstream.index)
            if error is not None:
                family.add_metric((upstream.pool, upstream.text, error.fault), 1)
        return family

    def _kernel_metrics(self) -> Iterator[Metric]:
        yield gauge(
            "steering_info",
            "1 for how names are steered: by ebpf, or in userspace, which costs more.",
            "mode",
            {self.datapath.steering.mode: 1},
        )
        comments = layout("steering").comments
        outcomes = "; ".join(f"{name}: {text}" for name, text in comments.items())
        yield counter(
            "steering",
            f"Datagrams and connections by what the program did. {outcomes}",
            "outcome",
            self.datapath.steering.counters(),
        )

    def _kernel_cache_metrics(self) -> Iterator[Metric]:
        tallies, cache = self.roster.tallies, self.kernel_cache
        yield counter(
            "kernel_cache_hits",
            "Queries answered in the kernel, in the name of the owner.",
            "worker",
            {name: hits.total() for name, hits in self.roster.kernel_hits().items()},
        )
        yield GaugeMetricFamily(
            "dnsfront_kernel_cache_entries",
            "Responses that the kernel gives.",
            value=tallies.sum_of(stats.Counter.KERNEL_ENTRIES),
        )
        yield GaugeMetricFamily(
            "dnsfront_kernel_cache_size_bytes",
            "Memory of these responses.",
            value=tallies.sum_of(stats.Counter.KERNEL_OCTETS),
        )
        reasons = "; ".join(f"{x}: {y}" for x, y in layout("passed").comments.items())
        yield counter(
            "kernel_cache_passed",
            f"Packets that the kernel did not answer. {reasons}",
            "reason",
            cache.passed(),
        )
        yield gauge(
            "kernel_cache_attached",
            "1 for an interface at which the kernel answers, 0 where it cannot.",
            "interface",
            {x["name"]: int(x["hook"] is not None) for x in cache.interfaces()},
        )

    def _ring_metrics(self) -> Iterator[Metric]:
        owned = self.in_force.candidate.table.slots_of()
        slots = {name: owned.get(name, 0) for name in self.roster.tallies}
        yield gauge("ring_slots", "Slots that it owns.", "worker", slots)
        yield GaugeMetricFamily(
            "dnsfront_ring_generation",
            "Number of the published slot table.",
            value=self.datapath.publisher.generation,
        )
        yield CounterMetricFamily(
            "dnsfront_ring_slots_moved",
            "Slots that got another owner.",
            value=self.datapath.publisher.slots_moved,
        )

    def _reload_metrics(self) -> Iterator[Metric]:
        reloads = self.outcome
        yield counter(
            "config_reloads",
            "Reloads of the config, and what came of them.",
            "result",
            {"success": reloads.success, "failure": reloads.failure},
        )
        yield GaugeMetricFamily(
            "dnsfront_config_last_reload_success_timestamp_seconds",
            "When the config in force was read.",
            value=reloads.last_success_at,
        )
        yield GaugeMetricFamily(
            "dnsfront_config_last_reload_successful",
            "1, or 0 while the config on disk is refused and the one before serves.",
            value=int(reloads.refused is None),
        )


def _sums(counts: Iterable[tuple[str, list[int]]]) -> dict[str, list[int]]:
    """Return the sums of the words that were counted of each."""
    sums: dict[str, list[int]] = {}
    for key, words in counts:
        before = sums.get(key, [0] * len(words))
        sums[key] = [x + y for x, y in zip(before, words, strict=True)]
    return sums


def _pool_metrics(sums: dict[str, list[int]]) -> Iterator[Metric]:
    """Yield what the upstreams of each pool come to, of which *sums* has the words."""
    for metric, word in _OF_POOLS.items():
        family = family_of(metric)
        for pool, words in sums.items():
            add(family, (pool,), word, words.__getitem__)
        yield family
