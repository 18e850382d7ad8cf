"""The network interfaces of this host, and their addresses."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

#: Protocol and groups, for `ChangeNotice`, that tell of interfaces, of addresses and of
#: routes: `RTMGRP_*` in include/uapi/linux/rtnetlink.h.
CHANGES: Final = (socket.NETLINK_ROUTE, 0x1 | 0x10 | 0x100 | 0x40 | 0x400)
#: Where an address stands in the `struct sockaddr` of its family, and its octets.
_FAMILIES: Final = {int(socket.AF_INET): (4, 4), int(socket.AF_INET6): (8, 16)}
#: Of the link, `struct sockaddr_ll`: where the type of the hardware stands.
_PACKET: Final = int(socket.AF_PACKET)
_HARDWARE_AT: Final = 8
#: ARPHRD_ETHER and ARPHRD_LOOPBACK in include/uapi/linux/if_arp.h.
_WITH_ETHERNET: Final = {1, 772}
#: `struct ethtool_drvinfo` in include/uapi/linux/ethtool.h, and how to ask for it.
_SIOCETHTOOL: Final = 0x8946
_GET_DRIVER_INFO: Final = 3
_DRIVER_INFO_OCTETS: Final = 196
_IFF_UP: Final = 0x1


@dataclass(frozen=True)
class Interface:
    """An interface that is up; its addresses are packed, of 4 or 16 octets.

    *has_ethernet* says that an Ethernet header
    comes before its packets. *driver* is as `ethtool -i` names it, empty if unknown.
    """

    name: str
    index: int
    addresses: frozenset[bytes]
    has_ethernet: bool = True
    driver: str = ""


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
    with_ethernet: set[str] = set()
    with _listed() as entries:
        for entry in entries:
            if entry.flags & _IFF_UP:
                name = os.fsdecode(entry.name)
                addresses.setdefault(name, set()).update(_packed(entry.address))
                if _has_ethernet(entry.address):
                    with_ethernet.add(name)
    return tuple(
        Interface(
            name,
            index,
            frozenset(addresses[name]),
            name in with_ethernet,
            _driver(name),
        )
        for index, name in sorted(socket.if_nameindex())
        if name in addresses
    )


def _driver(name: str) -> str:
    info = ctypes.create_string_buffer(_DRIVER_INFO_OCTETS)
    struct.pack_into("=I", info, 0, _GET_DRIVER_INFO)
    request = struct.pack("16sQ", os.fsencode(name), ctypes.addressof(info))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
        except OSError:
            return ""  # lo and many tunnels have none
    return info.raw[4:36].rstrip(b"\0").decode("ascii", "replace")


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


def _has_ethernet(address: int | None) -> bool:
    """Tell whether a `struct sockaddr` is that of a link with Ethernet headers."""
    if address is None or ctypes.c_uint16.from_address(address).value != _PACKET:
        return False
    hardware = ctypes.c_uint16.from_address(address + _HARDWARE_AT).value
    return hardware in _WITH_ETHERNET
