"""One worker process and the supervisor's end of its control channel."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dnsfront.ipc import channel
from dnsfront.ipc.channel import Message

_LOG = logging.getLogger(__name__)

#: Where the package is imported from, in a checkout and in an installation.
_PACKAGE_PARENT: Final = Path(__file__).resolve().parents[2]
#: A worker whose channel is closed is about to exit; one that does not is stuck.
_EXIT_AFTER_EOF_S: Final = 2.0

Replies = frozenset[str]


class WorkerProcess:
    """A fresh interpreter that runs one worker, from start to exit.

    *on_message* gets what the worker says of its own accord, *on_exit* is called
    exactly once, when the process is gone and reaped. Requests are made one at a
    time, except that those with a token may overlap.
    """

    def __init__(
        self,
        name: str,
        *,
        on_message: Callable[[Message], None],
        on_exit: Callable[[], None],
    ) -> None:
        """Start the process; it waits for its first message.

        Raises:
            OSError: the system starts no process, for lack of memory or by a limit.
        """
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._on_message = on_message
        self._on_exit = on_exit
        self._awaited: dict[tuple[str, object], asyncio.Future[Message | None]] = {}
        self._channel, theirs = channel.pair()
        self._channel.setblocking(False)  # noqa: FBT003 - its signature
        with theirs:
            try:
                self._process = self._spawn(theirs.fileno())
            except OSError:
                self._channel.close()
                raise
        self.pid = self._process.pid
        self.started_at = self._loop.time()
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._reap)
        self._loop.add_reader(self._channel, self._read)

    def send(self, message: Message, fds: list[int] | None = None) -> None:
        """Send *message*; a worker that does not take it is ended, and then exits."""
        try:
            channel.send(self._channel, message, fds)
        except (BrokenPipeError, ConnectionResetError):
            # It has closed its end: it is about to exit, and that is noticed anyway.
            _LOG.debug("worker_leaving worker=%s op=%s", self._name, message["op"])
        except OSError as exc:
            if self._channel.fileno() >= 0:
                _LOG.warning(
                    "worker_unreachable worker=%s pid=%d op=%s error=%s",
                    self._name, self.pid, message["op"], exc.strerror,
                )  # fmt: skip
                self.kill()

    async def ask(
        self,
        message: Message,
        fds: list[int] | None = None,
        *,
        replies: Replies,
        timeout_s: float,
    ) -> Message | None:
        """Send *message* and return the first of *replies*, None if the worker exits.

        A worker that is silent for *timeout_s* is ended: nobody knows what it does.
        """
        reply = self.expect(replies, message.get("token"))
        self.send(message, fds)
        return await self.wait(reply, timeout_s, doing=message["op"])

    def expect(
        self, replies: Replies, token: object = None
    ) -> asyncio.Future[Message | None]:
        """Return a future of the first of *replies* to come, or None for the exit."""
        reply: asyncio.Future[Message | None] = self._loop.create_future()
        if self._channel.fileno() < 0:
            reply.set_result(None)
        for op in replies:
            self._awaited[op, token] = reply
        return reply

    async def wait(
        self, reply: asyncio.Future[Message | None], timeout_s: float, *, doing: str
    ) -> Message | None:
        """Return what comes of *reply*; see :meth:`ask`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await reply
        except TimeoutError:
            _LOG.warning(
                "worker_silent worker=%s pid=%d op=%s timeout_s=%g",
                self._name, self.pid, doing, timeout_s,
            )  # fmt: skip
            self.kill()
            return None

    @property
    def is_asked(self) -> bool:
        """Whether it works on a request, which may take it a while."""
        return bool(self._awaited)

    def kill(self) -> None:
        """End the process without asking it; *on_exit* follows."""
        self._process.kill()

    def close(self) -> None:
        """End the process and wait for its end; *on_exit* is not called any more."""
        self._stop_reading()
        if self._pidfd >= 0:
            self._forget_pidfd()
            self._process.kill()
            self._process.wait()

    @property
    def ending(self) -> str:
        """How the process ended, as fields of a log line."""
        code = self._process.returncode
        return f"signal={-code}" if code and code < 0 else f"status={code}"

    def _spawn(self, fd: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-m", "dnsfront.worker", str(fd)],
            stdin=subprocess.DEVNULL,
            pass_fds=[fd],
            # A Ctrl-C at the terminal is the supervisor's to act on.
            start_new_session=True,
            # Python puts the working directory first on its path: let that be ours.
            cwd=_PACKAGE_PARENT,
        )

    def _read(self) -> bool:
        """Take one message; return whether there may be more."""
        try:
            received = channel.receive(self._channel)
        except ConnectionResetError:
            return True  # it left something unread; what it said comes after this
        except BlockingIOError:
            return False
        except ValueError:
            received = None  # whoever speaks no JSON is no worker of ours
        if received is None:
            self._stop_reading()
            self._loop.call_later(_EXIT_AFTER_EOF_S, self.kill)
            return False
        message, fds = received
        for fd in fds:
            os.close(fd)
        key = (str(message.get("op")), message.get("token"))
        reply = self._awaited.pop(key, None)
        if reply is None:
            self._on_message(message)
        elif not reply.done():
            reply.set_result(message)
        return True

    def _reap(self) -> None:
        """Take note of the exit, which may come before the last words were read."""
        while self._channel.fileno() >= 0 and self._read():
            pass
        self._stop_reading()
        self._process.wait()
        self._forget_pidfd()
        self._on_exit()

    def _stop_reading(self) -> None:
        if self._channel.fileno() < 0:
            return
        self._loop.remove_reader(self._channel)
        self._channel.close()
        for reply in self._awaited.values():
            if not reply.done():
                reply.set_result(None)
        self._awaited.clear()

    def _forget_pidfd(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
