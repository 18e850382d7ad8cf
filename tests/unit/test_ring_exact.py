"""Method exact: equal shares for every set of live workers, and nothing moved idly."""

from __future__ import annotations

import hashlib
from itertools import chain, combinations
from math import lcm
from random import Random
from typing import TYPE_CHECKING

import pytest

from dnsfront.errors import RingError
from dnsfront.ring.placement import Member, exact_slots
from dnsfront.ring.table import SlotTable, build, moves

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

TO_TWELVE = range(2, 13)
ABOVE_TWELVE = range(13, 17)


def exact(
    live: Iterable[int], places: int, slots: int | None = None, seed: str = ""
) -> SlotTable:
    """Build for workers w1, w2, ... in the places *live*, with the fewest slots."""
    return build(
        [Member(f"w{place}") for place in live],
        method="exact",
        slots=slots or lcm(*range(1, places + 1)),
        places=places,
        seed=seed,
    )


def subsets(places: int, sizes: Iterable[int]) -> Iterable[Collection[int]]:
    everyone = range(1, places + 1)
    return chain.from_iterable(combinations(everyone, size) for size in sizes)


@pytest.mark.parametrize("places", range(2, 9))
def test_every_set_of_live_workers_has_equal_shares(places: int) -> None:
    for live in subsets(places, range(1, places + 1)):
        table = exact(live, places)

        assert set(table.slots_of().values()) == {table.slots // len(live)}


@pytest.mark.long
@pytest.mark.parametrize("places", TO_TWELVE)
def test_removing_one_or_two_stays_exact_and_moves_nothing_else(places: int) -> None:
    whole = exact(range(1, places + 1), places)
    for live in subsets(places, {max(1, places - 2), places - 1}):
        table = exact(live, places)
        change = moves(whole, table)

        assert table.max_over_mean == 1
        assert change.slots_moved == change.least_possible
        assert change.slots_moved == table.slots * (places - len(live)) // places


@pytest.mark.long
@pytest.mark.parametrize("places", ABOVE_TWELVE)
def test_above_twelve_places_one_or_two_removals_stay_exact(places: int) -> None:
    # The shares of these do not depend on how many slots there are.
    slots = exact_slots(8192, places)
    whole = exact(range(1, places + 1), places, slots=slots)
    for live in subsets(places, {places - 1, places - 2}):
        _stays_exact(whole, exact(live, places, slots=slots))


@pytest.mark.long
@pytest.mark.parametrize("places", ABOVE_TWELVE)
def test_above_twelve_places_a_few_removals_stay_exact(places: int) -> None:
    whole = exact(range(1, places + 1), places, slots=65536)
    sets = [list(subsets(places, {places - gone})) for gone in range(1, 5)]
    for some in sets:
        for live in Random(places).sample(some, 6):
            _stays_exact(whole, exact(live, places, slots=65536))


def _stays_exact(whole: SlotTable, left: SlotTable) -> None:
    change = moves(whole, left)

    assert left.max_over_mean == 1
    assert change.slots_moved == change.least_possible


@pytest.mark.long
@pytest.mark.parametrize("places", ABOVE_TWELVE)
def test_above_twelve_places_any_live_set_is_nearly_exact(places: int) -> None:
    random = Random(places)
    for size in range(2, places - 4):
        for _ in range(3):
            live = random.sample(range(1, places + 1), size)

            assert exact(live, places, slots=65536).max_over_mean <= 1.01


@pytest.mark.parametrize("places", [3, 6, 8])
def test_preference_list_names_the_owners_once_those_before_are_gone(
    places: int,
) -> None:
    everyone = range(1, places + 1)
    whole = exact(everyone, places)
    for slot in range(0, whole.slots, max(1, whole.slots // 40)):
        preference = whole.preference(slot)
        for gone in range(len(preference)):
            live = [place for place in everyone if f"w{place}" not in preference[:gone]]
            left = exact(live, places).preference(slot)

            assert left[: 4 - gone] == preference[gone:]


def test_removed_worker_leaves_equally_to_all_others() -> None:
    whole = exact(range(1, 9), 8)

    change = moves(whole, exact(range(2, 9), 8))

    gains = {worker.gained for worker in change.workers if worker.name != "w1"}
    assert gains == {whole.slots // 8 // 7}


def test_four_workers_in_twelve_places_have_equal_shares() -> None:
    table = exact([1, 2, 3, 4], 12, slots=65536)

    assert table.slots == 55440
    assert set(table.slots_of().values()) == {13860}


def test_weight_takes_that_many_places_and_that_share() -> None:
    def weighted(weight: int) -> SlotTable:
        workers = [Member("a", weight, place=3), Member("b", place=1), Member("w7")]
        return build(workers, method="exact", places=8, slots=840)

    light, heavy = weighted(1), weighted(3)
    change = moves(light, heavy)

    assert heavy.slots_of() == {"a": 504, "b": 168, "w7": 168}
    assert heavy.max_over_mean == 1
    assert change.slots_moved == change.least_possible
    assert {len(set(heavy.preference(slot))) for slot in range(840)} == {3}


def test_standby_workers_come_last_and_in_their_own_order() -> None:
    workers = [
        Member("w1"),
        Member("w2", standby=True),
        Member("w3"),
        Member("w4", standby=True),
    ]
    table = build(workers, method="exact", places=4, slots=12)
    alone = build(workers[1::2], method="exact", places=4, slots=12)

    assert table.slots_of() == {"w1": 6, "w2": 0, "w3": 6, "w4": 0}
    assert alone.slots_of() == {"w2": 6, "w4": 6}
    for slot in range(12):
        assert table.preference(slot)[2:] == alone.preference(slot)


def test_seed_changes_the_placement() -> None:
    assert exact([1, 2, 3], 4, 1200, "one") != exact([1, 2, 3], 4, 1200, "other")


@pytest.mark.parametrize(
    ("slots", "places", "used"),
    [
        (65536, 2, 65536),
        (65536, 8, 65520),
        (65536, 12, 55440),
        (65536, 13, 51480),
        (65536, 16, 65520),
        (360360, 13, 360360),
        (1048576, 16, 720720),
    ],
)
def test_slots_are_rounded_down_to_what_divides_evenly(
    slots: int, places: int, used: int
) -> None:
    assert exact_slots(slots, places) == used


@pytest.mark.parametrize(
    ("workers", "places", "slots", "sentence"),
    [
        pytest.param(
            [Member("w2"), Member("b", place=2)],
            12,
            65536,
            "workers b and w2 both take place 2",
            id="two in one place",
        ),
        pytest.param(
            [Member("w1", 3), Member("w3")],
            12,
            65536,
            "workers w1 and w3 both take place 3",
            id="one in the places of a weight",
        ),
        pytest.param(
            [Member("w13")],
            12,
            65536,
            "worker w13 would take place 13, want 1 to 12",
            id="beyond the last place",
        ),
        pytest.param(
            [Member("w0")],
            12,
            65536,
            "worker w0 would take place 0, want 1 to 12",
            id="before the first place",
        ),
        pytest.param(
            [Member("w12", 2)],
            12,
            65536,
            "worker w12 would take places 12 to 13, want 1 to 12",
            id="a weight that goes beyond",
        ),
        pytest.param(
            [Member("spare")],
            12,
            65536,
            "worker spare has no place: give it one from 1 to 12, or a name that ends"
            " in it",
            id="no number and no place",
        ),
        pytest.param(
            [Member("w1")], 17, 65536, "got 17 places, want 2 to 16", id="many places"
        ),
        pytest.param(
            [Member("w1")], 1, 65536, "got 1 places, want 2 to 16", id="few places"
        ),
        pytest.param(
            [Member("w1")],
            12,
            27719,
            "got 27719 slots, but method exact with 12 places needs 27720 or more",
            id="few slots",
        ),
        pytest.param(
            [Member("w1")],
            16,
            1000,
            "got 1000 slots, but method exact with 16 places needs 1680 or more",
            id="few slots for many places",
        ),
    ],
)
def test_mistake_is_one_sentence(
    workers: list[Member], places: int, slots: int, sentence: str
) -> None:
    with pytest.raises(RingError) as caught:
        build(workers, method="exact", places=places, slots=slots)

    assert str(caught.value) == sentence


def test_placement_never_changes_by_accident() -> None:
    # Hosts of different releases must agree: a new digest here remaps every cache.
    table = exact([1, 2, 3, 5, 8], 8, 840, "pinned")

    digest = hashlib.sha256(table.preferences).hexdigest()

    assert digest == "cf50d97267357d7156ff686eceb206b56371e6e165a4fc9c492f2f1cc24ec303"
