"""What a running front end and its successor say to each other.

The successor asks for it over the control socket (`takeover`: protocol) and gets one
end of a channel (`ipc/channel.py`) with the response. On it the predecessor makes its
offer, unasked: an :class:`OfferWorker` for each, an :class:`OfferGroup` for each
listener that the kernel program steers, and :class:`OfferRest`, which ends it. Then the
successor asks, with :class:`SendEntries`, :class:`LetGo` and, last, :class:`Serving`.

The end of the file means that the other side is gone. A predecessor that meets it
before :class:`Serving` goes on as if nothing had been asked; a successor that meets it
after :class:`LetGone` serves with what it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dnsfront.ipc.packets import Descriptor, Descriptors, Message
from dnsfront.ipc.spec import Listener, ListenerKey

#: Goes up with every change to the messages below and to the layout of a sockarray.
#: Cache entries of another version are refused by their kind, and arrive cold: see
#: `worker/peers/envelopes.py`.
PROTOCOL: Final = 4

SERVE_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True)
class OfferWorker(Message):
    """A worker, and its socket for each of the listeners."""

    name: str
    worker_id: int
    listeners: tuple[Listener, ...]
    socket_fds: Descriptors


@dataclass(frozen=True)
class OfferGroup(Message):
    """The sockarray of a listener, which the kernel program chooses from."""

    listener: Listener
    sockarray_fd: Descriptor


@dataclass(frozen=True)
class OfferRest(Message):
    """The workers that an operator took out, and the sockets for operators.

    *admin* is the text of the address that *admin_fd* listens at. *cookie_secret*, in
    hex, was drawn there for configs without one.
    """

    drained: tuple[str, ...]
    admin: str
    cookie_secret: str
    control_fd: Descriptor
    admin_fd: Descriptor


@dataclass(frozen=True)
class SendEntries(Message):
    """Send every cache entry to the worker that will own its name.

    *table_fd* is the slot table of the successor, *socket_fds* are the send ends of the
    hand-over sockets of *ids*. Where names go elsewhere with the successor, as
    *destinations* tells, what is cached is not true there, and nothing is sent. The
    reply is :class:`EntriesSent`.
    """

    ids: tuple[int, ...]
    hash_key_hex: str
    destinations: str
    table_fd: Descriptor
    socket_fds: Descriptors


@dataclass(frozen=True)
class EntriesSent(Message):
    """So many entries are on their way."""

    entries: int


@dataclass(frozen=True)
class LetGo(Message):
    """Take nothing from your sockets any more; what comes waits in them.

    The reply is :class:`LetGone`.
    """


@dataclass(frozen=True)
class LetGone(Message):
    """The successor may serve, and has `SERVE_TIMEOUT_S` for it."""


@dataclass(frozen=True)
class Serving(Message):
    """The successor serves; the predecessor finishes what it had, and goes.

    It reads the sockets that the workers *names* have for *listeners*.
    """

    names: tuple[str, ...]
    listeners: tuple[ListenerKey, ...]


KINDS: Final[dict[str, type[Message]]] = {
    kind.op: kind
    for kind in (
        OfferWorker,
        OfferGroup,
        OfferRest,
        SendEntries,
        EntriesSent,
        LetGo,
        LetGone,
        Serving,
    )
}
