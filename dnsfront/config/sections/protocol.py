"""The sections `edns` and `identity`, about the protocol itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pydantic import Field, StrictBool, StrictInt, StrictStr

from dnsfront.config.secrets import CookieSecret
from dnsfront.config.sections.section import Fault, Section, repeated
from dnsfront.dns.wire import MAX_UDP_OCTETS

#: A string has room for 255 (RFC 1035, 3.3), and a worker's name may come in.
_MAX_TEXT_OCTETS: Final = 180
#: Each that is not the first costs a hash for a cookie that is by none of them.
_MAX_COOKIE_SECRETS: Final = 4
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
    cookies: StrictBool = Field(
        True,  # noqa: FBT003 - pydantic's signature
        description="Whether clients that send a DNS cookie get one (RFC 7873, 9018).",
    )
    cookie_secrets: tuple[CookieSecret, ...] = Field(
        (),
        description="What cookies are made with, 32 hexadecimal digits or a file with "
        "them: by the first, while those by the others are good too. None: one that is "
        "drawn at the start, and kept by a restart.",
        json_schema_extra={"maxItems": _MAX_COOKIE_SECRETS},
    )

    def mistakes(self) -> Iterator[Fault]:
        """Yield secrets that are there twice, and too many of them."""
        secrets = self.cookie_secrets
        if len(secrets) > _MAX_COOKIE_SECRETS:
            text = f"got {len(secrets)} secrets, want at most {_MAX_COOKIE_SECRETS}"
            yield Fault(("cookie_secrets",), text)
        for index in repeated(secrets):
            text = "got the same secret again, want each once"
            yield Fault(("cookie_secrets", index), text)

    def warnings(self) -> Iterator[Fault]:
        """Yield secrets that nothing is made with."""
        if self.cookie_secrets and not self.cookies:
            yield Fault(("cookie_secrets",), "not used while edns.cookies is false")


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
