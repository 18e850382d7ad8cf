"""What workers pass to each other, message by message: lost, refused, taken back."""

from __future__ import annotations

import socket

import pytest

from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.peers.envelopes import DATAGRAM, STREAM_RESPONSE
from dnsfront.worker.peers.handover import GIVEN_BACK_A_ROUND, Peers
from dnsfront.worker.peers.transfer import MAX_PARCEL_OCTETS
from dnsfront.worker.process.batch import COMPACT
from tests.unit.stub_client import query_for
from tests.unit.worker_rig import Rig, interpreted


class KeepingWaiter(Waiter):
    """Keeps what it gets."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: list[bytes] = []

    def respond(self, message: bytes) -> None:
        self.found.append(message)


@interpreted
def test_queries_of_an_owner_that_left_are_given_back() -> None:
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiving, sending:
        peers = Peers(1)
        peers.replace({2: sending.dup(), 3: sending.dup()})
        lost, kept = KeepingWaiter(), KeepingWaiter()
        peers.pass_query(2, b"lost", lost)
        peers.pass_query(3, b"kept", kept)

        peers.replace({3: sending.dup()})

        assert peers.given_back() == [(b"lost", lost)]
        peers.replace({3: sending.dup()})
        assert not peers.has_given_back
        peers.replace({})
        assert peers.given_back() == [(b"kept", kept)]


@interpreted
def test_thousands_given_back_are_answered_some_a_round() -> None:
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiving, sending:
        peers = Peers(1)
        peers.replace({2: sending.dup()})
        for _ in range(1000):
            peers.pass_query(2, b"lost", KeepingWaiter())
        peers.replace({})

        counts = []
        while peers.has_given_back:
            counts.append(len(peers.given_back()))

        assert sum(counts) == 1000
        assert max(counts) == GIVEN_BACK_A_ROUND


@interpreted
def test_token_is_answered_once_and_forgotten() -> None:
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiving, sending, Rig() as rig:
        peers = Peers(1)
        peers.replace({1: sending.dup()})
        waiter = KeepingWaiter()
        kept = peers.pass_query(1, b"first", waiter)
        dropped = peers.pass_query(1, b"second", waiter)

        peers.forget([dropped])
        for token in (kept, dropped, kept, 4711):
            peers.pass_response(1, token, b"answer %d" % token)
        peers.flush()
        count = rig.inbox_at(receiving, peers).receive()

        assert count == 6
        assert waiter.found == [b"answer %d" % kept]
        # The two queries are too short to be answered.
        assert rig.counted() == {"IGNORED_SHORT": 2}
        peers.replace({})


@interpreted
def test_unknown_owner_takes_nothing() -> None:
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiving, sending:
        peers = Peers(1)

        assert peers.pass_query(9, b"", KeepingWaiter()) == 0
        assert not peers.pass_datagram(9, 0, b"", b"", b"")
        peers.pass_response(9, 1, b"")


def test_message_that_was_cut_is_refused_and_counted() -> None:
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiving, sending, Rig() as rig:
        sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        peers = Peers(1)
        peers.replace({2: sending.dup()})
        inbox = rig.inbox_at(receiving, peers)

        peers.pass_parcel(2, bytes(MAX_PARCEL_OCTETS + COMPACT))
        inbox.receive()

        assert inbox.refused == 1
        assert rig.counted() == {}
        peers.replace({})


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\6", id="a parcel without a head"),
        pytest.param(b"\6\4\0\0\0abc", id="a parcel that is not whole"),
        pytest.param(b"\5" + bytes(60), id="a parcel of an older version"),
        pytest.param(b"\1" + bytes(20), id="a datagram without its head"),
        pytest.param(b"\1\7" + bytes(99), id="a listener that was closed meanwhile"),
        pytest.param(b"\2\1", id="a query without its token"),
        pytest.param(b"\2\1" + bytes(12), id="a query without its client"),
        pytest.param(b"\3\1", id="a response without its token"),
        pytest.param(b"\x09" + bytes(60), id="words nobody knows"),
        pytest.param(b"", id="nothing at all"),
    ],
)
def test_what_makes_no_sense_is_refused_and_what_follows_is_taken(
    octets: bytes,
) -> None:
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiving, sending, Rig() as rig:
        inbox = rig.inbox_at(receiving, Peers(1))
        sending.send(octets)
        sending.send(b"\2\1" + bytes(8 + 17) + b"short")

        count = inbox.receive()

        assert count == 2
        assert inbox.refused == 1
        assert rig.counted() == {"IGNORED_SHORT": 1}


def test_peer_whose_socket_is_full_counts_as_failed() -> None:
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiving, sending, Rig() as rig:
        sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        peers = Peers(1)
        peers.replace({2: sending.dup()})

        for _ in range(100):
            assert peers.pass_datagram(2, 0, b"", b"", bytes(2000))
        peers.flush()

        got = rig.inbox_at(receiving, peers).receive()
        assert 0 < got < 100
        assert peers.failed == 100 - got
        peers.replace({})


@interpreted
def test_query_over_tcp_that_finds_no_room_is_given_back() -> None:
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiving, sending:
        sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        peers = Peers(1)
        peers.replace({2: sending.dup()})
        queries = [b"%04d" % number + bytes(2000) for number in range(100)]
        waiters = [KeepingWaiter() for _ in queries]

        for octets, waiter in zip(queries, waiters, strict=True):
            assert peers.pass_query(2, octets, waiter)
        peers.flush()

        given_back = peers.given_back()
        given_back += peers.given_back()
        assert 0 < len(given_back) < 100
        assert len(given_back) == peers.failed
        assert all(
            octets == queries[waiters.index(waiter)]  # type: ignore[arg-type]
            for octets, waiter in given_back
        )
        assert peers.given_back() == []
        peers.replace({})


def test_who_has_caught_up_holds_nothing_that_is_for_another() -> None:
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiving, sending, ours, theirs, Rig(worker_id=2) as rig:
        peers = rig.peers
        peers.replace({1: sending.dup(), 3: sending.dup()})
        theirs.send(b"\2\1" + bytes(8 + 17) + query_for("x.test").to_wire())
        assert peers.pass_datagram(3, 0, b"", b"", b"a query")

        rig.inbox_at(ours, peers).catch_up()

        # The response to what was passed here, and what others are to answer.
        receiving.settimeout(0)
        kinds = {receiving.recv(1 << 16)[0] for _ in range(2)}
        assert kinds == {DATAGRAM, STREAM_RESPONSE}
        peers.replace({})


def test_response_that_does_not_find_the_way_back_is_counted() -> None:
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiving, sending, Rig() as rig:
        sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        peers = rig.peers
        peers.replace({2: sending.dup()})

        peers.pass_response(3, 1, b"nobody is there")
        for token in range(100):
            peers.pass_response(2, token, bytes(2000))
        peers.flush()

        got = rig.inbox_at(receiving, Peers(2)).receive()
        assert 0 < got < 100
        assert (peers.lost, peers.failed) == (101 - got, 0)
        peers.replace({})


@interpreted
def test_query_over_tcp_that_is_never_answered_is_given_back() -> None:
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    now_ns = 0
    with receiving, sending:
        peers = Peers(1, clock=lambda: now_ns)
        peers.replace({2: sending.dup()})
        first, second = KeepingWaiter(), KeepingWaiter()
        peers.pass_query(2, b"first", first)
        now_ns = 9_000_000_000
        token = peers.pass_query(2, b"second", second)
        peers.take_overdue_back()
        assert peers.given_back() == []

        now_ns = 10_000_000_000
        peers.take_overdue_back()
        assert peers.given_back() == [(b"first", first)]
        peers.forget([token])
        now_ns = 30_000_000_000
        peers.take_overdue_back()
        assert peers.given_back() == []
        peers.replace({})


def test_replaced_peers_are_closed() -> None:
    receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiving:
        peers = Peers(1)
        copies = [sending.dup() for _ in range(3)]
        peers.replace({2: copies[0], 3: copies[1]})

        peers.replace({2: copies[2]})

        assert [copy.fileno() for copy in copies[:2]] == [-1, -1]
        assert copies[2].fileno() >= 0
        peers.replace({})
        sending.close()
