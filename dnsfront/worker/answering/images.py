"""The images of zones and lists: mapped, and shared with every other worker."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from dnsfront.dns.rules.names import NameList
from dnsfront.dns.zones.authority import Zone
from dnsfront.dns.zones.image import Image
from dnsfront.dns.zones.special import zone_of
from dnsfront.dns.zones.zone_set import ZoneSet
from dnsfront.errors import ListError, ZoneError
from dnsfront.ipc import memory
from dnsfront.ipc.spec import ListImage, ZoneImage


class Images:
    """Mapped memory by name; what is in it never changes, and is looked up in place."""

    def __init__(self) -> None:
        self._packs: dict[str, memoryview] = {}
        # Kept from spec to spec: of many zones only those that changed cost anything.
        self._zones: dict[ZoneImage, Zone] = {}
        self._lists: dict[ListImage, NameList] = {}

    def map(self, names: Sequence[str], fds: Sequence[int]) -> None:
        """Map *fds*, which have these *names*; the cost does not grow with the size."""
        for name, fd in zip(names, fds, strict=True):
            self._packs[name] = memoryview(memory.constant(fd))
            os.close(fd)

    def are_missing(self, packs: Collection[str]) -> bool:
        """Return whether memory of these names has not come yet."""
        return any(name not in self._packs for name in packs)

    def zones(
        self, wanted: Collection[ZoneImage], special: Sequence[str] = ()
    ) -> ZoneSet | None:
        """Return the zones in the images *wanted*, None without any.

        Those of *special* names are made here. A zone in an image goes before one of
        them with the same origin.

        Raises:
            ZoneError: an image is missing, or of another version.
        """
        if not wanted and not special:
            return None
        for image in wanted:
            if image not in self._zones:
                self._zones[image] = self._zone(image)
        made = [zone_of(name) for name in special]
        return ZoneSet([*made, *(self._zones[image] for image in wanted)])

    def names(self, image: ListImage) -> NameList:
        """Return the list of names in *image*.

        Raises:
            ListError: it is missing, or of another version.
        """
        if image not in self._lists:
            octets = self._packs.get(image.pack)
            if octets is None:
                raise ListError("the image of a list did not come")
            octets = octets[image.at : image.at + image.octets]
            self._lists[image] = NameList(octets)
        return self._lists[image]

    def keep(self, zones: Collection[ZoneImage], packs: Collection[str]) -> None:
        """Give up all memory but *packs*, in which the images of *zones* lie."""
        self._packs = {k: v for k, v in self._packs.items() if k in packs}
        self._zones = {image: self._zones[image] for image in zones}
        self._lists = {k: v for k, v in self._lists.items() if k.pack in packs}

    def _zone(self, image: ZoneImage) -> Zone:
        memory = self._packs.get(image.pack)
        if memory is None:
            raise ZoneError(f"the image of the zone {image.origin} did not come")
        return Zone(Image(memory[image.at : image.at + image.octets]))
