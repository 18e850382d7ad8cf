"""What a front end holds of the system, and whether any of that is left."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dnsfront.errors import KernelError
from dnsfront.kernel import maps

_BY_ID: Final = {"prog_id": 13, "map_id": 14}  # BPF_PROG_, BPF_MAP_GET_FD_BY_ID
_LISTENING: Final = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}


class _Id(ctypes.Structure):
    _fields_ = (("id", ctypes.c_uint32), ("rest", ctypes.c_uint32 * 3))


@dataclass(frozen=True)
class Held:
    """Processes by pid, kernel objects by kind and id."""

    pids: frozenset[int]
    objects: frozenset[tuple[str, int]]

    def left(self) -> list[str]:
        """Return what is still there, in words."""
        left = [f"process {pid}" for pid in self.pids if _is_running(pid)]
        left += [
            f"{kind} {number}" for kind, number in self.objects if _is(kind, number)
        ]
        return left + bound_sockets()


def held_by(pid: int) -> Held:
    """Return what the front end with the supervisor *pid* holds.

    Maps inside maps are not in it: they go with the outer one.
    """
    objects = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        for line in _text(path).splitlines():
            field, _, value = line.partition(":\t")
            if field in _BY_ID:
                objects.add((field, int(value)))
    return Held(frozenset({pid, *children_of(pid)}), frozenset(objects))


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except FileNotFoundError:  # closed meanwhile
        return ""


def descriptors_of(pid: int) -> int:
    """Return how many descriptors *pid* has."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def children_of(pid: int) -> list[int]:
    """Return the pids of the processes that *pid* started and that are not reaped."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    lines = [task.joinpath("children").read_text("ascii") for task in tasks]
    return [int(child) for line in lines for child in line.split()]


def _is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "State:\tZ" not in status  # a zombie only waits to be reaped, by init


def _is(kind: str, number: int) -> bool:
    try:
        fd = maps.bpf(_BY_ID[kind], _Id(id=number), "open")
    except KernelError:
        return False
    os.close(fd)
    return True


def bound_sockets() -> list[str]:
    """Return the sockets of this network that wait for others."""
    found = []
    for protocol, state in _LISTENING.items():
        table = Path(f"/proc/thread-self/net/{protocol}").read_text("ascii")
        for line in table.splitlines()[1:]:
            _, local, _, its_state, *_ = line.split()
            if its_state == state:
                found.append(f"{protocol} {local}")
    return found
