"""Batches, and what the network says: the address that was asked, and ICMP."""

from __future__ import annotations

import gc
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dnsfront.worker.process.batch import (
    BATCH,
    AnswerBatch,
    ReceiveBatch,
    SendBatch,
)
from tests.unit.batching import (
    FAMILIES,
    HOSTS,
    answer,
    sockets,
)

IP_PKTINFO = 8


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
        return -number

    monkeypatch.setattr("dnsfront.worker.process.batch._receive", refuse)
    monkeypatch.setattr("dnsfront.worker.process.batch._send", refuse)
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
