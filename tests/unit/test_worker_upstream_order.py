"""In which order the servers of a pool are asked for a name."""

from __future__ import annotations

import socket
from collections import Counter

import pytest

from dnsfront.ipc.spec import Policy, UpstreamServer
from dnsfront.ipc.stats import HELD_SHIFT, Health
from dnsfront.worker.upstreams.choice import Choice, order_of
from dnsfront.worker.upstreams.round_trip import RoundTrip
from dnsfront.worker.upstreams.server import Server
from tests.unit.fake_upstream import FakeUpstream, said_to
from tests.unit.shared_load import KEY
from tests.unit.stub_client import query_for
from tests.unit.worker_rig import Rig, miss


def servers(*weights: int) -> list[Server]:
    return [
        Server(
            UpstreamServer(n, f"192.0.2.{n}", 53, socket.AF_INET, weight),
            n,
            RoundTrip(800_000_000),
        )
        for n, weight in enumerate(weights)
    ]


def orders(policy: str, found: list[Server], qnames: list[bytes]) -> list[list[int]]:
    """Return the servers by index in the order of each qname."""
    order = order_of(policy, [server.spec for server in found], KEY)
    return [[server.spec.index for server in order(x, found, None)] for x in qnames]


def order(policy: str, found: list[Server], qname: bytes = b"\1a\0") -> list[int]:
    [one] = orders(policy, found, [qname])
    return one


def names(count: int) -> list[bytes]:
    return [b"\4%04d\0" % number for number in range(count)]


def test_ordered_policy_keeps_the_order_of_the_config() -> None:
    assert order("ordered", servers(1, 1, 1)) == [0, 1, 2]


def test_least_outstanding_comes_first_by_weight() -> None:
    found = servers(1, 2, 1)
    for server, outstanding in zip(found, (3, 4, 9), strict=True):
        server.outstanding = outstanding

    assert order("least_outstanding", found) == [1, 0, 2]


def chosen(choice: Choice, times: int) -> list[int]:
    """Return who is the first to be asked, of so many names one after the other."""
    return [choice.of(name)[-1].position for name in names(times)]


def test_least_outstanding_has_equals_take_turns() -> None:
    found = servers(1, 1, 1)
    down: set[int] = set()
    order = order_of("least_outstanding", [server.spec for server in found], KEY)
    choice = Choice(found, order, lambda index: Health(index not in down))

    assert chosen(choice, 6) == [0, 1, 2] * 2
    down.add(1)
    choice.rank()
    assert chosen(choice, 4) == [0, 2] * 2
    found[0].outstanding = 1
    assert chosen(choice, 2) == [2, 2]


@pytest.mark.parametrize(
    ("policy", "asked"),
    [
        ("least_outstanding", [[0, 0], [1, 1], [0, 0], [1, 1]]),
        ("ordered", [[0, 0], [0, 0], [0, 0], [0, 0]]),
    ],
)
def test_a_chain_of_aliases_is_asked_of_one_server(
    upstream: FakeUpstream,
    second: FakeUpstream,
    policy: Policy,
    asked: list[list[int]],
) -> None:
    with Rig(upstreams=[upstream, second], policy=policy) as rig:
        seen = []
        for number in range(4):
            name, target = f"n{number}.example.com.", f"t{number}.example.net."
            miss(rig, query_for(name))
            seen.append(
                [
                    _answerer(rig, [upstream, second], record)
                    for record in (
                        f"{name} 9 CNAME {target}",
                        f"{target} 9 A 192.0.2.1",
                    )
                ]
            )

        assert seen == asked
        assert rig.pool is not None
        assert rig.pool.pending == 0


def _answerer(rig: Rig, upstreams: list[FakeUpstream], record: str) -> int:
    """Answer the one query by *record*; return which upstream was asked."""
    [(position, query, sender)] = [
        (position, *taken)
        for position, upstream in enumerate(upstreams)
        for taken in upstream.take()
    ]
    upstreams[position].send(said_to(query, record).to_wire(), sender)
    rig.round()
    return position


def test_a_loaded_server_is_left_in_the_middle_of_a_chain(
    upstream: FakeUpstream, second: FakeUpstream
) -> None:
    with Rig(upstreams=[upstream, second], policy="least_outstanding") as rig:
        miss(rig, query_for("n.example.com."))
        miss(rig, query_for("waits.example.com."))
        miss(rig, query_for("waits too.example.com."))
        query, sender = upstream.take()[0]
        second.answer("waits.example.com. 9 A 192.0.2.1")
        rig.round()

        upstream.send(
            said_to(query, "n.example.com. 9 CNAME t.example.net.").to_wire(), sender
        )
        rig.round()

        asked, _sender = second.take_one()
        assert asked.question[0].name.to_text() == "t.example.net."


def test_chash_names_every_server_once() -> None:
    for ordered in orders("chash", servers(1, 1, 1), names(100)):
        assert sorted(ordered) == [0, 1, 2]


def test_chash_shares_names_by_weight() -> None:
    found = orders("chash", servers(1, 3), names(2000))

    first = Counter(ordered[0] for ordered in found)

    assert first[1] / first[0] == pytest.approx(3, rel=0.3)


def test_chash_moves_only_the_names_of_a_server_that_left() -> None:
    found = servers(1, 1, 1)

    before = orders("chash", found, names(500))
    after = orders("chash", found[:2], names(500))

    assert after == [[index for index in x if index != 2] for x in before]


def test_a_server_over_its_share_passes_names_on() -> None:
    found = servers(1, 1, 1)
    order = order_of("chash", [server.spec for server in found], KEY)
    choice = Choice(found, order, lambda _index: Health.UP, bound=1.25)
    first, second, _third = (choice.of(b"\1a\0")[-x] for x in (1, 2, 3))

    first.outstanding = 63
    assert choice.of(b"\1a\0")[-1] is first
    first.outstanding = 300
    assert choice.of(b"\1a\0")[-1] is second
    second.outstanding = 300
    assert choice.of(b"\1a\0")[-1] not in (first, second)
    for server in found:
        server.outstanding = 300
    assert choice.of(b"\1a\0")[-1] is first


def test_without_a_bound_names_keep_their_server() -> None:
    found = servers(1, 1)
    order = order_of("chash", [server.spec for server in found], KEY)
    choice = Choice(found, order, lambda _index: Health.UP)
    first = choice.of(b"\1a\0")[-1]

    first.outstanding = 10_000

    assert choice.of(b"\1a\0")[-1] is first


def test_a_trial_under_chash_is_a_name_of_its_own() -> None:
    found = servers(1, 1, 1)
    order = order_of("chash", [server.spec for server in found], KEY)
    words = {0: Health.TRIAL}
    choice = Choice(
        found, order, lambda index: words.get(index, Health.UP), are_placed=True
    )
    owners = {x: order(x, found, None)[0].index for x in names(60)}

    asked = {x: choice.of(x)[-1].index for x in names(60)}

    tried = [x for x in asked if asked[x] == 0]
    assert tried == [x for x in owners if owners[x] == 0][:1]


def test_a_server_that_was_down_gets_its_names_back_little_by_little() -> None:
    found = servers(1, 1)
    order = order_of("chash", [server.spec for server in found], KEY)
    words = {0: Health.UP | 12 << HELD_SHIFT}
    choice = Choice(found, order, lambda index: words.get(index, Health.UP))
    own = [x for x in names(2000) if order(x, found, None)[0].index == 0]

    def back() -> set[bytes]:
        choice.rank()
        return {x for x in own if choice.of(x)[-1].index == 0}

    first = back()
    words[0] = Health.UP | 4 << HELD_SHIFT
    more = back()
    words[0] = int(Health.UP)

    assert len(first) / len(own) == pytest.approx(1 / 4, rel=0.2)
    assert len(more) / len(own) == pytest.approx(3 / 4, rel=0.2)
    assert first < more < back() == set(own)
    others = [x for x in names(2000) if x not in own]
    assert {choice.of(x)[-1].index for x in others} == {1}


def timed(found: list[Server], *milliseconds: int) -> None:
    for server, took in zip(found, milliseconds, strict=True):
        for _ in range(40):
            server.round_trip.took(took * 1_000_000, is_repeated=False)


def test_the_fastest_is_asked_and_the_others_now_and_then() -> None:
    found = servers(1, 1, 1)
    timed(found, 30, 10, 90)
    order = order_of("fastest", [server.spec for server in found], KEY)
    choice = Choice(found, order, lambda _index: Health.UP)

    asked = Counter(chosen(choice, 640))

    assert asked == {1: 620, 0: 10, 2: 10}


def test_servers_about_as_fast_share_names_as_by_chash() -> None:
    found = servers(1, 1, 1)
    timed(found, 20, 24, 90)
    order = order_of("fastest", [server.spec for server in found], KEY)

    for number, name in enumerate(names(31)):
        [first, *_] = order(name, found, None)
        by_chash = orders("chash", found, [name])[0]
        assert first.index == next(x for x in by_chash if x != 2), number


def test_a_server_that_fails_is_not_the_fastest_for_long() -> None:
    found = servers(1, 1)
    timed(found, 5, 20)
    for _ in range(2):
        found[0].round_trip.missed()

    assert orders("fastest", found, names(1)) == [[1, 0]]
    timed(found, 5, 20)
    assert orders("fastest", found, names(1)) == [[0, 1]]


def test_nobody_is_the_fastest_before_anything_was_measured() -> None:
    found = servers(1, 1, 1)

    assert orders("fastest", found, names(30)) == orders("chash", found, names(30))


@pytest.mark.parametrize("policy", ["chash", "ordered", "least_outstanding", "fastest"])
def test_single_server_is_the_order(policy: str) -> None:
    assert order(policy, servers(1), b"\0") == [0]
