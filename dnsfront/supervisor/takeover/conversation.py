"""What a running front end and its successor say to each other, and the channel for it.

The successor asks for it over the control socket (`takeover`: protocol) and gets one
end of a connected AF_UNIX SOCK_SEQPACKET pair with the response. On it go JSON and
descriptors, as on a worker's channel (`ipc/channel.py`).

Predecessor to successor, unasked, the offer:

- `worker`: name, worker_id, listeners; for each listener its socket.
- `group`: listener; the sockarray that the kernel program chooses from. Not where
  names are steered in user space.
- `offer`: drained, admin (the text of its address); the listening sockets of the
  control socket and of the admin endpoint. It ends the offer.

Successor to predecessor, and the reply:

- `transfer`: ids, hash_key_hex; the successor's slot table and, for each id, the
  send end of that worker's handover socket. Every entry goes to the worker that will
  own its name; `transferred`: entries, when all are on their way.
- `let_go`: nothing. The predecessor takes nothing from its sockets any more; what comes
  waits in them. `let_gone`: the successor may serve, and has `SERVE_TIMEOUT_S` for it.
- `serving`: kept, for each name that the successor has taken over the listeners whose
  sockets it reads. The predecessor finishes what it had, and goes.

The end of the file means that the other side is gone. A predecessor that meets it
before `serving` goes on as if nothing had been asked; a successor that meets it after
`let_gone` serves with what it has.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

from dnsfront.errors import UnavailableError
from dnsfront.ipc import channel
from dnsfront.ipc.channel import Plain

#: Goes up with every change to the messages above and to the layout of a sockarray.
#: Cache entries of another version are refused by their kind, and arrive cold: see
#: `worker/peers/envelopes.py`.
PROTOCOL: Final = 2

SERVE_TIMEOUT_S: Final = 2.0


class Conversation:
    """One end of the channel; one task at a time may receive."""

    def __init__(self, sock: socket.socket) -> None:
        """Talk over *sock* from now on, and own it."""
        sock.setblocking(False)  # noqa: FBT003 - its signature
        self._loop = asyncio.get_running_loop()
        self._socket = sock

    async def send(self, message: Plain, fds: list[int] | None = None) -> None:
        """Send *message*; both sides keep their own copy of each descriptor.

        Raises:
            UnavailableError: the other side is gone.
        """
        while True:
            try:
                channel.send(self._socket, message, fds)
            except BlockingIOError:
                await self._wait(self._loop.add_writer, self._loop.remove_writer)
            except OSError as exc:
                raise UnavailableError("the other instance is gone") from exc
            else:
                return

    async def receive(self) -> tuple[Plain, list[int]]:
        """Return the next message and its descriptors, which the caller owns.

        Raises:
            UnavailableError: the other side is gone.
        """
        while True:
            try:
                received = channel.receive(self._socket)
            except BlockingIOError:
                await self._wait(self._loop.add_reader, self._loop.remove_reader)
                continue
            except OSError:
                received = None
            except channel.CutMessageError as exc:
                raise UnavailableError(
                    f"{exc}, want a higher limit for this process"
                ) from exc
            if received is None:
                raise UnavailableError("the other instance is gone")
            return received

    async def expect(self, op: str, timeout_s: float) -> Plain:
        """Return the next message, which is to be an *op* without descriptors.

        Raises:
            UnavailableError: the other side is gone, silent, or says something else.
        """
        try:
            async with asyncio.timeout(timeout_s):
                message, _none = await self.receive()
        except TimeoutError as exc:
            raise UnavailableError(
                f"the other instance did not say {op} within {timeout_s:g} s"
            ) from exc
        if message["op"] != op:
            raise UnavailableError(
                f"the other instance said {message['op']}, want {op}"
            )
        return message

    async def _wait(
        self, add: Callable[..., Any], remove: Callable[[socket.socket], Any]
    ) -> None:
        ready = asyncio.Event()
        add(self._socket, ready.set)
        try:
            await ready.wait()
        finally:
            remove(self._socket)

    def close(self) -> None:
        """Say no more; the other side sees the end of the file."""
        self._socket.close()
