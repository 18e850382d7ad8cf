"""Which clients the kernel answers, as the entries of its tries.

Pure. An entry's key is `struct client4` or `struct client6` of `kern/maps.h`; where
several hold a client, the longest one counts.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Final

from dnsfront.kernel.layouts import constant

#: Values of the tries.
LEFT_TO_WORKERS: Final = 0
ANSWERED: Final = constant("CLIENT_ANSWERED")
#: The address is one of this host's, so who sends from it elsewhere is a liar.
ANSWERED_OVER_LO: Final = constant("CLIENT_ANSWERED_OVER_LO")

_BITS: Final = {socket.AF_INET: 32, socket.AF_INET6: 128}

#: Keys and values of both tries, by family.
PrefixTries = dict[socket.AddressFamily, dict[bytes, int]]


def tries(
    networks: Sequence[str], own: Iterable[str], but: Iterable[str] = ()
) -> PrefixTries:
    """Return the entries of both tries: clients of *networks* and no others.

    *own* are addresses of this host, *but* such as nobody sends from. Each network has
    its prefix behind a slash, and no bits behind that.
    """
    found: PrefixTries = {family: {} for family in _BITS}
    prefixes: dict[socket.AddressFamily, set[int]] = {family: set() for family in _BITS}
    for network in networks:
        address, _, prefix = network.partition("/")
        family, packed = _packed(address)
        found[family][_key(packed, int(prefix))] = ANSWERED
        prefixes[family].add(int(prefix))
    for address in own:
        family, packed = _packed(address)
        if any(_key(packed, prefix) in found[family] for prefix in prefixes[family]):
            found[family][_key(packed, _BITS[family])] = ANSWERED_OVER_LO
    for address in but:
        family, packed = _packed(address)
        found[family][_key(packed, _BITS[family])] = LEFT_TO_WORKERS
    return found


def _packed(address: str) -> tuple[socket.AddressFamily, bytes]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


def _key(packed: bytes, prefix: int) -> bytes:
    """Return the key of the network of *prefix* bits that an address is in."""
    spare = 8 * len(packed) - prefix
    network = int.from_bytes(packed, "big") >> spare << spare
    return struct.pack("=I", prefix) + network.to_bytes(len(packed), "big")
