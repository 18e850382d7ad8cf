"""Who hangs and who is only idle, slow or new."""

from __future__ import annotations

import pytest

from dnsfront.supervisor.watchdog import HUNG_AFTER_S, Watchdog

LATE = HUNG_AFTER_S + 0.1


def verdicts(*looks: tuple[int, int, float]) -> list[bool]:
    """Return what the watchdog says at each look: taken, backlog, now."""
    watchdog = Watchdog()
    return [watchdog.is_hung(1, *look) for look in looks]


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


def test_forgotten_worker_gets_its_time_again() -> None:
    watchdog = Watchdog()
    watchdog.is_hung(1, 5, 0, 0)

    watchdog.forget(1)

    assert not watchdog.is_hung(1, 5, 50, LATE)
    assert watchdog.is_hung(1, 5, 60, 2 * LATE)
