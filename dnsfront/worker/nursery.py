"""Where processes come from: one that has the workers' code, and forks when asked to.

It is there from the supervisor's start, so that a worker that is started after an
upgrade on disk runs the code that the supervisor began with, and is there at once. It
has one thread, opens nothing, and meets no stranger. What else the supervisor starts
while it serves, it has started here too: whatever becomes of a process before it runs
its program, it has none of the listening sockets, and nobody waits for it.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import sys
from typing import NoReturn

from dnsfront.ipc import signals
from dnsfront.ipc.channel import receive_fds
from dnsfront.worker import main as worker

_MAX_REQUEST_OCTETS = 256
#: A worker's control channel, or a program's channel and where its output goes.
_MAX_DESCRIPTORS = 2
_MAX_PID_OCTETS = 16


def main(channel_fd: int) -> int:
    """Fork until the supervisor is gone; in a worker, return its exit code.

    A request is a packet: `fork` with the worker's end of its control channel, or `run`
    with a module's name and an argument, and with its channel and what takes its
    output. The reply is a pid in decimal, or below zero the errno of the refusal.
    """
    signals.ignore(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # What is never looked at again is shared for as long as nobody writes it.
    gc.collect()
    gc.freeze()
    channel = socket.socket(fileno=channel_fd)
    while True:
        octets, fds, _flags = receive_fds(
            channel, _MAX_REQUEST_OCTETS, _MAX_DESCRIPTORS
        )
        if not octets:
            return os.EX_OK
        what, *words = octets.decode().split()
        pid = _fork()
        if pid == 0:
            channel.close()
            if what == "run":
                module, argument = words
                _run(module, argument, *fds)
            [control_fd] = fds
            return worker.main(control_fd)
        for fd in fds:
            os.close(fd)
        channel.send(str(pid).encode())


def _run(module: str, argument: str, channel_fd: int, output_fd: int) -> NoReturn:
    """Become *module*, told its channel and *argument*."""
    for standard_fd in (1, 2):
        os.dup2(output_fd, standard_fd)
    os.close(output_fd)
    os.set_inheritable(channel_fd, True)  # noqa: FBT003 - its only form
    words = [sys.executable, "-m", module, str(channel_fd), argument]
    os.execv(sys.executable, words)  # noqa: S606 - our own interpreter


def _fork() -> int:
    """Return the pid of a new process, which the supervisor inherits; 0 inside it.

    Below zero it is the errno for which there is none.

    The one in between ends at once, and what it leaves goes to the next reaper of
    orphans above it, PR_SET_CHILD_SUBREAPER of prctl(2): so that the supervisor can
    wait for it like for any child.
    """
    read_fd, write_fd = os.pipe()
    between = _try_to_fork()
    if between < 0:
        os.close(read_fd)
        os.close(write_fd)
        return between
    if between == 0:
        pid = _try_to_fork()
        if pid:
            os.write(write_fd, str(pid).encode())
            os._exit(os.EX_OK)
        os.close(read_fd)
        os.close(write_fd)
        os.setsid()
        return 0
    os.close(write_fd)
    os.waitpid(between, 0)
    told = os.read(read_fd, _MAX_PID_OCTETS)
    os.close(read_fd)
    return int(told)


def _try_to_fork() -> int:
    try:
        return os.fork()
    except OSError as exc:
        return -(exc.errno or errno.EAGAIN)
