"""A server that is silent over UDP is asked over TCP too, and harmed by it never."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.ipc import stats
from dnsfront.ipc.spec import MAX_TRIES
from tests.unit.fake_upstream import ADDRESS, FakeUpstream, said_to
from tests.unit.stub_client import query_for, received_one
from tests.unit.test_worker_tries import Play
from tests.unit.worker_rig import TIMEOUT_S, Rig, miss

_NAME = "n{}.example.com"


class Stream:
    """The upstream's side of its connections, without a wait."""

    def __init__(self, rig: Rig, upstream: FakeUpstream) -> None:
        self._rig, self._upstream = rig, upstream
        self._connections: list[tuple[socket.socket, bytearray]] = []
        self._asked: dict[int, socket.socket] = {}

    def accept(self) -> int:
        """Take the connections that came; return how many there are in all."""
        with contextlib.suppress(BlockingIOError):
            while True:
                connection = self._upstream.accept()
                connection.settimeout(0)
                self._connections.append((connection, bytearray()))
        return len(self._connections)

    def queries(self, count: int) -> list[dns.message.Message]:
        """Return so many queries, once they are there."""
        found: list[dns.message.Message] = []

        def are_there() -> bool:
            self.accept()
            for connection, octets in self._connections:
                with contextlib.suppress(BlockingIOError):
                    octets.extend(connection.recv(1 << 16))
                while len(octets) >= 2:
                    end = 2 + int.from_bytes(octets[:2], "big")
                    found.append(dns.message.from_wire(bytes(octets[2:end])))
                    self._asked[id(found[-1])] = connection
                    del octets[:end]
            return len(found) >= count

        self._rig.until(are_there)
        assert len(found) == count
        return found

    def answer(self, query: dns.message.Message, *records: str, **said: int) -> None:
        octets = said_to(query, *records, **said).to_wire()
        self._asked[id(query)].sendall(len(octets).to_bytes(2, "big") + octets)

    def close(self) -> None:
        for connection, _octets in self._connections:
            connection.close()
        self._connections.clear()


@pytest.fixture
def stream(rig: Rig, upstream: FakeUpstream) -> Iterator[Stream]:
    made = Stream(rig, upstream)
    yield made
    made.close()


def retries(rig: Rig) -> int:
    return rig.words[stats.upstream_at(0) + stats.Upstream.TCP_RETRIES]


def connections(rig: Rig) -> int:
    return rig.words[stats.upstream_at(0) + stats.Upstream.TCP_CONNECTIONS]


# The rules


@pytest.mark.parametrize(
    ("order", "over_tcp"),
    [([0, 0, 0], [0, 0]), ([0, 1, 0], [1]), ([0, 1, 2], []), ([0], [])],
    ids=["one server", "two servers", "three servers", "single try"],
)
def test_silent_server_without_another_is_asked_over_tcp(
    order: list[int], over_tcp: list[int]
) -> None:
    play = Play(*order)
    asked = []

    while not play.is_over:
        if play.look().is_over_tcp:
            asked.append(play.fetch.server.position)

    assert asked == over_tcp


def test_server_is_asked_over_tcp_once_a_question() -> None:
    play = Play(0, 0, 0)
    while not play.look().is_over_tcp:
        pass

    play.fetch.count_query_over_tcp()
    play.fetch.abandon_tcp = lambda: None
    play.look_until_over()

    assert play.now_ms == MAX_TRIES * round(TIMEOUT_S * 1000)
    assert [step.is_over_tcp for step in play.steps][-2:] == [False, False]
    assert play.sent == [(0, 0), (0, 300), (0, 800)]


# What comes of them


def test_server_silent_over_udp_answers_over_tcp(rig: Rig, stream: Stream) -> None:
    client = miss(rig)
    rig.wait(TIMEOUT_S - 0.001)
    assert stream.accept() == 0

    rig.wait(0.001)
    [query] = stream.queries(1)
    stream.answer(query, ADDRESS)
    rig.until(lambda: rig.pool and rig.pool.pending == 0)

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert len(rig.cache) == 1
    assert (retries(rig), connections(rig)) == (1, 1)
    # What went over TCP is a repetition, not a query more.
    assert rig.upstream() == (2, 1)


def test_answer_over_udp_counts_though_tcp_was_asked(
    rig: Rig, upstream: FakeUpstream, stream: Stream
) -> None:
    client = miss(rig)
    rig.wait(TIMEOUT_S)
    [query] = stream.queries(1)

    last, sender = upstream.take()[-1]
    upstream.send(said_to(last, ADDRESS).to_wire(), sender)
    rig.round()
    stream.answer(query, rcode=dns.rcode.SERVFAIL)
    rig.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig.upstream() == (2, 1)


def test_truncated_answer_asks_nothing_more_while_tcp_is_asked(
    rig: Rig, upstream: FakeUpstream, stream: Stream
) -> None:
    client = miss(rig)
    rig.wait(TIMEOUT_S)
    [query] = stream.queries(1)

    last, sender = upstream.take()[-1]
    upstream.send(said_to(last, flags=dns.flags.TC).to_wire(), sender)
    rig.round()
    stream.answer(query, ADDRESS)
    rig.until(lambda: rig.pool and rig.pool.pending == 0)

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert stream.accept() == 1


@pytest.mark.parametrize("fault", ["truncated", "other question"])
def test_what_is_no_answer_over_tcp_leaves_udp_its_time(
    rig: Rig, upstream: FakeUpstream, stream: Stream, fault: str
) -> None:
    client = miss(rig)
    rig.wait(TIMEOUT_S)
    [query] = stream.queries(1)
    if fault == "truncated":
        stream.answer(query, flags=dns.flags.TC)
    else:
        query.question[0].name = query_for("evil.test").question[0].name
        stream.answer(query, ADDRESS)
    rig.wait(TIMEOUT_S / 2)
    rig.until(lambda: rig.pool and rig.pool.pending == 1)

    last, sender = upstream.take()[-1]
    upstream.send(said_to(last, ADDRESS).to_wire(), sender)
    rig.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR


def test_server_without_tcp_is_not_asked_for_it_again(
    rig: Rig, upstream: FakeUpstream
) -> None:
    upstream.tcp.close()
    first = miss(rig, query_for(_NAME.format(0)))
    for _ in range(3):
        rig.wait(TIMEOUT_S)

    second = miss(rig, query_for(_NAME.format(1)))
    for _ in range(3):
        rig.wait(TIMEOUT_S)

    assert received_one(first).rcode() == dns.rcode.SERVFAIL
    assert received_one(second).rcode() == dns.rcode.SERVFAIL
    assert (retries(rig), connections(rig)) == (1, 1)


def test_server_that_is_silent_everywhere_gets_one_connection(
    rig: Rig, stream: Stream
) -> None:
    clients = [miss(rig, query_for(_NAME.format(n))) for n in range(100)]

    for _ in range(3):
        rig.wait(TIMEOUT_S)
    later = miss(rig, query_for(_NAME.format(100)))
    for _ in range(3):
        rig.wait(TIMEOUT_S)

    rcodes = {received_one(client).rcode() for client in [*clients, later]}
    assert rcodes == {dns.rcode.SERVFAIL}
    # More than 64 do not wait on one connection, and after that one none is opened.
    assert (retries(rig), connections(rig), stream.accept()) == (64, 1, 1)


def test_other_server_comes_before_tcp(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    rig = rig_of_two
    client = miss(rig)

    rig.wait(TIMEOUT_S)
    second.answer(ADDRESS)
    rig.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert connections(rig) == 0
    with pytest.raises(BlockingIOError):
        upstream.accept()
