"""The front end that runs already, as the one that takes over from it knows it.

`conversation.py` tells what is said. Until :meth:`Predecessor.let_go` nothing has
happened: whoever gives up before that leaves the predecessor as it was.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, Self

from dnsfront.errors import ControlError, UnavailableError
from dnsfront.ipc import memory
from dnsfront.ipc.asking import ask_for_descriptors
from dnsfront.ipc.channel import Plain
from dnsfront.ipc.spec import Listener
from dnsfront.supervisor.sockets.groups import Inherited
from dnsfront.supervisor.takeover.conversation import PROTOCOL, Conversation

_LOG = logging.getLogger(__name__)

#: A reload that is under way there comes to its end first.
_OFFER_TIMEOUT_S: Final = 30.0
_SEND_TIMEOUT_S: Final = 10.0
_LET_GO_TIMEOUT_S: Final = 5.0


class Predecessor:
    """What a running front end offers, and the way to it.

    *ids* are the worker_ids of its workers, *listeners* what it serves, *drained* the
    workers that an operator took out.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._inherited = Inherited()
        self.ids: dict[str, int] = {}
        self.listeners: set[Listener] = set()
        self.drained: frozenset[str] = frozenset()
        self.admin = ""
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
        [fd] = fds
        met = cls(Conversation(socket.socket(fileno=fd)))
        try:
            async with asyncio.timeout(_OFFER_TIMEOUT_S):
                await met._take_offer()
        except TimeoutError as exc:
            met.close()
            raise UnavailableError("take-over: the running instance is busy") from exc
        except BaseException:
            met.close()
            raise
        return met

    async def _take_offer(self) -> None:
        while True:
            message, fds = await self._conversation.receive()
            match message["op"]:
                case "worker":
                    self._take_worker(message, fds)
                case "group":
                    [sockarray_fd] = fds
                    listener = Listener(**message["listener"])
                    self._inherited.sockarrays[listener.key] = sockarray_fd
                case "offer":
                    self.control_socket, self.admin_socket = (
                        socket.socket(fileno=fd) for fd in fds
                    )
                    self.admin = message["admin"]
                    self.drained = frozenset(message["drained"])
                    return

    def _take_worker(self, message: Plain, fds: list[int]) -> None:
        sockets = [socket.socket(fileno=fd) for fd in fds]
        listeners = [Listener(**fields) for fields in message["listeners"]]
        keys = [listener.key for listener in listeners]
        worker_id = message["worker_id"]
        self.ids[message["name"]] = worker_id
        self._inherited.sockets[worker_id] = dict(zip(keys, sockets, strict=True))
        self.listeners.update(listeners)

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
        self, table: bytes, key: bytes, receivers: Mapping[int, int]
    ) -> int:
        """Have all cache entries sent to their owners under *table*, hashed with *key*.

        *receivers* are the send ends of the handover sockets by worker_id. Returns how
        many entries were sent.

        Raises:
            UnavailableError: the predecessor is gone.
        """
        table_fd = memory.sealed("dnsfront-next-table", table)
        message = {
            "op": "transfer",
            "ids": list(receivers),
            "hash_key_hex": key.hex(),
        }
        try:
            await self._conversation.send(message, [table_fd, *receivers.values()])
        finally:
            os.close(table_fd)
        sent = await self._conversation.expect("transferred", _SEND_TIMEOUT_S)
        return int(sent["entries"])

    async def let_go(self) -> None:
        """Have the predecessor take nothing any more; if it is gone, it does not.

        From now on what arrives waits for :meth:`serving`.
        """
        try:
            await self._conversation.send({"op": "let_go"})
            await self._conversation.expect("let_gone", _LET_GO_TIMEOUT_S)
        except UnavailableError as exc:
            _LOG.warning("predecessor_lost reason=%s", exc)

    async def serving(self, kept: Mapping[str, Collection[Listener]]) -> None:
        """Tell that the sockets of *kept* are read here; the predecessor may go."""
        keys = {
            name: [listener.key for listener in listeners]
            for name, listeners in kept.items()
        }
        try:
            await self._conversation.send({"op": "serving", "kept": keys})
        except UnavailableError as exc:
            _LOG.warning("predecessor_lost reason=%s", exc)

    def close(self) -> None:
        """End the conversation, and give up what nobody took."""
        self._conversation.close()
        self._inherited.close()
        for sock in (self.control_socket, self.admin_socket):
            if sock is not None:
                sock.close()
