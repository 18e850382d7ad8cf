"""The section `zones`: what is answered here."""

from __future__ import annotations

from pydantic import Field

from dnsfront.config.sections.section import Section
from dnsfront.config.values import Origin, ZoneFile


class Zone(Section):
    """A zone that is answered here, from a file."""

    origin: Origin = Field(description="Its name, like example.test.")
    file: ZoneFile = Field(description="Its records, in the form of RFC 1035, 5.")
