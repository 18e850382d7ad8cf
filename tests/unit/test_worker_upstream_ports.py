"""A port that no longer works is given up, and what it carried goes another way."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from dnsfront.ipc import stats
from dnsfront.ipc.stats import Upstream
from dnsfront.worker.upstreams.fetch import Port
from dnsfront.worker.upstreams.ports import Ports
from tests.unit.fake_upstream import ADDRESS, FakeUpstream, said_to
from tests.unit.stub_client import query_for, received_one
from tests.unit.worker_rig import (
    NS,
    TIMEOUT_S,
    Rig,
    interpreted,
    miss,
    open_descriptors,
)


def replaced(rig: Rig, reason: Upstream) -> int:
    return rig.words[stats.upstream_at(0) + reason]


def ports_of(rig: Rig) -> Ports:
    assert rig.pool is not None
    [ports] = rig.pool._fetching.sending.ports
    return ports


def ports(rig: Rig) -> list[Port]:
    return [port for port in ports_of(rig)._ports if port is not None]


def names(rig: Rig) -> set[tuple[str, int]]:
    sockets = ports_of(rig)._sockets
    return {sockets[port.fd].getsockname() for port in ports(rig)}


@contextlib.contextmanager
def silence(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """Yield a socket at *host*, connected to a peer that says nothing."""
    kind = (socket.AF_INET, socket.SOCK_DGRAM)
    with socket.socket(*kind) as peer, socket.socket(*kind) as ours:
        peer.bind(("127.0.0.1", 0))
        ours.bind((host, 0))
        ours.connect(peer.getsockname())
        yield ours


def use_all_ports(rig: Rig, upstream: FakeUpstream) -> None:
    number = 0
    while len(ports(rig)) < 16:
        number += 1
        miss(rig, query_for(f"n{number}.warm.test"))
        upstream.answer(rcode=3)
        rig.round()


def replace_sockets(rig: Rig, other: socket.socket) -> None:
    """Let every port of the pool be *other* under its descriptor.

    So a port looks whose source address the host has lost: it is there, and what it is
    given goes nowhere.
    """
    for port in ports(rig):
        rig.reactor.forget(port.fd)
        os.dup2(other.fileno(), port.fd)
        rig.reactor.watch(port.fd, lambda _event: None)


def test_send_that_fails_is_made_again_at_once_through_a_new_port(
    rig: Rig, upstream: FakeUpstream
) -> None:
    use_all_ports(rig, upstream)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as aimless:
        replace_sockets(rig, aimless)

        clients = [miss(rig, query_for(f"n{n}.example.com")) for n in range(64)]

        assert len(upstream.take()) == 64
    assert all(client.receive() == [] for client in clients)
    assert rig.upstream()[1] == 0
    assert 10 <= replaced(rig, Upstream.PORTS_ERROR) <= 16


def test_ports_that_hear_nothing_for_a_time_out_are_replaced(
    rig: Rig, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    use_all_ports(rig, upstream)
    with silence() as silent:
        replace_sockets(rig, silent)
        rig.now_ns += NS
        client = miss(rig)
        for seconds in (0.2, 0.4):
            rig.wait(seconds)
        assert upstream.take() == []
        assert replaced(rig, Upstream.PORTS_SILENT) == 0

        # The last of three queries was kept back for this.
        rig.wait(0.2)
        upstream.answer(ADDRESS)
        rig.round()

        assert received_one(client).answer
        # Another port got through, so that none as old is used again.
        assert replaced(rig, Upstream.PORTS_SILENT) == 16
        for number in range(40):
            miss(rig, query_for(f"n{number}.example.com"))
        assert len(upstream.take()) == 40
    assert rig.pool is not None
    rig.pool.sweep()
    assert "times=16 error=silence" in caplog.text


def test_ports_are_replaced_at_the_first_repetition_if_the_host_sends_from_elsewhere(
    rig: Rig, upstream: FakeUpstream
) -> None:
    use_all_ports(rig, upstream)
    with silence("127.0.0.2") as silent:
        replace_sockets(rig, silent)
        rig.now_ns += NS
        client = miss(rig)
        assert upstream.take() == []

        rig.wait(0.3)
        upstream.answer(ADDRESS)
        rig.round()

    assert received_one(client).answer
    assert replaced(rig, Upstream.PORTS_SILENT) == 16


@pytest.mark.parametrize("seconds", [0.75, 0.799])
def test_a_server_that_takes_long_is_heard_on_its_first_query(
    rig: Rig, upstream: FakeUpstream, seconds: float
) -> None:
    """It answers names that it knows at once, so that nothing says that it is slow."""
    use_all_ports(rig, upstream)
    rig.now_ns += NS
    client = miss(rig)
    query, sender = upstream.take_one()
    failures = rig.upstream()[1]

    for at_s in (0.2, 0.4, 0.6, seconds):
        rig.wait(at_s if at_s == 0.2 else 0.2 if at_s < 0.7 else seconds - 0.6)
    assert {(again.id, port) for again, port in upstream.take()} == {(query.id, sender)}
    upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig.round()

    assert received_one(client).answer
    assert rig.upstream()[1] == failures
    assert replaced(rig, Upstream.PORTS_SILENT) == 0


def test_an_answer_after_the_time_out_is_taken_and_counts_as_one(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)
    query, sender = upstream.take_one()
    for seconds in (0.3, 0.5, 0.4):
        rig.wait(seconds)

    upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig.round()

    assert received_one(client).answer
    at = stats.upstream_at(0) + Upstream.DURATION
    assert sum(rig.words[at : at + stats.BUCKETS]) == 1


@interpreted
def test_port_that_hears_others_is_kept_at_a_time_out(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnsfront.worker.upstreams.ports._PORTS", 1)
    with Rig(upstreams=[upstream]) as rig:
        miss(rig)
        upstream.take()
        rig.now_ns += NS // 10
        miss(rig, query_for("other.test"))
        upstream.answer(rcode=3)
        rig.round()

        rig.wait(TIMEOUT_S)

        assert len(upstream.take()) == 1
        assert replaced(rig, Upstream.PORTS_SILENT) == 0


def test_ports_that_nobody_uses_are_renewed_by_time(
    rig: Rig, upstream: FakeUpstream
) -> None:
    use_all_ports(rig, upstream)
    before = names(rig)
    opened = open_descriptors()
    assert rig.pool is not None

    rig.wait(181)
    rig.pool.sweep()

    assert ports(rig) == []
    assert replaced(rig, Upstream.PORTS_AGE) == 16
    assert len(opened - open_descriptors()) == 16
    use_all_ports(rig, upstream)
    assert len(before & names(rig)) < 4


def test_question_stands_under_one_port_and_id_a_try_and_two_a_server(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)
    query, sender = upstream.take_one()
    rig.wait(0.3)
    repeated, from_there = upstream.take_one()
    rig.wait(TIMEOUT_S - 0.3)
    again, from_elsewhere = upstream.take_one()

    assert (repeated.id, from_there) == (query.id, sender)
    assert from_elsewhere != sender
    wrong = said_to(again, "www.example.com. 300 A 192.0.2.66").to_wire()
    upstream.send(wrong, sender)
    rig.round()
    assert client.receive() == []
    upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig.round()
    assert "192.0.2.1" in received_one(client).answer[0].to_text()


def test_ports_that_were_given_up_are_bounded_whatever_is_pending(rig: Rig) -> None:
    """Names that nobody answers, which strangers choose, keep them open otherwise."""
    assert rig.pool is not None
    given_up = ports_of(rig)
    clients = []
    for number in range(100):
        clients.append(miss(rig, query_for(f"n{number}.example.com")))
        for port in ports(rig):
            given_up._give_up(port, Upstream.PORTS_AGE)

    assert len(given_up._retired) == 32
    assert rig.pool.pending == 100
    for _ in range(40):
        rig.wait(TIMEOUT_S / 4)
    assert rig.pool.pending == 0
    assert all(received_one(client).rcode() for client in clients)
