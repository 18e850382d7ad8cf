"""DNS cookies for clients (RFC 7873), in the form that all servers share (RFC 9018).

Pure: what time it is, a function tells. A cookie of ours says that its sender receives
what is sent to its address: only who has a secret can make one for that address.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import Final

from siphash24 import siphash24

from dnsfront.dns import edns

#: Octets of a secret, of what a client makes of its own, and of that with ours behind.
SECRET_OCTETS: Final = 16
CLIENT_OCTETS: Final = 8
COOKIE_OCTETS: Final = 24
#: The version, and three octets in reserve (RFC 9018, 4.1 and 4.2).
_HEAD: Final = b"\1\0\0\0"
#: Ahead of these octets are the client's, the head and the time.
_SIGNED_OCTETS: Final = 16
#: How old a cookie may be, and how far ahead: clocks of a fleet differ (RFC 9018, 4.3).
_MAX_AGE_S: Final = 3600
_MAX_AHEAD_S: Final = 300
#: Who comes with an older one gets a new one: after half an hour (RFC 9018, 4.3), and
#: five minutes less, for which `Shapes` remembers what comes back as it is.
_RENEWED_AFTER_S: Final = 1500
_TIMES: Final = 1 << 32


class ServerCookies:
    """Makes cookies, and knows its own: all who have the same secrets do.

    The first of *secrets* makes them, those by the others are good too, so that a fleet
    changes its secret host by host. *wall_s* tells the seconds since 1970.
    """

    def __init__(self, secrets: Sequence[bytes], wall_s: Callable[[], float]) -> None:
        self._secrets = tuple(secrets)
        self._wall_s = wall_s

    def option(self, cookie: bytes, address: bytes) -> bytes:
        """Return the COOKIE option for a client that sent *cookie* from *address*.

        *address* is packed. A cookie by our first secret comes back as it is, until it
        has a certain age.
        """
        now_s = int(self._wall_s())
        secret = self._secrets[0]
        age_s = _age_s(cookie, now_s)
        if age_s > _RENEWED_AFTER_S or not _is_by(secret, cookie, address):
            time = (now_s % _TIMES).to_bytes(4, "big")
            signed = cookie[:CLIENT_OCTETS] + _HEAD + time
            cookie = signed + siphash24(signed + address, key=secret).digest()
        return edns.option(edns.OPTION_COOKIE, cookie)

    def is_good(self, cookie: bytes, address: bytes) -> bool:
        """Return whether the client at *address* had *cookie* from one of us."""
        if _age_s(cookie, int(self._wall_s())) > _MAX_AGE_S:
            return False
        return any(_is_by(secret, cookie, address) for secret in self._secrets)


def _age_s(cookie: bytes, now_s: int) -> int:
    """Return how old a cookie says it is; too old, if it is none of ours at all."""
    if len(cookie) != COOKIE_OCTETS or cookie[8] != _HEAD[0]:
        return _TIMES
    made_s = int.from_bytes(cookie[12:16], "big")
    # Serial numbers (RFC 1982), for there is a life after 2106.
    age_s = (now_s - made_s + _TIMES // 2) % _TIMES - _TIMES // 2
    return age_s if age_s >= -_MAX_AHEAD_S else _TIMES


def _is_by(secret: bytes, cookie: bytes, address: bytes) -> bool:
    ours: bytes = siphash24(cookie[:_SIGNED_OCTETS] + address, key=secret).digest()
    return compare_digest(ours, cookie[_SIGNED_OCTETS:])
