"""Every planned change at a steady 20,000 queries a second: nothing is lost.

Who answers a name is seen by NSID, and is compared with what the library behind
`dnsfront diff` and `dnsfront lookup` announces.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dnsfront.config.load import load
from dnsfront.config.model import Config
from dnsfront.dns.names import qname_from_text
from dnsfront.ipc.asking import ask
from dnsfront.ring.qhash import hash_key, qname_hash, slot_of
from dnsfront.ring.table import moves
from tests.system.front import DEMO_ZONE, FrontEnd
from tests.system.resolver import Unbound
from tests.system.steady import Names, SteadyLoad, owners_seen
from tests.waiting import tried_on_a_busy_machine

PER_SECOND = 20_000
NAMES = 5000
RESIZES = 50
RELOADS = 20
TAKEOVERS = 10
SEED = 20261123
#: A worker that gets no CPU for a while would give names away: on two cores, with the
#: generator beside them, it happens. test_hot_name.py is about that.
BY_NAME_ONLY = {"bounded_load": 0}


@pytest.fixture(scope="module")
def names(folder: Path) -> Names:
    return Names(folder, NAMES)


@pytest.fixture(scope="module")
def unbound(folder: Path, names: Names) -> Iterator[Unbound]:
    with Unbound(folder, names.zone()) as made:
        yield made


@pytest.fixture(scope="module")
def shared(folder: Path, unbound: Unbound, names: Names) -> Iterator[FrontEnd]:
    with FrontEnd(
        folder,
        ring={"workers": 4, **BY_NAME_ONLY},
        upstreams={"servers": [{"address": str(unbound.address)}]},
    ) as made:
        assert owners_seen(made.address, names) == announced(made, names)
        yield made


@pytest.fixture
def front(shared: FrontEnd) -> Iterator[FrontEnd]:
    config = shared.path.read_text("utf-8")
    yield shared
    shared.restore(config)
    order(shared, "reload")


def order(front: FrontEnd, command: str, **fields: str) -> dict[str, Any]:
    """Have the running server do something, and wait until it is done."""
    return ask(front.control, {"command": command, **fields}, timeout_s=60)


def announced(front: FrontEnd, names: Names) -> dict[int, str]:
    """Return who is to answer each name by the config."""
    return owners_under(load(front.path), names)


def owners_under(config: Config, names: Names) -> dict[int, str]:
    """Return the owner of each name under *config*, by the same code as `lookup`."""
    key, table = hash_key(config.ring.seed), config.ring.table()
    return {
        number: table.owner(
            slot_of(qname_hash(qname_from_text(text)[:-1], key), table.slots)
        )
        for number, text in enumerate(names.texts)
    }


def assert_nothing_lost(load: SteadyLoad, seconds: float = 1) -> None:
    """Prove that there was a load, and that every query has its right answer."""
    assert len(load.records) > PER_SECOND * seconds / 2
    assert load.lost() == []
    assert load.wrong() == []
    assert load.report["blocked"] == 0


def random_ring(random_: random.Random) -> dict[str, Any]:
    """Return one to eight workers, some heavier, some standby, never all of them."""
    names = random_.sample([f"w{number}" for number in range(1, 9)], 8)
    workers: list[dict[str, Any]] = [
        {"name": name, "weight": random_.choice((1, 1, 2, 3))}
        for name in names[: random_.randint(1, 8)]
    ]
    for worker in workers[1:]:
        worker["standby"] = random_.random() < 0.2
    return {"workers": workers, **BY_NAME_ONLY}


@tried_on_a_busy_machine
def test_fifty_random_resizes_move_what_was_announced_and_lose_nothing(
    front: FrontEnd, unbound: Unbound, names: Names
) -> None:
    random_ = random.Random(SEED)
    before, seen = load(front.path), owners_seen(front.address, names)
    queries = unbound.queries().total()

    with SteadyLoad(front.address, names, PER_SECOND) as steady:
        for _ in range(RESIZES):
            front.configure(ring=random_ring(random_))
            after = load(front.path)
            told = moves(before.ring.table(), after.ring.table())
            done = order(front, "reload")
            # The watcher may have seen the file first; then there was nothing to do.
            assert done["slots_moved"] in (told.slots_moved, 0)
            now = owners_seen(front.address, names)

            moved = {number for number in now if now[number] != seen[number]}
            assert moved == announced_to_move(before, after, names)
            assert now == owners_under(after, names)
            before, seen = after, now

    assert_nothing_lost(steady)
    # Whatever moved, it arrived warm.
    assert unbound.queries().total() == queries


def announced_to_move(before: Config, after: Config, names: Names) -> set[int]:
    old, new = owners_under(before, names), owners_under(after, names)
    return {number for number in old if old[number] != new[number]}


OTHER_KEYS: list[Mapping[str, Any]] = [
    {"cache": {"max_entries": 50_000, "serve_stale": "1h"}},
    {"access": {"allow": ["127.0.0.0/8", "192.0.2.0/24"]}},
    {"zones": [DEMO_ZONE]},
    {"log": {"level": "debug"}},
    {"ring": {"workers": 4, "bounded_load": 2}},
    {"ring": {"workers": 4, **BY_NAME_ONLY}},
    {"cache": {"prefetch": False}, "zones": []},
    {"access": {"allow": ["127.0.0.0/8"]}, "log": {"level": "info"}},
]


@tried_on_a_busy_machine
def test_twenty_reloads_of_other_keys_lose_nothing_and_move_nothing(
    front: FrontEnd, unbound: Unbound, names: Names
) -> None:
    seen, pids = owners_seen(front.address, names), front.pids()
    servers = [{"address": str(unbound.address)}]

    with SteadyLoad(front.address, names, PER_SECOND) as steady:
        for number in range(RELOADS):
            change = OTHER_KEYS[number % len(OTHER_KEYS)]
            front.configure(
                **change,
                upstreams={"servers": servers, "timeout": f"{1000 + number}ms"},
            )
            assert order(front, "reload")["slots_moved"] == 0
        assert owners_seen(front.address, names) == seen

    assert_nothing_lost(steady, seconds=0.1)
    assert front.pids() == pids


@tried_on_a_busy_machine
def test_every_worker_drained_in_turn_loses_nothing_and_gets_its_names_back(
    front: FrontEnd, unbound: Unbound, names: Names
) -> None:
    seen = owners_seen(front.address, names)
    queries = unbound.queries().total()

    with SteadyLoad(front.address, names, PER_SECOND) as steady:
        for worker in ("w1", "w2", "w3", "w4"):
            order(front, "drain", worker=worker)
            now = owners_seen(front.address, names)
            moved = {number for number in now if now[number] != seen[number]}
            assert moved == {n for n, owner in seen.items() if owner == worker}
            order(front, "undrain", worker=worker)
            assert owners_seen(front.address, names) == seen

    assert_nothing_lost(steady)
    assert unbound.queries().total() == queries


@tried_on_a_busy_machine
def test_ten_takeovers_lose_nothing_and_move_nothing(
    front: FrontEnd, unbound: Unbound, names: Names
) -> None:
    seen = owners_seen(front.address, names)
    queries = unbound.queries().total()

    with SteadyLoad(front.address, names, PER_SECOND) as steady:
        for _ in range(TAKEOVERS):
            front.take_over()

    assert_nothing_lost(steady)
    assert owners_seen(front.address, names) == seen
    assert unbound.queries().total() == queries


@tried_on_a_busy_machine
def test_hit_ratio_stays_when_one_of_four_workers_goes(
    front: FrontEnd, unbound: Unbound, names: Names
) -> None:
    owners_seen(front.address, names)
    queries = unbound.queries().total()
    ratio = watch_ratio(front)

    with SteadyLoad(front.address, names, PER_SECOND) as steady:
        before = ratio(PER_SECOND)
        front.configure(ring={"workers": 3, **BY_NAME_ONLY})
        order(front, "reload")
        after = ratio(PER_SECOND)

    assert_nothing_lost(steady)
    assert abs(after - before) < 0.01
    assert unbound.queries().total() == queries
    assert owners_seen(front.address, names) == announced(front, names)


def watch_ratio(front: FrontEnd) -> Callable[[int], float]:
    """Return what tells the hit ratio over the next so many cache requests."""

    def counts() -> tuple[int, int]:
        metrics = front.metrics()
        return (
            sum(metrics.by_worker("cache_hits_total").values()),
            sum(metrics.by_worker("cache_requests_total").values()),
        )

    def ratio(requests: int) -> float:
        hits, asked = counts()
        while True:
            now_hits, now_asked = counts()
            if now_asked - asked >= requests:
                return (now_hits - hits) / (now_asked - asked)

    return ratio
