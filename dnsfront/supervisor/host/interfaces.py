"""The network interfaces of this host, their addresses, and word of their changes."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Groups of rtnetlink that tell of interfaces and of addresses, `RTMGRP_*` in
#: include/uapi/linux/rtnetlink.h: links, IPv4 addresses, IPv6 addresses.
_TOLD_OF: Final = 0x1 | 0x10 | 0x100
_MESSAGES_OCTETS: Final = 1 << 16
#: Where an address stands in the `struct sockaddr` of its family, and its octets.
_FAMILIES: Final = {int(socket.AF_INET): (4, 4), int(socket.AF_INET6): (8, 16)}
_IFF_UP: Final = 0x1
_IFF_BROADCAST: Final = 0x2


@dataclass(frozen=True)
class Interface:
    """An interface that is up; its addresses are packed, of 4 or 16 octets.

    *broadcasts* are those of its networks. *is_device* tells that there is a device
    behind it, and no software alone.
    """

    name: str
    index: int
    addresses: frozenset[bytes]
    is_device: bool = False
    broadcasts: frozenset[bytes] = frozenset()


class _IfAddrs(ctypes.Structure):
    """`struct ifaddrs` of getifaddrs(3)."""


_IfAddrs._fields_ = [
    ("next", ctypes.POINTER(_IfAddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
    ("netmask", ctypes.c_void_p),
    ("other", ctypes.c_void_p),
    ("data", ctypes.c_void_p),
]


def interfaces() -> tuple[Interface, ...]:
    """Return the interfaces that are up, in the order of their indices.

    Raises:
        OSError: the kernel does not tell.
    """
    addresses: dict[str, set[bytes]] = {}
    broadcasts: dict[str, set[bytes]] = {}
    with _listed() as entries:
        for entry in entries:
            if entry.flags & _IFF_UP:
                name = os.fsdecode(entry.name)
                addresses.setdefault(name, set()).update(_packed(entry.address))
                if entry.flags & _IFF_BROADCAST:
                    broadcasts.setdefault(name, set()).update(_packed(entry.other))
    return tuple(
        Interface(
            name,
            index,
            frozenset(addresses[name]),
            _has_device(name),
            frozenset(broadcasts.get(name, ())),
        )
        for index, name in sorted(socket.if_nameindex())
        if name in addresses
    )


def _has_device(name: str) -> bool:
    # A link to the device, see Documentation/ABI/testing/sysfs-class-net.
    return Path("/sys/class/net", name, "device").exists()


@contextmanager
def _listed() -> Iterator[Iterator[_IfAddrs]]:
    libc = ctypes.CDLL(None, use_errno=True)
    first = ctypes.POINTER(_IfAddrs)()
    if libc.getifaddrs(ctypes.byref(first)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    try:
        yield _chained(first)
    finally:
        libc.freeifaddrs(first)


def _chained(entry: ctypes._Pointer[_IfAddrs]) -> Iterator[_IfAddrs]:
    while entry:
        yield entry.contents
        entry = entry.contents.next


def _packed(address: int | None) -> Iterator[bytes]:
    """Yield the address behind a `struct sockaddr`, if there is one of IP."""
    if address is None:
        return
    family = ctypes.c_uint16.from_address(address).value
    if family in _FAMILIES:
        at, octets = _FAMILIES[family]
        yield ctypes.string_at(address + at, octets)


class ChangeNotice:
    """A descriptor that is readable when an interface or an address has changed."""

    def __init__(self) -> None:
        """Listen from now on.

        Raises:
            OSError: the kernel refuses.
        """
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_NONBLOCK,
            socket.NETLINK_ROUTE,
        )
        try:
            self._socket.bind((0, _TOLD_OF))
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
