"""Which interface this host's routes lead to a network by.

The tables `local` and `main`, by rtnetlink (include/uapi/linux/rtnetlink.h). Rules that
choose another table are not looked at.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, replace
from typing import Final

from dnsfront.errors import KernelError
from dnsfront.supervisor.host.netlink import attributes, listed

#: The interface of what this host sends to itself.
LOOPBACK_INDEX: Final = 1
#: More than this host would have unless it routes for the world.
MAX_ROUTES: Final = 1 << 14

_NEW_ROUTE, _GET_ROUTE = 24, 26
_BODY: Final = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_DESTINATION, _INTERFACE, _PRIORITY, _TABLE = 1, 4, 6, 15  # RTA_*
_UNICAST, _LOCAL = 1, 2  # RTN_*
_MAIN_TABLE, _LOCAL_TABLE = 254, 255
_IS_CLONED: Final = 0x200  # RTM_F_CLONED, a route that was learned for one address
_OCTETS: Final = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}


def routes() -> dict[tuple[bytes, int], int]:
    """Return the index of the interface by network: packed address, bits of prefix.

    0 for a network to which several lead, or none: broadcasts, multicast, unreachable.

    Raises:
        KernelError: there are more than `MAX_ROUTES`.
        OSError: the kernel does not tell.
    """
    found: dict[tuple[bytes, int], _Route] = {}
    for family, octets in _OCTETS.items():
        request = _BODY.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for kind, body in listed(socket.NETLINK_ROUTE, _GET_ROUTE, request):
            route = _route(body, octets) if kind == _NEW_ROUTE else None
            if route is None:
                continue
            other = found.get(route.network)
            if other is None or route.rank < other.rank:
                found[route.network] = route
            elif route.rank == other.rank and route.index != other.index:
                found[route.network] = replace(route, index=0)
            if len(found) > MAX_ROUTES:
                raise KernelError(
                    f"this host has more than {MAX_ROUTES} routes, which is as many as"
                    " the kernel is told of to answer by"
                )
    return {network: route.index for network, route in found.items()}


@dataclass(frozen=True)
class _Route:
    """One route; of those to the same network the lowest *rank* counts."""

    network: tuple[bytes, int]
    index: int
    rank: tuple[bool, int]


def _route(body: bytes, octets: int) -> _Route | None:
    """Return what a message tells, None of a route that is not for all packets."""
    _family, bits, source_bits, _tos, table, _protocol, _scope, way, flags = (
        _BODY.unpack_from(body)
    )
    values = attributes(body[_BODY.size :])
    if _TABLE in values:
        [table] = struct.unpack("=I", values[_TABLE])
    if flags & _IS_CLONED or table not in {_MAIN_TABLE, _LOCAL_TABLE}:
        return None
    index = int.from_bytes(values.get(_INTERFACE, b""), "little")
    if way == _LOCAL:
        index = LOOPBACK_INDEX
    elif way != _UNICAST or source_bits:
        index = 0
    priority = int.from_bytes(values.get(_PRIORITY, b""), "little")
    return _Route(
        (values.get(_DESTINATION, bytes(octets)), bits),
        index,
        (table != _LOCAL_TABLE, priority),
    )
