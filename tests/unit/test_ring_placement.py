"""Method ring: what a change of workers moves, and what it leaves alone."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsfront.ring.placement import Member
from dnsfront.ring.table import SlotTable, build

SLOTS = st.integers(1, 700)
NAMES = st.text("abcdwz019-", min_size=1, max_size=6)
WORKERS = st.lists(
    st.builds(Member, NAMES, st.integers(1, 3), st.booleans()),
    min_size=1,
    max_size=8,
    unique_by=lambda worker: worker.name,
)
SEVERAL = WORKERS.filter(lambda workers: len(workers) > 1)


def small(workers: list[Member], slots: int = 257, vnodes: int = 7) -> SlotTable:
    return build(workers, slots=slots, vnodes=vnodes, seed="a seed")


def numbered(count: int) -> list[Member]:
    return [Member(f"w{number}") for number in range(1, count + 1)]


def walked(workers: list[Member], slots: int, vnodes: int, slot: int) -> list[str]:
    """Walk the circle as the definition says it, one slot at a time."""
    names: list[str] = []
    for is_standby in (False, True):
        points = []
        for worker in workers:
            if worker.standby is is_standby:
                text = b"dnsfront-ring\0a seed\0" + worker.name.encode()
                count = vnodes * worker.weight
                stream = hashlib.shake_128(text).digest(8 * count)
                points += [
                    (int.from_bytes(stream[at + 1 : at + 8], "little"), worker.name)
                    for at in range(0, 8 * count, 8)
                ]
        points.sort()
        start = slot * 2**56 // slots
        clockwise = [name for point, name in points if point >= start]
        clockwise += [name for point, name in points if point < start]
        names += dict.fromkeys(clockwise)
    return names[:4]


@settings(max_examples=60)
@given(workers=WORKERS, slots=SLOTS, vnodes=st.integers(1, 9))
def test_table_is_what_a_walk_along_the_circle_finds(
    workers: list[Member], slots: int, vnodes: int
) -> None:
    table = small(workers, slots, vnodes)

    for slot in range(slots):
        assert list(table.preference(slot)) == walked(workers, slots, vnodes, slot)


@given(workers=SEVERAL, slots=SLOTS, data=st.data())
def test_removing_a_worker_moves_only_its_own_slots(
    workers: list[Member], slots: int, data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(workers))
    before = small(workers, slots)

    after = small([worker for worker in workers if worker != gone], slots)

    for slot in range(slots):
        if before.owner(slot) != gone.name:
            assert after.owner(slot) == before.owner(slot)


@given(workers=SEVERAL, data=st.data())
def test_preference_list_names_the_owners_once_those_before_are_gone(
    workers: list[Member], data: st.DataObject
) -> None:
    table = small(workers)
    slot = data.draw(st.integers(0, table.slots - 1))

    preference = table.preference(slot)

    assert len(preference) == min(4, len(workers))
    for gone in range(len(preference)):
        left = [worker for worker in workers if worker.name not in preference[:gone]]
        assert small(left).preference(slot)[: 4 - gone] == preference[gone:]


@given(workers=SEVERAL, data=st.data())
def test_adding_a_worker_back_restores_every_octet(
    workers: list[Member], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(workers))

    assert small(shuffled) == small(workers)


@given(workers=WORKERS, more=st.integers(1, 4), data=st.data())
def test_more_weight_only_takes_slots_for_that_worker(
    workers: list[Member], more: int, data: st.DataObject
) -> None:
    light = data.draw(st.sampled_from(workers))
    heavy = Member(light.name, light.weight + more, light.standby)
    before = small(workers)

    after = small([worker for worker in workers if worker != light] + [heavy])

    for slot in range(before.slots):
        assert after.owner(slot) in (before.owner(slot), light.name)


@given(workers=WORKERS)
def test_standby_comes_after_all_others(workers: list[Member]) -> None:
    standby = {worker.name for worker in workers if worker.standby}
    table = small(workers)

    for slot in range(table.slots):
        is_standby = [name in standby for name in table.preference(slot)]
        assert is_standby == sorted(is_standby)


def test_standby_owns_nothing_until_it_is_alone() -> None:
    spare = Member("spare", standby=True)

    beside_one = small([Member("w1"), spare])
    alone = small([spare])

    assert beside_one.slots_of() == {"spare": 0, "w1": 257}
    assert beside_one.preference(11) == ("w1", "spare")
    assert alone.slots_of() == {"spare": 257}


def test_standby_workers_do_not_disturb_the_others() -> None:
    without = small(numbered(3))
    beside = small([*numbered(3), Member("a", standby=True), Member("z", standby=True)])

    for slot in range(without.slots):
        assert beside.preference(slot)[:3] == without.preference(slot)


def test_sixty_four_workers_share_within_ten_percent() -> None:
    table = build(numbered(64))

    assert sum(table.slots_of().values()) == 65536
    assert table.max_over_mean < 1.1


def test_seed_changes_the_placement() -> None:
    one = build(numbered(4), seed="one")
    other = build(numbered(4), seed="other")

    same = sum(
        mine == theirs
        for mine, theirs in zip(one.owners(), other.owners(), strict=True)
    )

    assert same / one.slots == pytest.approx(1 / 4, abs=0.02)


@pytest.mark.parametrize(
    ("workers", "slots", "digest"),
    [
        pytest.param(
            numbered(4),
            65536,
            "1ffc42324f46ba24acd2ffbd2ca13c5f59dfd5b935650d038e8feadf4f3adcf6",
            id="four",
        ),
        pytest.param(
            [Member("w1"), Member("w2", 2), Member("w3", standby=True)],
            1000,
            "180e7a080b6ed1e0b79d34dbc9b2dabe753fb3f5611dd2f387286e30a4e4ded2",
            id="weighted, with a standby",
        ),
    ],
)
def test_placement_never_changes_by_accident(
    workers: list[Member], slots: int, digest: str
) -> None:
    # Hosts of different releases must agree: a new digest here remaps every cache.
    table = build(workers, slots=slots, seed="pinned")

    assert hashlib.sha256(table.preferences).hexdigest() == digest
