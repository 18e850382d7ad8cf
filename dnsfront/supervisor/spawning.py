"""How worker processes come into being: forked by the nursery, or started afresh.

The nursery (`dnsfront/worker/nursery.py`) is there from the start, with the code of
then. A process that is lost is not replaced: a new one would have the code of now.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

_LOG = logging.getLogger(__name__)

#: Where the package is imported from, in a checkout and in an installation.
_PACKAGE_PARENT: Final = Path(__file__).resolve().parents[2]
_PR_SET_CHILD_SUBREAPER: Final = 36
#: Its imports, on a machine that is busy with other things; and a fork.
_FIRST_WITHIN_S: Final = 20.0
_WITHIN_S: Final = 1.0
_MAX_PID_OCTETS: Final = 16


class Process(Protocol):
    """A child of this process, as subprocess.Popen has it."""

    pid: int
    returncode: int | None

    def kill(self) -> None:
        """End it."""

    def wait(self) -> int:
        """Wait for its end, and return its exit code."""
        ...


class Forked:
    """A child that somebody else forked; nobody else waits for it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def kill(self) -> None:
        """End it, unless it is gone; until it is waited for, its pid is its own."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end, and return its exit code, below zero for a signal."""
        if self.returncode is None:
            _pid, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class Nursery:
    """The process that has the workers' code, from its start to :meth:`close`."""

    def __init__(self) -> None:
        """Start it, and become the parent of what it forks.

        Raises:
            OSError: the system starts no process.
        """
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._within_s = _FIRST_WITHIN_S
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
            BrokenPipeError: it is gone, and has forked nobody.
            OSError: it is gone, or does not answer; there may be a worker.
        """
        self._channel.settimeout(self._within_s)
        try:
            socket.send_fds(self._channel, [b"fork"], [control_fd])
        except OSError as exc:
            raise BrokenPipeError(exc.errno, exc.strerror) from exc
        told = self._channel.recv(_MAX_PID_OCTETS)
        if not told:
            raise ConnectionResetError("it ended")
        self._within_s = _WITHIN_S
        return Forked(int(told))

    def close(self) -> None:
        """End it; its workers stay."""
        self._channel.close()
        self._process.kill()
        self._process.wait()


class _Spawner:
    """Where workers of this process come from today."""

    nursery: Nursery | None = None


@contextlib.contextmanager
def nursery() -> Iterator[None]:
    """Have workers forked by a process that runs as long as the body."""
    try:
        _Spawner.nursery = Nursery()
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
        # Python puts the working directory first on its path: let that be ours.
        cwd=_PACKAGE_PARENT,
    )
