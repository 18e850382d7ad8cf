"""Which clients the kernel answers, as the entries of its tries.

Pure. An entry's key is `struct client4` or `struct client6` of `kern/maps.h`; where
several hold a client, the longest one counts. Its value is the interface by which this
host's routes lead to the client, the only one by which it is answered: from any other
somebody only claims to be it, or the answer would not go the way that it should.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

#: The value of an entry whose clients are left to workers.
LEFT_TO_WORKERS: Final = 0

_FAMILIES: Final = {4: socket.AF_INET, 16: socket.AF_INET6}

#: From a network, as its packed address and the bits of its prefix, to the index of the
#: interface that leads there; 0 if none does, or several do.
Routes = Mapping[tuple[bytes, int], int]
#: Keys and values of both tries, by family.
PrefixTries = dict[socket.AddressFamily, dict[bytes, int]]


def tries(networks: Sequence[str], routes: Routes) -> PrefixTries:
    """Return the entries of both tries: clients of *networks* and no others.

    Each network has its prefix behind a slash, and no bits behind that. As many entries
    as there are networks, and routes into them.
    """
    found: PrefixTries = {family: {} for family in _FAMILIES.values()}
    allowed: set[tuple[bytes, int]] = set()
    for network in networks:
        address, _, prefix = network.partition("/")
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        allowed.add((socket.inet_pton(family, address), int(prefix)))
    for packed, bits in allowed:
        leads = (routes[x] for x in _holding(packed, bits) if x in routes)
        found[_FAMILIES[len(packed)]][_key(packed, bits)] = next(leads, LEFT_TO_WORKERS)
    lengths = {(len(packed), bits) for packed, bits in allowed}
    for (packed, bits), index in routes.items():
        holding = _holding(packed, bits)
        if any((len(x[0]), x[1]) in lengths and x in allowed for x in holding):
            found[_FAMILIES[len(packed)]][_key(packed, bits)] = index
    return found


def _holding(packed: bytes, bits: int) -> Iterator[tuple[bytes, int]]:
    """Yield a network and all that hold it, the longest prefix first."""
    whole = int.from_bytes(packed, "big")
    for prefix in range(bits, -1, -1):
        spare = 8 * len(packed) - prefix
        yield (whole >> spare << spare).to_bytes(len(packed), "big"), prefix


def _key(packed: bytes, bits: int) -> bytes:
    return struct.pack("=I", bits) + packed
