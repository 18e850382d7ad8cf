"""Names spelled in letters drawn at random, large and small: who forges must know them.

Servers echo the question as it was asked ("0x20", draft-vixie-dnsext-dns0x20), so every
letter is a bit that a forger has to guess, on top of port and id. A few servers echo
small letters only; that is learned, and they are asked in these for a while.

Pure: no socket, no clock. How a question is spelled follows from its id and a secret,
so nothing is kept of what is under way.
"""

from __future__ import annotations

import hashlib
from typing import Final

from dnsfront.dns import wire

#: What turns a small letter into a large one, for each octet of a name in small ones.
_CASE: Final = bytes(0x20 if 0x61 <= octet <= 0x7A else 0 for octet in range(256))
#: Questions in a row whose letters were not kept, and for how long that is believed.
_FOLDED: Final = 3
_PLAIN_FOR_NS: Final = 900_000_000_000


class Letters:
    """The letters of the questions to one server, from a *secret* of our own."""

    __slots__ = ("_folded", "_plain_until_ns", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._folded = 0
        self._plain_until_ns = 0

    def spell(self, query: bytes, question: bytes, now_ns: int) -> bytes:
        """Return *query*, which asks *question* in small letters, in drawn ones."""
        if now_ns < self._plain_until_ns:
            return query
        end = wire.HEADER_OCTETS + len(question) - 4
        name = self._drawn(query[:2], question[:-4])
        return query[: wire.HEADER_OCTETS] + name + query[end:]

    def is_proof(self, response: bytes, question: bytes, now_ns: int) -> bool:
        """Return whether *response* to *question* has its letters, and may be believed.

        What has others is doubtful, but for servers that keep none.
        """
        end = wire.HEADER_OCTETS + len(question) - 4
        drawn = self._drawn(response[:2], question[:-4])
        if response[wire.HEADER_OCTETS : end] == drawn:
            self._folded = 0
            return True
        if now_ns < self._plain_until_ns:
            return True
        self._folded += 1
        if self._folded >= _FOLDED:
            self._folded = 0
            self._plain_until_ns = now_ns + _PLAIN_FOR_NS
        return False

    def _drawn(self, identity: bytes, name: bytes) -> bytes:
        size = len(name)
        drawn = hashlib.shake_128(self._secret + identity + name).digest(size)
        case = int.from_bytes(name.translate(_CASE), "big")
        mask = case & int.from_bytes(drawn, "big")
        return (int.from_bytes(name, "big") ^ mask).to_bytes(size, "big")
