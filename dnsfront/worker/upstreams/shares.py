"""What each zone and each client has under way, while there are so many that it counts.

Random names below one zone whose servers are silent would take all there is, and every
other zone's misses would fail. Which names belong to one zone is not known, so it is
guessed from their last labels.

Pure: no socket, no clock.
"""

from __future__ import annotations

from typing import Final

from dnsfront.ipc.stats import Limit

#: A zone that has not answered for so long while it was asked is taken for silent.
_SILENT_AFTER_NS: Final = 500_000_000
#: Names of four labels and more count for what their last two are below as well, so
#: that two random labels are no way around. Those two may be a registry's, like co.uk,
#: so it takes several zones' worth of silence.
_ZONES_BELOW: Final = 4


class Share:
    """What one zone or client has under way; `heard_ns` is when it last had a response.

    Or, before the first one, when it was first asked.
    """

    __slots__ = ("count", "heard_ns", "key", "most")

    def __init__(self, key: bytes, most: int, now_ns: int) -> None:
        self.key = key
        self.most = most
        self.heard_ns = now_ns
        self.count = 0


class Shares:
    """All shares of which something is under way.

    One zone may have *per_zone* fetches while it is silent, one client *per_client*.
    """

    def __init__(self, per_zone: int, per_client: int) -> None:
        self._per_zone = per_zone
        self._per_client = per_client
        self._shares: dict[bytes, Share] = {}

    def __len__(self) -> int:
        """How many zones and clients have something under way."""
        return len(self._shares)

    def enter(self, qname: bytes, client: bytes, now_ns: int) -> list[Share]:
        """Count a fetch for the zones of *qname* and for *client*; return its shares.

        *client* is empty where it is not known.
        """
        wanted = self._zones(qname)
        if client:
            # No label begins with this octet, so that no zone has the same key.
            wanted.append((b"\xff" + client, self._per_client))
        shares = []
        for key, most in wanted:
            share = self._shares.get(key)
            if share is None:
                share = self._shares[key] = Share(key, most, now_ns)
            share.count += 1
            shares.append(share)
        return shares

    def leave(self, shares: list[Share]) -> None:
        """Count a fetch no more."""
        for share in shares:
            share.count -= 1
            if not share.count and self._shares.get(share.key) is share:
                del self._shares[share.key]

    def barrier(self, qname: bytes, client: bytes, now_ns: int) -> Limit | None:
        """Return the limit that keeps one more fetch out, if one does."""
        for key, most in self._zones(qname):
            share = self._shares.get(key)
            if (
                share is not None
                and share.count >= most
                and now_ns - share.heard_ns >= _SILENT_AFTER_NS
            ):
                return Limit.PENDING_PER_ZONE
        share = self._shares.get(b"\xff" + client) if client else None
        if share is not None and share.count >= share.most:
            return Limit.PENDING_PER_CLIENT
        return None

    def _zones(self, qname: bytes) -> list[tuple[bytes, int]]:
        """Return what stands for the zones of *qname*, and their limits."""
        starts = []
        at = 0
        while qname[at]:
            starts.append(at)
            at += qname[at] + 1
        most = self._per_zone
        if len(starts) <= 3:
            return [(qname[starts[-2] if len(starts) > 1 else 0 :], most)]
        # The octet, which begins no label, tells two labels of a longer name from a
        # zone of two labels.
        return [
            (qname[starts[-3] :], most),
            (b"\xfe" + qname[starts[-2] :], most * _ZONES_BELOW),
        ]
