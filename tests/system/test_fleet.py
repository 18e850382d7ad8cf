"""Three front ends before four resolvers: each name is fetched by one of them only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dnsfront.ipc.asking import ask as tell
from tests.system.clients import ask
from tests.system.front import FrontEnd
from tests.system.resolver import Unbound
from tests.waiting import eventually

NAMES = [f"n{number}.fleet.test" for number in range(24)]
RECORDS = "*.fleet.test. IN A 192.0.2.9\n"


@pytest.fixture(scope="module")
def resolvers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Unbound]]:
    made = [
        Unbound(tmp_path_factory.mktemp("resolver"), RECORDS) for _number in range(4)
    ]
    with ExitStack() as stack:
        yield [stack.enter_context(unbound) for unbound in made]


@pytest.fixture(scope="module")
def fronts(
    tmp_path_factory: pytest.TempPathFactory, resolvers: list[Unbound]
) -> Iterator[list[FrontEnd]]:
    made = []
    for number in range(3):
        # Each host has them in another order.
        servers = [*resolvers[number:], *resolvers[:number]]
        front = FrontEnd(
            tmp_path_factory.mktemp("front"),
            ring={"workers": 1 + number // 2, "seed": "of the fleet"},
            upstreams={
                "policy": "chash",
                "servers": [{"address": str(x.address)} for x in servers],
                # A busy machine is no reason to turn to another.
                "timeout": "10s",
                "health": {"interval": "200ms", "fall": 1},
            },
        )
        front.launch()
        made.append(front)
    with ExitStack() as stack:
        for front in made:
            stack.callback(front.program.end)
            front.wait_ready()
        yield made


def ask_all(fronts: list[FrontEnd]) -> None:
    """Ask every front end for every name anew."""
    for front in fronts:
        tell(front.control, {"command": "flush"}, timeout_s=10)
        for name in NAMES:
            assert ask(front.address, name).answer


def fetched_by(
    resolvers: list[Unbound], before: list[dict[str, int]]
) -> dict[str, set[int]]:
    """Return which resolvers were asked for each name since *before*."""
    now = counts(resolvers)
    return {
        name: {
            index
            for index, found in enumerate(now)
            if found.get(name, 0) > before[index].get(name, 0)
        }
        for name in NAMES
    }


def counts(resolvers: list[Unbound]) -> list[dict[str, int]]:
    return [
        {
            qname.removesuffix("."): count
            for (qname, _type), count in found.queries().items()
        }
        for found in resolvers
    ]


def are_up(front: FrontEnd) -> int:
    return sum(upstream["up"] for upstream in front.status()["upstreams"])


def test_each_name_has_one_resolver_and_a_death_moves_its_own_only(
    fronts: list[FrontEnd], resolvers: list[Unbound]
) -> None:
    for front in fronts:
        eventually(lambda front=front: are_up(front) == 4)
    before = counts(resolvers)

    ask_all(fronts)
    placed = fetched_by(resolvers, before)

    assert {len(found) for found in placed.values()} == {1}
    assert set().union(*placed.values()) == {0, 1, 2, 3}
    told = fronts[0].command("lookup", "--json", "--live", *NAMES[:4])[1]
    for name, [index] in list(placed.items())[:4]:
        assert name in told
        assert str(resolvers[index].address) in told

    # The end of a front end moves nothing: no other one reckons with it.
    fronts.pop().stop()
    before = counts(resolvers)
    ask_all(fronts)
    assert fetched_by(resolvers, before) == placed

    resolvers[0].__exit__()
    for front in fronts:
        eventually(lambda front=front: are_up(front) == 3)
    before = counts(resolvers)
    ask_all(fronts)
    after = fetched_by(resolvers, before)

    assert {len(found) for found in after.values()} == {1}
    assert {name: found for name, found in after.items() if placed[name] != {0}} == {
        name: found for name, found in placed.items() if found != {0}
    }
    assert {0} not in after.values()
