"""A worker reads packets from strangers, so it keeps no right that it does not need."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_VERSION_3: Final = 0x20080522


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def drop(user: tuple[int, int] | None) -> None:
    """Become *user*, lose every capability, and never gain one again.

    Call it when everything that needs a right is open. With no user, by uid and gid,
    the process stays who it is, as where it is not root.

    Raises:
        OSError: the kernel refused; a worker must not serve then.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if user is None and os.geteuid() == 0:
        raise PermissionError(errno.EPERM, "root serves no strangers; want a user")
    if user is not None:
        uid, gid = user
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if libc.capset(ctypes.byref(header), ctypes.byref(nothing)):
        number = ctypes.get_errno()
        raise OSError(number, f"capset: {os.strerror(number)}")
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl: {os.strerror(number)}")
