"""Which server of a pool each name is asked of: by rendezvous, equal on all hosts.

Every slot of the hash range ranks the servers by a score of their own there, so that a
server that goes leaves its names to the next of each, and takes no others along; one
that comes takes only those that it ranks first for. Neither the order of the list nor
anything that this host has measured plays a part.

Pure: no clock, no randomness. A slot is ranked when it is first asked for.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Final

from dnsfront.ring.qhash import qname_hash, slot_of

#: As many as keep the shares of a few servers within some percent of their weights.
_SLOTS: Final = 4096


class ServerRing:
    """The servers called *names*, with *weights*; *key* is that of the qname hash."""

    def __init__(
        self, names: Sequence[str], weights: Sequence[int], key: bytes
    ) -> None:
        self._servers = [
            (name.encode(), weight, position)
            for position, (name, weight) in enumerate(zip(names, weights, strict=True))
        ]
        self._key = key
        self._ranked: dict[int, tuple[int, ...]] = {}

    def order(self, qname: bytes) -> tuple[int, ...]:
        """Return the positions of all servers for a name, best first.

        *qname* is lower-case wire form, root label included.
        """
        slot = slot_of(qname_hash(qname[:-1], self._key), _SLOTS)
        ranked = self._ranked.get(slot)
        if ranked is None:
            ranked = self._ranked[slot] = self._rank(slot)
        return ranked

    def _rank(self, slot: int) -> tuple[int, ...]:
        at = slot.to_bytes(4, "big")
        scored = sorted(
            (_score(name, at, weight), name, position)
            for name, weight, position in self._servers
        )
        return tuple(position for _score, _name, position in scored)


def _score(name: bytes, slot: bytes, weight: int) -> float:
    """Return what ranks a server at a slot, the least first: shares are by weight.

    Exponentially distributed, so that the least of several is each one's as often as
    its weight says.
    """
    digest = hashlib.blake2b(slot + name, digest_size=8, person=b"dnsfront-server")
    drawn = (int.from_bytes(digest.digest(), "big") + 0.5) / (1 << 64)
    return -math.log(drawn) / weight
