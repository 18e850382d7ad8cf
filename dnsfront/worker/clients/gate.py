"""Who is let in: one verdict on a client, whatever way its query came.

Transports ask, and act on the verdict; what it rests on is below, now
`worker/clients/access.py` alone.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

from dnsfront.ipc.spec import AccessSettings
from dnsfront.worker.clients.access import AccessList

#: Client addresses remembered as served; a flood of spoofed ones starts over.
MAX_REMEMBERED: Final = 65536


class Verdict(enum.Enum):
    """What becomes of a client's query; one that is dropped gets no response.

    One for rules to look at is served if they leave it alone.
    """

    SERVE = enum.auto()
    RULE = enum.auto()
    REFUSE = enum.auto()
    DROP = enum.auto()


_DENIALS: Final = {"refuse": Verdict.REFUSE, "drop": Verdict.DROP}


def client_of(packed: bytes) -> bytes:
    """Return what the client at *packed* is counted under: an IPv4 address, or a /64.

    One host may use all addresses of its /64 (RFC 4291, 2.5.1).
    """
    return packed if len(packed) == 4 else packed[:8]


class Gate:
    """Says who is served; asked for each datagram and each connection.

    `served` has the packed addresses of clients whose verdict is known to be SERVE, and
    nobody else writes to it. The hot path looks there first, and asks for the verdict
    on all others, so whatever else a verdict comes to rest on belongs into
    :meth:`verdict`, and keeps clients out of `served`, or takes them out of it, on whom
    it has more to say. A rate does that with a client that asks too much; a cookie or a
    rule that looks at the query needs the octets, which then come along as one more
    argument.
    """

    def __init__(self, settings: AccessSettings) -> None:
        self._access = AccessList(settings.allow)
        self._denial = _DENIALS[settings.deny]
        self._is_ruled: Callable[[bytes], bool] | None = None
        self.served: set[bytes] = set()

    def replace(self, settings: AccessSettings) -> None:
        """Act on other *settings* from now on; who is connected is to be asked for."""
        self._access.replace(settings.allow)
        self._denial = _DENIALS[settings.deny]
        self.served.clear()

    def rule(self, is_ruled: Callable[[bytes], bool] | None) -> None:
        """Have rules look at the queries of clients that *is_ruled* takes, from now on.

        None has them look at nobody's.
        """
        self._is_ruled = is_ruled
        self.served.clear()

    def lets_in(self, packed: bytes) -> bool:
        """Return whether the client at *packed* may connect."""
        return self.verdict(packed) in (Verdict.SERVE, Verdict.RULE)

    def verdict(self, packed: bytes) -> Verdict:
        """Return what becomes of the queries of the client at *packed*.

        *packed* has 4 or 16 octets. A client in `served` is served.
        """
        served = self.served
        if packed in served:
            return Verdict.SERVE
        if not self._access.allows(packed):
            return self._denial
        if self._is_ruled is not None and self._is_ruled(packed):
            return Verdict.RULE
        if len(served) >= MAX_REMEMBERED:
            served.clear()
        served.add(packed)
        return Verdict.SERVE
