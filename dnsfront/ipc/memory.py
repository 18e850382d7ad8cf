"""Memory that supervisor and workers share, sealed so that neither can hurt the other.

Whoever maps a file that somebody else truncates dies of SIGBUS at the next look. So no
memory that crosses can change its size, and none can be written by who only reads it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_FIXED_SIZE: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
#: Mappings of before go on to write, nobody gets a new one; Linux 5.1, fcntl(2).
_SEAL_FUTURE_WRITE: Final = 0x10


@contextmanager
def _made(name: str) -> Iterator[int]:
    """Have a descriptor of memory that can be sealed, closed if anything fails."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        yield fd
    except BaseException:
        os.close(fd)
        raise


def growing(name: str) -> int:
    """Return a descriptor of memory to be written, and then to be sealed."""
    with _made(name) as fd:
        return fd


def seal(fd: int) -> None:
    """Let nobody change the memory *fd* from now on, nor its size."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _FIXED_SIZE | fcntl.F_SEAL_WRITE)


def is_constant(fd: int) -> bool:
    """Return whether nobody can change the memory *fd*, nor its size."""
    wanted = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & wanted == wanted


def sealed(name: str, octets: bytes) -> int:
    """Return a descriptor of memory that holds *octets* for ever; the caller owns it.

    Raises:
        OSError: there is no descriptor, or no memory.
    """
    with _made(name) as fd:
        view = memoryview(octets)
        while view:
            view = view[os.write(fd, view) :]
        seal(fd)
        return fd


def content(fd: int) -> bytes:
    """Return everything that :func:`sealed` stored; *fd* stays open."""
    size = os.fstat(fd).st_size
    return os.pread(fd, size, 0)


def shared_page(name: str, size: int) -> int:
    """Return a descriptor of *size* zeroes that everybody who has it may write."""
    with _made(name) as fd:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _FIXED_SIZE)
        return fd


def own_page(name: str, size: int) -> tuple[int, mmap.mmap]:
    """Return a descriptor of *size* zeroes to be read, and the only way to write."""
    with _made(name) as fd:
        os.ftruncate(fd, size)
        page = mmap.mmap(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _FIXED_SIZE | _SEAL_FUTURE_WRITE)
        return fd, page


def read_only(fd: int, size: int = 0) -> mmap.mmap:
    """Return what is behind *fd*, an :func:`own_page` of another process, to be read.

    With *size* 0 it is the whole.
    """
    return mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)


def constant(fd: int, size: int = 0) -> mmap.mmap:
    """Return what is behind *fd*, which is :func:`sealed`, without a copy of it.

    Kernels before 6.7 refuse a shared mapping of what is sealed against writing.
    """
    return mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)


def output(name: str) -> int:
    """Return a descriptor for what a child prints, where it never has to wait."""
    return os.memfd_create(name)


def printed(fd: int) -> str:
    """Return what a child has printed to an :func:`output`."""
    return content(fd).decode(errors="replace").strip()


def last_line(fd: int) -> str:
    """Return the last line that a child has printed, which tells why it ended."""
    return ["it said nothing", *printed(fd).splitlines()][-1]
