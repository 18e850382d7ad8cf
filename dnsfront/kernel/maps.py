"""BPF maps and programs through bpf(2), which the standard library does not know.

Thin on purpose: a map knows its descriptor and its form, keys and values are octets.
Every refusal of the kernel becomes one sentence that says what was tried and what
would help.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final, Self

from dnsfront.errors import DnsfrontError, KernelError, PrivilegeError

#: The oldest kernel that has all that steering uses; `kern/README.md` lists why.
OLDEST_KERNEL: Final = "5.14"

_SYSCALL_NUMBERS: Final = {"x86_64": 321, "aarch64": 280}
_MAX_NAME_OCTETS: Final = 15
_LOG_OCTETS: Final = 1 << 20


class Command(IntEnum):
    """The commands of bpf(2) used here, `enum bpf_cmd`."""

    MAP_CREATE = 0
    MAP_LOOKUP = 1
    MAP_UPDATE = 2
    MAP_DELETE = 3
    PROG_LOAD = 5
    OBJ_GET_INFO_BY_FD = 15
    LINK_CREATE = 28
    LINK_UPDATE = 29


class MapKind(IntEnum):
    """The kinds of map used here, `enum bpf_map_type`."""

    HASH = 1
    ARRAY = 2
    PERCPU_ARRAY = 6
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    REUSEPORT_SOCKARRAY = 20


class Update(IntEnum):
    """Which state of the key an update accepts."""

    ANY = 0
    NOEXIST = 1
    EXIST = 2


#: Flag of an ARRAY whose values may be mapped into memory, BPF_F_MMAPABLE.
MMAPABLE: Final = 0x400
#: Flag of an ARRAY that is held by a map of maps and has a size of its own, since 5.10.
ANY_SIZE: Final = 0x1000
#: Flag that a LPM_TRIE must have, BPF_F_NO_PREALLOC.
UNALLOCATED: Final = 1
#: The program type that chooses a socket, `enum bpf_prog_type`, and those that see
#: packets at an interface: behind the driver's taps, and before them.
SK_REUSEPORT: Final = 21
SCHED_CLS: Final = 3
XDP: Final = 6
#: What loading asks for by program type, `enum bpf_attach_type`: to be run for a TCP
#: connection, too, whose listener closes (BPF_SK_REUSEPORT_SELECT_OR_MIGRATE).
_ATTACH_TYPES: Final = {SK_REUSEPORT: 40}

#: A program that passes after a read of the stack at a place the packet's length sets:
#: *(r10 - 8) = 0; r2 = md->len & 7; r3 = r10 + r2 - 8; r0 = *r3; r0 = 1; exit.
#: Only with CAP_PERFMON the verifier lets that through.
PROBE_PROGRAM: Final = bytes.fromhex(
    "7a0af8ff00000000 6112100000000000 5702000007000000 bfa3000000000000"
    "0f23000000000000 07030000f8ffffff 7130000000000000"
    "b700000001000000 9500000000000000"
)


class BpfError(KernelError):
    """A refusal of bpf(2); *number* is its errno."""

    def __init__(self, text: str, number: int) -> None:
        self.number = number
        super().__init__(text)


class _MapCreate(ctypes.Structure):
    _fields_ = (
        ("map_type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("numa_node", ctypes.c_uint32),
        ("map_name", ctypes.c_char * 16),
    )


class _Element(ctypes.Structure):
    _fields_ = (
        ("map_fd", ctypes.c_uint32),
        ("_padding", ctypes.c_uint32),
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    )


class _ProgramLoad(ctypes.Structure):
    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_name", ctypes.c_char * 16),
        ("prog_ifindex", ctypes.c_uint32),
        ("expected_attach_type", ctypes.c_uint32),
    )


@dataclass(frozen=True)
class MapForm:
    """What the kernel is told when a map is made."""

    kind: MapKind
    value_octets: int
    entries: int
    key_octets: int = 4
    flags: int = 0


class Map:
    """One BPF map; closing it gives up this process's hold, not the kernel's."""

    def __init__(self, name: str, form: MapForm, *, inner: Map | None = None) -> None:
        """Create the map; *inner* is the template of what a map of maps may hold.

        Raises:
            PrivilegeError: CAP_BPF is missing.
            KernelError: the kernel knows no such map, or has no memory for it.
        """
        self.name = name
        self.form = form
        request = _MapCreate(
            map_type=form.kind,
            key_size=form.key_octets,
            value_size=form.value_octets,
            max_entries=form.entries,
            map_flags=form.flags,
            inner_map_fd=inner.fd if inner else 0,
            map_name=name.encode()[:_MAX_NAME_OCTETS],
        )
        what = f"create map {name} ({form.kind.name})"
        self._fd = bpf(Command.MAP_CREATE, request, what)

    @classmethod
    def adopted(cls, name: str, form: MapForm, fd: int) -> Self:
        """Return the map behind *fd*, which it owns from now on; it has *form*."""
        adopted = cls.__new__(cls)
        adopted.name, adopted.form, adopted._fd = name, form, fd  # noqa: SLF001 - its own
        return adopted

    @property
    def fd(self) -> int:
        """The descriptor of the map, owned by this object."""
        return self._fd

    def update(self, key: bytes, value: bytes, flags: Update = Update.ANY) -> None:
        """Store *value* under *key*; for a map of maps or sockets it is a descriptor.

        An update of a map of maps returns only when no running program can still see
        the map that it replaced: some milliseconds, and a barrier.

        Raises:
            KernelError: the kernel refuses; the text names the errno.
        """
        self._element(Command.MAP_UPDATE, "update", key, value, flags)

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value of *key*, or None; a map of maps answers with a map's id."""
        return self._lookup(key, self.form.value_octets)

    def lookup_per_cpu(self, key: bytes) -> list[bytes]:
        """Return the value of *key* on every possible CPU."""
        size, stride = self.form.value_octets, self._stride_octets
        values = self._lookup(key, stride * possible_cpus())
        assert values is not None, "an array has every key below its size"
        return [values[at : at + size] for at in range(0, len(values), stride)]

    def sums(self, key: bytes, fields: Sequence[str]) -> dict[str, int]:
        """Return what all CPUs counted under *key*, in words named by *fields*."""
        form = f"={len(fields)}Q"
        values = (struct.unpack(form, octets) for octets in self.lookup_per_cpu(key))
        return dict(zip(fields, map(sum, zip(*values, strict=True)), strict=True))

    def delete(self, key: bytes) -> bool:
        """Remove *key* and return whether it was there."""
        try:
            self._element(Command.MAP_DELETE, "delete", key)
        except BpfError as error:
            if error.number == errno.ENOENT:
                return False
            raise
        return True

    def map_memory(self) -> mmap.mmap:
        """Return the values of a mmapable ARRAY as shared memory, writable.

        Elements stand at multiples of 8 octets, however small the value is
        (`array_map_alloc`, kernel/bpf/arraymap.c).
        """
        return mmap.mmap(self._fd, self.form.entries * self._stride_octets)

    def close(self) -> None:
        """Give up the descriptor; the kernel frees the map when nothing uses it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def _stride_octets(self) -> int:
        return -(-self.form.value_octets // 8) * 8

    def _lookup(self, key: bytes, octets: int) -> bytes | None:
        buffer = ctypes.create_string_buffer(octets)
        try:
            self._element(Command.MAP_LOOKUP, "look up", key, buffer)
        except BpfError as error:
            if error.number == errno.ENOENT:
                return None
            raise
        return buffer.raw

    def _element(
        self,
        command: Command,
        verb: str,
        key: bytes,
        value: bytes | ctypes.Array[ctypes.c_char] = b"",
        flags: int = 0,
    ) -> None:
        assert len(key) == self.form.key_octets
        request = _Element(
            map_fd=self._fd,
            key=_address(key),
            value=_address(value) if len(value) else 0,
            flags=flags,
        )
        bpf(command, request, f"{verb} {self.name}[{key.hex()}]")


def new_map(name: str, form: MapForm, holds: MapForm | None = None) -> Map:
    """Return a new map; *holds* is the form of what a map of maps may hold.

    Raises:
        PrivilegeError, KernelError: as :class:`Map` does.
    """
    if holds is None:
        return Map(name, form)
    inner = Map(f"{name}_inner", holds)
    try:
        return Map(name, form, inner=inner)
    finally:
        inner.close()


def load_program(
    name: str, instructions: bytes, program_type: int = SK_REUSEPORT
) -> int:
    """Load *instructions* and return the descriptor, which the caller owns.

    Raises:
        PrivilegeError: CAP_BPF, CAP_NET_ADMIN or CAP_PERFMON is missing.
        KernelError: the verifier refuses, with its reason, or the type is unknown.
    """
    request = _ProgramLoad(
        prog_type=program_type,
        insn_cnt=len(instructions) // 8,
        insns=_address(instructions),
        license=_address(_GPL),
        prog_name=name.encode()[:_MAX_NAME_OCTETS],
        expected_attach_type=_ATTACH_TYPES.get(program_type, 0),
    )
    try:
        return bpf(Command.PROG_LOAD, request, f"load {name}")
    except BpfError:
        # Only a refused program is loaded again for the log, which costs memory.
        log = ctypes.create_string_buffer(_LOG_OCTETS)
        request.log_level = 1
        request.log_size = _LOG_OCTETS
        request.log_buf = _address(log)
        try:
            return bpf(Command.PROG_LOAD, request, f"load {name}")
        except BpfError as error:
            reason = _verdict(log.value.decode(errors="replace"))
            if not reason:
                raise
            if "!root" in reason:
                raise PrivilegeError(
                    f"load {name}: the verifier says: {reason}; grant CAP_PERFMON"
                ) from error
            raise KernelError(f"load {name}: the verifier says: {reason}") from error


def possible_cpus() -> int:
    """Return how many CPUs a per-CPU value is kept for, present or not."""
    ranges = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    last = ranges.strip().split(",")[-1]
    return int(last.split("-")[-1]) + 1


_GPL: Final = ctypes.create_string_buffer(b"GPL")
_SYSCALL: Final = ctypes.CDLL(None, use_errno=True).syscall

_REMEDIES: Final = {
    errno.EINVAL: f"the kernel lacks it; {OLDEST_KERNEL} or newer is needed",
    errno.ENOSYS: "the kernel is built without CONFIG_BPF_SYSCALL",
    errno.ENOMEM: "the memory limit of the control group is reached",
    errno.E2BIG: "the key or the map is larger than allowed",
    errno.EBUSY: "the socket is in a sockarray already",
    errno.ENOSPC: "the map's value is too small for what is looked up",
}


def _address(octets: bytes | ctypes.Array[ctypes.c_char]) -> int:
    """Return where *octets* stand; valid for as long as the caller holds them."""
    if isinstance(octets, bytes):
        return ctypes.cast(ctypes.c_char_p(octets), ctypes.c_void_p).value or 0
    return ctypes.addressof(octets)


def bpf(command: int, request: ctypes.Structure, what: str) -> int:
    """Have the kernel carry out *command*, and return what it says.

    Raises:
        PrivilegeError: EPERM.
        BpfError: any other errno; the text begins with *what*.
    """
    number = _SYSCALL_NUMBERS.get(platform.machine())
    if number is None:
        raise KernelError(
            f"{what}: no number for bpf(2) on {platform.machine()};"
            f" known are {', '.join(_SYSCALL_NUMBERS)}"
        )
    result = int(
        _SYSCALL(number, command, ctypes.byref(request), ctypes.sizeof(request))
    )
    if result < 0:
        raise _refusal(what, command, ctypes.get_errno())
    return result


def _refusal(what: str, command: int, number: int) -> DnsfrontError:
    """Return the error for errno *number*; EPERM means a right that can be granted."""
    name = errno.errorcode.get(number, str(number))
    if number == errno.EPERM:
        return PrivilegeError(
            f"{what}: EPERM; grant CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and in a "
            "container bpf(2)"
        )
    remedy = _REMEDIES.get(number, os.strerror(number))
    if number == errno.EINVAL and command == Command.MAP_UPDATE:
        remedy = (
            "a socket must be bound with SO_REUSEPORT, and listen if TCP;"
            " a map must have the form of its template"
        )
    return BpfError(f"{what}: {name}; {remedy}", number)


def _verdict(log: str) -> str:
    """Return the line of a verifier *log* that says what is wrong."""
    lines = [line for line in log.splitlines() if line.strip()]
    reasons = [
        line
        for line in lines
        if not line.startswith(("processed ", "verification time", "stack depth"))
    ]
    return reasons[-1].strip() if reasons else ""
