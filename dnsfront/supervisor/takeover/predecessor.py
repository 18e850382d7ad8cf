"""The front end that runs already, as the one that takes over from it knows it.

`messages.py` tells what is said. Until :meth:`Predecessor.let_go` nothing has
happened: whoever gives up before that leaves the predecessor as it was.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final, Self

from dnsfront.errors import ControlError, UnavailableError
from dnsfront.ipc import memory
from dnsfront.ipc.asking import ask_for_descriptors
from dnsfront.ipc.packets import Descriptor
from dnsfront.ipc.spec import Listener
from dnsfront.supervisor.sockets.groups import Inherited
from dnsfront.supervisor.takeover.conversation import Conversation
from dnsfront.supervisor.takeover.messages import (
    PROTOCOL,
    EntriesSent,
    LetGo,
    LetGone,
    OfferGroup,
    OfferRest,
    OfferWorker,
    SendEntries,
    Serving,
)

_LOG = logging.getLogger(__name__)

#: A reload that is under way there comes to its end first.
_OFFER_TIMEOUT_S: Final = 30.0
_TRANSFER_TIMEOUT_S: Final = 10.0
_LET_GO_TIMEOUT_S: Final = 5.0


class Predecessor:
    """What a running front end offers, and the way to it.

    *ids* are the worker_ids of its workers, *listeners* what it serves, *drained* the
    workers that an operator took out, *cookie_secret* the one that it drew.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._inherited = Inherited()
        self.ids: dict[str, int] = {}
        self.listeners: set[Listener] = set()
        self.drained: frozenset[str] = frozenset()
        self.admin = ""
        self.cookie_secret = ""
        self.control_socket: socket.socket | None = None
        self.admin_socket: socket.socket | None = None

    @classmethod
    async def meet(cls, control_path: Path) -> Self | None:
        """Return the front end behind *control_path* with its offer, None without one.

        Raises:
            ControlError: it refuses, or speaks another protocol.
            UnavailableError: it went away meanwhile.
        """
        request = {"command": "takeover", "protocol": PROTOCOL}
        try:
            _, fds = await asyncio.to_thread(
                ask_for_descriptors, control_path, request, _OFFER_TIMEOUT_S
            )
        except ControlError as exc:
            raise ControlError(f"the running instance says: {exc}") from exc
        except UnavailableError:
            return None
        if len(fds) != 1:
            for fd in fds:
                os.close(fd)
            raise UnavailableError("the running instance sent no channel to talk over")
        [fd] = fds
        met = cls(Conversation(socket.socket(fileno=fd)))
        try:
            async with asyncio.timeout(_OFFER_TIMEOUT_S):
                await met.receive_offer()
        except TimeoutError as exc:
            met.close()
            raise UnavailableError("take-over: the running instance is busy") from exc
        except BaseException:
            met.close()
            raise
        return met

    async def receive_offer(self) -> None:
        """Keep what the other one offers, down to the last of its messages.

        Raises:
            UnavailableError: it is gone, or offers what makes no sense.
        """
        while True:
            message = await self._conversation.receive()
            match message:
                case OfferWorker():
                    self._take_worker(message)
                case OfferGroup(listener, sockarray_fd):
                    self._inherited.sockarrays[listener.key] = sockarray_fd
                case OfferRest():
                    self.control_socket = socket.socket(fileno=message.control_fd)
                    self.admin_socket = socket.socket(fileno=message.admin_fd)
                    self.admin = message.admin
                    self.cookie_secret = message.cookie_secret
                    self.drained = frozenset(message.drained)
                    return

    def _take_worker(self, offered: OfferWorker) -> None:
        if len(offered.socket_fds) != len(offered.listeners):
            for fd in offered.socket_fds:
                os.close(fd)
            raise UnavailableError(
                f"the running instance offers {len(offered.listeners)} listeners and "
                f"{len(offered.socket_fds)} sockets of {offered.name}"
            )
        sockets = [socket.socket(fileno=fd) for fd in offered.socket_fds]
        keys = [listener.key for listener in offered.listeners]
        self.ids[offered.name] = offered.worker_id
        self._inherited.sockets[offered.worker_id] = dict(
            zip(keys, sockets, strict=True)
        )
        self.listeners.update(offered.listeners)

    def leave(
        self, names: Collection[str], listeners: Collection[Listener]
    ) -> Inherited:
        """Return what *names* get for *listeners*; the rest stays with who has it."""
        inherited = self._inherited
        keys = {listener.key for listener in listeners}
        ids = {worker_id for name, worker_id in self.ids.items() if name in names}
        unwanted = Inherited(
            {
                worker_id: {
                    key: sockets.pop(key)
                    for key in list(sockets)
                    if worker_id not in ids or key not in keys
                }
                for worker_id, sockets in inherited.sockets.items()
            },
            {
                key: inherited.sockarrays.pop(key)
                for key in list(inherited.sockarrays)
                if key not in keys
            },
        )
        unwanted.close()
        return inherited

    async def transfer(
        self, table: bytes, key: bytes, destinations: str, receivers: Mapping[int, int]
    ) -> int:
        """Have all cache entries sent to their owners under *table*, hashed with *key*.

        *destinations* is the digest of where names go, *receivers* are the send ends of
        the handover sockets by worker_id. Returns how many entries were sent.

        Raises:
            UnavailableError: the predecessor is gone.
        """
        table_fd = memory.sealed("dnsfront-next-table", table)
        order = SendEntries(
            ids=tuple(receivers),
            hash_key_hex=key.hex(),
            destinations=destinations,
            table_fd=Descriptor(table_fd),
            socket_fds=tuple(map(Descriptor, receivers.values())),
        )
        try:
            await self._conversation.send(order)
        finally:
            os.close(table_fd)
        reply = await self._conversation.expect(EntriesSent, _TRANSFER_TIMEOUT_S)
        return reply.entries

    async def let_go(self) -> None:
        """Have the predecessor take nothing any more; if it is gone, it does not.

        From now on what arrives waits for :meth:`serving`.
        """
        try:
            await self._conversation.send(LetGo())
            await self._conversation.expect(LetGone, _LET_GO_TIMEOUT_S)
        except UnavailableError as exc:
            _LOG.warning("predecessor_lost reason=%s", exc)

    async def serving(
        self, names: Collection[str], listeners: Iterable[Listener]
    ) -> None:
        """Tell that we read the sockets of *names* for *listeners*; it may go."""
        serving = Serving(tuple(names), tuple(listener.key for listener in listeners))
        try:
            await self._conversation.send(serving)
        except UnavailableError as exc:
            _LOG.warning("predecessor_lost reason=%s", exc)

    def close(self) -> None:
        """End the conversation, and give up what nobody took."""
        self._conversation.close()
        self._inherited.close()
        for sock in (self.control_socket, self.admin_socket):
            if sock is not None:
                sock.close()
