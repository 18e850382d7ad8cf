"""A network namespace of our own for tests on the real kernel, with lo up."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from typing import TYPE_CHECKING, Self

import pytest

from dnsfront.errors import PrivilegeError
from dnsfront.kernel.maps import PROBE_PROGRAM, load_program

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_libc = ctypes.CDLL(None, use_errno=True)


def skip_without_rights() -> None:
    """Skip what follows, naming the right that is missing, if one is."""
    if os.geteuid() != 0:
        pytest.skip("root is missing: these tests make namespaces and load programs")
    try:
        os.close(load_program("may_load", PROBE_PROGRAM))
    except PrivilegeError as error:
        pytest.skip(f"the right to load programs is missing: {error}")


@contextlib.contextmanager
def private_network() -> Iterator[None]:
    """Run the body in an empty network: no port is taken, nothing leaves it.

    Only the calling thread and what it starts are inside (unshare(2)).
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call(_libc.unshare, _CLONE_NEWNET)
        try:
            _bring_up("lo")
            yield
        finally:
            _call(_libc.setns, home, _CLONE_NEWNET)
    finally:
        os.close(home)


class OtherNetwork:
    """A second network, and what is done inside it; it ends with the context."""

    def __init__(self) -> None:
        with private_network():
            self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Run the body there: sockets and programs that it starts stay there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call(_libc.setns, self._fd, _CLONE_NEWNET)
            try:
                yield
            finally:
                _call(_libc.setns, home, _CLONE_NEWNET)
        finally:
            os.close(home)

    def link(self, ours: str, theirs: str) -> None:
        """Lay a cable from here, at *ours*, to there, at *theirs*; both ends are up."""
        there = f"/proc/{os.getpid()}/fd/{self._fd}"
        ip("link", "add", ours, "type", "veth", "peer", "name", theirs)
        ip("link", "set", theirs, "netns", there)
        ip("link", "set", ours, "up")
        with self.inside():
            ip("link", "set", theirs, "up")


def ip(*arguments: str) -> None:
    """Run ip(8) in the network of the calling thread."""
    subprocess.run(["ip", *arguments], check=True)


def _bring_up(interface: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh22x", interface.encode(), 0)
        request = fcntl.ioctl(control, _SIOCGIFFLAGS, request)
        _, flags = struct.unpack_from("16sh", request)
        request = struct.pack("16sh22x", interface.encode(), flags | _IFF_UP)
        fcntl.ioctl(control, _SIOCSIFFLAGS, request)


def _call(function: ctypes._NamedFuncPointer, *arguments: int) -> None:
    if function(*arguments):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
