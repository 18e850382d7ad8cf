"""Which message a packet is, of those in `ipc/messages.py`."""

from __future__ import annotations

from typing import Any

from dnsfront.ipc import records
from dnsfront.ipc.messages import ORDERS, UNASKED, Failed, Order, Said
from dnsfront.ipc.packets import Message, message_in


def layout() -> str:
    """Return all of this as text, the same in every process of the same code."""
    kinds: list[type[Message]] = [*ORDERS.values(), *UNASKED.values()]
    for order in ORDERS.values():
        kinds += order.replies.values()
    told = [(kind.op, records.layout(kind)) for kind in kinds]
    return repr((told, [list(order.replies) for order in ORDERS.values()]))


def order_in(plain: object, fds: list[int]) -> Order[Any]:
    """Return the order in a packet.

    Raises:
        ShapeError: there is none.
    """
    return message_in(plain, fds, ORDERS, "as an order")


def reply_in(plain: object, asked: type[Order[Any]]) -> Said:
    """Return the reply to an order of class *asked* in a packet.

    Raises:
        ShapeError: there is none.
    """
    kinds = {**asked.replies, Failed.op: Failed}
    return message_in(plain, [], kinds, f"to {asked.op}")


def unasked_in(plain: object) -> Said:
    """Return what a worker says of its own accord in a packet.

    Raises:
        ShapeError: it is nothing of that.
    """
    return message_in(plain, [], UNASKED, "of its own accord")
