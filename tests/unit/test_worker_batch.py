"""recvmmsg and sendmmsg over real loopback sockets."""

from __future__ import annotations

import socket

import pytest

from dnsfront.worker.process.batch import (
    BATCH,
    COMPACT,
    HEADER_WORDS,
    AnswerBatch,
    ReceiveBatch,
    SendBatch,
)
from tests.unit.batching import (
    FAMILIES,
    HOSTS,
    SIZES,
    answer,
    connected,
    pair,
    payload,
    port_of,
    sockets,
    taken,
)

# Receiving


@FAMILIES
@pytest.mark.parametrize("size", SIZES)
def test_datagram_of_any_size_arrives_whole(family: int, size: int) -> None:
    with pair(family) as [ours, theirs]:
        received = ReceiveBatch(family=family)
        connected(theirs, ours).send(payload(7, size))

        count = received.receive(ours.fileno())

        assert count == 1
        assert received.sizes[0] == size
        assert received.datagram(0) == payload(7, size)
        assert received.arena[: min(size, COMPACT)] == payload(7, size)[:COMPACT]
        assert port_of(received.address(0)) == theirs.getsockname()[1]


@FAMILIES
def test_sizes_do_not_mix_in_one_batch(family: int) -> None:
    with pair(family) as [ours, theirs]:
        received = ReceiveBatch(family=family)
        connected(theirs, ours)
        for number, size in enumerate(SIZES + SIZES[::-1]):
            theirs.send(payload(number, size))

        count = received.receive(ours.fileno())

        assert count == 2 * len(SIZES)
        for number, size in enumerate(SIZES + SIZES[::-1]):
            assert received.sizes[number * HEADER_WORDS] == size
            assert received.datagram(number) == payload(number, size)


@FAMILIES
def test_more_than_a_batch_arrives_in_order(family: int) -> None:
    with pair(family) as [ours, theirs]:
        received = ReceiveBatch(family=family)
        connected(theirs, ours)
        for number in range(2 * BATCH + 3):
            theirs.send(payload(number, 20))

        counts, found = [], []
        while count := received.receive(ours.fileno()):
            counts.append(count)
            found += [received.datagram(i) for i in range(count)]

        assert counts == [BATCH, BATCH, 3]
        assert found == [payload(number, 20) for number in range(2 * BATCH + 3)]


def test_empty_socket_gives_nothing() -> None:
    with pair(socket.AF_INET) as [ours, _theirs]:
        assert ReceiveBatch(family=socket.AF_INET).receive(ours.fileno()) == 0


def test_wrong_descriptor_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        ReceiveBatch().receive(-1)
    sending = SendBatch(-1)
    sending.add(b"x")
    with pytest.raises(OSError, match="Bad file descriptor"):
        sending.flush()


# Sending


@FAMILIES
@pytest.mark.parametrize("count", [1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH + 5])
def test_messages_leave_in_order(family: int, count: int) -> None:
    with pair(family) as [ours, theirs]:
        sending = SendBatch(connected(ours, theirs).fileno())

        for number in range(count):
            sending.add(payload(number, 20))
        sending.flush()

        assert taken(theirs) == [payload(number, 20) for number in range(count)]
        assert sending.failed == 0
        assert len(sending) == 0


@FAMILIES
@pytest.mark.parametrize("size", SIZES)
def test_message_of_any_size_leaves_whole(family: int, size: int) -> None:
    with pair(family) as [ours, theirs]:
        sending = SendBatch(connected(ours, theirs).fileno())

        sending.add(payload(1, size))
        sending.add(payload(2, 3))
        sending.flush()

        assert taken(theirs) == [payload(1, size), payload(2, 3)]


@FAMILIES
def test_message_goes_where_it_is_addressed(family: int) -> None:
    with sockets(family, *[HOSTS[family]] * 4) as [ours, *theirs]:
        received = ReceiveBatch(family=family)
        sending = SendBatch(ours.fileno(), family=family)
        for sock in theirs:
            connected(sock, ours).send(b"?")
        assert received.receive(ours.fileno()) == 3

        for i in (2, 0, 1, 0):
            sending.add(b"to %d" % i, received.address(i))
        sending.flush()

        assert [taken(sock) for sock in theirs] == [
            [b"to 0", b"to 0"],
            [b"to 1"],
            [b"to 2"],
        ]


def test_too_large_a_message_is_counted_and_holds_up_nobody() -> None:
    with pair(socket.AF_INET) as [ours, theirs]:
        sending = SendBatch(connected(ours, theirs).fileno())

        for size in (10, 65508, 11, 65535, 65535, 12):
            sending.add(payload(1, size))
        sending.flush()

        assert [len(octets) for octets in taken(theirs)] == [10, 11, 12]
        assert sending.failed == 3


def test_full_send_buffer_drops_and_counts() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)
        theirs.settimeout(0)
        sending = SendBatch(ours.fileno())

        for number in range(BATCH):
            sending.add(payload(number, 8000))

        found = taken(theirs)
        assert 0 < len(found) < BATCH
        assert sending.failed == BATCH - len(found)
        assert found == [payload(number, 8000) for number in range(len(found))]


def test_whole_batch_of_the_largest_hand_overs_fits() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        sending = SendBatch(ours.fileno())

        for number in range(BATCH):
            sending.add(payload(number, 65507 + 72))

        assert len(theirs.recv(70000)) == 65507 + 72


# Answering


@FAMILIES
def test_answers_go_back_to_their_senders(family: int) -> None:
    with sockets(family, *[HOSTS[family]] * 5) as [ours, *theirs]:
        received = ReceiveBatch(family=family)
        answering = AnswerBatch(received)
        for sock in theirs:
            connected(sock, ours).send(b"?")
        assert received.receive(ours.fileno()) == 4

        answer(answering, ours, [b"zero", b"one", b"", b"three"])

        assert [taken(sock) for sock in theirs] == [
            [b"zero"],
            [b"one"],
            [b""],
            [b"three"],
        ]
        assert answering.failed == 0


@FAMILIES
def test_redirected_answers_skip_a_sender_until_restored(family: int) -> None:
    with sockets(family, *[HOSTS[family]] * 4) as [ours, *theirs]:
        received = ReceiveBatch(family=family)
        answering = AnswerBatch(received)
        for sock in theirs:
            connected(sock, ours).send(b"?")
        received.receive(ours.fileno())

        answering.redirect(0, 1)
        answering.redirect(1, 2)
        answer(answering, ours, [b"one", b"two"])
        first = [taken(sock) for sock in theirs]
        answering.restore(2)
        answer(answering, ours, [b"zero", b"one"])
        second = [taken(sock) for sock in theirs]

        assert first == [[], [b"one"], [b"two"]]
        assert second == [[b"zero"], [b"one"], []]
