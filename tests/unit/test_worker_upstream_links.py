"""Connections to an upstream are shared, kept, bounded, and replaced when they die."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections import Counter
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.ipc import stats
from dnsfront.worker.upstreams.exchange import Links
from tests.unit.fake_upstream import FakeUpstream, said_to
from tests.unit.stub_client import Client, query_for, received
from tests.unit.worker_rig import TIMEOUT_S, Rig, open_descriptors

NAME = "n{}.example.com"
#: A query that came over TCP, and the connection that it came over.
Query = tuple[dns.message.Message, socket.socket]


class Peer:
    """The upstream's side: truncates over UDP, and has what comes over TCP."""

    def __init__(self, rig: Rig, upstream: FakeUpstream) -> None:
        self.rig = rig
        self.upstream = upstream
        self.connections: list[socket.socket] = []
        self._buffers: dict[socket.socket, bytes] = {}

    def truncate(self) -> None:
        """Tell all who asked over UDP that there is more."""
        for query, sender in self.upstream.take():
            tc = said_to(query, flags=dns.flags.TC)
            self.upstream.send(tc.to_wire(), sender)
        self.rig.round()

    def take(self) -> list[Query]:
        """Return the queries that came over TCP since the last call."""
        with contextlib.suppress(BlockingIOError):
            while True:
                connection = self.upstream.accept()
                connection.settimeout(0)
                self.connections.append(connection)
                self._buffers[connection] = b""
        taken = []
        for connection in self._buffers:
            with contextlib.suppress(BlockingIOError, OSError):
                self._buffers[connection] += connection.recv(1 << 20)
            octets = self._buffers[connection]
            while len(octets) >= 2 and len(octets) >= 2 + _size(octets):
                query = dns.message.from_wire(octets[2 : 2 + _size(octets)])
                taken.append((query, connection))
                octets = octets[2 + _size(octets) :]
            self._buffers[connection] = octets
        return taken

    def await_queries(self, count: int) -> list[Query]:
        """Return so many queries over TCP, once they are there."""
        found: list[Query] = []

        def is_there() -> bool:
            self.truncate()
            found.extend(self.take())
            return len(found) >= count

        self.rig.until(is_there)
        assert len(found) == count
        return found

    def close(self) -> None:
        for connection in self.connections:
            connection.close()


def _size(octets: bytes) -> int:
    return int.from_bytes(octets[:2], "big")


def respond(query: Query) -> None:
    message, connection = query
    octets = said_to(message, f"{name_of(query)} 300 A 192.0.2.1").to_wire()
    connection.sendall(len(octets).to_bytes(2, "big") + octets)


def name_of(query: Query) -> str:
    return query[0].question[0].name.to_text()


@pytest.fixture
def peer(rig: Rig, upstream: FakeUpstream) -> Iterator[Peer]:
    made = Peer(rig, upstream)
    yield made
    made.close()


def ask(rig: Rig, numbers: range) -> Client:
    client = rig.client()
    for number in numbers:
        client.send(query_for(NAME.format(number)).to_wire())
    rig.round()
    return client


def answered(rig: Rig, client: Client, count: int) -> list[dns.message.Message]:
    """Return the responses that *client* gets, once there are so many."""
    found: list[dns.message.Message] = []

    def is_there() -> bool:
        found.extend(received(client))
        return len(found) >= count

    rig.until(is_there)
    return found


def opened(rig: Rig) -> int:
    return rig.words[stats.upstream_at(0) + stats.Upstream.TCP_CONNECTIONS]


def use(rig: Rig, peer: Peer, number: int = 9999) -> socket.socket:
    """Have a connection that has been of use; return the upstream's end."""
    client = ask(rig, range(number, number + 1))
    found: list[Query] = []

    def is_there() -> bool:
        peer.truncate()
        found.extend(x for x in peer.take() if name_of(x) == NAME.format(number) + ".")
        return bool(found)

    rig.until(is_there)
    [query] = found
    respond(query)
    answered(rig, client, 1)
    return query[1]


def test_thousand_truncated_answers_cost_few_connections(rig: Rig, peer: Peer) -> None:
    shuffle = random.Random(1).shuffle
    for first in range(0, 1000, 50):
        client = ask(rig, range(first, first + 50))
        queries = peer.await_queries(50)
        shuffle(queries)
        for query in queries:
            respond(query)

        responses = answered(rig, client, 50)

        assert {x.question[0].name: len(x.answer) for x in responses} == {
            x.question[0].name: 1 for x, _ in queries
        }
    assert opened(rig) == len(peer.connections) <= 4
    assert rig.upstream() == (2000, 0)


def test_what_is_beyond_the_bound_waits_for_its_turn(rig: Rig, peer: Peer) -> None:
    client = rig.client()
    for number in range(300):
        client.send(query_for(NAME.format(number)).to_wire())
        if number % 50 == 49:
            rig.round()
            peer.truncate()

    first = peer.await_queries(256)
    assert opened(rig) == 4
    for query in first:
        respond(query)
    for query in peer.await_queries(44):
        respond(query)

    assert len(answered(rig, client, 300)) == 300
    assert opened(rig) == 4


def test_idle_connection_is_closed_and_the_next_query_opens_one(
    rig: Rig, peer: Peer
) -> None:
    connection = use(rig, peer)
    assert rig.pool is not None
    rig.pool.sweep()
    rig.wait(4.9)
    rig.pool.sweep()
    assert use(rig, peer, 1) is connection

    before = open_descriptors()
    rig.wait(6)
    rig.pool.sweep()

    assert len(before - open_descriptors()) >= 1
    assert connection.recv(1) == b""
    assert use(rig, peer, 2) is not connection
    assert opened(rig) == 2


def test_query_on_a_connection_that_dies_goes_another_way_once(
    rig: Rig, peer: Peer
) -> None:
    use(rig, peer)
    client = ask(rig, range(3))
    queries = peer.await_queries(3)

    queries[0][1].close()
    again = peer.await_queries(3)
    for query in again:
        respond(query)

    assert sorted(map(name_of, again)) == sorted(map(name_of, queries))
    assert len(answered(rig, client, 3)) == 3
    assert rig.upstream()[1] == 0


def test_connection_that_was_of_no_use_fails_its_queries(rig: Rig, peer: Peer) -> None:
    client = ask(rig, range(1))
    [query] = peer.await_queries(1)

    query[1].close()
    rig.until(lambda: rig.upstream()[1])

    assert peer.take() == []
    assert client.receive() == []


@pytest.mark.parametrize("most", [1, 3])
def test_upstream_that_closes_after_few_responses_serves_them_all(
    rig: Rig, peer: Peer, most: int
) -> None:
    client = ask(rig, range(20))
    served: Counter[socket.socket] = Counter()

    def is_served() -> bool:
        peer.truncate()
        for query in peer.take():
            if served[query[1]] < most:
                served[query[1]] += 1
                respond(query)
                if served[query[1]] == most:
                    query[1].shutdown(socket.SHUT_WR)
        return served.total() == 20

    rig.until(is_served)

    rcodes = {response.rcode() for response in answered(rig, client, 20)}
    assert rcodes == {dns.rcode.NOERROR}
    assert rig.upstream()[1] == 0


def test_late_response_harms_nobody_and_the_connection_stays(
    rig: Rig, peer: Peer
) -> None:
    ask(rig, range(1))
    client = ask(rig, range(1, 2))
    late, prompt = sorted(peer.await_queries(2), key=name_of)
    respond(prompt)
    assert answered(rig, client, 1)

    rig.wait(2 * TIMEOUT_S)
    respond(late)
    rig.round()

    assert use(rig, peer, 5) is late[1]
    assert opened(rig) == 1


def test_connection_that_fell_silent_is_not_used_again(rig: Rig, peer: Peer) -> None:
    silent = use(rig, peer)
    ask(rig, range(1))
    [query] = peer.await_queries(1)
    assert query[1] is silent

    rig.wait(2 * TIMEOUT_S)

    assert use(rig, peer, 5) is not silent


@pytest.mark.parametrize("end", ["closed", "swept"])
def test_nothing_is_left_open(upstream: FakeUpstream, end: str) -> None:
    rig = Rig()
    before = open_descriptors()
    rig.forward_to([upstream])
    peer = Peer(rig, upstream)
    use(rig, peer)
    peer.close()
    if end == "swept":
        rig.wait(600)
        rig.pool.sweep()
    else:
        rig.forwarding.close()

    rig.round()

    clients = {f"socket:[{inode}]" for inode in _inodes(rig)}
    assert open_descriptors() - before <= clients
    rig.close()


def _inodes(rig: Rig) -> list[int]:
    return [os.fstat(client.socket.fileno()).st_ino for client in rig._clients]


def test_queries_given_up_are_not_remembered_without_end(
    rig: Rig, upstream: FakeUpstream
) -> None:
    """One that leaves most queries unanswered would use up the ids of a connection."""
    numbers = iter(range(1, 1 << 16))
    identities = (number.to_bytes(2, "big") for number in numbers)
    links = Links(upstream.spec, rig.reactor, identities, rig.meter)
    connections: list[socket.socket] = []

    def answer_one() -> bool:
        with contextlib.suppress(BlockingIOError):
            connections.append(upstream.accept())
            connections[-1].settimeout(0)
        for connection in connections:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                octets = connection.recv(1 << 20)
                if octets:
                    connection.send(b"\0\x10" + octets[2:4] + bytes(14))
                    return True
        return False

    for turn in range(400):
        told: list[bytes | None] = []
        exchanges = [links.ask(bytes(20), told.append, turn) for _ in range(8)]
        links.push()
        rig.until(answer_one)
        rig.until(lambda told=told: told)  # type: ignore[misc]
        for exchange in exchanges:
            exchange.abandon()

    assert len(connections) == 1 + 400 * 7 // 1024
    links.close()
    for connection in connections:
        connection.close()
