"""In which order the servers of a pool are asked for a name."""

from __future__ import annotations

import socket
from collections import Counter

import pytest

from dnsfront.ipc.spec import Policy, UpstreamServer
from dnsfront.ipc.stats import Health
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


@pytest.mark.parametrize("policy", ["chash", "ordered", "least_outstanding"])
def test_single_server_is_the_order(policy: str) -> None:
    assert order(policy, servers(1), b"\0") == [0]
