"""How processes come into being: forked by the nursery, or started afresh.

The nursery (`dnsfront/worker/nursery.py`) has the code that was on disk when the
supervisor began. If the nursery is lost, there is no second one: it would have the code
that is on disk by then.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Final

from dnsfront.paths import PACKAGE_PARENT

_LOG = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER: Final = 36
#: The first answer waits for imports on a busy machine, the others for a fork alone.
_FIRST_TIMEOUT_S: Final = 20.0
_TIMEOUT_S: Final = 1.0
_MAX_PID_OCTETS: Final = 16


class RefusedForkError(OSError):
    """The system starts no process; the nursery is well."""


class Forked:
    """A child that the nursery forked, and that this process waits for."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def kill(self) -> None:
        """End it, unless it is gone; nobody else gets its pid before :meth:`wait`."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end, and return its exit code, below zero for a signal."""
        if self.returncode is None:
            _pid, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


#: A worker, whoever forked it; both have the same methods.
Process = Forked | subprocess.Popen[bytes]


class Nursery:
    """The process that has the workers' code, from its start to :meth:`close`."""

    def __init__(self) -> None:
        """Start it, and become the parent of what it forks.

        Raises:
            OSError: the system starts no process.
        """
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._timeout_s = _FIRST_TIMEOUT_S
        # Zones are read by a thread, and workers started by another.
        self._turn = threading.Lock()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = _interpreter("nursery", theirs.fileno())
            except OSError:
                self._channel.close()
                raise

    def fork(self, control_fd: int) -> Forked:
        """Return a new worker that has *control_fd*.

        Raises:
            RefusedForkError: there is no process to be had.
            BrokenPipeError: it is gone, and has forked nobody.
            OSError: it is gone, or does not answer; there may be a worker.
        """
        return self._ask("fork", [control_fd])

    def run(
        self, module: str, argument: str, channel_fd: int, output_fd: int
    ) -> Forked:
        """Return a new process that runs *module*, as :func:`run` says.

        Raises:
            OSError: as :meth:`fork`.
        """
        return self._ask(f"run {module} {argument}", [channel_fd, output_fd])

    def _ask(self, request: str, fds: list[int]) -> Forked:
        with self._turn:
            self._channel.settimeout(self._timeout_s)
            try:
                socket.send_fds(self._channel, [request.encode()], fds)
            except OSError as exc:
                raise BrokenPipeError(exc.errno, exc.strerror) from exc
            told = self._channel.recv(_MAX_PID_OCTETS)
            if not told:
                raise ConnectionResetError("it ended")
            self._timeout_s = _TIMEOUT_S
        pid = int(told)
        if pid < 0:
            raise RefusedForkError(-pid, os.strerror(-pid))
        return Forked(pid)

    def close(self) -> None:
        """End it; its workers stay."""
        self._channel.close()
        self._process.kill()
        self._process.wait()


class _Spawner:
    """Where workers of this process come from today."""

    nursery: Nursery | None = None
    #: One that is not asked for anything before :func:`nursery`.
    begun: Nursery | None = None


@contextlib.contextmanager
def begun() -> Iterator[None]:
    """Have a nursery import the workers' code while the body gets to :func:`nursery`.

    What it forks may have as many descriptors as this process is allowed to.
    """
    _raise_descriptor_limit()
    with contextlib.suppress(OSError):  # tried again, and told then
        _Spawner.begun = Nursery()
    try:
        yield
    finally:
        if _Spawner.begun is not None:
            _Spawner.begun.close()
            _Spawner.begun = None


@contextlib.contextmanager
def nursery() -> Iterator[None]:
    """Have workers forked by a process that runs as long as the body."""
    try:
        _Spawner.nursery = _Spawner.begun or Nursery()
        _Spawner.begun = None
    except OSError as exc:
        _LOG.warning("nursery_not_started error=%s", exc.strerror)
    try:
        yield
    finally:
        _lose()


def spawn(control_fd: int) -> Process:
    """Return a new worker process, which has *control_fd*.

    Raises:
        OSError: the system starts no process.
    """
    if _Spawner.nursery is not None:
        try:
            return _Spawner.nursery.fork(control_fd)
        except RefusedForkError:
            raise
        except OSError as exc:
            _LOG.warning(
                "nursery_lost error=%s reason=%s", exc,
                "workers start as fresh interpreters, with the code that is on disk",
            )  # fmt: skip
            _lose()
            if not isinstance(exc, BrokenPipeError):
                # Two workers must not have the ends of one channel.
                raise
    return _interpreter(str(control_fd), control_fd)


def run(module: str, argument: str, channel_fd: int, output_fd: int) -> Process:
    """Return a process that runs *module*, told *channel_fd* and *argument*.

    Signals of this process's terminal do not reach it, and its output goes to
    *output_fd*. The nursery forks it, because a child that this process forks has all
    listening sockets until it runs its program, and this process waits for that.

    Raises:
        OSError: the system starts no process.
    """
    nursery = _Spawner.nursery
    if nursery is not None:
        try:
            return nursery.run(module, argument, channel_fd, output_fd)
        except RefusedForkError:
            raise
        except OSError as exc:
            # The next start of a worker meets the same fault, and gives the nursery up.
            _LOG.warning("nursery_silent module=%s error=%s", module, exc)
            if not isinstance(exc, BrokenPipeError):
                raise
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", module, str(channel_fd), argument],
        stdin=subprocess.DEVNULL,
        stdout=output_fd,
        stderr=output_fd,
        pass_fds=[channel_fd],
        cwd=PACKAGE_PARENT,
    )


def _raise_descriptor_limit() -> None:
    """Allow as many descriptors as we may have: each worker takes two a listener."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _lose() -> None:
    if _Spawner.nursery is not None:
        _Spawner.nursery.close()
        _Spawner.nursery = None


def _interpreter(what: str, fd: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "dnsfront.worker", what, str(fd)],
        stdin=subprocess.DEVNULL,
        pass_fds=[fd],
        # A Ctrl-C at the terminal is the supervisor's to act on.
        start_new_session=True,
        cwd=PACKAGE_PARENT,
    )
