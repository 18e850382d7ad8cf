"""Commands of bpf(2) that only tests use."""

from __future__ import annotations

import contextlib
import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dnsfront.errors import KernelError
from dnsfront.kernel import maps

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHED_CLS = 3

#: A program that returns SK_PASS and does nothing else: r0 = 1; exit.
PASS_PROGRAM = bytes.fromhex("b700000001000000 9500000000000000")

_PROG_TEST_RUN, _MAP_GET_FD_BY_ID, _ENABLE_STATS = 10, 14, 32


class _TestRun(ctypes.Structure):
    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
    )


class _Word(ctypes.Structure):
    _fields_ = (("word", ctypes.c_uint32), ("rest", ctypes.c_uint32 * 3))


@dataclass(frozen=True)
class Cost:
    """What the kernel says of a loaded program."""

    verified_insns: int
    run_time_ns: int
    runs: int


def run_program(fd: int, packet: bytes) -> int:
    """Return what a SCHED_CLS program answers to *packet*, an Ethernet frame."""
    data = ctypes.create_string_buffer(packet, len(packet))
    request = _TestRun(
        prog_fd=fd,
        data_size_in=len(packet),
        data_in=ctypes.addressof(data),
        repeat=1,
    )
    maps.bpf(_PROG_TEST_RUN, request, "run the program")
    return int(request.retval)


def run_packet(fd: int, packet: bytes) -> tuple[int, bytes]:
    """Return what an XDP or a SCHED_CLS program says to *packet*, and what it made."""
    data = ctypes.create_string_buffer(packet, len(packet))
    made = ctypes.create_string_buffer(4096)
    request = _TestRun(
        prog_fd=fd,
        data_size_in=len(packet),
        data_in=ctypes.addressof(data),
        data_size_out=len(made),
        data_out=ctypes.addressof(made),
        repeat=1,
    )
    maps.bpf(_PROG_TEST_RUN, request, "run the program")
    return int(request.retval), made.raw[: request.data_size_out]


def map_exists(map_id: int) -> bool:
    """Tell whether the kernel has a map of this id."""
    try:
        fd = maps.bpf(_MAP_GET_FD_BY_ID, _Word(word=map_id), "open a map")
    except KernelError:
        return False
    os.close(fd)
    return True


@contextlib.contextmanager
def statistics() -> Iterator[None]:
    """Have the kernel time every program while the body runs."""
    fd = maps.bpf(_ENABLE_STATS, _Word(), "enable statistics")
    try:
        yield
    finally:
        os.close(fd)


def cost(program_fd: int) -> Cost:
    """Return the counts that the kernel keeps of a program."""
    info = Path(f"/proc/self/fdinfo/{program_fd}").read_text(encoding="ascii")
    fields = dict(line.split(":\t", 1) for line in info.splitlines())
    return Cost(
        int(fields["verified_insns"]),
        int(fields["run_time_ns"]),
        int(fields["run_cnt"]),
    )
