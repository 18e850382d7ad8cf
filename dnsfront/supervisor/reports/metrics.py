"""Every metric, made at scrape time from the shared pages and the kernel's counters.

The only user of prometheus-client. Nothing is kept here: a metric is as right as what
it is read from.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from dnsfront import __version__
from dnsfront.ipc.stats import (
    BUCKET_BOUNDS_S,
    BUCKETS,
    RCODES,
    Counter,
    Limit,
    Source,
    Upstream,
    histogram_at,
)
from dnsfront.kernel.layouts import layout
from dnsfront.supervisor.admin.http import AdminCounts
from dnsfront.supervisor.change.in_force import InForce
from dnsfront.supervisor.change.outcome import Outcome
from dnsfront.supervisor.reports.readiness import DRAINED, Readiness
from dnsfront.supervisor.sockets.datapath import Datapath
from dnsfront.supervisor.upstreams.registry import UpstreamRegistry
from dnsfront.supervisor.workers.roster import Roster
from dnsfront.supervisor.workers.state import State

#: Mnemonics of RFC 6895, 2.3 in the order of the words of a page.
_RCODE_NAMES: Final = (
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN",
    "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE", "DSOTYPENI", "RCODE12", "RCODE13",
    "RCODE14", "RCODE15", "BADVERS", "OTHER",
)  # fmt: skip
assert len(_RCODE_NAMES) == RCODES

#: One word of a page, one metric: what it is called, its help, and which word it is.
_PLAIN_COUNTERS: Final = (
    ("cache_requests", "Cache look-ups.", Counter.CACHE_REQUESTS),
    ("cache_hits", "Cache look-ups that found a response.", Counter.CACHE_HITS),
    ("cache_stale", "Responses given after they expired.", Counter.CACHE_STALE),
    ("cache_evictions", "Entries dropped to make room.", Counter.CACHE_EVICTIONS),
    ("cache_prefetches", "Entries fetched anew early.", Counter.CACHE_PREFETCHES),
    ("cache_adopted", "Entries taken from the owner before.", Counter.CACHE_ADOPTED),
    ("coalesced_queries", "Queries that joined a pending one.", Counter.COALESCED),
    ("refused_queries", "Queries from clients not allowed.", Counter.REFUSED),
    ("tcp_connections", "TCP connections accepted.", Counter.TCP_CONNECTIONS),
    ("tcp_refused_connections", "TCP connections over a limit.", Counter.TCP_REFUSED),
    ("send_errors", "Responses that the kernel did not take.", Counter.SEND_ERRORS),
    ("exceptions", "Faults of ours that were survived.", Counter.EXCEPTIONS),
)  # fmt: skip
_PLAIN_GAUGES: Final = (
    ("cache_entries", "Responses in the cache.", Counter.CACHE_ENTRIES),
    ("cache_size_bytes", "Memory of these responses.", Counter.CACHE_OCTETS),
    ("pending_queries", "Queries sent to upstreams and not matched.", Counter.PENDING),
)  # fmt: skip
#: One word of a page, one value of a label.
_LABELLED_COUNTERS: Final[tuple[tuple[str, str, str, Mapping[str, int]], ...]] = (
    (
        "queries",
        "Queries received.",
        "transport",
        {"udp": Counter.QUERIES_UDP, "tcp": Counter.QUERIES_TCP},
    ),
    (
        "ignored_datagrams",
        "Messages that get no response.",
        "reason",
        {
            "short": Counter.IGNORED_SHORT,
            "response": Counter.IGNORED_RESPONSE,
            "denied": Counter.IGNORED_DENIED,
        },
    ),
)
_HANDOVERS: Final = {
    "tcp": Counter.HANDOVER_TCP,
    "misplaced": Counter.HANDOVER_MISPLACED,
    "userspace": Counter.HANDOVER_USERSPACE,
    "failed": Counter.HANDOVER_FAILED,
    "refused": Counter.HANDOVER_REFUSED,
}
_PORT_REASONS: Final = {
    "error": Upstream.PORTS_ERROR,
    "silent": Upstream.PORTS_SILENT,
    "age": Upstream.PORTS_AGE,
    "worn": Upstream.PORTS_WORN,
}

Exposition = Callable[[str], tuple[bytes, str]]


def exposition(
    *,
    in_force: InForce,
    outcome: Outcome,
    datapath: Datapath,
    roster: Roster,
    upstreams: UpstreamRegistry,
    readiness: Readiness,
    admin: AdminCounts,
) -> Exposition:
    """Return a function from an Accept header to the metrics and their content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        _FrontCollector(
            in_force, outcome, datapath, roster, upstreams, readiness, admin
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
    roster: Roster
    upstreams: UpstreamRegistry
    readiness: Readiness
    admin: AdminCounts

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
        yield from self._ring_metrics()
        yield from self._reload_metrics()

    def _pages(self) -> list[tuple[str, memoryview]]:
        return [(name, tally.words) for name, tally in self.roster.tallies.items()]

    def _page_metrics(self) -> Iterator[Metric]:
        pages = self._pages()
        for name, text, word in _PLAIN_COUNTERS:
            yield _counter(name, text, "worker", {w: page[word] for w, page in pages})
        for name, text, word in _PLAIN_GAUGES:
            yield _gauge(name, text, "worker", {w: page[word] for w, page in pages})
        for name, text, label, words in _LABELLED_COUNTERS:
            family = CounterMetricFamily(
                f"dnsfront_{name}", text, labels=("worker", label)
            )
            for worker, page in pages:
                for value, at in words.items():
                    family.add_metric((worker, value), page[at])
            yield family
        yield _counter(
            "handover",
            "Queries passed to their owner in user space, or failed to be.",
            "reason",
            {
                reason: sum(page[word] for _, page in pages)
                for reason, word in _HANDOVERS.items()
            },
        )
        yield _counter(
            "limit_reached",
            "How often a bound on what strangers may cost took effect.",
            "limit",
            {
                **{
                    limit.name.lower(): sum(page[limit] for _, page in pages)
                    for limit in Limit
                },
                **self.admin.reached,
            },
        )
        yield self._responses(pages)
        yield self._durations(pages)

    def _responses(self, pages: Iterable[tuple[str, memoryview]]) -> Metric:
        family = CounterMetricFamily(
            "dnsfront_responses",
            "Responses sent, by response code.",
            labels=("worker", "rcode"),
        )
        for worker, page in pages:
            for rcode, mnemonic in enumerate(_RCODE_NAMES):
                # Most codes never occur; their series would only cost.
                if page[Counter.RCODE_0 + rcode] or rcode == 0:
                    family.add_metric((worker, mnemonic), page[Counter.RCODE_0 + rcode])
        return family

    def _durations(self, pages: Iterable[tuple[str, memoryview]]) -> Metric:
        family = HistogramMetricFamily(
            "dnsfront_response_duration_seconds",
            "Time from a query's arrival in the worker to its response.",
            labels=("worker", "source"),
        )
        for worker, page in pages:
            for source in Source:
                labels = (worker, source.name.lower())
                at = histogram_at(source)
                _add_histogram(family, labels, page[at : at + BUCKETS + 1])
        return family

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
        yield _counter("steered", "Datagrams steered to it.", "worker", steered)
        yield _counter(
            "socket_drops", "Datagrams that found its socket full.", "worker", dropped
        )
        yield _counter(
            "worker_restarts", "Starts of the worker after a death.", "worker", restarts
        )
        yield _gauge("worker_backlog", "Datagrams waiting for it.", "worker", backlogs)
        yield from self._state_metrics()

    def _state_metrics(self) -> Iterator[Metric]:
        """Yield how configured workers are; of others there is nothing to expect."""
        states = self.readiness.states()
        # Who was told to leave, and nobody else, drains or is drained.
        serving = {State.UP.value, State.DRAINING.value, DRAINED}
        yield _gauge(
            "worker_up",
            "1 for a configured worker that serves, or was drained on purpose.",
            "worker",
            {name: int(state in serving) for name, state in states.items()},
        )
        yield _gauge(
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
        known = self.upstreams.texts()
        servers = self.in_force.candidate.config.upstreams.servers
        counts = {text: self.upstreams.counts(index) for text, index in known.items()}

        def total(field: Upstream) -> dict[str, int]:
            return {text: words[field] for text, words in counts.items()}

        yield _counter(
            "upstream_requests", "Queries sent.", "upstream", total(Upstream.REQUESTS)
        )
        yield _counter(
            "upstream_failures",
            "Queries without a usable response.",
            "upstream",
            total(Upstream.FAILURES),
        )
        yield _counter(
            "upstream_retransmissions",
            "Queries sent again to the same server before its time-out.",
            "upstream",
            total(Upstream.RETRANSMISSIONS),
        )
        yield _counter(
            "upstream_tcp_connections",
            "TCP connections opened, for answers that did not fit a datagram.",
            "upstream",
            total(Upstream.TCP_CONNECTIONS),
        )
        family = CounterMetricFamily(
            "dnsfront_upstream_ports_replaced",
            "Source ports given up, by reason: error, a send failed; silent, nothing "
            "came to it any more; age; worn, by the queries sent.",
            labels=("upstream", "reason"),
        )
        for reason, word in _PORT_REASONS.items():
            for text, replaced in total(word).items():
                family.add_metric((text, reason), replaced)
        yield family
        yield _gauge(
            "upstream_up",
            "1 for an upstream that is asked: it answers queries, or at least probes.",
            "upstream",
            {s.text: int(self.upstreams.is_up(known[s.text])) for s in servers},
        )
        durations = HistogramMetricFamily(
            "dnsfront_upstream_duration_seconds",
            "Time from a query to the upstream's response.",
            labels=("upstream",),
        )
        for text, words in counts.items():
            _add_histogram(durations, (text,), words[Upstream.DURATION :])
        yield durations

    def _kernel_metrics(self) -> Iterator[Metric]:
        yield _gauge(
            "steering_info",
            "1 for how names are steered: by ebpf, or in userspace, which costs more.",
            "mode",
            {self.datapath.steering.mode: 1},
        )
        comments = layout("steering").comments
        outcomes = "; ".join(f"{name}: {text}" for name, text in comments.items())
        yield _counter(
            "steering",
            f"Datagrams and connections by what the program did. {outcomes}",
            "outcome",
            self.datapath.steering.counters(),
        )
        # Nothing answers in the kernel yet; the names are there for dashboards.
        yield CounterMetricFamily(
            "dnsfront_kernel_cache_hits", "Queries answered in the kernel.", value=0
        )
        yield GaugeMetricFamily(
            "dnsfront_kernel_cache_entries", "Responses in the kernel.", value=0
        )

    def _ring_metrics(self) -> Iterator[Metric]:
        owned = self.in_force.candidate.table.slots_of()
        slots = {name: owned.get(name, 0) for name in self.roster.tallies}
        yield _gauge("ring_slots", "Slots that it owns.", "worker", slots)
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
        yield _counter(
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


def _counter(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"dnsfront_{name}", text, labels=(label,))
    for value, count in values.items():
        family.add_metric((value,), count)
    return family


def _gauge(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(f"dnsfront_{name}", text, labels=(label,))
    for value, count in values.items():
        family.add_metric((value,), count)
    return family


def _add_histogram(
    family: HistogramMetricFamily,
    labels: tuple[str, ...],
    words: Sequence[int],
) -> None:
    """Add a histogram: *words* are the buckets, then the sum in nanoseconds."""
    below = 0
    buckets = []
    for bound, count in zip((*BUCKET_BOUNDS_S, "+Inf"), words, strict=False):
        below += count
        buckets.append((str(bound), below))
    family.add_metric(labels, buckets, words[BUCKETS] / 1e9)
