"""The sections `zones` and `special_names`: what is answered here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from dnsfront.config.sections.section import Fault, Section, repeated
from dnsfront.config.values import (
    Address,
    Name,
    Origin,
    Secret,
    SecretFile,
    SpecialName,
    ZoneFile,
)
from dnsfront.dns.zones import special

#: Where copies of zones are kept whose entry names no file.
_STATE: Final = Path("/var/lib/dnsfront")


class TransferKey(Section):
    """The secret that a primary and this server share (TSIG, RFC 8945)."""

    name: Name = Field(description="Its name, as the primary has it.")
    algorithm: Literal[
        "hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1"
    ] = Field("hmac-sha256", description="What it is used with.")
    secret: Secret = Field(None, description="The secret, in base64.")
    file: SecretFile = Field(
        None, description="A file that holds the secret, in base64."
    )

    @property
    def secret_text(self) -> str:
        """The secret, in base64."""
        return self.secret or self.file or ""

    def mistakes(self) -> Iterator[Fault]:
        """Yield a key without a secret, or with two."""
        if (self.secret is None) == (self.file is None):
            yield Fault(("secret",), "want either secret or file")


class Primary(Section):
    """The server that a zone comes from."""

    address: Address = Field(description="Its IP:port.")
    key: TransferKey | None = Field(
        None, description="The key that it signs with, and wants requests signed with."
    )

    def mistakes(self) -> Iterator[Fault]:
        """Yield what is wrong with the key."""
        if self.key is not None:
            for fault in self.key.mistakes():
                yield Fault(("key", *fault.path), fault.text)


class Zone(Section):
    """A zone that is answered here, from a file or from its primary."""

    origin: Origin = Field(description="Its name, like example.test.")
    primary: Primary | None = Field(
        None,
        description="Where it is transferred from, and kept as fresh as its SOA says.",
    )
    file: ZoneFile = Field(
        None,
        description="Its records, in the form of RFC 1035, 5; with a primary, where "
        "the copy is kept: ORIGIN.zone in /var/lib/dnsfront, unless it is given.",
    )

    @property
    def path(self) -> Path:
        """Where its records are."""
        name = "root" if self.origin == "." else self.origin.replace("/", "_")
        return self.file or _STATE / f"{name}.zone"

    def mistakes(self) -> Iterator[Fault]:
        """Yield an entry that names no source, and what is wrong with its primary."""
        if self.file is None and self.primary is None:
            yield Fault(
                ("file",), "missing, want the path of a zone file, or a primary"
            )
        if self.primary is not None:
            for fault in self.primary.mistakes():
                yield Fault(("primary", *fault.path), fault.text)


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
