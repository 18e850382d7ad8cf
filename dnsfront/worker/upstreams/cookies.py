"""DNS cookies towards one server (RFC 7873, 5): 64 bits that a forger has to guess.

A server that knows cookies sends ours back in every response, and one of its own, which
it gets with the next query. One that does not know them is not harmed by them.

Pure: no socket, no clock.
"""

from __future__ import annotations

import struct
from typing import Final

from dnsfront.dns import edns, wire

_OPTION: Final = struct.Struct("!HH")
_CLIENT_OCTETS: Final = 8
#: A whole cookie: ours, and 8 to 32 octets of the server's.
_LEAST, _MOST = 16, 40
#: BADCOOKIE is 23: these are its lower bits, which stand in the header.
_BADCOOKIE_LOW: Final = 23 & wire.RCODE_MASK
#: Responses in a row without a cookie of a server that knew them, and for how long it
#: is believed then that it knows them no longer.
_MISSING: Final = 3
_WITHOUT_FOR_NS: Final = 900_000_000_000


class Cookies:
    """The cookies of the queries to one server; *own* is eight octets, at random."""

    __slots__ = ("_is_known", "_missing", "_own", "_servers", "_without_until_ns")

    def __init__(self, own: bytes) -> None:
        self._own = own
        self._servers = b""
        self._is_known = False
        self._missing = 0
        self._without_until_ns = 0

    def put_into(self, query: bytes) -> bytes:
        """Return *query* with the cookies, if it has an OPT record, its last."""
        if query[wire.HEADER_OCTETS - 1] == 0:
            return query
        cookie = edns.option(edns.OPTION_COOKIE, self._own + self._servers)
        return query[:-2] + len(cookie).to_bytes(2, "big") + cookie

    def is_proof(self, response: bytes, now_ns: int) -> bool:
        """Return whether *response* may be believed, and learn the server's cookie.

        Our own stands nowhere else, so it is not looked for in the OPT record alone.
        """
        at = response.rfind(self._own)
        if at >= wire.HEADER_OCTETS + 4:
            code, length = _OPTION.unpack_from(response, at - 4)
            end = at + length
            is_whole = _LEAST <= length <= _MOST and end <= len(response)
            if code == edns.OPTION_COOKIE and is_whole:
                self._servers = response[at + _CLIENT_OCTETS : end]
                self._is_known = True
                self._missing = 0
                # With BADCOOKIE it wants the new one: TCP needs none.
                return response[3] & wire.RCODE_MASK != _BADCOOKIE_LOW
        if not self._is_known or now_ns < self._without_until_ns:
            return True
        self._missing += 1
        if self._missing >= _MISSING:
            self._missing = 0
            self._without_until_ns = now_ns + _WITHOUT_FOR_NS
        return False
