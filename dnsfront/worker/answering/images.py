"""The zones' images of this worker: mapped, and shared with every other one."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from dnsfront.dns.zones.authority import Zone
from dnsfront.dns.zones.image import Image
from dnsfront.dns.zones.special import zone_of
from dnsfront.dns.zones.zone_set import ZoneSet
from dnsfront.errors import ZoneError
from dnsfront.ipc import memory
from dnsfront.ipc.spec import ZoneImage


class Images:
    """Mapped memory by name; what is in it never changes, and is looked up in place."""

    def __init__(self) -> None:
        self._packs: dict[str, memoryview] = {}
        # Kept from spec to spec: of many zones only those that changed cost anything.
        self._zones: dict[ZoneImage, Zone] = {}

    def map(self, names: Sequence[str], fds: Sequence[int]) -> None:
        """Map *fds*, which have these *names*; the cost does not grow with the size."""
        for name, fd in zip(names, fds, strict=True):
            self._packs[name] = memoryview(memory.constant(fd))
            os.close(fd)

    def are_missing(self, wanted: Collection[ZoneImage]) -> bool:
        """Return whether memory that the images *wanted* lie in has not come yet."""
        return any(image.pack not in self._packs for image in wanted)

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

    def keep(self, wanted: Collection[ZoneImage]) -> None:
        """Give up what holds none of the images *wanted*."""
        names = {image.pack for image in wanted}
        self._packs = {k: v for k, v in self._packs.items() if k in names}
        self._zones = {image: self._zones[image] for image in wanted}

    def _zone(self, image: ZoneImage) -> Zone:
        memory = self._packs.get(image.pack)
        if memory is None:
            raise ZoneError(f"the image of the zone {image.origin} did not come")
        return Zone(Image(memory[image.at : image.at + image.octets]))
