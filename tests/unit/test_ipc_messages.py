"""Messages between supervisor and workers: packed, and taken only as they are meant."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from dnsfront.ipc import messages, packets, reading
from dnsfront.ipc.messages import (
    CatchUp,
    Configure,
    Configured,
    Drained,
    Flush,
    Flushed,
    KnowPeers,
    Listen,
    Order,
    Ping,
    Pong,
    Refused,
    Start,
    Transfer,
    TransferToSuccessor,
    UseTable,
)
from dnsfront.ipc.packets import Descriptor
from dnsfront.ipc.records import ShapeError
from dnsfront.ipc.spec import Listener


def fd(number: int) -> Descriptor:
    return Descriptor(number)


LISTENER = Listener("192.0.2.1", 53, 2, "udp", is_wildcard=False, number=7)
START = Start("1", "2", (1, 2), 3, 4, *map(fd, range(10, 17)), (fd(20), fd(21)))  # type: ignore[arg-type]  # seven of them
TO_SUCCESSOR = TransferToSuccessor(2.0, "00", (1, 2), fd(5), (fd(6), fd(7)))


def sent(order: Order[Any], number: int | None = None) -> tuple[Any, list[int]]:
    """Return *order* as it arrives, its descriptors as they were."""
    plain, fds = packets.pack(order, number)
    return json.loads(json.dumps(plain)), fds


@pytest.mark.parametrize(
    "order",
    [
        START,
        TO_SUCCESSOR,
        Transfer(0.5, fd(5)),
        KnowPeers((), ()),
        KnowPeers((1, 2), (fd(5), fd(6))),
        UseTable(1, 65536, fd(5)),
        Listen((LISTENER,), (fd(5), fd(6))),
        Configure(fd(5)),
        Flush(None, is_suffix=False),
        CatchUp(),
    ],
    ids=lambda order: order.op,
)
def test_an_order_arrives_as_it_was_given(order: Order[Any]) -> None:
    assert reading.order_in(*sent(order)) == order
    assert reading.order_in(*sent(order, 9)) == order


def test_descriptors_travel_beside_the_text_and_in_the_order_of_their_fields() -> None:
    assert packets.pack(TO_SUCCESSOR, 9) == (
        {
            "op": "transfer_to_successor",
            "timeout_s": 2.0,
            "hash_key_hex": "00",
            "ids": (1, 2),
            "id": 9,
        },
        [5, 6, 7],
    )


@pytest.mark.parametrize("kind", messages.ORDERS.values(), ids=lambda kind: kind.op)
def test_the_field_with_any_number_of_descriptors_is_the_last(
    kind: type[Order[Any]],
) -> None:
    with_fds = [*kind.single_fds, *filter(None, [kind.other_fds])]

    assert [x.name for x in fields(kind)][len(fields(kind)) - len(with_fds) :] == (  # type: ignore[arg-type]  # all are records
        with_fds
    )


@pytest.mark.parametrize(
    ("plain", "fds", "fault"),
    [
        (7, [], "no object"),
        ({}, [], "None as an order"),
        ({"op": "explode"}, [], "'explode' as an order"),
        ({"op": "ready", "version": "", "layout": ""}, [], "'ready' as an order"),
        ({"op": "transfer"}, [5], "transfer with a wrong timeout_s"),
        ({"op": "transfer", "timeout_s": "2"}, [5], "transfer with a wrong timeout_s"),
        ({"op": "transfer", "timeout_s": 2}, [], "transfer with 0 descriptors"),
        ({"op": "transfer", "timeout_s": 2}, [5, 6], "transfer with 2 descriptors"),
        (
            {"op": "transfer", "timeout_s": 2, "table_fd": 3},
            [5],
            "transfer with a surplus table_fd",
        ),
        ({"op": "ping", "id": "x"}, [], "ping with a surplus id"),
    ],
)
def test_what_is_no_order_is_told_with_what_is_wrong(
    plain: object, fds: list[int], fault: str
) -> None:
    with pytest.raises(ShapeError) as caught:
        reading.order_in(plain, fds)

    assert str(caught.value) == fault


def test_a_reply_is_one_of_those_that_its_order_has() -> None:
    assert reading.reply_in({"op": "configured", "id": 1}, Configure) == Configured()
    refused = {"op": "refused", "reason": "no", "id": 1}
    assert reading.reply_in(refused, Configure) == Refused("no")
    assert reading.reply_in({"op": "flushed", "entries": 4}, Flush) == Flushed(4)
    assert reading.reply_in({"op": "pong"}, Ping) == Pong()
    with pytest.raises(ShapeError, match="'refused' to flush"):
        reading.reply_in(refused, Flush)


def test_only_three_things_and_a_failure_are_said_unasked() -> None:
    assert reading.unasked_in({"op": "drained"}) == Drained()
    with pytest.raises(ShapeError, match="'pong' of its own accord"):
        reading.unasked_in({"op": "pong"})


def test_every_order_and_reply_is_part_of_the_layout() -> None:
    told = reading.layout()

    for order in messages.ORDERS.values():
        for kind in (order, *order.replies.values()):
            assert f"{kind.__name__}(" in told
