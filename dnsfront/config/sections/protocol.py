"""The sections `edns` and `identity`, about the protocol itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pydantic import Field, StrictInt, StrictStr

from dnsfront.config.sections.section import Fault, Section
from dnsfront.dns.wire import MAX_UDP_OCTETS

#: A string has room for 255 (RFC 1035, 3.3), and a worker's name may come in.
_MAX_TEXT_OCTETS: Final = 180
_IN_BRACES: Final = re.compile(r"\{[^{}]*\}")


class Edns(Section):
    """Extension mechanisms (RFC 6891)."""

    udp_size: StrictInt = Field(
        1232,
        ge=512,
        le=MAX_UDP_OCTETS,
        description="The largest message over UDP, in octets, towards clients and from "
        "upstreams; more than 1232 may arrive in fragments, or not at all.",
    )


class Identity(Section):
    """What is told to those who ask which server this is (RFC 4892)."""

    id: StrictStr = Field(
        "{worker}",
        description="The text of id.server and hostname.bind, class CH; {worker} is "
        "the worker's name, which NSID tells in any case. Empty: REFUSED.",
    )
    version: StrictStr = Field(
        "",
        description="The text of version.server and version.bind, class CH; {version} "
        "is the version of dnsfront. Empty: REFUSED.",
    )

    def mistakes(self) -> Iterator[Fault]:
        """Yield texts that fit no record."""
        for key, text in (("id", self.id), ("version", self.version)):
            size = len(text.encode("utf-8", "surrogatepass"))
            if size > _MAX_TEXT_OCTETS:
                yield Fault(
                    (key,), f"got {size} octets, want at most {_MAX_TEXT_OCTETS}"
                )

    def warnings(self) -> Iterator[Fault]:
        """Yield words in braces that nothing is put in the place of."""
        for key, text, known in (
            ("id", self.id, "{worker}"),
            ("version", self.version, "{version}"),
        ):
            for word in dict.fromkeys(_IN_BRACES.findall(text)):
                if word != known:
                    yield Fault((key,), f"{word} is told as it is; known is {known}")
