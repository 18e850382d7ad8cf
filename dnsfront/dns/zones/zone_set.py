"""The zones that are served, by origin."""

from __future__ import annotations

from collections.abc import Iterable

from dnsfront.dns.zones.authority import Zone


class ZoneSet:
    """The zones that are served, by origin."""

    def __init__(self, zones: Iterable[Zone]) -> None:
        self._zones = {zone.origin: zone for zone in zones}

    @property
    def origins(self) -> frozenset[bytes]:
        """The names that the zones begin at."""
        return frozenset(self._zones)

    def find_for_ds(self, qname: bytes) -> Zone | None:
        """Return the zone that can say which DS records *qname* has, if one can.

        At an origin that is its parent's to say (RFC 4035, 3.1.4.1): the child's denial
        would make the whole zone bogus to whoever validates.
        """
        zone = self.find(qname)
        if zone is None or zone.origin != qname:
            return zone
        return self.find(qname[qname[0] + 1 :])

    def find(self, qname: bytes) -> Zone | None:
        """Return the zone with the longest origin at or above *qname*."""
        zones = self._zones
        # Not by `names.ancestors`, which costs more: every miss comes here.
        at = 0
        while True:
            zone = zones.get(qname[at:])
            if zone is not None or not qname[at]:
                return zone
            at += qname[at] + 1
