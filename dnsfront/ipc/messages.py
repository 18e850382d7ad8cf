"""What supervisor and workers say to each other: a class for every message.

The supervisor gives orders. One that wants a reply names its class; the reply has the
same number as the order, so that any number of orders may be under way. A worker says
three things of its own accord, each once: :class:`Ready`, or :class:`OtherCode` in its
place, and :class:`Drained`.

A message is a record (`ipc/records.py`) in one packet of the channel
(`ipc/channel.py`): JSON with the name of the class as `op`, and the descriptors that
its fields name, in their order. A worker meets strangers, so nothing that it says is
taken on trust: a message that is not what its class says is a :class:`ShapeError`, and
whoever sent it is ended.
"""

from __future__ import annotations

import re
import socket
from dataclasses import asdict, dataclass
from types import NoneType, UnionType
from typing import (
    Any,
    ClassVar,
    Final,
    Generic,
    NewType,
    TypeVar,
    get_args,
    get_type_hints,
)

from dnsfront.ipc import records
from dnsfront.ipc.channel import Message as Plain
from dnsfront.ipc.records import ShapeError
from dnsfront.ipc.spec import Listener

#: A descriptor that travels with its message; whoever receives it owns it.
Descriptor = NewType("Descriptor", int)
#: All descriptors that come after the single ones; the last of the fields that has any.
Descriptors = tuple[Descriptor, ...]

#: Octets of a slot in a shared slot table: four worker ids, best first, 0 for nobody.
SLOT_OCTETS: Final = 4
#: Packs of one :class:`MapImages`: the kernel passes at most SCM_MAX_FD (253) at once.
MAX_IMAGES: Final = 200


def descriptor(sock: socket.socket) -> Descriptor:
    """Return the descriptor of *sock*, which stays open here."""
    return Descriptor(sock.fileno())


R_co = TypeVar("R_co", covariant=True)
M = TypeVar("M", bound="_Message")

_ORDERS: Final[dict[str, type[Order[Any]]]] = {}


class _Message:
    """What every message has, all of it made from its class."""

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


class Said(_Message):
    """What a worker says."""


class Order(_Message, Generic[R_co]):
    """What the supervisor orders; *R_co* is the class of the reply, None for none."""

    #: The classes of the reply by their `op`.
    replies: ClassVar[dict[str, type[Said]]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        [reply] = get_args(cls.__orig_bases__[0])  # type: ignore[attr-defined]  # PEP 560
        kinds = get_args(reply) if isinstance(reply, UnionType) else (reply,)
        cls.replies = {kind.op: kind for kind in kinds if kind is not NoneType}
        _ORDERS[cls.op] = cls


# -- replies


@dataclass(frozen=True)
class Failed(Said):
    """Of any order: it met a fault of the worker's own, which is to be replaced."""

    reason: str


@dataclass(frozen=True)
class Pong(Said):
    """The loop of the worker goes round."""


@dataclass(frozen=True)
class Transferred(Said):
    """How many cache entries were sent."""

    entries: int


@dataclass(frozen=True)
class CaughtUp(Said):
    """What other workers handed over until then is taken."""


@dataclass(frozen=True)
class Configured(Said):
    """The spec is in force, and what is cached is in line with it."""


@dataclass(frozen=True)
class Refused(Said):
    """The spec cannot be put in force; the one of before still is."""

    reason: str


@dataclass(frozen=True)
class Flushed(Said):
    """How many cache entries were forgotten."""

    entries: int


@dataclass(frozen=True)
class Listened(Said):
    """The listeners are known."""


@dataclass(frozen=True)
class Unlistened(Said):
    """Nobody waits at the listeners any more, or the time was over."""


@dataclass(frozen=True)
class Closed(Said):
    """The listeners that were left are closed."""


@dataclass(frozen=True)
class Paused(Said):
    """Nothing is taken from listening sockets any more."""


# -- what a worker says of its own accord


@dataclass(frozen=True)
class Ready(Said):
    """The worker has its sockets, its zones and its cache; see `ipc/identity.py`."""

    version: str
    layout: str


@dataclass(frozen=True)
class OtherCode(Said):
    """In place of :class:`Ready`: the worker runs other code than the supervisor.

    It touches nothing that it got. The fields of this and of :class:`Ready` stay as
    they are for ever, since the other side may be of any version.
    """

    version: str
    layout: str


@dataclass(frozen=True)
class Drained(Said):
    """Nothing more will be answered."""


_UNASKED: Final[dict[str, type[Said]]] = {
    kind.op: kind for kind in (Ready, OtherCode, Drained, Failed)
}


# -- orders


@dataclass(frozen=True)
class Start(Order[None]):
    """Who the worker is, and all that it needs; always the first of its messages.

    *version* and *layout* are compared before anything else is looked at. *user* is the
    uid and the gid that the worker becomes, *slots* the size of the slot table behind
    *table_fd*. *load_fd* is a mmapable BPF array, or memory of the same layout where no
    BPF may be loaded; only it and *stats_fd* can be written. *health_fd* holds one
    64-bit word an upstream, see `Health` in `ipc/stats.py`. *handover_fd* is the
    receive end of its hand-over socket. *socket_fds* are those of the spec's listeners.
    """

    version: str
    layout: str
    user: tuple[int, int] | None
    generation: int
    slots: int
    spec_fd: Descriptor
    stats_fd: Descriptor
    live_fd: Descriptor
    load_fd: Descriptor
    health_fd: Descriptor
    table_fd: Descriptor
    handover_fd: Descriptor
    socket_fds: Descriptors


@dataclass(frozen=True)
class MapImages(Order[None]):
    """Map memory in which images of zones lie, up to :data:`MAX_IMAGES` packs of them.

    It comes behind the :class:`Start`, and ahead of the :class:`Configure`, whose spec
    names the packs.
    """

    packs: tuple[str, ...]
    memory_fds: Descriptors


@dataclass(frozen=True)
class KnowPeers(Order[None]):
    """Know the other workers, each by the send end of its hand-over socket.

    They replace those of before. The first one says that the worker is live, and to
    serve.
    """

    ids: tuple[int, ...]
    socket_fds: Descriptors


@dataclass(frozen=True)
class UseTable(Order[None]):
    """Go by the slot table that is in force."""

    generation: int
    slots: int
    table_fd: Descriptor


@dataclass(frozen=True)
class Transfer(Order[Transferred]):
    """Send what is cached of names that others own under the next slot table."""

    timeout_s: float
    table_fd: Descriptor


@dataclass(frozen=True)
class TransferToSuccessor(Order[Transferred]):
    """Send all that is cached to the workers of another instance.

    *table_fd* is the slot table there, *socket_fds* are the send ends of the hand-over
    sockets of *ids*.
    """

    timeout_s: float
    hash_key_hex: str
    ids: tuple[int, ...]
    table_fd: Descriptor
    socket_fds: Descriptors


@dataclass(frozen=True)
class CatchUp(Order[CaughtUp]):
    """Take what was handed over until now, such as the entries of a transfer."""


@dataclass(frozen=True)
class Configure(Order[Configured | Refused]):
    """Put the spec in force, but for its listeners, which are for later workers."""

    spec_fd: Descriptor


@dataclass(frozen=True)
class Flush(Order[Flushed]):
    """Forget what is cached of a name, with *is_suffix* of all below it too.

    Without a name everything is forgotten.
    """

    name: str | None
    is_suffix: bool


@dataclass(frozen=True)
class Listen(Order[Listened]):
    """Know more listeners, whose sockets come along.

    What peers hand over from there can be answered from then on; the sockets are read
    from the next :class:`KnowPeers` on.
    """

    listeners: tuple[Listener, ...]
    socket_fds: Descriptors


@dataclass(frozen=True)
class Unlisten(Order[Unlistened]):
    """Take what the listeners with these numbers hold, and wait for what is pending."""

    numbers: tuple[int, ...]
    timeout_s: float


@dataclass(frozen=True)
class Close(Order[Closed]):
    """Take what was handed over before, and close the listeners that were left.

    It comes when all workers have left them.
    """


@dataclass(frozen=True)
class Pause(Order[Paused]):
    """Take nothing from listening sockets any more."""


@dataclass(frozen=True)
class Resume(Order[None]):
    """Take from listening sockets again."""


@dataclass(frozen=True)
class Drain(Order[None]):
    """Finish what there is, say :class:`Drained`, and exit.

    What waits at the listeners with the numbers *kept* is left to a successor.
    """

    kept: tuple[int, ...]


@dataclass(frozen=True)
class Ping(Order[Pong]):
    """Tell that the loop goes round."""


# -- packets


def layout() -> str:
    """Return all of this as text, the same in every process of the same code."""
    kinds: list[type[_Message]] = [*_ORDERS.values(), *_UNASKED.values()]
    for order in _ORDERS.values():
        kinds += order.replies.values()
    told = [(kind.op, records.layout(kind)) for kind in kinds]
    return repr((told, [list(order.replies) for order in _ORDERS.values()]))


def pack(
    message: Order[Any] | Said, number: int | None = None
) -> tuple[Plain, list[int]]:
    """Return *message* as a packet; *number* is that of the order, for its reply."""
    plain: Plain = {"op": message.op, **asdict(message)}  # type: ignore[call-overload]  # all are records
    fds: list[int] = [plain.pop(name) for name in message.single_fds]
    if message.other_fds is not None:
        fds += plain.pop(message.other_fds)
    if number is not None:
        plain["id"] = number
    return plain, fds


def order_in(plain: object, fds: list[int]) -> Order[Any]:
    """Return the order in a packet.

    Raises:
        ShapeError: there is none.
    """
    return _message_in(plain, fds, _ORDERS, "as an order")


def reply_in(plain: object, asked: type[Order[Any]]) -> Said:
    """Return the reply to an order of class *asked* in a packet.

    Raises:
        ShapeError: there is none.
    """
    kinds = {**asked.replies, Failed.op: Failed}
    return _message_in(plain, [], kinds, f"to {asked.op}")


def unasked_in(plain: object) -> Said:
    """Return what a worker says of its own accord in a packet.

    Raises:
        ShapeError: it is nothing of that.
    """
    return _message_in(plain, [], _UNASKED, "of its own accord")


def number_in(plain: object) -> int | None:
    """Return the number of the order that a packet replies to, or that it is."""
    found = plain.get("id") if isinstance(plain, dict) else None
    return found if records.is_count(found) else None


def _message_in(
    plain: object, fds: list[int], kinds: dict[str, type[M]], when: str
) -> M:
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
