"""Families of metrics, and how the words of a page become samples of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from dnsfront.ipc import stats
from dnsfront.ipc.stats import BUCKET_BOUNDS_S, BUCKETS, Kind, Word
from dnsfront.supervisor.reports.counted import Read

_FAMILIES: Final = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
    Kind.HISTOGRAM: HistogramMetricFamily,
}
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


def by_metric(words: Iterable[Word]) -> dict[stats.Metric, list[Word]]:
    """Return the lines that declare each metric, without those that are not shown."""
    found: dict[stats.Metric, list[Word]] = {}
    for word in words:
        if word.metric.is_shown:
            found.setdefault(word.metric, []).append(word)
    return found


def counter(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    """Return a counter with one label, by its values."""
    family = CounterMetricFamily(f"dnsfront_{name}", text, labels=(label,))
    for value, count in values.items():
        family.add_metric((value,), count)
    return family


def gauge(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    """Return a gauge with one label, by its values."""
    family = GaugeMetricFamily(f"dnsfront_{name}", text, labels=(label,))
    for value, count in values.items():
        family.add_metric((value,), count)
    return family


def family_of(metric: stats.Metric) -> Family:
    """Return the family of a metric that is declared, still without samples."""
    family: type[Family] = _FAMILIES[metric.kind]
    return family(f"dnsfront_{metric.name}", metric.text, labels=metric.labels)


def add(family: Family, owner: tuple[str, ...], word: Word, read: Read) -> None:
    """Add what one line of `ipc/stats.py` declares, of one worker or upstream."""
    labels = (*owner, word.label) if word.label else owner
    indices = range(word, word + word.metric.words)
    if isinstance(family, HistogramMetricFamily):
        _add_histogram(family, labels, [read(at) for at in indices])
    elif word.metric.values:
        for at, value in zip(indices, word.metric.values, strict=True):
            # Most response codes never occur; their series would only cost.
            if read(at) or at == word:
                family.add_metric((*owner, value), read(at))
    else:
        family.add_metric(labels, read(word))


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
