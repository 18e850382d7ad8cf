"""What the kernel lists by netlink, and word from it that something has changed.

As much of include/uapi/linux/netlink.h as a list takes.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

_REQUEST_DUMP: Final = 0x301
_ERROR, _DONE = 2, 3
_HEAD: Final = struct.Struct("=IHHII")  # struct nlmsghdr
_ATTRIBUTE: Final = struct.Struct("=HH")  # struct nlattr
_IS_NESTED: Final = 0x8000
_MESSAGES_OCTETS: Final = 1 << 17


def listed(protocol: int, kind: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each message that answers a request of *kind*.

    Raises:
        OSError: the kernel does not tell.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as kernel:
        kernel.send(
            _HEAD.pack(_HEAD.size + len(body), kind, _REQUEST_DUMP, 1, 0) + body
        )
        while True:
            received = kernel.recv(_MESSAGES_OCTETS)
            at = 0
            while at < len(received):
                length, kind, *_ = _HEAD.unpack_from(received, at)
                body = received[at + _HEAD.size : at + length]
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    [number] = struct.unpack_from("=i", body)
                    raise OSError(-number, os.strerror(-number))
                yield kind, body
                at += _padded(length)


def attributes(octets: bytes) -> dict[int, bytes]:
    """Return the values of a row of `struct nlattr`, by their types."""
    found = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(octets):
        length, kind = _ATTRIBUTE.unpack_from(octets, at)
        found[kind & ~_IS_NESTED] = octets[at + _ATTRIBUTE.size : at + length]
        at += max(_ATTRIBUTE.size, _padded(length))
    return found


def _padded(length: int) -> int:
    return length + 3 & ~3


class ChangeNotice:
    """A descriptor that is readable when something of one kind has changed."""

    def __init__(self, protocol: int, groups: int) -> None:
        """Listen from now on, to these groups of a netlink protocol.

        Raises:
            OSError: the kernel refuses.
        """
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_NONBLOCK,
            protocol,
        )
        try:
            self._socket.bind((0, groups))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor, owned by this object."""
        return self._socket.fileno()

    def clear(self) -> None:
        """Take what is told: that something changed is all there is to know."""
        while True:
            try:
                self._socket.recv(_MESSAGES_OCTETS)
            except BlockingIOError:
                return
            except OSError:
                continue  # more changes than the buffer holds: they all mean the same

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
