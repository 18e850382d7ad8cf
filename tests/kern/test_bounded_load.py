from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from dnsfront.kernel.layouts import layout
from tests.kern.lab import SLOTS
from tests.kern.queries import qname_of, query

if TYPE_CHECKING:
    from tests.kern.lab import Group, Lab

HOT = query(qname_of("hot.example.test"))
PERMILLE = 1250
FLOOR = 8


def _send(lab: Lab, group: Group, datagrams: int, octets: bytes = HOT) -> None:
    """Send one by one; nobody reads, so that every backlog is known."""
    client = lab.client(group)
    for _ in range(datagrams):
        lab.send_counted(client, octets, group)


def _take(lab: Lab, worker_id: int, datagrams: int) -> None:
    """Count as the worker does: in its own word of the shared page."""
    load = layout("load")
    at = worker_id * load.size_octets // 8 + load.word_at("taken")
    lab.steering._load[at] += datagrams


def _model(preferences: tuple[int, ...], datagrams: int) -> tuple[Counter[int], int]:
    """Return who gets how many of equal datagrams, and how many overflow."""
    backlog: Counter[int] = Counter(dict.fromkeys(preferences, 0))
    overflows = 0
    for _ in range(datagrams):
        total = sum(backlog.values())
        fitting = [
            worker_id
            for worker_id in preferences
            if backlog[worker_id] <= FLOOR
            or backlog[worker_id] * len(preferences) * 1000 <= PERMILLE * total
        ]
        chosen = fitting[0] if fitting else preferences[0]
        overflows += chosen != preferences[0]
        backlog[chosen] += 1
    return backlog, overflows


def test_hot_name_overflows_down_its_preference_list(lab: Lab) -> None:
    group = lab.group((1, 2, 3, 100))
    lab.publish_everywhere(3, 1, 100, 2)
    lab.steering.set_bound(PERMILLE, FLOOR)
    expected, overflows = _model((3, 1, 100, 2), 200)

    with lab.counting(primary=200 - overflows, overflow=overflows):
        _send(lab, group, 200)

    assert {w: lab.steering.backlog(w) for w in expected} == dict(expected)
    assert max(expected.values()) * len(expected) <= PERMILLE / 1000 * 200 + len(
        expected
    )


def test_backlog_at_the_floor_is_never_too_much(lab: Lab) -> None:
    group = lab.group((1, 2, 3, 4))
    lab.publish_everywhere(1, 2, 3, 4)
    lab.steering.set_bound(PERMILLE, FLOOR)

    with lab.counting(primary=FLOOR + 1):
        _send(lab, group, FLOOR + 1)

    with lab.counting(overflow=1):
        _send(lab, group, 1)


def test_even_load_does_not_overflow(lab: Lab) -> None:
    group = lab.group((1, 2, 3, 4))
    quarter = SLOTS // 4
    lab.publish(b"".join(bytes((w, w % 4 + 1, 0, 0)) * quarter for w in (1, 2, 3, 4)))
    lab.steering.set_bound(PERMILLE, FLOOR)
    by_owner = {
        lab.preference(qname_of(f"n{i}.test"))[0]: query(qname_of(f"n{i}.test"))
        for i in range(64)
    }

    with lab.counting(primary=160):
        for _ in range(40):
            for octets in by_owner.values():
                _send(lab, group, 1, octets)

    assert {lab.steering.backlog(w) for w in (1, 2, 3, 4)} == {40}


def test_without_a_bound_the_owner_gets_everything(lab: Lab) -> None:
    group = lab.group((1, 2))
    lab.publish_everywhere(1, 2)
    lab.steering.set_bound(0, FLOOR)

    with lab.counting(primary=100):
        _send(lab, group, 100)


@pytest.mark.parametrize("relief", ["taken", "dropped"])
def test_datagrams_that_are_gone_are_no_backlog(lab: Lab, relief: str) -> None:
    group = lab.group((1, 2))
    lab.publish_everywhere(1, 2)
    lab.steering.set_bound(PERMILLE, FLOOR)
    _send(lab, group, FLOOR + 1)

    if relief == "taken":
        _take(lab, 1, FLOOR)
    else:
        lab.steering.set_dropped(1, FLOOR)

    assert lab.steering.backlog(1) == 1
    with lab.counting(primary=FLOOR):
        _send(lab, group, FLOOR)


def test_worker_that_took_more_than_it_was_given_has_no_backlog(lab: Lab) -> None:
    """A datagram that the kernel's own choice brought is taken, though not steered."""
    group = lab.group((1, 2))
    lab.publish_everywhere(1, 2)
    lab.steering.set_bound(PERMILLE, FLOOR)
    _take(lab, 1, 1000)
    _take(lab, 2, 1000)

    with lab.counting(primary=20):
        _send(lab, group, 20)

    assert lab.steering.backlog(1) == 0


def test_when_all_are_over_the_bound_the_owner_gets_it(lab: Lab) -> None:
    group = lab.group((1, 2))
    lab.publish_everywhere(1, 2)
    _send(lab, group, 20)
    lab.publish_everywhere(2, 1)
    _send(lab, group, 20)

    lab.steering.set_bound(500, FLOOR)  # half the mean: both are far over it
    with lab.counting(primary=1):
        _send(lab, group, 1)

    assert lab.steering.steered(2) == 21


def test_dead_owner_and_full_backup_count_as_overflow(lab: Lab) -> None:
    group = lab.group((1, 2, 3))
    lab.publish_everywhere(1, 2, 3)
    lab.steering.set_live(1, is_live=False)
    lab.steering.set_bound(1000, FLOOR)

    with lab.counting(backup=FLOOR + 1, overflow=1):
        _send(lab, group, FLOOR + 2)

    assert [lab.steering.steered(w) for w in (1, 2, 3)] == [0, FLOOR + 1, 1]


def test_backlog_of_a_worker_that_is_not_live_does_not_raise_the_mean(
    lab: Lab,
) -> None:
    group = lab.group((1, 2, 3))
    lab.publish_everywhere(3)
    _send(lab, group, 50)
    lab.steering.set_live(3, is_live=False)
    lab.publish_everywhere(1, 2)
    lab.steering.set_bound(PERMILLE, FLOOR)

    with lab.counting(primary=FLOOR + 1, overflow=1):
        _send(lab, group, FLOOR + 2)


def test_forgotten_worker_begins_without_backlog(lab: Lab) -> None:
    group = lab.group((1, 2))
    lab.publish_everywhere(1, 2)
    _send(lab, group, 3)
    _take(lab, 1, 1)
    lab.steering.set_dropped(1, 1)
    assert [lab.steering.steered(1), lab.steering.taken(1)] == [3, 1]

    lab.steering.forget(1)

    assert [lab.steering.steered(1), lab.steering.taken(1)] == [0, 0]
    assert lab.steering.backlog(1) == 0
