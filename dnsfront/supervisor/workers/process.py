"""One worker process and the supervisor's end of its control channel."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from dnsfront.ipc import channel, packets, reading
from dnsfront.ipc.messages import Failed, Order, Ping, Pong, Said
from dnsfront.ipc.records import ShapeError
from dnsfront.supervisor.host.spawning import Process, spawn

_LOG = logging.getLogger(__name__)

#: A worker whose channel is closed is about to exit; one that does not is stuck.
_EXIT_AFTER_EOF_S: Final = 2.0
_PING_EVERY_S: Final = 2.0
#: The same where nobody asks it anything: to wake it costs more than all it then does.
_PING_AT_REST_S: Final = 4.0

R = TypeVar("R")


@dataclass(frozen=True)
class _Request:
    """A request under way; its *timer* ends a worker that leaves it unanswered."""

    kind: type[Order[Any]]
    reply: asyncio.Future[Any]
    timer: asyncio.TimerHandle | None

    def answer(self, said: Said | None) -> None:
        """Give the reply to whoever waits, if anybody still does."""
        if self.timer is not None:
            self.timer.cancel()
        if not self.reply.done():
            self.reply.set_result(said)


class WorkerProcess:
    """A process that runs one worker, from start to exit.

    *on_message* gets what the worker says of its own accord, *on_exit* is called
    exactly once, when the process is gone and reaped. Requests may overlap.
    """

    def __init__(
        self,
        name: str,
        *,
        on_message: Callable[[Said], None],
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
        self._ids = itertools.count(1)
        self._requests: dict[int, _Request] = {}
        self._said: set[type[Said]] = set()
        #: How often it was asked for a sign of life, and how often it gave one.
        self.pings = 0
        self.pongs = 0
        self._pinged_at = -_PING_EVERY_S
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

    def send(self, order: Order[Any], number: int | None = None) -> None:
        """Send *order*; a worker that does not take it is ended, and then exits.

        Both sides keep their own copy of each of its descriptors.
        """
        try:
            channel.send(self._channel, *packets.pack(order, number))
        except (BrokenPipeError, ConnectionResetError):
            # It has closed its end and is about to exit, which `_reap` notices.
            _LOG.debug("worker_leaving worker=%s op=%s", self._name, order.op)
        except OSError as exc:
            if self._channel.fileno() >= 0:
                _LOG.warning(
                    "worker_unreachable worker=%s pid=%d op=%s error=%s",
                    self._name, self.pid, order.op, exc.strerror,
                )  # fmt: skip
                self.kill()

    async def ask(self, order: Order[R], *, timeout_s: float) -> R | None:
        """Send *order* and return the reply, None if the worker exits before it.

        A worker that is silent for *timeout_s*, or fails, is ended: nobody knows what
        it did of the order.
        """
        reply: R | None = await self._request(order, timeout_s)
        return reply

    def ping(self, *, is_at_rest: bool) -> None:
        """Ask for a sign of life, if the last one is some time ago."""
        now = self._loop.time()
        every_s = _PING_AT_REST_S if is_at_rest else _PING_EVERY_S
        if self.pings == self.pongs and now - self._pinged_at >= every_s:
            self.pings += 1
            self._pinged_at = now
            self._request(Ping(), None)

    def _request(
        self, order: Order[Any], timeout_s: float | None
    ) -> asyncio.Future[Any]:
        """Send *order* and return the future of its reply, None for the exit."""
        reply: asyncio.Future[Any] = self._loop.create_future()
        if self._channel.fileno() < 0:
            reply.set_result(None)
            return reply
        number = next(self._ids)
        timer = None
        if timeout_s is not None:
            timer = self._loop.call_later(
                timeout_s, self._on_silence, order.op, timeout_s
            )
        self._requests[number] = _Request(type(order), reply, timer)
        self.send(order, number)
        return reply

    def _on_silence(self, op: str, timeout_s: float) -> None:
        _LOG.warning(
            "worker_silent worker=%s pid=%d op=%s timeout_s=%g",
            self._name, self.pid, op, timeout_s,
        )  # fmt: skip
        self._give_up()

    def _give_up(self) -> None:
        """End the process; nobody waits for what it may still say."""
        self.kill()
        self._stop_reading()

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

    def _spawn(self, fd: int) -> Process:
        return spawn(fd)

    def _read(self) -> bool:
        """Take one message; return whether there may be more."""
        try:
            received = channel.receive(self._channel)
        except ConnectionResetError:
            return True  # it exited with messages unread; its own are still to come
        except BlockingIOError:
            return False
        except ValueError as exc:
            self._distrust(str(exc))
            return False
        if received is None:
            self._stop_reading()
            self._loop.call_later(_EXIT_AFTER_EOF_S, self.kill)
            return False
        plain, fds = received
        for fd in fds:
            os.close(fd)
        return self._hear(plain)

    def _hear(self, plain: object) -> bool:
        """Act on a packet; return whether there may be more."""
        number = packets.number_in(plain)
        request = None if number is None else self._requests.get(number)
        try:
            if request is not None:
                said = reading.reply_in(plain, request.kind)
            else:
                said = reading.unasked_in(plain)
                if type(said) in self._said:
                    raise ShapeError(f"{said.op} twice")
        except ShapeError as exc:
            self._distrust(str(exc))
            return False
        if isinstance(said, Failed):
            _LOG.error(
                "worker_failed worker=%s pid=%d op=%s reason=%s",
                self._name, self.pid, request and request.kind.op, said.reason,
            )  # fmt: skip
            self._give_up()
            return False
        if number is None or request is None:
            self._said.add(type(said))
            self._on_message(said)
            return True
        del self._requests[number]
        self.pongs += isinstance(said, Pong)
        request.answer(said)
        return True

    def _distrust(self, fault: str) -> None:
        """End a process that says what no worker of ours says."""
        _LOG.error(
            "worker_distrusted worker=%s pid=%d said=%s", self._name, self.pid, fault
        )
        self._give_up()

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
        while self._requests:
            self._requests.popitem()[1].answer(None)

    def _forget_pidfd(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
