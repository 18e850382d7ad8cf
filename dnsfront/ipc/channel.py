"""Channels between processes: packets of JSON and descriptors.

A connected AF_UNIX SOCK_SEQPACKET pair: one packet is one message, so there is no
framing, and the end of file means that the other side is gone.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

_MAX_PACKET_OCTETS = 1 << 16
#: The kernel passes at most SCM_MAX_FD (253) descriptors at once, include/net/scm.h.
_MAX_DESCRIPTORS = 253
#: What stands in a packet beside the descriptors, see `ipc/packets.py`.
Plain = dict[str, Any]


class CutMessageError(ValueError):
    """A message whose descriptors did not all fit under the receiver's limit."""

    def __init__(self, message: Plain) -> None:
        """Keep *message*: whoever sent it wants to hear that it came to nothing."""
        super().__init__("the message was cut: its descriptors are over RLIMIT_NOFILE")
        self.message = message


def receive_fds(
    sock: socket.socket, max_octets: int, max_fds: int
) -> tuple[bytes, list[int], int]:
    """Return octets, descriptors and flags that arrived at *sock*.

    No child inherits the descriptors: of Python 3.11's `recv_fds` it would, which
    ignores MSG_CMSG_CLOEXEC among its flags.
    """
    octets, fds, flags, _address = socket.recv_fds(sock, max_octets, max_fds)
    for fd in fds:
        os.set_inheritable(fd, False)  # noqa: FBT003 - its only form
    return octets, fds, flags


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a new channel: the supervisor's and the worker's."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, message: Plain, fds: list[int] | None = None) -> None:
    """Send *message* with *fds*; both sides keep their own copy of each descriptor.

    Raises:
        OSError: the other side is gone (EPIPE, ECONNRESET) or its queue is full.
    """
    octets = json.dumps(message).encode()
    if fds:
        socket.send_fds(channel, [octets], fds)
    else:
        channel.send(octets)


def receive(channel: socket.socket) -> tuple[Plain, list[int]] | None:
    """Return the next message and its descriptors, or None when the other side left.

    Raises:
        BlockingIOError: the channel is non-blocking and holds no message.
        CutMessageError: descriptors are missing; those that came are closed.
        ValueError: the message is no JSON, or was cut; its descriptors are closed.
    """
    octets, fds, flags = receive_fds(channel, _MAX_PACKET_OCTETS, _MAX_DESCRIPTORS)
    if not octets and not fds:
        return None
    try:
        if flags & socket.MSG_TRUNC:
            raise ValueError("the message was cut")
        message: Plain = json.loads(octets)
        if flags & socket.MSG_CTRUNC:
            raise CutMessageError(message)
    except CutMessageError:
        for fd in fds:
            os.close(fd)
        raise
    except (ValueError, RecursionError) as exc:
        for fd in fds:
            os.close(fd)
        raise ValueError(str(exc)) from exc
    return message, fds
