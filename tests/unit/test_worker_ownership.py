"""Who owns a name in user space: the same worker that the kernel program names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsfront.ring import table
from dnsfront.ring.placement import Member
from dnsfront.ring.qhash import qname_hash, slot_of
from tests.unit.shared_load import KEY, Load

IDS = {"w1": 1, "w2": 2, "w3": 64, "w4": 127}
TABLE = table.build([Member(name) for name in IDS], slots=251, vnodes=64, seed="s")
PREFERENCES = TABLE.with_worker_ids(IDS)

qnames = st.lists(st.binary(min_size=1, max_size=63), max_size=3).map(
    lambda parts: b"".join(bytes((len(x),)) + x.lower() for x in parts) + b"\0"
)


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    load = Load(live_ids=tuple(IDS.values()))
    yield load
    load.close()


def slot_for(qname: bytes) -> int:
    return slot_of(qname_hash(qname[:-1], KEY), TABLE.slots)


def preference(qname: bytes) -> list[int]:
    at = 4 * slot_for(qname)
    return [worker_id for worker_id in PREFERENCES[at : at + 4] if worker_id]


@given(qname=qnames)
def test_owner_is_the_one_that_the_table_names(load: Load, qname: bytes) -> None:
    load.set_live(tuple(IDS.values()))
    ownership = load.ownership(table=PREFERENCES)

    assert ownership.owner(qname) == IDS[TABLE.owner(slot_for(qname))]


@given(qname=qnames, live=st.sets(st.sampled_from(sorted(IDS.values()))))
def test_owner_is_the_first_of_its_list_that_is_live(
    load: Load, qname: bytes, live: set[int]
) -> None:
    ownership = load.ownership(table=PREFERENCES)

    load.set_live(sorted(live))

    expected = [worker_id for worker_id in preference(qname) if worker_id in live]
    assert ownership.owner(qname) == (expected or [0])[0]
    assert {i for i in range(128) if ownership.is_live(i)} == live


def steer_rule(  # the twin of place() and bound_for() in kern/steer.bpf.c
    listed: list[int],
    backlog: dict[int, int],
    live: set[int],
    permille: int,
    floor: int,
) -> int:
    chosen = [worker_id for worker_id in listed if worker_id in live]
    if not chosen:
        return 0
    if not permille or backlog[chosen[0]] <= floor:
        return chosen[0]
    total = sum(backlog[worker_id] for worker_id in live)
    bound = max(permille * total // (1000 * len(live)), floor)
    within = [worker_id for worker_id in chosen if backlog[worker_id] <= bound]
    return (within or chosen)[0]


@settings(max_examples=300)
@given(
    qname=qnames,
    live=st.sets(st.sampled_from(sorted(IDS.values()))),
    backlogs=st.lists(st.integers(0, 60), min_size=4, max_size=4),
    lost=st.lists(st.integers(0, 5), min_size=4, max_size=4),
    permille=st.sampled_from((0, 1000, 1250, 1500, 4000)),
    floor=st.integers(0, 30),
)
def test_worker_over_its_bound_is_passed_over_as_in_the_kernel(
    load: Load,
    qname: bytes,
    live: set[int],
    backlogs: list[int],
    lost: list[int],
    permille: int,
    floor: int,
) -> None:
    backlog = dict(zip(IDS.values(), backlogs, strict=True))
    for (worker_id, waiting), dropped in zip(backlog.items(), lost, strict=True):
        load.set_load(
            worker_id, steered=1000 + waiting + dropped, taken=1000, dropped=dropped
        )
    ownership = load.ownership(table=PREFERENCES)

    load.set_live(sorted(live), permille=permille, floor=floor)

    expected = steer_rule(preference(qname), backlog, live, permille, floor)
    assert ownership.owner(qname) == expected


def test_table_is_replaced_as_a_whole(load: Load) -> None:
    load.set_live(tuple(IDS.values()))
    ownership = load.ownership(table=PREFERENCES)

    load.publish(ownership, bytes((64, 0, 0, 0)) * 7)

    assert {ownership.owner(bytes((1, n)) + b"\0") for n in range(50)} == {64}


# What came without being steered


@pytest.fixture
def own() -> Iterator[Load]:
    load = Load()
    yield load
    load.close()


def test_what_was_steered_is_placed(own: Load) -> None:
    ownership = own.ownership()

    for datagrams in (1, 64, 3):
        own.steer(1, datagrams)
        assert ownership.count(datagrams)

    assert own.taken(1) == 68


def test_surplus_is_noticed_once(own: Load) -> None:
    ownership = own.ownership()
    own.steer(1, 10)
    assert ownership.count(10)

    own.steer(1, 4)
    verdicts = [ownership.count(5)]
    own.steer(1, 4)
    verdicts.append(ownership.count(4))

    assert verdicts == [False, True]


def test_every_later_surplus_is_noticed_too(own: Load) -> None:
    ownership = own.ownership()

    verdicts = [ownership.count(1) for _ in range(5)]

    assert verdicts == [False] * 5


def test_surplus_behind_a_backlog_is_noticed_when_that_is_taken(own: Load) -> None:
    ownership = own.ownership()
    own.steer(1, 10)

    verdicts = [ownership.count(6), ownership.count(5)]

    assert verdicts == [True, False]


def test_dropped_datagrams_are_no_backlog(own: Load) -> None:
    own.set_load(1, steered=10, taken=4, dropped=6)
    ownership = own.ownership()

    own.steer(1, 2)

    assert ownership.count(2)
    assert not ownership.count(1)


def test_what_a_predecessor_took_and_did_not_count_hides_nothing(own: Load) -> None:
    own.set_load(1, steered=100, taken=36)
    ownership = own.ownership()
    own.steer(1, 5)
    assert ownership.count(5)

    assert not ownership.count(1)


def test_what_a_predecessor_took_and_did_not_count_is_no_backlog_for_good(
    own: Load,
) -> None:
    own.set_load(1, steered=100, taken=36)
    ownership = own.ownership()
    steered = ownership.steered
    ownership.count(10)  # all that was in the sockets; 54 had gone before

    ownership.count_as_taken(steered)

    assert own.taken(1) == 100
    own.steer(1, 5)
    assert ownership.count(5)
    assert not ownership.count(1)


def test_settling_keeps_what_came_meanwhile(own: Load) -> None:
    own.set_load(1, steered=100, taken=90, dropped=10)
    ownership = own.ownership()
    steered = ownership.steered
    own.steer(1, 7)

    ownership.count_as_taken(steered)

    assert own.taken(1) == 90
    assert ownership.count(7)


def test_counting_goes_on_behind_a_predecessor_that_took_more(own: Load) -> None:
    own.set_load(1, steered=100, taken=150)
    ownership = own.ownership()
    own.steer(1, 3)
    ownership.count(3)

    own.steer(1, 3)

    assert ownership.count(3)
    assert own.taken(1) == 156
