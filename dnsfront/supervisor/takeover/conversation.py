"""The channel between a running front end and its successor."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from dnsfront.errors import UnavailableError
from dnsfront.ipc import channel
from dnsfront.ipc.packets import Message, message_in, pack
from dnsfront.ipc.records import ShapeError
from dnsfront.supervisor.takeover.messages import KINDS

M = TypeVar("M", bound=Message)


class Conversation:
    """One end of the channel; one task at a time may receive."""

    def __init__(self, sock: socket.socket) -> None:
        """Talk over *sock* from now on, and own it."""
        sock.setblocking(False)  # noqa: FBT003 - its signature
        self._loop = asyncio.get_running_loop()
        self._socket = sock

    async def send(self, message: Message) -> None:
        """Send *message*; both sides keep their own copy of each descriptor.

        Raises:
            UnavailableError: the other side is gone.
        """
        while True:
            try:
                channel.send(self._socket, *pack(message))
            except BlockingIOError:
                await self._wait(self._loop.add_writer, self._loop.remove_writer)
            except OSError as exc:
                raise UnavailableError("the other instance is gone") from exc
            else:
                return

    async def receive(self) -> Message:
        """Return the next message, whose descriptors the caller owns.

        Raises:
            UnavailableError: the other side is gone, or says what none of ours says.
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
            except ValueError as exc:
                raise UnavailableError(f"the other instance: {exc}") from exc
            if received is None:
                raise UnavailableError("the other instance is gone")
            return _message(*received)

    async def expect(self, kind: type[M], timeout_s: float) -> M:
        """Return the next message, which is to be of *kind*, without descriptors.

        Raises:
            UnavailableError: the other side is gone, silent, or says something else.
        """
        try:
            async with asyncio.timeout(timeout_s):
                message = await self.receive()
        except TimeoutError as exc:
            raise UnavailableError(
                f"the other instance did not say {kind.op} within {timeout_s:g} s"
            ) from exc
        if not isinstance(message, kind):
            raise UnavailableError(
                f"the other instance said {message.op}, want {kind.op}"
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


def _message(plain: object, fds: list[int]) -> Message:
    try:
        return message_in(plain, fds, KINDS, "in a take-over")
    except ShapeError as exc:
        for fd in fds:
            os.close(fd)
        raise UnavailableError(f"the other instance said {exc}") from exc
