"""A worker's end of the control channel: what comes of an order, and when."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dnsfront.worker
from dnsfront.ipc import channel, messages
from dnsfront.ipc.messages import (
    CatchUp,
    CaughtUp,
    Flush,
    Flushed,
    Order,
    Ping,
    Pong,
    Resume,
)
from dnsfront.ipc.packets import pack
from dnsfront.ipc.records import ShapeError
from dnsfront.worker.orders.orders import Orders, Pieces


class Desk:
    """Orders of a worker, and the supervisor's end of the channel."""

    def __init__(self) -> None:
        self.ours, theirs = channel.pair()
        self.ends = 0
        self.faults: list[str] = []
        self.orders = Orders(theirs, on_end=self.end, on_fault=self.faults.append)
        self._theirs = theirs

    def end(self) -> None:
        self.ends += 1

    def give(self, order: Order[Any], number: int | None = None) -> None:
        channel.send(self.ours, *pack(order, number))
        self.orders.ready(0)

    def heard(self) -> list[dict[str, Any]]:
        said = []
        self.ours.setblocking(False)  # noqa: FBT003 - its signature
        while True:
            try:
                said.append(json.loads(self.ours.recv(4096)))
            except BlockingIOError:
                return said

    def close(self) -> None:
        self.ours.close()
        self._theirs.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


def test_a_worker_carries_out_every_order_but_its_start() -> None:
    [folder] = dnsfront.worker.__path__
    texts = [path.read_text("utf-8") for path in Path(folder).rglob("*.py")]
    handled = {name for text in texts for name in re.findall(r"\.on\((\w+),", text)}

    wanted = {kind.__name__ for kind in messages.ORDERS.values()}
    assert handled == wanted - {"Start"}


def test_a_reply_has_the_number_of_its_order(desk: Desk) -> None:
    desk.orders.on(Ping, lambda _order: Pong())

    desk.give(Ping(), 7)

    assert desk.heard() == [{"op": "pong", "id": 7}]


def test_an_order_without_a_reply_is_only_carried_out(desk: Desk) -> None:
    orders: list[Resume] = []
    desk.orders.on(Resume, orders.append)

    desk.give(Resume())

    assert orders == [Resume()]
    assert desk.heard() == []


def test_long_work_is_done_a_piece_a_round_and_then_answered(desk: Desk) -> None:
    def flush(_order: Flush) -> Pieces:
        yield None
        yield 0.5
        return Flushed(3)

    desk.orders.on(Flush, flush)
    assert desk.orders.wait_s() is None

    desk.give(Flush(None, is_suffix=False), 7)
    assert desk.orders.wait_s() == 0
    desk.orders.go_on()
    assert desk.orders.wait_s() == 0
    desk.orders.go_on()
    assert desk.orders.wait_s() == 0.5
    assert desk.heard() == []
    desk.orders.go_on()

    assert desk.heard() == [{"op": "flushed", "entries": 3, "id": 7}]
    assert desk.orders.wait_s() is None


def test_a_later_order_need_not_wait_for_long_work(desk: Desk) -> None:
    def flush(_order: Flush) -> Pieces:
        yield None
        return Flushed(3)

    desk.orders.on(Flush, flush)
    desk.orders.on(CatchUp, lambda _order: CaughtUp())

    desk.give(Flush(None, is_suffix=False), 1)
    desk.give(CatchUp(), 2)
    desk.orders.go_on()
    desk.orders.go_on()

    assert [said["id"] for said in desk.heard()] == [2, 1]


def test_a_piece_that_meets_a_fault_is_told_and_the_others_go_on(desk: Desk) -> None:
    def flush(order: Flush) -> Pieces:
        yield None
        if order.is_suffix:
            raise ZeroDivisionError
        return Flushed(3)

    desk.orders.on(Flush, flush)

    desk.give(Flush(None, is_suffix=True), 1)
    desk.give(Flush(None, is_suffix=False), 2)
    desk.orders.go_on()
    desk.orders.go_on()

    assert desk.faults == ["order"]
    assert desk.heard() == [
        {"op": "failed", "reason": "ZeroDivisionError()", "id": 1},
        {"op": "flushed", "entries": 3, "id": 2},
    ]


def test_what_is_no_order_is_told_as_failed(desk: Desk) -> None:
    channel.send(desk.ours, {"op": "flush", "id": 7})

    with pytest.raises(ShapeError, match="flush with a wrong name"):
        desk.orders.ready(0)

    [said] = desk.heard()
    assert (said["op"], said["id"]) == ("failed", 7)


def test_a_supervisor_that_is_gone_ends_the_worker(desk: Desk) -> None:
    desk.ours.shutdown(socket.SHUT_WR)

    desk.orders.ready(0)

    assert desk.ends == 1
