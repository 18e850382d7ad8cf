"""What clients over TCP may cost: turns, and bounds that are shared fairly."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise

import pytest

from dnsfront.ipc.stats import Counter, Limit
from dnsfront.worker.clients.gate import client_of
from dnsfront.worker.transports.framed import QUERIES_A_TURN
from dnsfront.worker.transports.streams import QUERIES_A_ROUND
from tests.unit.fake_upstream import FakeUpstream
from tests.unit.streaming import Crowd, away, respond_upstream, www
from tests.unit.stub_client import query_for
from tests.unit.worker_rig import BOUNDS


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


# Turns


def test_pipelining_clients_are_served_so_many_queries_between_two_looks_at_datagrams(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream)
    rig = crowd.rig
    total = 8 * QUERIES_A_TURN
    streams = [crowd.connect() for _ in range(32)]
    for stream in streams:
        stream.send(*[www() for _ in range(total)])
    client = rig.client()
    counts = [0]

    while counts[-1] < 32 * total:
        # A round looks at the datagrams once, and answers each.
        assert len(rig.ask(www().to_wire(), client)) == 1
        counts.append(rig.count(Counter.QUERIES_TCP))

    assert max(b - a for a, b in pairwise(counts)) <= (QUERIES_A_ROUND + QUERIES_A_TURN)
    for stream in streams:
        assert len(stream.until(total)) == total


def test_turns_go_around(stack: ExitStack, upstream: FakeUpstream) -> None:
    crowd = Crowd(stack, upstream)
    greedy, modest = crowd.connect(), crowd.connect()
    greedy.send(*[www() for _ in range(20 * QUERIES_A_TURN)])
    modest.send(www())

    assert len(modest.until(1)) == 1

    assert crowd.rig.count(Counter.QUERIES_TCP) <= 3 * QUERIES_A_TURN + 1
    assert len(greedy.until(20 * QUERIES_A_TURN)) == 20 * QUERIES_A_TURN


def test_large_answers_count_for_more_queries(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream)
    streams = [crowd.connect() for _ in range(32)]
    big = query_for("big.example.test", "TXT")
    for stream in streams:
        stream.send(big)

    crowd.rig.round()

    # A dozen queries' worth each, and so many fit a round.
    assert crowd.rig.count(Counter.QUERIES_TCP) < 8
    for stream in streams:
        assert len(stream.until(1)) == 1


def test_fault_in_a_turn_ends_one_connection(
    stack: ExitStack, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Crowd(stack, upstream)
    broken, whole = crowd.connect(), crowd.connect()
    peer = broken.socket.getsockname()
    recv_into = socket.socket.recv_into

    def fail(sock: socket.socket, buffer: memoryview) -> int:
        if sock.getpeername() == peer:
            raise ZeroDivisionError
        return recv_into(sock, buffer)

    monkeypatch.setattr(socket.socket, "recv_into", fail)
    broken.send(www())

    assert broken.until_closed() == []
    assert crowd.is_served(whole)
    assert crowd.rig.count(Counter.EXCEPTIONS) == 1


# How many


def test_idle_connections_make_room_for_each_other(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream, tcp_connections=3)
    first, second, third = (crowd.connect() for _ in range(3))
    assert crowd.is_served(first)

    fourth = crowd.connect()

    assert second.until_closed() == []
    assert len(crowd.rig.streams) == 3
    assert all(crowd.is_served(stream) for stream in (first, third, fourth))
    assert crowd.rig.count(Limit.TCP_CONNECTIONS) == 1
    assert crowd.rig.count(Counter.TCP_REFUSED) == 0


def test_client_puts_none_of_its_own_out_that_wait_for_an_answer(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream, tcp_connections=1)
    busy = crowd.busy()

    late = crowd.connect()

    assert late.until_closed() == []
    respond_upstream(upstream)
    assert len(busy.until(1)) == 1
    assert crowd.rig.count(Counter.TCP_REFUSED) == 1
    assert crowd.rig.count(Counter.TCP_CONNECTIONS) == 1


def test_busy_client_that_holds_the_table_gives_way_to_another(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream, tcp_connections=4)
    modest = crowd.connect("127.0.0.2")
    greedy = [crowd.busy("127.0.0.3") for _ in range(3)]

    late = [crowd.connect("127.0.0.4") for _ in range(1)]

    assert greedy[0].until_closed() == []
    assert crowd.is_served(modest)
    assert crowd.is_served(late[0])
    assert not greedy[1].has_ended
    assert crowd.rig.count(Limit.TCP_CONNECTIONS) == 1


def test_table_full_of_busy_strangers_lets_in_who_comes(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream, tcp_connections=3)
    strangers = [crowd.busy(f"127.0.1.{number}") for number in range(1, 4)]

    late = crowd.connect("127.0.0.2")

    assert crowd.is_served(late)
    assert strangers[0].until_closed() == []
    assert not strangers[1].has_ended


def test_client_may_hold_no_more_than_its_share(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream, tcp_connections_per_client=2)
    busy = [crowd.busy() for _ in range(2)]

    late, other = crowd.connect(), crowd.connect("127.0.0.2")

    assert late.until_closed() == []
    assert crowd.is_served(other)
    assert not any(stream.has_ended for stream in busy)
    assert crowd.rig.count(Limit.TCP_CONNECTIONS_PER_CLIENT) == 1
    assert crowd.rig.count(Limit.TCP_CONNECTIONS) == 0


def test_client_at_its_share_gives_up_what_it_does_not_use(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream, tcp_connections_per_client=2)
    idle, busy = crowd.connect(), crowd.busy()

    late = crowd.connect()

    assert idle.until_closed() == []
    assert crowd.is_served(late)
    assert not busy.has_ended


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
    ids=["IPv4 addresses", "one /64", "two /64"],
)
def test_clients_are_told_apart_by_address_or_64(
    *, one: str, other: str, are_one: bool
) -> None:
    family = socket.AF_INET6 if ":" in one else socket.AF_INET

    clients = {client_of(socket.inet_pton(family, text)) for text in (one, other)}

    assert (len(clients) == 1) == are_one


def test_bounds_are_of_all_listeners_together(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream, tcp_connections=2)
    rig = crowd.rig
    second = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    second.settimeout(0)
    listener = rig.tcp_listener(2, second)
    for _ in range(2):
        crowd.connect()

    client = stack.enter_context(socket.create_connection(second.getsockname()))
    listener.ready(0)

    assert len(rig.streams) == 2
    assert len(listener.connections) == 1
    assert client.fileno() >= 0


def test_fewer_connections_are_kept_from_the_next_config_on(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream)
    early = [crowd.connect() for _ in range(3)]

    crowd.rig.streams.configure(replace(BOUNDS, tcp_connections=1), 1000)
    late = crowd.connect()

    assert early[0].until_closed() == []
    assert crowd.is_served(late)


def test_client_that_may_not_ask_any_more_is_disconnected(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream)
    out, kept = crowd.connect("127.0.0.2"), crowd.connect("127.0.0.1")

    crowd.rig.admit("127.0.0.1/32")
    crowd.rig.streams.keep_out(crowd.rig.gate)

    assert out.until_closed() == []
    assert crowd.is_served(kept)


def test_connection_ends_after_so_many_queries_and_all_answers(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream, tcp_queries_per_connection=3)
    stream = crowd.connect()
    stream.send(away(1), www(), www(), www(), www())
    early = stream.until(2)

    respond_upstream(upstream)

    assert [response.id for response in stream.until_closed()] == [1]
    assert len(early) == 2
    assert crowd.rig.count(Counter.QUERIES_TCP) == 3
    assert crowd.rig.count(Limit.TCP_QUERIES_PER_CONNECTION) == 1
