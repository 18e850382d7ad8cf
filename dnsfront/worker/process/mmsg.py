"""recvmmsg(2) and sendmmsg(2) as they are, and memory that they can be pointed to."""

from __future__ import annotations

import ctypes
import mmap
from typing import Final

#: 64-bit words of a struct iovec, and of a struct mmsghdr.
VECTOR_WORDS: Final = 2
HEADER_WORDS: Final = 8
HEADER_OCTETS: Final = 8 * HEADER_WORDS
#: Where the fields of a struct mmsghdr stand among its words. Those of 32 bits have
#: padding behind them.
NAME: Final = 0
NAME_LENGTH: Final = 1
VECTORS: Final = 2
VECTOR_COUNT: Final = 3
CONTROL: Final = 4
CONTROL_LENGTH: Final = 5
FLAGS: Final = 6
RECEIVED: Final = 7

_libc = ctypes.CDLL(None, use_errno=True)
for _function in (_libc.recvmmsg, _libc.sendmmsg):
    _function.restype = ctypes.c_int
_libc.recvmmsg.argtypes = (
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p,
)  # fmt: skip
_libc.sendmmsg.argtypes = (
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int,
)  # fmt: skip

recvmmsg: Final = _libc.recvmmsg
sendmmsg: Final = _libc.sendmmsg
#: The errno that the last of them failed with.
last_errno: Final = ctypes.get_errno


def address_of(memory: mmap.mmap) -> int:
    """Return where *memory* begins; it stays there for as long as it is open."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
