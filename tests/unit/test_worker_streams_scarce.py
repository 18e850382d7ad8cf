"""Connections where memory or descriptors are short."""

from __future__ import annotations

import gc
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dnsfront.ipc.stats import Limit
from dnsfront.worker.process import descriptors
from tests.unit.fake_upstream import FakeUpstream
from tests.unit.streaming import Crowd, Stream, away, respond_upstream, www
from tests.unit.stub_client import query_for


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


# Memory


def test_who_reads_nothing_is_cut_off_when_memory_is_short(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    most = 1 << 20
    crowd = Crowd(stack, upstream, tcp_memory_octets=most)
    rig = crowd.rig
    big = query_for("big.example.test", "TXT")
    reader = crowd.connect("127.0.0.2")
    reader.send(away(1))
    deaf = [crowd.connect(buffer_octets=4096) for _ in range(30)]

    held = []
    for stream in deaf:
        stream.send(*[big] * 20)
        for _ in range(10):
            rig.round()
            held.append(rig.streams.octets)

    assert rig.count(Limit.TCP_MEMORY) > 0
    assert max(held) <= most
    respond_upstream(upstream)
    assert len(reader.until(1)) == 1
    assert crowd.is_served(reader)


def test_who_sends_half_of_large_queries_is_cut_off_when_memory_is_short(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream, tcp_memory_octets=1 << 20)
    rig = crowd.rig
    modest = crowd.connect("127.0.0.2")
    streams = [crowd.connect() for _ in range(40)]

    for stream in streams:
        stream.socket.send(b"\xff\xff" + bytes(40_000))
        for _ in range(4):
            rig.round()
        assert rig.streams.octets <= 1 << 20

    assert rig.count(Limit.TCP_MEMORY) > 0
    assert crowd.is_served(modest)


def test_what_is_closed_holds_no_memory(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream)
    streams = [crowd.busy(), crowd.connect(buffer_octets=4096)]
    streams[1].send(*[query_for("big.example.test", "TXT")] * 40)
    streams[1].socket.send(b"\xff\xffhalf")
    for _ in range(10):
        crowd.rig.round()
    assert crowd.rig.streams.octets > 50_000

    for stream in streams:
        stream.close()
    respond_upstream(upstream)
    crowd.rig.until(lambda: not len(crowd.rig.streams))

    assert crowd.rig.streams.octets == 0


# Descriptors


def refuse(
    monkeypatch: pytest.MonkeyPatch, refusals: list[OSError], *, for_ever: bool = False
) -> list[int]:
    """Have accept() fail with *refusals*; return where its calls are counted."""
    accept = socket.socket.accept
    calls = [0]

    def accept_at_last(sock: socket.socket) -> tuple[socket.socket, object]:
        calls[0] += 1
        if refusals:
            raise refusals[0] if for_ever else refusals.pop(0)
        return accept(sock)

    monkeypatch.setattr(socket.socket, "accept", accept_at_last)
    return calls


def test_lack_of_descriptors_makes_room_and_harms_nobody(
    stack: ExitStack, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Crowd(stack, upstream)
    idle = crowd.connect()
    refuse(monkeypatch, [OSError(24, "Too many open files"), ConnectionAbortedError()])

    late = crowd.connect()
    late.send(www())

    assert len(late.until(1)) == 1
    assert idle.until_closed() == []
    assert crowd.rig.count(Limit.DESCRIPTORS) == 1


def test_who_finds_no_descriptor_is_turned_away_and_the_loop_rests(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream)
    busy = crowd.busy()
    late = Stream(crowd.rig)
    stack.callback(late.close)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Every number below the limit is taken, and none of them is garbage's.
    gc.collect()
    top = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208 - numbers
    taken = [os.dup(0)]
    while taken[-1] < top:
        taken.append(os.dup(0))
    for fd in taken:
        stack.callback(os.close, fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1] + 1, hard))
    try:
        crowd.rig.round()
        counted = crowd.rig.count(Limit.DESCRIPTORS)
        crowd.rig.round()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert late.until_closed() == []
    assert counted == crowd.rig.count(Limit.DESCRIPTORS) == 1
    respond_upstream(upstream)
    assert len(busy.until(1)) == 1


def test_listener_is_left_alone_for_a_while_when_nothing_can_be_done(
    stack: ExitStack, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Crowd(stack, upstream)
    refusals = [OSError(23, "Too many open files in system")]
    calls = refuse(monkeypatch, refusals, for_ever=True)
    late = crowd.connect()
    tried = calls[0]

    for _ in range(10):
        crowd.rig.round()
    assert calls[0] == tried
    refusals.clear()
    crowd.rig.tcp.expire()

    assert crowd.is_served(late)


def test_clients_leave_descriptors_to_those_who_ask_upstream(
    stack: ExitStack, upstream: FakeUpstream
) -> None:
    crowd = Crowd(stack, upstream, descriptors=2)

    streams = [crowd.connect() for _ in range(3)]

    assert streams[0].until_closed() == []
    assert len(crowd.rig.streams) == 2
    assert crowd.rig.count(Limit.DESCRIPTORS) == 1
    assert crowd.rig.count(Limit.TCP_CONNECTIONS) == 0


@pytest.mark.parametrize(
    ("free", "servers", "room"),
    [(20, 1, 5), (3, 0, 1), (1000, 2, 808), (100_000, 64, 95_840)],
    ids=["ulimit -n 64", "next to none", "the usual soft limit", "plenty"],
)
def test_share_of_descriptors_for_clients(free: int, servers: int, room: int) -> None:
    assert descriptors.for_clients(free, servers=servers, wanted=1000) == room
