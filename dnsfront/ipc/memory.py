"""Memory that supervisor and workers share, sealed so that neither can hurt the other.

Whoever maps a file that somebody else truncates dies of SIGBUS at the next look. So no
memory that crosses can change its size, and none can be written by who only reads it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Final

_FIXED_SIZE: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
#: Mappings of before go on to write, nobody gets a new one; Linux 5.1, fcntl(2).
_SEAL_FUTURE_WRITE: Final = 0x10


def sealed(name: str, octets: bytes) -> int:
    """Return a descriptor of memory that holds *octets* for ever; the caller owns it.

    Raises:
        OSError: there is no descriptor, or no memory.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(octets)
        while view:
            view = view[os.write(fd, view) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _FIXED_SIZE | fcntl.F_SEAL_WRITE)
    except BaseException:
        os.close(fd)
        raise
    return fd


def content(fd: int) -> bytes:
    """Return everything that :func:`sealed` stored; *fd* stays open."""
    size = os.fstat(fd).st_size
    return os.pread(fd, size, 0)


def shared_page(name: str, size: int) -> int:
    """Return a descriptor of *size* zeroes that everybody who has it may write."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _FIXED_SIZE)
    except BaseException:
        os.close(fd)
        raise
    return fd


def own_page(name: str, size: int) -> tuple[int, mmap.mmap]:
    """Return a descriptor of *size* zeroes to be read, and the only way to write."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        page = mmap.mmap(fd, size)
        seals = _FIXED_SIZE | _SEAL_FUTURE_WRITE
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(fd)
        raise
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
