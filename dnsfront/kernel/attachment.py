"""The program of a reuseport group: one at most, set and taken away at any member."""

from __future__ import annotations

import errno
import socket
from typing import Final

from dnsfront.errors import KernelError

#: include/uapi/asm-generic/socket.h
_SO_ATTACH_REUSEPORT_EBPF: Final = 52
_SO_DETACH_REUSEPORT_BPF: Final = 68


def attach(sock: socket.socket, program_fd: int) -> None:
    """Steer the group of *sock* with a program, in place of the one that it has.

    Raises:
        KernelError: the kernel refuses.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_EBPF, program_fd)
    except OSError as exc:
        raise _refusal("attach steer to", sock, exc) from exc


def detach(sock: socket.socket) -> None:
    """Leave the group of *sock* to the kernel's own choice; twice does no harm.

    Raises:
        KernelError: the kernel refuses.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)
    except OSError as exc:
        if exc.errno != errno.ENOENT:
            raise _refusal("detach steer from", sock, exc) from exc


def _refusal(what: str, sock: socket.socket, exc: OSError) -> KernelError:
    name = errno.errorcode.get(exc.errno or 0, str(exc.errno))
    return KernelError(
        f"{what} {sock.getsockname()[:2]}: {name}; the socket must have SO_REUSEPORT"
        " set before it is bound, and no SO_LOCK_FILTER"
    )
