"""What two instances say to each other at a take-over, and what they take for it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

import pytest

from dnsfront.config.model import MAX_LISTEN
from dnsfront.errors import UnavailableError
from dnsfront.ipc import channel
from dnsfront.ipc.packets import Descriptor, Message, pack
from dnsfront.ipc.spec import Listener
from dnsfront.ipc.transports import TRANSPORTS
from dnsfront.kernel.pages import MAX_WORKER_ID
from dnsfront.supervisor.takeover.conversation import Conversation
from dnsfront.supervisor.takeover.messages import (
    EntriesSent,
    LetGo,
    LetGone,
    OfferGroup,
    OfferRest,
    OfferWorker,
    SendEntries,
    Serving,
)
from dnsfront.supervisor.takeover.predecessor import Predecessor

LISTENER = Listener("192.0.2.1", 53, 2, "udp", is_wildcard=False, number=7)


def converse(
    story: Callable[[Conversation, socket.socket], Awaitable[object]],
) -> None:
    ours, theirs = channel.pair()

    async def play() -> None:
        conversation = Conversation(ours)
        try:
            await story(conversation, theirs)
        finally:
            conversation.close()

    with theirs:
        asyncio.run(play())


def say(sock: socket.socket, message: Message) -> None:
    channel.send(sock, *pack(message))


@pytest.mark.parametrize(
    "message",
    [
        OfferWorker("w1", 1, (LISTENER,), (Descriptor(0),)),
        OfferGroup(LISTENER, Descriptor(0)),
        OfferRest(("w2",), "127.0.0.1:9353", "00", Descriptor(0), Descriptor(0)),
        SendEntries((1,), "00", "", Descriptor(0), (Descriptor(0),)),
        EntriesSent(3),
        LetGo(),
        LetGone(),
        Serving(("w1",), (LISTENER.key,)),
    ],
    ids=lambda message: message.op,
)
def test_a_message_arrives_as_it_was_said(message: Message) -> None:
    async def story(conversation: Conversation, theirs: socket.socket) -> None:
        say(theirs, message)

        heard = await conversation.receive()

        names = [*message.single_fds, *filter(None, [message.other_fds])]
        changes = {name: getattr(message, name) for name in names}
        for name in message.single_fds:
            os.close(getattr(heard, name))
        for fd in getattr(heard, message.other_fds or "", ()):
            os.close(fd)
        assert type(heard) is type(message)
        assert {**vars(heard), **changes} == vars(message)

    converse(story)


@pytest.mark.parametrize(
    ("plain", "told"),
    [
        ({"op": "explode"}, "'explode' in a take-over"),
        ({"op": "let_go"}, "let_go with 2 descriptors"),
        (
            {"op": "offer_rest", "drained": [7], "admin": ""},
            "offer_rest with a wrong drained",
        ),
        (
            {
                "op": "offer_rest",
                "drained": [],
                "admin": "",
                "cookie_secret": "",
                "more": 1,
            },
            "offer_rest with a surplus more",
        ),
    ],
)
def test_what_none_of_ours_says_ends_the_take_over(
    plain: channel.Plain, told: str
) -> None:
    async def story(conversation: Conversation, theirs: socket.socket) -> None:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        channel.send(theirs, plain, [0, 0])

        with pytest.raises(UnavailableError, match=f"the other instance said {told}"):
            await conversation.receive()

        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208

    converse(story)


def test_another_message_than_the_expected_one_is_told() -> None:
    async def story(conversation: Conversation, theirs: socket.socket) -> None:
        say(theirs, LetGo())

        with pytest.raises(UnavailableError, match="said let_go, want let_gone"):
            await conversation.expect(LetGone, timeout_s=10)

    converse(story)


# What the config allows: workers with the longest names, and twice as many listeners
# as addresses.
NAMES = tuple(f"{number:032}" for number in range(MAX_WORKER_ID))
LISTENERS = tuple(
    Listener(
        *("2001:db8:1111:2222:3333:4444:5555:6666", 65535, 10, transport),
        is_wildcard=True,
        number=255,
        index=index,
    )
    for index in range(MAX_LISTEN)
    for transport in TRANSPORTS
)


@pytest.mark.parametrize(
    "message",
    [
        OfferWorker(NAMES[0], 127, LISTENERS, (Descriptor(0),) * len(LISTENERS)),
        OfferRest(NAMES, "[::]:65535", "0" * 32, Descriptor(0), Descriptor(0)),
        SendEntries(
            tuple(range(MAX_WORKER_ID)),
            "0" * 32,
            "0" * 64,
            Descriptor(0),
            (Descriptor(0),) * MAX_WORKER_ID,
        ),
        Serving(NAMES, tuple(listener.key for listener in LISTENERS)),
    ],
    ids=lambda message: message.op,
)
def test_the_largest_message_arrives(message: Message) -> None:
    async def story(conversation: Conversation, theirs: socket.socket) -> None:
        say(theirs, message)

        heard = await conversation.receive()

        plain, fds = pack(heard)
        for fd in fds:
            os.close(fd)
        assert plain == pack(message)[0]

    converse(story)


def test_offer_of_more_listeners_than_sockets_is_refused_with_a_sentence() -> None:
    async def story(conversation: Conversation, theirs: socket.socket) -> None:
        say(theirs, OfferWorker("w1", 1, (LISTENER, LISTENER), (Descriptor(0),)))
        with pytest.raises(UnavailableError, match="2 listeners and 1 sockets of w1"):
            await Predecessor(conversation).receive_offer()

    converse(story)


def test_message_longer_than_a_packet_is_refused_with_a_sentence() -> None:
    async def story(conversation: Conversation, theirs: socket.socket) -> None:
        channel.send(theirs, {"op": "x" * 70_000})
        with pytest.raises(UnavailableError, match="the message was cut"):
            await conversation.receive()

    converse(story)
