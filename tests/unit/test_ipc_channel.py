"""What becomes of messages whose descriptors do not fit where they arrive."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dnsfront.errors import UnavailableError
from dnsfront.ipc import channel
from dnsfront.supervisor.takeover.conversation import Conversation
from dnsfront.worker.orders.orders import Orders


@contextmanager
def room_for(descriptors: int) -> Iterator[None]:
    """Let this process have so many descriptors more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.dup(0) for _ in range(descriptors)]
    limit = max(held) + 1
    used = {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208
    held += [os.dup(0) for _ in set(range(limit)) - used]
    for fd in held[:descriptors]:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for fd in held[descriptors:]:
            os.close(fd)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = channel.pair()
    with ours, theirs:
        yield ours, theirs


def test_an_order_whose_descriptors_do_not_fit_is_told_as_failed(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    orders = Orders(theirs, on_end=pytest.fail, on_fault=pytest.fail)
    channel.send(ours, {"op": "transfer", "id": 7, "timeout_s": 2}, [0, 0, 0])

    with room_for(1), pytest.raises(channel.CutMessageError):
        orders.ready(0)

    told = json.loads(ours.recv(4096))
    assert (told["op"], told["id"]) == ("failed", 7)
    assert "RLIMIT_NOFILE" in told["reason"]


def test_descriptors_of_a_cut_message_are_closed(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    channel.send(ours, {"op": "map_images"}, [0, 0, 0])

    with room_for(1), pytest.raises(ValueError, match="was cut"):
        channel.receive(theirs)

    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_takeover_whose_descriptors_do_not_fit_is_refused_with_the_reason(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    channel.send(ours, {"op": "sockets"}, [0, 0, 0])

    async def receive() -> None:
        conversation = Conversation(theirs)
        with room_for(1):
            await conversation.receive()

    with pytest.raises(UnavailableError, match="RLIMIT_NOFILE"):
        asyncio.run(receive())
