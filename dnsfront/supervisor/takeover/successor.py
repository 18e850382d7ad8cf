"""A newer process that takes over from this front end, as it is seen from here.

`messages.py` tells what is said. Whatever goes wrong before the successor serves,
this front end goes on; a successor that can no longer be told to stop is ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from dnsfront.errors import ControlError, DnsfrontError
from dnsfront.ipc import channel
from dnsfront.ipc.spec import ListenerKey
from dnsfront.supervisor.change.progress import Progress
from dnsfront.supervisor.change.turns import Turns
from dnsfront.supervisor.host.tasks import watched
from dnsfront.supervisor.takeover.conversation import Conversation
from dnsfront.supervisor.takeover.intake import Intake
from dnsfront.supervisor.takeover.messages import (
    PROTOCOL,
    SERVE_TIMEOUT_S,
    EntriesSent,
    LetGo,
    LetGone,
    SendEntries,
    Serving,
)
from dnsfront.supervisor.takeover.offer import Offer
from dnsfront.supervisor.workers.broadcast import Broadcast

_LOG = logging.getLogger(__name__)

#: From the offer to `let_go`: the successor's program, workers and caches.
_PREPARE_TIMEOUT_S: Final = 60.0

#: The listeners of each worker's name that the successor reads from.
Kept = Mapping[str, frozenset[ListenerKey]]


class Succession:
    """Lets one successor at a time take over; :attr:`done` is set when one has.

    Then *kept* tells what it reads, and everything else is still to be finished here.
    While :attr:`yielding` is held by somebody else, no successor is let go ahead.
    """

    def __init__(
        self,
        offer: Offer,
        intake: Intake,
        turns: Turns,
        progress: Progress,
        broadcast: Broadcast,
    ) -> None:
        self.done = asyncio.Event()
        self.yielding = asyncio.Lock()
        self.kept: Kept = {}
        self._offer = offer
        self._intake = intake
        self._turns = turns
        self._progress = progress
        self._broadcast = broadcast
        self._task: asyncio.Task[None] | None = None

    def begin(self, request: Mapping[str, Any]) -> socket.socket:
        """Return the successor's end of the channel for the *request* that it made.

        Raises:
            ControlError: another one is at it, or it speaks another protocol.
        """
        if request.get("protocol") != PROTOCOL:
            raise ControlError(
                f"take-over: got protocol {request.get('protocol')}, want {PROTOCOL}; "
                "stop this instance and start the other one"
            )
        if self._task is not None and not self._task.done():
            raise ControlError("take-over: another one is under way")
        ours, theirs = channel.pair()
        self._task = watched(
            "take-over", self._run(Conversation(ours), request["from_pid"])
        )
        return theirs

    async def _run(self, conversation: Conversation, pid: int) -> None:
        _LOG.info("takeover_begun successor_pid=%d", pid)
        try:
            async with self._turns.turn():
                await self._offer.send(conversation)
                await self._prepare(conversation)
                async with self.yielding:
                    await self._yield(conversation, pid)
        except (DnsfrontError, OSError) as exc:
            _LOG.warning("takeover_failed successor_pid=%d reason=%s", pid, exc)
        finally:
            conversation.close()

    async def _prepare(self, conversation: Conversation) -> None:
        """Serve while the successor gets ready, until it asks to let go."""
        async with asyncio.timeout(_PREPARE_TIMEOUT_S):
            while True:
                message = await conversation.receive()
                if isinstance(message, LetGo):
                    return
                if not isinstance(message, SendEntries):
                    raise ControlError(f"it said {message.op}, want {LetGo.op}")
                await conversation.send(EntriesSent(await self._transfer(message)))

    async def _transfer(self, message: SendEntries) -> int:
        """Have all entries sent, if they are true there; return how many there were."""
        fds = (message.table_fd, *message.socket_fds)
        try:
            if message.destinations != self._offer.destinations:
                _LOG.info("takeover_cold reason=forward differs")
                return 0
            with self._progress.show("transferring entries", is_transfer=True):
                return await self._broadcast.transfer_to(
                    message.ids, message.hash_key_hex, fds
                )
        finally:
            for fd in fds:
                os.close(fd)

    async def _yield(self, conversation: Conversation, pid: int) -> None:
        """Let go of everything; take it back if the successor does not serve."""
        pidfd = os.pidfd_open(pid)
        try:
            await self._intake.pause()
            await conversation.send(LetGone())
            serving = await conversation.expect(Serving, SERVE_TIMEOUT_S)
        except Exception:
            # Whatever it was, nobody else takes what waits in the sockets.
            await _end(pidfd)
            await self._intake.resume()
            raise
        finally:
            os.close(pidfd)
        self.kept = dict.fromkeys(serving.names, frozenset(serving.listeners))
        self._turns.refuse_more()
        self._intake.hand_on()
        _LOG.info("handed_over successor_pid=%d workers=%d", pid, len(self.kept))
        self.done.set()


async def _end(pidfd: int) -> None:
    """End the process behind *pidfd*: nobody may steer datagrams to us by accident."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(pidfd, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(pidfd)
