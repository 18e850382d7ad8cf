"""The network interfaces of this host, and their addresses."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

#: Protocol and groups, for `ChangeNotice`, that tell of interfaces and of addresses:
#: `RTMGRP_*` in include/uapi/linux/rtnetlink.h: links, IPv4 addresses, IPv6 addresses.
CHANGES: Final = (socket.NETLINK_ROUTE, 0x1 | 0x10 | 0x100)
#: Where an address stands in the `struct sockaddr` of its family, and its octets.
_FAMILIES: Final = {int(socket.AF_INET): (4, 4), int(socket.AF_INET6): (8, 16)}
_IFF_UP: Final = 0x1
_IFF_BROADCAST: Final = 0x2


@dataclass(frozen=True)
class Interface:
    """An interface that is up; its addresses are packed, of 4 or 16 octets.

    *broadcasts* are those of its networks.
    """

    name: str
    index: int
    addresses: frozenset[bytes]
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
            frozenset(broadcasts.get(name, ())),
        )
        for index, name in sorted(socket.if_nameindex())
        if name in addresses
    )


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
