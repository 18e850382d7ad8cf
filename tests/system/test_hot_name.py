"""One name with most of the load, at an owner that has too little CPU for it.

20,000 queries a second of answers from the cache are no burden for a worker that has a
CPU, so the owner's is taken away: a control group leaves it a twentieth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.front import FrontEnd
from tests.system.resolver import Unbound
from tests.system.steady import Names, SteadyLoad, owners_seen
from tests.system.throttle import throttled
from tests.waiting import eventually, tried_on_a_busy_machine

PER_SECOND = 20_000
EVEN_PER_SECOND = 5_000
NAMES = 5000
HOT = 0
CPU_PERCENT = 5
#: Zipf(2): the first of the names has three fifths of the load.
SKEW = ("--zipf", "2")
EVENLY = ("--zipf", "0")
BOUND = 1.25


@pytest.fixture(scope="module")
def names(folder: Path) -> Names:
    return Names(folder, NAMES)


@pytest.fixture(scope="module")
def unbound(folder: Path, names: Names) -> Iterator[Unbound]:
    with Unbound(folder, names.zone()) as made:
        yield made


@pytest.fixture
def front(tmp_path: Path, unbound: Unbound) -> Iterator[FrontEnd]:
    upstreams = {"servers": [{"address": str(unbound.address)}]}
    with FrontEnd(
        tmp_path, ring={"workers": 4, "bounded_load": 0}, upstreams=upstreams
    ) as made:
        yield made


def bounded(front: FrontEnd, bound: float) -> None:
    front.configure(ring={"workers": 4, "bounded_load": bound})
    assert front.command("reload")[0] == 0


def change(front: FrontEnd, before: Counter[str]) -> Counter[str]:
    return front.metrics().counts() - before


def overload(front: FrontEnd, names: Names, steered: int) -> SteadyLoad:
    """Put the load on until so many datagrams were steered, the owner held back."""
    owner = owners_seen(front.address, names)[HOT]
    before = front.metrics().counts()
    with (
        throttled(front.pids()[owner], CPU_PERCENT),
        SteadyLoad(front.address, names, PER_SECOND, *SKEW) as load,
    ):
        eventually(lambda: change(front, before)["steered"] > steered, within_s=20)
    return load


@tried_on_a_busy_machine
def test_overflow_goes_to_the_next_in_line_and_nothing_is_dropped(
    front: FrontEnd, names: Names
) -> None:
    preferences = front.lookup([names.texts[HOT]])[names.texts[HOT]]
    owners_seen(front.address, names)
    bounded(front, BOUND)
    before = front.metrics().counts()

    load = overload(front, names, steered=3 * PER_SECOND)

    assert load.lost() == load.wrong() == []
    by = Counter(record.nsid for record in load.records if record.name == HOT)
    assert 0.55 < by.total() / len(load.records) < 0.65
    first, second = preferences[:2]
    assert min(by[first], by[second]) > by.total() / 20
    done = change(front, before)
    assert done["steering overflow"] > PER_SECOND / 10
    assert not done["socket_drops"]


@tried_on_a_busy_machine
def test_without_a_bound_the_owner_gets_it_all_and_drops(
    front: FrontEnd, names: Names
) -> None:
    preferences = front.lookup([names.texts[HOT]])[names.texts[HOT]]
    before = front.metrics().counts()

    load = overload(front, names, steered=4 * PER_SECOND)

    by = Counter(x.nsid for x in load.records if x.name == HOT and x.answered_ns)
    assert by.keys() == {preferences[0]}
    assert load.lost()
    assert load.wrong() == []
    done = change(front, before)
    # What a full socket still takes may be answered when nobody waits for it any more.
    assert 0 < done["socket_drops"] <= len(load.lost())
    assert not done["steering overflow"]


@tried_on_a_busy_machine
def test_even_load_never_overflows(front: FrontEnd, names: Names) -> None:
    owners = owners_seen(front.address, names)
    bounded(front, BOUND)
    before = front.metrics().counts()

    with SteadyLoad(front.address, names, EVEN_PER_SECOND, *EVENLY) as load:
        eventually(
            lambda: change(front, before)["steered"] > 2 * EVEN_PER_SECOND, within_s=20
        )

    assert load.lost() == load.wrong() == []
    assert not change(front, before)["steering overflow"]
    assert all(record.nsid == owners[record.name] for record in load.records)
