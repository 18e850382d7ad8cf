"""The slot table: what it says about itself, and what changing it moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.errors import RingError
from dnsfront.ring.placement import Member
from dnsfront.ring.table import SlotTable, WorkerMoves, build, moves


def numbered(count: int) -> list[Member]:
    return [Member(f"w{number}") for number in range(1, count + 1)]


def handmade(*lists: tuple[int, int, int, int], names: str = "abc") -> SlotTable:
    workers = tuple(Member(name) for name in names)
    return SlotTable("ring", len(lists), workers, bytes(sum(lists, ())))


TABLES = st.builds(
    build,
    st.lists(
        st.builds(Member, st.sampled_from("abcdef"), st.integers(1, 2), st.booleans()),
        min_size=1,
        max_size=5,
        unique_by=lambda worker: worker.name,
    ),
    slots=st.integers(1, 90),
    vnodes=st.integers(1, 5),
    seed=st.sampled_from(["one", "other"]),
)


def test_owner_and_preference_are_names() -> None:
    table = handmade((2, 1, 3, 0), (3, 0, 0, 0))

    assert [table.owner(slot) for slot in range(2)] == ["b", "c"]
    assert table.preference(0) == ("b", "a", "c")
    assert table.preference(1) == ("c",)


def test_slots_of_names_workers_that_own_nothing() -> None:
    table = handmade((2, 1, 0, 0), (3, 2, 0, 0), (2, 3, 0, 0))

    assert table.slots_of() == {"a": 0, "b": 2, "c": 1}


def test_max_over_mean_counts_weights_and_leaves_standby_out() -> None:
    workers = (Member("a", 3), Member("b"), Member("z", standby=True))
    table = SlotTable("ring", 8, workers, bytes([1, 2, 3, 0] * 5 + [2, 1, 3, 0] * 3))

    # a is entitled to 6 of 8 and has 5; b to 2 and has 3.
    assert table.max_over_mean == 1.5


def test_max_over_mean_of_standby_workers_alone_counts_them() -> None:
    assert build([Member("a", standby=True)], slots=16).max_over_mean == 1


def test_worker_ids_take_the_place_of_numbers() -> None:
    table = handmade((2, 1, 3, 0), (3, 0, 0, 0))

    octets = table.with_worker_ids({"a": 127, "b": 1, "c": 9, "not in the ring": 4})

    assert octets == bytes([1, 127, 9, 0, 9, 0, 0, 0])


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        pytest.param({"a": 1}, "worker b has worker_id 0, want 1 to 127", id="none"),
        pytest.param(
            {"a": 1, "b": 128}, "worker b has worker_id 128, want 1 to 127", id="large"
        ),
    ],
)
def test_worker_without_a_usable_id_is_a_mistake(
    ids: dict[str, int], sentence: str
) -> None:
    with pytest.raises(RingError) as caught:
        handmade((1, 2, 0, 0), names="ab").with_worker_ids(ids)

    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("workers", "keys", "sentence"),
    [
        pytest.param([], {}, "the ring has no workers, want 1 or more", id="none"),
        pytest.param(
            numbered(65), {}, "got 65 workers, want 64 or fewer", id="too many"
        ),
        pytest.param(
            [Member("a"), Member("b"), Member("a")],
            {},
            "two workers are called a",
            id="one name twice",
        ),
        pytest.param(
            [Member("a", 0)],
            {},
            "worker a has weight 0, want 1 or more",
            id="no weight",
        ),
        pytest.param(
            numbered(1), {"slots": 0}, "got 0 slots, want 1 to 1048576", id="no slots"
        ),
        pytest.param(
            numbered(1),
            {"slots": 1048577},
            "got 1048577 slots, want 1 to 1048576",
            id="many slots",
        ),
        pytest.param(
            numbered(1), {"vnodes": 0}, "got 0 vnodes, want 1 or more", id="no vnodes"
        ),
        pytest.param(
            [Member("a", 1025), Member("b", 3072)],
            {"vnodes": 1024},
            "got 4195328 points (vnodes times all weights), want 4194304 or fewer",
            id="many points",
        ),
        pytest.param(
            numbered(1),
            {"method": "random"},
            'got method "random", want ring or exact',
            id="no such method",
        ),
    ],
)
def test_mistake_is_one_sentence(
    workers: list[Member], keys: dict[str, int], sentence: str
) -> None:
    with pytest.raises(RingError) as caught:
        build(workers, **keys)  # type: ignore[arg-type] # any of its keys

    assert str(caught.value) == sentence


@given(before=TABLES, after=TABLES)
def test_least_possible_never_exceeds_what_moves(
    before: SlotTable, after: SlotTable
) -> None:
    change = moves(before, after)

    assert 0 <= change.least_possible <= change.slots_moved <= after.slots
    assert 0 <= change.percent <= 100


@given(before=TABLES, after=TABLES)
def test_moves_add_up(before: SlotTable, after: SlotTable) -> None:
    if before.slots != after.slots:
        before = build(before.workers, slots=after.slots, vnodes=3)

    change = moves(before, after)

    assert sum(worker.gained for worker in change.workers) == change.slots_moved
    assert sum(worker.lost for worker in change.workers) == change.slots_moved
    assert change.percent == pytest.approx(100 * change.slots_moved / after.slots)
    for worker in change.workers:
        assert worker.after - worker.before == worker.gained - worker.lost
        assert worker.before == before.slots_of().get(worker.name, 0)
        assert worker.after == after.slots_of().get(worker.name, 0)


@given(table=TABLES)
def test_nothing_moves_between_equal_tables(table: SlotTable) -> None:
    change = moves(table, table)

    assert (change.slots_moved, change.percent, change.least_possible) == (0, 0, 0)


def test_removal_moves_the_least_possible() -> None:
    before = build(numbered(5), slots=4096)

    change = moves(before, build(numbered(4), slots=4096))

    owned = before.slots_of()["w5"]
    assert change.slots_moved == change.least_possible == owned
    assert change.workers[-1] == WorkerMoves("w5", owned, 0, gained=0, lost=owned)


def test_swap_between_workers_could_have_been_spared() -> None:
    change = moves(
        handmade((1, 0, 0, 0), (2, 0, 0, 0), names="ab"),
        handmade((2, 0, 0, 0), (1, 0, 0, 0), names="ab"),
    )

    assert (change.slots_moved, change.percent, change.least_possible) == (2, 100, 0)
    assert change.workers == (
        WorkerMoves("a", 1, 1, 1, 1),
        WorkerMoves("b", 1, 1, 1, 1),
    )


def test_tables_of_different_sizes_are_compared_in_hash_space() -> None:
    # a has the first half and b the second; then a has the first third alone.
    before = handmade((1, 0, 0, 0), (2, 0, 0, 0), names="ab")
    after = handmade((1, 0, 0, 0), (2, 0, 0, 0), (2, 0, 0, 0), names="ab")

    change = moves(before, after)

    assert change.percent == pytest.approx(100 / 6)
    assert change.workers[0].after == 1
    assert change.least_possible <= change.slots_moved <= 1


def test_more_slots_move_little_on_the_same_ring() -> None:
    coarse = build(numbered(4), slots=20000)
    fine = build(numbered(4), slots=65536)

    assert moves(coarse, fine).percent < 10
