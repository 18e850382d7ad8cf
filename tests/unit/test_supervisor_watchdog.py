"""Who hangs and who is only idle, slow or new."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnsfront.supervisor.workers.watchdog import (
    ALL_SILENT_AFTER_S,
    HUNG_AFTER_S,
    SILENT_AFTER_S,
    Vitals,
    Watchdog,
)

LATE = HUNG_AFTER_S + 0.1
WELL = Vitals(
    pid=100,
    taken=5,
    backlog=0,
    should_take=True,
    is_answer_due=False,
    answers=0,
)


def verdicts(*looks: tuple[int, int, float], signs: Vitals = WELL) -> list[bool]:
    """Return what the watchdog says at each look: taken, backlog, now."""
    watchdog = Watchdog()
    return [
        watchdog.hung({1: replace(signs, taken=taken, backlog=backlog)}, now) == [1]
        for taken, backlog, now in looks
    ]


def silent_after(*, others: bool) -> float:
    """Return when a worker counts as hung that answers no ping from second 0 on.

    With *others* there is one that answers; else one that is silent too.
    """
    watchdog = Watchdog()
    silent = replace(WELL, is_answer_due=True)
    other = WELL if others else silent
    for tenth in range(200):
        if hung := watchdog.hung({1: silent, 2: other}, tenth / 10):
            assert hung == ([1] if others else [1, 2])
            return tenth / 10
    return float("inf")


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param([(5, 0, 0), (5, 0, LATE)], id="idle"),
        pytest.param([(5, 9, 0), (5, 9, LATE)], id="a backlog that does not grow"),
        pytest.param([(5, 0, 0), (5, 0, 9), (5, 1, 9.1)], id="idle until now"),
        pytest.param([(5, 0, 0), (6, 50, LATE)], id="slow"),
        pytest.param([(5, 0, 0), (5, 50, LATE / 2)], id="not for long enough"),
        pytest.param(
            [(5, 0, 0), (5, 50, 0.5), (6, 90, 0.9), (6, 99, LATE)], id="it went on"
        ),
        pytest.param([(5, 50, 0), (5, 3, 1), (5, 9, LATE)], id="drops were counted"),
    ],
)
def test_worker_does_not_hang(looks: list[tuple[int, int, float]]) -> None:
    assert not any(verdicts(*looks))


def test_worker_that_takes_nothing_while_more_comes_hangs() -> None:
    assert verdicts((5, 0, 0), (5, 1, 0.5), (5, 2, LATE)) == [False, False, True]


def test_worker_that_is_told_to_take_nothing_does_not_hang() -> None:
    paused = replace(WELL, should_take=False)

    assert not any(verdicts((5, 0, 0), (5, 50, LATE), (5, 90, 3 * LATE), signs=paused))


def test_successor_of_a_worker_that_hung_has_its_own_time() -> None:
    watchdog = Watchdog()
    watchdog.hung({1: WELL}, 0)
    assert watchdog.hung({1: replace(WELL, backlog=50)}, LATE) == [1]
    new = replace(WELL, pid=101, backlog=60)

    assert not watchdog.hung({1: new}, LATE + 0.1)
    assert watchdog.hung({1: replace(new, backlog=70)}, 2 * LATE + 0.1) == [1]


def test_worker_that_answers_nothing_while_another_does_hangs() -> None:
    assert silent_after(others=True) == SILENT_AFTER_S


def test_all_workers_silent_hang_only_after_long() -> None:
    assert silent_after(others=False) == ALL_SILENT_AFTER_S


def test_worker_that_answers_slowly_does_not_hang() -> None:
    watchdog = Watchdog()

    for second in range(20):
        slow = replace(WELL, is_answer_due=True, answers=second // 2)
        assert not watchdog.hung({1: slow, 2: WELL}, second)


def calm(*looks: Vitals) -> bool:
    watchdog = Watchdog()
    for number, signs in enumerate(looks):
        watchdog.hung({1: signs, 2: WELL}, number)
    return watchdog.is_calm


@pytest.mark.parametrize(
    ("before", "signs", "is_calm"),
    [
        pytest.param(WELL, WELL, True, id="at rest"),
        pytest.param(WELL, replace(WELL, taken=6), False, id="a query came"),
        pytest.param(WELL, replace(WELL, backlog=1), False, id="a query waits"),
        pytest.param(WELL, replace(WELL, is_answer_due=True), True, id="just asked"),
        pytest.param(
            replace(WELL, is_answer_due=True),
            replace(WELL, is_answer_due=True, answers=1),
            True,
            id="answered, and asked again",
        ),
        pytest.param(
            replace(WELL, is_answer_due=True),
            replace(WELL, is_answer_due=True),
            False,
            id="an answer is late",
        ),
    ],
)
def test_calm_is_where_nothing_comes_and_nobody_is_late(
    before: Vitals, signs: Vitals, *, is_calm: bool
) -> None:
    assert calm(before, signs) is is_calm


def test_nobody_is_calm_at_first_sight() -> None:
    assert not calm(WELL)
