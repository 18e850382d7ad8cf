"""Round trips as they are measured, and when that has queries repeated."""

from __future__ import annotations

import pytest

from dnsfront.worker.upstreams.round_trip import RoundTrip

_MS = 1_000_000


def after(*took_ms: int, most_ms: int = 2000) -> float:
    found = RoundTrip(most_ms * _MS)
    for milliseconds in took_ms:
        found.took(milliseconds * _MS, is_repeated=False)
    return found.repeat_ns / _MS


@pytest.mark.parametrize(
    ("took_ms", "wanted_ms"),
    [
        ([], 300),
        ([10], 200),
        ([10] * 100, 200),
        ([100], 300),
        ([400] * 100, 400),
        ([1000], 1250),
        ([600], 1000),
        ([3000], 2000),
    ],
    ids=["unknown", "near", "steadily near", "once", "far", "late", "varied", "over"],
)
def test_repetition_waits_for_the_round_trip_and_its_variation(
    took_ms: list[int], wanted_ms: float
) -> None:
    assert after(*took_ms) == pytest.approx(wanted_ms, abs=1)


def test_variation_makes_it_wait_longer() -> None:
    assert 700 < after(*[300, 500] * 50) < 1000


@pytest.mark.parametrize(
    ("took_ms", "at_ms"), [(10, (200, 600)), (600, (1000, 2000)), (250, (750, 1750))]
)
def test_two_repetitions_fit_into_a_time_out(
    took_ms: int, at_ms: tuple[float, float]
) -> None:
    found = RoundTrip(2000 * _MS)
    found.took(took_ms * _MS, is_repeated=False)

    first, second = (found.interval_ns(repeats) / _MS for repeats in (0, 1))

    assert (first, first + second) == at_ms


def test_time_out_is_the_most() -> None:
    assert after(most_ms=100) == 100
    assert after(10, most_ms=100) == 100


def test_response_after_a_repetition_tells_nothing() -> None:
    found = RoundTrip(2000 * _MS)
    found.took(10 * _MS, is_repeated=False)

    for _ in range(2):
        found.took(900 * _MS, is_repeated=True)
    assert found.repeat_ns == 200 * _MS
    found.took(10 * _MS, is_repeated=False)
    for _ in range(2):
        found.took(900 * _MS, is_repeated=True)

    assert found.repeat_ns == 200 * _MS


@pytest.mark.parametrize("near_ms", [[], [10] * 20], ids=["new", "once near"])
def test_way_that_became_longer_is_measured_all_the_same(near_ms: list[int]) -> None:
    found = RoundTrip(2000 * _MS)
    for milliseconds in near_ms:
        found.took(milliseconds * _MS, is_repeated=False)
    repeated = 0

    for _ in range(50):
        is_repeated = found.repeat_ns < 700 * _MS
        repeated += is_repeated
        found.took(700 * _MS, is_repeated=is_repeated)

    assert found.repeat_ns >= 700 * _MS
    assert repeated < 25
