"""Messages as they travel: a record in one packet, and its descriptors beside it.

A message is a record (`ipc/records.py`). In a packet of a channel (`ipc/channel.py`) it
is JSON, with the name of its class as `op`; the fields that are descriptors are left
out, and the descriptors come along in the order of the fields.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import asdict
from typing import ClassVar, NewType, TypeVar, get_type_hints

from dnsfront.ipc import records
from dnsfront.ipc.channel import Plain
from dnsfront.ipc.records import ShapeError

#: A descriptor that travels with its message; whoever receives it owns it.
Descriptor = NewType("Descriptor", int)
#: All descriptors that come after the single ones; the last of the fields that has any.
Descriptors = tuple[Descriptor, ...]


def descriptor(sock: socket.socket) -> Descriptor:
    """Return the descriptor of *sock*, which stays open here."""
    return Descriptor(sock.fileno())


class Message:
    """What every message has, all of it made from its class, which is a dataclass."""

    #: The name of the class as it is spelled in a packet.
    op: ClassVar[str]
    #: The fields with one descriptor, and the one with all others.
    single_fds: ClassVar[list[str]]
    other_fds: ClassVar[str | None]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.op = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        hints = get_type_hints(cls)
        cls.single_fds = [name for name in hints if hints[name] is Descriptor]
        others = [name for name in hints if hints[name] == Descriptors]
        cls.other_fds = others[0] if others else None


M = TypeVar("M", bound=Message)


def pack(message: Message, number: int | None = None) -> tuple[Plain, list[int]]:
    """Return *message* as a packet; *number* is that of the order, for its reply."""
    plain: Plain = {"op": message.op, **asdict(message)}  # type: ignore[call-overload]  # all are records
    fds: list[int] = [plain.pop(name) for name in message.single_fds]
    if message.other_fds is not None:
        fds += plain.pop(message.other_fds)
    if number is not None:
        plain["id"] = number
    return plain, fds


def number_in(plain: object) -> int | None:
    """Return the number of the order that a packet replies to, or that it is."""
    found = plain.get("id") if isinstance(plain, dict) else None
    return found if records.is_count(found) else None


def message_in(
    plain: object, fds: list[int], kinds: Mapping[str, type[M]], when: str
) -> M:
    """Return the message in a packet, which is to be of one of *kinds*.

    *kinds* are by their `op`; *when* says in an error what none of them is.

    Raises:
        ShapeError: it is of none of them, or not what its class says.
    """
    if not isinstance(plain, dict):
        raise ShapeError("no object")
    values = dict(plain)
    op = values.pop("op", None)
    if records.is_count(values.get("id")):
        del values["id"]
    kind = kinds.get(op) if isinstance(op, str) else None
    if kind is None:
        raise ShapeError(f"{repr(op)[:40]} {when}")
    single, others = kind.single_fds, kind.other_fds
    try:
        if wrong := values.keys() & {*single, others}:
            raise ShapeError(f"a surplus {min(wrong)}")
        if len(fds) < len(single) or (others is None and len(fds) > len(single)):
            raise ShapeError(f"{len(fds)} descriptors")
        values |= zip(single, fds, strict=False)
        if others is not None:
            values[others] = fds[len(single) :]
        return records.from_plain(kind, values)
    except ShapeError as exc:
        raise ShapeError(f"{op} with {exc}") from exc
