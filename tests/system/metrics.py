"""The metrics of a front end as plain counts, so that tests compare all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

_PREFIX: Final = "dnsfront_"
_OF_COUNTERS: Final = ("_total", "_count")
#: What changes of itself as time passes.
_OF_TIME: Final = ("dnsfront_upstream_ports_replaced_total",)
#: What pools come to is the sum of what their upstreams do, which is told already.
_SUMS: Final = "dnsfront_pool_"


@dataclass(frozen=True)
class Metrics:
    """One scrape."""

    samples: tuple[Sample, ...]

    @classmethod
    def from_text(cls, text: str) -> Metrics:
        """Return what a scrape in Prometheus' text format holds."""
        families = text_string_to_metric_families(text)
        return cls(tuple(sample for family in families for sample in family.samples))

    def value(self, name: str, **labels: str) -> float:
        """Return the one value of the metric *name* with exactly these labels."""
        values = [
            sample.value
            for sample in self.samples
            if sample.name == _PREFIX + name and sample.labels == labels
        ]
        assert len(values) == 1, (name, labels, values)
        return values[0]

    def by_worker(self, name: str, **labels: str) -> dict[str, int]:
        """Return the values of *name* that are not zero, by worker."""
        return {
            sample.labels["worker"]: int(sample.value)
            for sample in self.samples
            if sample.name == _PREFIX + name
            and {**labels, "worker": sample.labels.get("worker")} == sample.labels
            and sample.value
        }

    def counts(self) -> Counter[str]:
        """Return every counter under its name and labels, summed over the workers.

        ``dnsfront_queries_total{worker="w1",transport="udp"}`` counts as
        ``queries udp``. Of histograms only the number of observations is here: how long
        things took is different every time.
        """
        counts: Counter[str] = Counter()
        for sample in _counters(self.samples):
            values = [
                value for label, value in sample.labels.items() if label != "worker"
            ]
            counts[" ".join([_short(sample.name), *values])] += int(sample.value)
        return counts


def _counters(samples: Iterable[Sample]) -> Iterable[Sample]:
    return (
        sample
        for sample in samples
        if sample.name.endswith(_OF_COUNTERS)
        and sample.name not in _OF_TIME
        and not sample.name.startswith(_SUMS)
    )


def _short(name: str) -> str:
    for ending in _OF_COUNTERS:
        name = name.removesuffix(ending)
    return name.removeprefix(_PREFIX)


def steered(datagrams: int, outcome: str = "primary") -> Counter[str]:
    """Return what counts when *datagrams* are steered to workers and taken by them."""
    return Counter(
        {
            "queries udp": datagrams,
            "steered": datagrams,
            f"steering {outcome}": datagrams,
        }
    )


def connected(connections: int, queries: int) -> Counter[str]:
    """Return what counts when *queries* come over so many TCP *connections*."""
    return Counter(
        {
            "queries tcp": queries,
            "tcp_connections": connections,
            "steering connection": connections,
        }
    )


def responded(
    responses: int, source: str = "miss", rcode: str = "NOERROR"
) -> Counter[str]:
    """Return what counts when *responses* leave that were timed, by their source."""
    return Counter(
        {
            f"responses {rcode}": responses,
            f"response_duration_seconds {source}": responses,
        }
    )


def hit(responses: int, rcode: str = "NOERROR") -> Counter[str]:
    """Return what counts when *responses* come from the cache."""
    looked_up = {"cache_requests": responses, "cache_hits": responses}
    return Counter(looked_up) + responded(responses, "hit", rcode)


def missed(responses: int, upstream: str, rcode: str = "NOERROR") -> Counter[str]:
    """Return what counts when *responses* are fetched, each by one query."""
    looked_up = Counter({"cache_requests": responses})
    return (
        looked_up + responded(responses, "miss", rcode) + fetched(responses, upstream)
    )


def joined(responses: int, rcode: str = "NOERROR") -> Counter[str]:
    """Return what counts when *responses* wait for a fetch that is under way."""
    looked_up = {"cache_requests": responses, "coalesced_queries": responses}
    return Counter(looked_up) + responded(responses, "miss", rcode)


def fetched(queries: int, upstream: str) -> Counter[str]:
    """Return what counts when *queries* are sent to *upstream* and answered."""
    return Counter(
        {
            f"upstream_requests {upstream}": queries,
            f"upstream_duration_seconds {upstream}": queries,
        }
    )
