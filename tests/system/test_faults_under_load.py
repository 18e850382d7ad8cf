"""Workers that die or hang at a steady 20,000 queries a second.

A worker that is killed takes with it what it had received and not answered: one batch
at most, and nothing that was still queued. Everything else is answered, what is asked
after the death by the next of the preference list, or by the successor.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsfront.worker.process.batch import BATCH
from tests.system.faults import Death, end
from tests.system.front import FrontEnd
from tests.system.resolver import Unbound
from tests.system.steady import Names, SteadyLoad, owners_seen
from tests.waiting import tried_on_a_busy_machine

PER_SECOND = 20_000
NAMES = 5000
KILLS = 20
STOPS = 5
WORKERS = 8
SEED = 20261123


@pytest.fixture(scope="module")
def names(folder: Path) -> Names:
    return Names(folder, NAMES)


@pytest.fixture(scope="module")
def front(folder: Path, names: Names) -> Iterator[FrontEnd]:
    with (
        Unbound(folder, names.zone()) as unbound,
        FrontEnd(
            folder,
            ring={"workers": WORKERS, "bounded_load": 0},
            upstreams={"servers": [{"address": str(unbound.address)}]},
        ) as made,
    ):
        owners_seen(made.address, names)
        yield made


@tried_on_a_busy_machine
def test_twenty_kills_lose_only_what_the_victims_had_taken(
    front: FrontEnd, names: Names
) -> None:
    owners, preferences = owners_seen(front.address, names), front.lookup(names.texts)
    victims = [f"w{1 + number % WORKERS}" for number in range(KILLS)]
    random.Random(SEED).shuffle(victims)

    with SteadyLoad(front.address, names, PER_SECOND) as load:
        deaths = [end(front, victim, signal.SIGKILL) for victim in victims]

    assert_only_what_was_in_hand_is_lost(deaths, load, owners)
    for death in deaths:
        assert_next_in_line_answered(death, load, owners, preferences)
    assert owners_seen(front.address, names) == owners


def assert_only_what_was_in_hand_is_lost(
    deaths: list[Death], load: SteadyLoad, owners: dict[int, str]
) -> None:
    assert load.wrong() == []
    lost = load.lost()
    for death in deaths:
        before = [x for x in lost if x.sent_ns <= death.gone_ns]
        lost = lost[len(before) :]
        assert len(before) <= BATCH
        # It may have stood in for one that came back a moment ago.
        stood_in_for = {
            owners[x.name]
            for x in before
            for other in deaths
            if other.worker == owners[x.name]
            and other.signalled_ns <= x.sent_ns <= other.back_ns
        }
        assert {owners[x.name] for x in before} - stood_in_for <= {death.worker}
    assert lost == []


def assert_next_in_line_answered(
    death: Death,
    load: SteadyLoad,
    owners: dict[int, str],
    preferences: dict[str, list[str]],
) -> None:
    meanwhile = [
        x
        for x in load.records
        if death.gone_ns < x.sent_ns < death.back_ns and owners[x.name] == death.worker
    ]
    # Who stood in may be the next victim, and take the last of these with it.
    answered = [x for x in meanwhile if x.answered_ns]
    by = Counter(x.nsid for x in answered if x.nsid != death.worker)
    nexts = {preferences[f"n{x.name}.load.test"][1] for x in meanwhile}
    assert by.keys() <= nexts
    assert by, "nobody stood in"
    first_ms = min(x.answered_ns for x in answered if x.nsid in by) / 1e6
    print(  # noqa: T201 - what the suite is to show
        f"{death.worker}: gone, first answer by another, successor up after",
        *(
            f"{at_ms - death.signalled_ns / 1e6:.1f} ms"
            for at_ms in (death.gone_ns / 1e6, first_ms, death.back_ns / 1e6)
        ),
        f"with {sum(by.values())} answers by others",
    )


@tried_on_a_busy_machine
def test_five_hangs_lose_nothing_that_was_queued(front: FrontEnd, names: Names) -> None:
    owners, preferences = owners_seen(front.address, names), front.lookup(names.texts)
    victims = random.Random(SEED).sample(
        [f"w{n}" for n in range(1, WORKERS + 1)], STOPS
    )

    with SteadyLoad(front.address, names, PER_SECOND) as load:
        deaths = [end(front, victim, signal.SIGSTOP) for victim in victims]

    assert_only_what_was_in_hand_is_lost(deaths, load, owners)
    for death in deaths:
        assert_next_in_line_answered(death, load, owners, preferences)
    assert owners_seen(front.address, names) == owners
