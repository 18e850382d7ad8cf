"""The system calls of a round, and the layout of what two of them are given.

In C where the package was built with a compiler (`_calls.c`), else by ctypes, which
costs half a microsecond more for each.
"""

from __future__ import annotations

import ctypes
import mmap
import select
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

try:
    from dnsfront.worker.process import _calls
except ImportError:
    _calls = None  # type: ignore[assignment]  # then the twins below serve

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

#: More than a worker has that are ready at once; the rest has the next round.
MOST_EVENTS: Final = 256

#: Takes milliseconds; returns the descriptors that are ready, with their events.
Wait = Callable[[int], list[tuple[int, int]]]
#: Takes a descriptor, the address of headers and how many there are. Returns how many
#: messages were moved, without waiting, or minus the errno.
Move = Callable[[int, int, int], int]

_libc = ctypes.CDLL(None, use_errno=True)
for _function in (_libc.recvmmsg, _libc.sendmmsg):
    _function.restype = ctypes.c_int
_libc.recvmmsg.argtypes = (
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p,
)  # fmt: skip
_libc.sendmmsg.argtypes = (
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int,
)  # fmt: skip
_recvmmsg = _libc.recvmmsg
_sendmmsg = _libc.sendmmsg


def _receive(fd: int, at: int, count: int) -> int:
    done: int = _recvmmsg(fd, at, count, socket.MSG_DONTWAIT, None)
    return -ctypes.get_errno() if done < 0 else done


def _send(fd: int, at: int, count: int) -> int:
    done: int = _sendmmsg(fd, at, count, socket.MSG_DONTWAIT)
    return -ctypes.get_errno() if done < 0 else done


def _wait(epoll: select.epoll, timeout_ms: int) -> list[tuple[int, int]]:
    return epoll.poll(timeout_ms / 1000, MOST_EVENTS)


is_compiled: Final = _calls is not None
receive: Final[Move] = _calls.receive if is_compiled else _receive
send: Final[Move] = _calls.send if is_compiled else _send


def waiting(epoll: select.epoll) -> Wait:
    """Return what waits for the descriptors that *epoll* watches."""
    if is_compiled:
        return partial(_calls.wait, epoll.fileno())
    return partial(_wait, epoll)


def address_of(memory: mmap.mmap) -> int:
    """Return where *memory* begins; it stays there for as long as it is open."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
