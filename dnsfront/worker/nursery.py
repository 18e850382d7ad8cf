"""Where workers come from: a process that has their code, and forks one when asked to.

It is there from the supervisor's start, so that a worker that is started after an
upgrade on disk runs the code that the supervisor began with, and is there at once. It
has one thread, opens nothing, and meets no stranger.
"""

from __future__ import annotations

import gc
import os
import signal
import socket

from dnsfront.ipc import signals
from dnsfront.worker import loop

_MAX_REQUEST_OCTETS = 16
_MAX_PID_OCTETS = 16


def main(channel_fd: int) -> int:
    """Fork workers until the supervisor is gone; in a worker, return its exit code.

    A request is a packet with the worker's end of its control channel; the reply is
    its pid in decimal.
    """
    signals.ignore(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # What is never looked at again is shared for as long as nobody writes it.
    gc.collect()
    gc.freeze()
    channel = socket.socket(fileno=channel_fd)
    while True:
        octets, fds, _flags, _address = socket.recv_fds(channel, _MAX_REQUEST_OCTETS, 1)
        if not octets:
            return os.EX_OK
        [control_fd] = fds
        pid = _fork()
        if pid == 0:
            channel.close()
            os.set_inheritable(control_fd, False)  # noqa: FBT003 - its only form
            return loop.main(control_fd)
        os.close(control_fd)
        channel.send(str(pid).encode())


def _fork() -> int:
    """Return the pid of a new process, which the supervisor inherits; 0 inside it.

    The one in between ends at once, and what it leaves goes to the next reaper of
    orphans above it, PR_SET_CHILD_SUBREAPER of prctl(2): so that the supervisor can
    wait for it like for any child.
    """
    read_fd, write_fd = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
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
