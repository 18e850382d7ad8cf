"""Very many who wait for one answer: what they cost, and who is served meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise

import dns.message
import pytest

from dnsfront.dns import wire
from dnsfront.dns.response import parse_response
from dnsfront.ipc.stats import Counter, Limit, Rcode
from dnsfront.worker.clients.crowds import (
    ANSWERS_A_ROUND,
    AT_ONCE,
    MAX_HELD_OCTETS,
    Crowds,
)
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.transports.framed import FramedConnection, FramedWaiter
from dnsfront.worker.upstreams.fetch import Fetch
from tests.unit.fake_upstream import FakeUpstream, said_to
from tests.unit.streaming import Stream
from tests.unit.stub_client import query_for, received
from tests.unit.worker_rig import BOUNDS, ZONE, Rig, interpreted

#: 60 kB.
_LINE = "x" * 240
_BIG = tuple(f'big.example.com 60 TXT "{n:03d}{_LINE}"' for n in range(240))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def rig_with(stack: ExitStack, upstream: FakeUpstream, **bounds: int) -> Rig:
    return stack.enter_context(
        Rig(zone=ZONE, upstreams=[upstream], bounds=replace(BOUNDS, **bounds))
    )


def crowd(
    stack: ExitStack, rig: Rig, connections: int, queries: int
) -> tuple[list[Stream], Fetch]:
    """Return connections that all wait for one answer, and the fetch of it."""
    streams = []
    for _ in range(connections):
        stream = Stream(rig)
        stack.callback(stream.close)
        stream.send(*[query_for("big.example.com", "TXT")] * queries)
        streams.append(stream)
    most = connections * queries
    rig.until(lambda: rig.count(Counter.QUERIES_TCP) == most)
    assert rig.pool is not None
    [fetch] = [f for view in rig.pool.under_way for f in view.values()]
    assert len(fetch.waiters) == most
    return streams, fetch


def deliver(rig: Rig, fetch: Fetch, *records: str) -> None:
    """Deliver *records* as the pool does it."""
    assert rig.pool is not None
    query = query_for("big.example.com", "TXT")
    octets = said_to(query, *records).to_wire(max_size=65535)
    end = wire.HEADER_OCTETS + len(fetch.canonical)
    rig.pool._fetching.finish(fetch)
    rig.arrivals.deliver(fetch, parse_response(octets, end))


@interpreted
def test_large_answer_for_ten_thousand_never_holds_more_memory_than_allowed(
    stack: ExitStack, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 16 << 20
    rig = rig_with(stack, upstream, tcp_memory_octets=most)
    _streams, fetch = crowd(stack, rig, 100, 100)
    charged: list[int] = []
    held: list[int] = []
    answered = FramedConnection.answered

    def watched(
        connection: FramedConnection, query: FramedWaiter, message: bytes
    ) -> None:
        answered(connection, query, message)
        charged.append(rig.streams.octets)
        if len(charged) % 20 == 0:
            held.append(
                sum(
                    len(each._unsent) + len(each._received)
                    for each in rig.tcp.connections
                )
            )

    monkeypatch.setattr(FramedConnection, "answered", watched)
    deliver(rig, fetch, *_BIG)
    rig.until(lambda: not rig.answering.delivery.crowds.waiting)

    assert max(charged) <= most
    assert max(held) <= most
    assert rig.count(Limit.TCP_MEMORY) > 0
    # Nobody builds what nobody can be sent any more.
    assert len(charged) < 5000


def test_ten_thousand_are_told_in_pieces_and_datagrams_are_served_in_between(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    rig = rig_with(stack, upstream)
    streams, fetch = crowd(stack, rig, 100, 100)
    other = rig.client()

    deliver(rig, fetch, "big.example.com 60 TXT small")
    told = [rig.count(Rcode.FIRST)]
    while rig.answering.delivery.crowds.waiting:
        other.send(query_for("www.example.test").to_wire())
        rig.round()
        assert len(received(other)) == 1
        told.append(rig.count(Rcode.FIRST))

    rises = [after - before for before, after in pairwise(told)]
    assert max(rises) <= ANSWERS_A_ROUND + 1
    assert sum(rises) == 10_000 + len(rises)
    for stream in streams:
        assert len(stream.until(100)) == 100


def test_ten_thousand_who_get_no_answer_are_told_in_pieces(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    rig = rig_with(stack, upstream)
    streams, fetch = crowd(stack, rig, 10, 100)
    assert rig.pool is not None

    fetch.candidates.clear()
    rig.pool._fetching.fail(fetch)
    assert rig.answering.delivery.crowds.waiting == 1000
    rig.round()

    assert rig.answering.delivery.crowds.waiting == 1000 - ANSWERS_A_ROUND
    for stream in streams:
        assert {response.rcode() for response in stream.until(100)} == {wire.SERVFAIL}


def test_few_are_told_at_once(stack: ExitStack, upstream: FakeUpstream) -> None:
    rig = rig_with(stack, upstream)
    [stream], fetch = crowd(stack, rig, 1, AT_ONCE)

    deliver(rig, fetch, "big.example.com 60 TXT small")

    assert rig.answering.delivery.crowds.waiting == 0
    assert len(stream.until(AT_ONCE)) == AT_ONCE


def test_who_is_still_to_be_told_counts_among_those_who_wait(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    rig = rig_with(stack, upstream, pending=10)
    [stream], fetch = crowd(stack, rig, 1, 40)
    deliver(rig, fetch, "big.example.com 60 TXT small")
    assert rig.answering.delivery.crowds.waiting == 40

    assert rig.pool is not None
    rig.pool.join(fetch, fetch.waiters[0])
    rig.meter.flush()

    assert rig.count(Limit.WAITERS) == 1
    assert len(stream.until(40)) == 40


class _Silent(Waiter):
    """Somebody who waits, and is gone or not."""

    def __init__(self, *, is_there: bool = True) -> None:
        self._is_there = is_there

    def is_wanted(self) -> bool:
        return self._is_there


@interpreted
def test_crowds_take_turns() -> None:
    waiting = Crowds()
    order: list[str] = []
    large, small = [_Silent()] * 1000, [_Silent()] * 10
    waiting.add(large, lambda piece: order.extend("l" * len(piece)), 0)
    waiting.add(small, lambda piece: order.extend("s" * len(piece)), 0)

    waiting.go_on(lambda _piece: order.clear())

    assert order.count("s") == 10
    assert waiting.waiting == 1010 - len(order)


@interpreted
def test_large_answer_counts_for_several_and_who_is_gone_for_nobody() -> None:
    waiting = Crowds()
    told: list[int] = []
    waiting.add([_Silent()] * 100, lambda piece: told.append(len(piece)), 60_000)
    waiting.go_on(lambda _piece: told.clear())
    assert told == [AT_ONCE, 1]

    gone = Crowds()
    gone.add([_Silent(is_there=False)] * 100, lambda _piece: told.append(0), 60_000)
    gone.go_on(lambda _piece: told.clear())
    assert told == [AT_ONCE, 1]
    assert (gone.waiting, gone.octets) == (0, 0)


@interpreted
def test_fault_that_one_piece_meets_is_for_that_piece_alone() -> None:
    waiting = Crowds()
    lost: list[Waiter] = []
    told: list[Waiter] = []

    def tell(piece: list[Waiter]) -> None:
        if not lost:
            raise ValueError
        told.extend(piece)

    waiting.add([_Silent()] * 20, tell, 10)
    waiting.go_on(lost.extend)

    assert (len(lost), len(told)) == (AT_ONCE, 12)


def test_answers_that_hold_too_much_until_they_are_told_become_servfail(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    rig = rig_with(stack, upstream)
    [stream], fetch = crowd(stack, rig, 1, 20)
    rig.answering.delivery.crowds.octets = MAX_HELD_OCTETS

    deliver(rig, fetch, "big.example.com 60 TXT small")
    responses: list[dns.message.Message] = stream.until(20)

    assert {response.rcode() for response in responses} == {wire.SERVFAIL}
    assert rig.count(Limit.WAITERS) == 1
    assert rig.answering.delivery.crowds.octets == MAX_HELD_OCTETS
