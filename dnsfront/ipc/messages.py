"""What supervisor and workers say to each other: a class for every message.

The supervisor gives orders. One that wants a reply names its class; the reply has the
same number as the order, so that any number of orders may be under way. A worker says
three things of its own accord, each once: :class:`Ready`, or :class:`OtherCode` in its
place, and :class:`Drained`.

A message travels as `ipc/packets.py` says. A worker meets strangers, so nothing that it
says is taken on trust: a message that is not what its class says is a `ShapeError`, and
whoever sent it is ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, ClassVar, Final, Generic, TypeVar, get_args

from dnsfront.ipc.packets import Descriptor, Descriptors, Message
from dnsfront.ipc.spec import Listener

#: Octets of a slot in a shared slot table: four worker ids, best first, 0 for nobody.
SLOT_OCTETS: Final = 4
#: Packs of one :class:`MapImages`: the kernel passes at most SCM_MAX_FD (253) at once.
MAX_IMAGES: Final = 200

R_co = TypeVar("R_co", covariant=True)

ORDERS: Final[dict[str, type[Order[Any]]]] = {}


class Said(Message):
    """What a worker says."""


class Order(Message, Generic[R_co]):
    """What the supervisor orders; *R_co* is the class of the reply, None for none."""

    #: The classes of the reply by their `op`.
    replies: ClassVar[dict[str, type[Said]]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        [reply] = get_args(cls.__orig_bases__[0])  # type: ignore[attr-defined]  # PEP 560
        kinds = get_args(reply) if isinstance(reply, UnionType) else (reply,)
        cls.replies = {kind.op: kind for kind in kinds if kind is not NoneType}
        ORDERS[cls.op] = cls


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
class Dumped(Said):
    """Lines of a dump, cut into *texts*; *left_out* is how many are too long.

    *at* is where the next piece begins, 0 if this was the last.
    """

    ticket: int
    at: int
    left_out: int
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Loaded(Said):
    """How many entries were *kept*, and the indices of lines that are *damaged*."""

    kept: int
    damaged: tuple[int, ...]


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


UNASKED: Final[dict[str, type[Said]]] = {
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
class KeepBook(Order[None]):
    """Say in an empty book what the kernel answers; it replaces the one of before.

    *sets_fd* and *answers_fd* are mmapable BPF arrays of so many octets, see
    `kernel/book.py`. The worker writes to both, and nobody else does, but for the
    program, which counts its hits.
    """

    sets_octets: int
    answers_octets: int
    sets_fd: Descriptor
    answers_fd: Descriptor


@dataclass(frozen=True)
class CloseBook(Order[None]):
    """Keep no book any more: the kernel answers nothing."""


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
    """Take what was handed over until now, and hand over what is for others.

    What comes of a transfer is such, and what is for a worker that is to leave.
    """


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
class Dump(Order[Dumped]):
    """Tell a piece of what is cached, in lines as of *wall_s* (`dns/dumps.py`).

    A dump begins with *at* 0, and ends where its *ticket* is not that of the last one.
    """

    at: int
    ticket: int
    wall_s: int


@dataclass(frozen=True)
class Load(Order[Loaded]):
    """Keep those entries whose names the worker owns; *lines_fd* has them in lines."""

    wall_s: int
    lines_fd: Descriptor


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
    """Take nothing from listening sockets until :class:`Resume` or the end."""


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
