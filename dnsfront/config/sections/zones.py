"""The sections `zones` and `special_names`: what is answered here."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from dnsfront.config.sections.section import Fault, Section, repeated
from dnsfront.config.values import Origin, SpecialName, ZoneFile
from dnsfront.dns.zones import special


class Zone(Section):
    """A zone that is answered here, from a file."""

    origin: Origin = Field(description="Its name, like example.test.")
    file: ZoneFile = Field(description="Its records, in the form of RFC 1035, 5.")


class SpecialNames(Section):
    """Names that mean nothing beyond this host or its network (RFC 6761, 6303)."""

    off: tuple[SpecialName, ...] = Field(
        (),
        description="Special names that upstreams are asked for as for any other; "
        "private stands for all reverse zones of private addresses.",
    )
    on: tuple[SpecialName, ...] = Field(
        (),
        description="Special names that are answered here, though they are not by "
        "default (test), or off names their group.",
    )

    @property
    def in_force(self) -> tuple[str, ...]:
        """The names that are answered here."""
        return special.in_force(self.off, self.on)

    def mistakes(self) -> Iterator[Fault]:
        """Yield names given twice, and those that are to be both on and off."""
        for key, names in (("off", self.off), ("on", self.on)):
            for index in repeated(names):
                text = f'got "{names[index]}" twice, want each name once'
                yield Fault((key, index), text)
        for index, name in enumerate(self.on):
            if name in self.off:
                text = f'got "{name}", which off has too, want it in one of them'
                yield Fault(("on", index), text, (("off",),))
