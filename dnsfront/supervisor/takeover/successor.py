"""A newer process that takes over from this front end, as it is seen from here.

`conversation.py` tells what is said. Whatever goes wrong before the successor serves,
this front end goes on; a successor that can no longer be told to stop is ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from dnsfront.errors import ControlError, DnsfrontError
from dnsfront.ipc import channel
from dnsfront.ipc.spec import Place
from dnsfront.paths import PACKAGE_PARENT
from dnsfront.supervisor.admin.control_socket import ControlSocket
from dnsfront.supervisor.change.reload import Reloader
from dnsfront.supervisor.front import Front, Phase
from dnsfront.supervisor.host.last_words import LastWords
from dnsfront.supervisor.sockets.groups import PROTOCOLS
from dnsfront.supervisor.takeover.conversation import (
    PROTOCOL,
    SERVE_WITHIN_S,
    Conversation,
)

_LOG = logging.getLogger(__name__)

#: From the offer to `let_go`: the successor's program, workers and caches.
_PREPARE_WITHIN_S: Final = 60.0

#: The listeners of each worker's name that the successor reads from.
Kept = Mapping[str, frozenset[Place]]


class Succession:
    """Lets one successor at a time take over; :attr:`done` is set when one has.

    Then *kept* tells what it reads, and everything else is still to be finished here.
    """

    def __init__(
        self, front: Front, reloader: Reloader, control: ControlSocket
    ) -> None:
        self.done = asyncio.Event()
        self.kept: Kept = {}
        self._front = front
        self._reloader = reloader
        self._control = control
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
        self._task = asyncio.create_task(
            self._run(Conversation(ours), request["from_pid"])
        )
        return theirs

    async def spawn(self) -> int:
        """Start a new process that takes over, and return its pid when it has.

        Raises:
            ControlError: it ended before that; this front end goes on.
        """
        if os.getpid() == 1:
            raise ControlError(
                "restart: this is the first process of a container, which would end "
                "with it; replace the container"
            )
        last_words = LastWords()
        try:
            return await self._spawn(last_words)
        finally:
            last_words.close()

    async def _spawn(self, last_words: LastWords) -> int:
        # Not resolved: where a link leads may change, and what is relative to it.
        path = self._front.candidate.config.path
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dnsfront", "run", "--takeover", "-c", str(path)),
            stdin=subprocess.DEVNULL,
            cwd=PACKAGE_PARENT,
            env=last_words.environment,
            pass_fds=(last_words.fd,),
        )
        ended = asyncio.create_task(process.wait())
        done = asyncio.create_task(self.done.wait())
        await asyncio.wait({ended, done}, return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            done.cancel()
            why = last_words.read()
            raise ControlError(
                f"restart: the new process ended with status {ended.result()} before "
                "it was ready, this one goes on; "
                + (f"it said:\n{why}" if why else "its log says why")
            )
        ended.cancel()
        return process.pid

    async def _run(self, conversation: Conversation, pid: int) -> None:
        _LOG.info("takeover_begun successor_pid=%d", pid)
        try:
            async with self._reloader.turn():
                await self._offer(conversation)
                await self._prepare(conversation)
                await self._yield(conversation, pid)
        except (DnsfrontError, OSError) as exc:
            _LOG.warning("takeover_failed successor_pid=%d reason=%s", pid, exc)
        finally:
            conversation.close()

    async def _offer(self, conversation: Conversation) -> None:
        front = self._front
        groups = front.groups
        for worker in front.roster:
            if worker.worker_id not in groups:
                continue
            pairs = groups.sockets_of(worker.worker_id, groups.listeners)
            message = {
                "op": "worker",
                "name": worker.name,
                "worker_id": worker.worker_id,
                "listeners": [asdict(pair.listener) for pair in pairs],
            }
            fds = [s.fileno() for pair in pairs for s in (pair.udp, pair.tcp)]
            await conversation.send(message, fds)
        for listener in groups.listeners:
            for protocol in PROTOCOLS:
                fd = front.steering.sockarray_fd(listener, protocol)
                if fd is None:
                    continue
                message = {
                    "op": "group",
                    "listener": asdict(listener),
                    "protocol": protocol,
                }
                await conversation.send(message, [fd])
        assert front.admin is not None, "serving"
        message = {
            "op": "offer",
            "admin": str(front.candidate.config.admin.listen),
            "drained": sorted(front.drained),
        }
        await conversation.send(message, [self._control.fileno(), front.admin.fileno()])

    async def _prepare(self, conversation: Conversation) -> None:
        """Serve while the successor gets ready, until it asks to let go."""
        async with asyncio.timeout(_PREPARE_WITHIN_S):
            while True:
                message, fds = await conversation.receive()
                try:
                    if message["op"] == "let_go":
                        return
                    if message["op"] != "send_caches":
                        raise ControlError(f"it said {message['op']}, want let_go")
                    with self._front.step("sending caches", is_move=True):
                        entries = await self._front.broadcast.transfer_to(
                            message["ids"], message["hash_key_hex"], fds
                        )
                finally:
                    for fd in fds:
                        os.close(fd)
                await conversation.send({"op": "caches_sent", "entries": entries})

    async def _yield(self, conversation: Conversation, pid: int) -> None:
        """Let go of everything; take it back if the successor does not serve."""
        front = self._front
        pidfd = os.pidfd_open(pid)
        try:
            front.phase = Phase.HANDING_OVER
            await front.broadcast.pause()
            self._control.pause()
            assert front.admin is not None, "serving"
            front.admin.pause()
            await conversation.send({"op": "let_gone"})
            serving = await conversation.expect("serving", SERVE_WITHIN_S)
        except (DnsfrontError, OSError):
            await _end(pidfd)
            await self._take_back()
            raise
        finally:
            os.close(pidfd)
        self.kept = {
            name: frozenset((host, port, family) for host, port, family in places)
            for name, places in serving["kept"].items()
        }
        self._reloader.refuse_more()
        self._control.hand_on()
        _LOG.info("handed_over successor_pid=%d workers=%d", pid, len(self.kept))
        self.done.set()

    async def _take_back(self) -> None:
        """Serve again: the sockets are all here, and whatever came waits in them."""
        front = self._front
        front.groups.attach()
        front.broadcast.resume()
        assert front.admin is not None, "serving"
        front.admin.resume()
        await self._control.resume()
        front.phase = Phase.SERVING


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
