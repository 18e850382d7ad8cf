"""The zones that are served, by origin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dnsfront.dns.zones.authority import Zone

#: Last labels that are looked for one by one.
_MAX_TOPS: Final = 32


class ZoneSet:
    """The zones that are served, by origin.

    A name that :attr:`tops` has no end of is in none: to know that of nearly every name
    costs one call.
    """

    def __init__(self, zones: Iterable[Zone]) -> None:
        self._zones = {zone.origin: zone for zone in zones}
        tops = {_top(origin) for origin in self._zones}
        self.tops: Final = tuple(tops) if len(tops) <= _MAX_TOPS else (b"\0",)

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


def _top(name: bytes) -> bytes:
    """Return the last label of *name*, with the root's."""
    at = 0
    while name[at] and name[at + name[at] + 1]:
        at += name[at] + 1
    return name[at:]
