"""recvmmsg and sendmmsg over real loopback sockets."""

from __future__ import annotations

import ctypes
import gc
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest

from dnsfront.worker.process.batch import (
    BATCH,
    COMPACT,
    HEADER_WORDS,
    AnswerBatch,
    ReceiveBatch,
    SendBatch,
)

IP_PKTINFO = 8
HOSTS: dict[int, str] = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
FAMILIES = pytest.mark.parametrize("family", HOSTS, ids=["IPv4", "IPv6"])
SIZES = [0, 1, COMPACT - 1, COMPACT, COMPACT + 1, 1232, 65507]


@contextmanager
def sockets(family: int, *hosts: str) -> Iterator[list[socket.socket]]:
    """Yield a UDP socket for each host, on ports that the kernel chose."""
    with ExitStack() as stack:
        made = []
        for host in hosts:
            sock = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            sock.bind((host, 0))
            sock.settimeout(0)
            made.append(sock)
        yield made


def pair(family: int) -> AbstractContextManager[list[socket.socket]]:
    return sockets(family, HOSTS[family], HOSTS[family])


def connected(sock: socket.socket, to: socket.socket) -> socket.socket:
    sock.connect(to.getsockname())
    return sock


def taken(sock: socket.socket) -> list[bytes]:
    found = []
    try:
        while True:
            found.append(sock.recv(70000))
    except BlockingIOError:
        return found


def port_of(address: bytes) -> int:
    return int.from_bytes(address[2:4], "big")


def payload(number: int, size: int) -> bytes:
    return (number.to_bytes(2, "big") * (size // 2 + 1))[:size]


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


def answer(answering: AnswerBatch, sock: socket.socket, messages: list[bytes]) -> None:
    """Send *messages* as the fast path does: vectors first, then all octets at once."""
    at = answering.buffer_at
    for j, octets in enumerate(messages):
        answering.vectors[2 * j] = at
        answering.vectors[2 * j + 1] = len(octets)
        at += len(octets)
    answering.send_joined(sock.fileno(), b"".join(messages), len(messages))


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


# The address that was asked


@contextmanager
def wildcard(family: int) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
            sock.bind(("0.0.0.0", 0))  # noqa: S104 - that is what is tested
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            sock.bind(("::", 0))
        sock.settimeout(0)
        yield sock


ASKED = [
    (socket.AF_INET, "127.0.0.1"),
    (socket.AF_INET, "127.0.0.2"),
    (socket.AF_INET, "127.7.7.7"),
    (socket.AF_INET6, "::1"),
]


@pytest.mark.parametrize(("family", "host"), ASKED, ids=[host for _, host in ASKED])
def test_wildcard_socket_answers_from_the_address_that_was_asked(
    family: int, host: str
) -> None:
    with wildcard(family) as ours, sockets(family, HOSTS[family]) as [theirs]:
        received = ReceiveBatch(family=family, with_control=True)
        answering = AnswerBatch(received)
        queued = SendBatch(ours.fileno(), family=family, with_control=True)

        for _ in range(2):
            theirs.sendto(b"?", (host, ours.getsockname()[1]))
            assert received.receive(ours.fileno()) == 1
            received.clear_interface(0)
            answer(answering, ours, [b"at once"])
            queued.add(b"later", received.address(0), received.control(0))
            queued.flush()

            for expected in (b"at once", b"later"):
                octets, sender = theirs.recvfrom(100)
                assert octets == expected
                assert sender[0] == host
        assert answering.failed == queued.failed == 0


def test_control_message_names_no_interface() -> None:
    with (
        wildcard(socket.AF_INET) as ours,
        sockets(socket.AF_INET, "127.0.0.1") as [them],
    ):
        received = ReceiveBatch(family=socket.AF_INET, with_control=True)
        them.sendto(b"?", ("127.0.0.2", ours.getsockname()[1]))
        received.receive(ours.fileno())

        control = received.control(0)

        length, level, kind = struct.unpack_from("=Qii", control)
        assert (length, level, kind) == (28, socket.IPPROTO_IP, IP_PKTINFO)
        assert control[16:20] == bytes(4)
        assert control[20:24] == socket.inet_aton("127.0.0.2")


# What ICMP says


def closed_port(family: int) -> tuple[str, int]:
    with sockets(family, HOSTS[family]) as [sock]:
        name = sock.getsockname()
        return name[0], name[1]


@FAMILIES
@pytest.mark.parametrize("count", [1, 2, 3, BATCH])
def test_closed_port_is_noticed_after_any_number_of_messages(
    family: int, count: int
) -> None:
    with sockets(family, HOSTS[family]) as [ours]:
        ours.connect(closed_port(family))
        sending = SendBatch(ours.fileno())

        for _ in range(count):
            sending.add(b"?")
        sending.flush()

        assert ReceiveBatch().receive(ours.fileno()) < 0
        assert sending.failed == 0


@FAMILIES
def test_old_error_does_not_hide_a_new_one(family: int) -> None:
    with sockets(family, HOSTS[family]) as [ours]:
        ours.connect(closed_port(family))
        sending = SendBatch(ours.fileno())

        for _ in range(2):
            sending.add(b"?")
            sending.flush()

        assert sending.failed == 0
        assert ReceiveBatch().receive(ours.fileno()) < 0


def test_hand_over_to_a_worker_that_is_gone_ends() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours:
        theirs.close()
        sending = SendBatch(ours.fileno())

        for _ in range(3):
            sending.add(b"?")
        sending.flush()

        assert sending.failed == 3


@pytest.mark.parametrize(
    "name",
    ["ENOPROTOOPT", "ENONET", "EHOSTDOWN", "EOPNOTSUPP", "EPROTO", "ENOMEM", "ENOBUFS"],
)
def test_whatever_the_network_reports_is_no_exception(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = getattr(__import__("errno"), name)

    def refuse(*_arguments: object) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr("dnsfront.worker.process.batch._recvmmsg", refuse)
    monkeypatch.setattr("dnsfront.worker.process.batch._sendmmsg", refuse)
    sending = SendBatch(0)
    sending.add(b"?")
    sending.flush()

    assert sending.failed == 1
    assert ReceiveBatch().receive(0) == -number


def test_batches_hold_no_descriptor() -> None:
    # What other tests left for the collector may go at any moment.
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, not paths

    batches = [ReceiveBatch(), SendBatch(0), AnswerBatch(ReceiveBatch())]

    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert batches
