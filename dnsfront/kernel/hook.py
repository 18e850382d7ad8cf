"""The places of an interface where a program sees its packets first.

A program is attached by a link: it stays for as long as the link's descriptor, so the
death of the process takes it away. What others have attached is left alone. Behind the
driver (`tc`) programs stand in a row, and ours goes beside them; before it (`xdp` and
`xdp_generic`) there is room for one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from dataclasses import dataclass
from typing import Final, Literal

from dnsfront.errors import KernelError, PrivilegeError
from dnsfront.kernel.maps import SCHED_CLS, XDP, BpfError, Command, bpf

#: In the driver, behind the driver as if it were in it, or where TC has its filters.
HookMode = Literal["xdp", "xdp_generic", "tc"]


@dataclass(frozen=True)
class _Kind:
    """How a link of one mode is made: `enum bpf_attach_type`, and XDP's flags."""

    program_type: int
    attach_type: int
    flags: int


_KINDS: Final[dict[HookMode, _Kind]] = {
    "xdp": _Kind(XDP, 37, 4),  # XDP_FLAGS_DRV_MODE
    "xdp_generic": _Kind(XDP, 37, 2),  # XDP_FLAGS_SKB_MODE
    "tc": _Kind(SCHED_CLS, 46, 0),  # BPF_TCX_INGRESS
}

_RIGHTS: Final = "grant CAP_NET_ADMIN and CAP_BPF to the supervisor"
_OCCUPIED: Final = (
    "another program has the hook; `ip link show` names it: take it away there, or say"
    ' "mode: tc", which goes beside others'
)
_NO_DRIVER: Final = (
    "the driver has no XDP, or not as the interface is set up;"
    ' say "mode: tc", which every interface has'
)
_REMEDIES: Final[dict[tuple[str, int], str]] = {
    ("tc", errno.EINVAL): "Linux 6.6 or newer is needed for it",
    **{
        (mode, number): text
        for mode in ("xdp", "xdp_generic")
        for number, text in (
            (errno.EBUSY, _OCCUPIED),
            (errno.EEXIST, _OCCUPIED),
            (errno.EOPNOTSUPP, _NO_DRIVER),
            (errno.EINVAL, _NO_DRIVER),
            (errno.ENOMEM, _NO_DRIVER),
            (errno.ENOSPC, _NO_DRIVER),
            (errno.ERANGE, "the MTU is too large for XDP; lower it, or say mode: tc"),
        )
    },
}


class _LinkCreate(ctypes.Structure):
    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("target_ifindex", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("relative_fd", ctypes.c_uint32),
        ("_padding", ctypes.c_uint32),
        ("expected_revision", ctypes.c_uint64),
    )


class _LinkUpdate(ctypes.Structure):
    _fields_ = (
        ("link_fd", ctypes.c_uint32),
        ("new_prog_fd", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("old_prog_fd", ctypes.c_uint32),
    )


class _InfoByFd(ctypes.Structure):
    _fields_ = (
        ("fd", ctypes.c_uint32),
        ("info_octets", ctypes.c_uint32),
        ("info", ctypes.c_uint64),
    )


class _LinkInfo(ctypes.Structure):
    """`struct bpf_link_info` as far as TCX and XDP fill it, which is alike."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("_padding", ctypes.c_uint32),
        ("ifindex", ctypes.c_uint32),
        ("_rest", ctypes.c_uint32 * 19),
    )


def program_type_of(mode: HookMode) -> int:
    """Return the program type that a hook of this *mode* takes."""
    return _KINDS[mode].program_type


class Hook:
    """One program at one interface, for as long as this object is open."""

    def __init__(self, interface: str, mode: HookMode, program_fd: int) -> None:
        """Attach; *program_fd* stays the caller's.

        Raises:
            PrivilegeError: CAP_NET_ADMIN is missing.
            KernelError: the interface is not there, its driver has no XDP, or another
                program has the hook.
        """
        self.interface = interface
        self.mode: HookMode = mode
        what = f"answer at {interface} ({mode})"
        try:
            #: The kernel's number of the interface, which names another one some day.
            self.interface_index = socket.if_nametoindex(interface)
        except OSError as exc:
            raise KernelError(f"{what}: there is no interface of that name") from exc
        kind = _KINDS[mode]
        request = _LinkCreate(
            prog_fd=program_fd,
            target_ifindex=self.interface_index,
            attach_type=kind.attach_type,
            flags=kind.flags,
        )
        try:
            self._fd = bpf(Command.LINK_CREATE, request, what)
        except PrivilegeError as error:
            raise PrivilegeError(f"{what}: EPERM; {_RIGHTS}") from error
        except BpfError as error:
            raise _refusal(what, mode, error) from error

    @property
    def fd(self) -> int:
        """The descriptor of the link, owned by this object."""
        return self._fd

    def is_attached(self) -> bool:
        """Tell whether the interface is still there, whatever now has its name.

        Raises:
            KernelError: the kernel refuses.
        """
        info = _LinkInfo()
        request = _InfoByFd(
            fd=self._fd,
            info_octets=ctypes.sizeof(info),
            info=ctypes.addressof(info),
        )
        bpf(Command.OBJ_GET_INFO_BY_FD, request, f"look at {self.interface}")
        return bool(info.ifindex == self.interface_index)

    @property
    def is_open(self) -> bool:
        """Whether this object still holds the link."""
        return self._fd >= 0

    def replace(self, program_fd: int) -> None:
        """Have another program run here, from one packet to the next.

        Raises:
            KernelError: the kernel refuses.
        """
        request = _LinkUpdate(link_fd=self._fd, new_prog_fd=program_fd)
        bpf(
            Command.LINK_UPDATE,
            request,
            f"replace the program at {self.interface} ({self.mode})",
        )

    def close(self) -> None:
        """Detach, unless another process holds the link too; twice does no harm."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _refusal(what: str, mode: HookMode, error: BpfError) -> KernelError:
    name = errno.errorcode.get(error.number, str(error.number))
    remedy = _REMEDIES.get((mode, error.number), os.strerror(error.number))
    return KernelError(f"{what}: {name}; {remedy}")
