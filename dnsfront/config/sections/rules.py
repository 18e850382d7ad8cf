"""The section `rules`: which queries are answered otherwise, and how."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

from pydantic import Field, StrictStr, model_validator

from dnsfront.config.document import KeyPath
from dnsfront.config.sections.section import Fault, Section, as_written, repeated
from dnsfront.config.values import (
    HostAddress,
    ListFile,
    Name,
    Network,
    Origin,
    QueryType,
    Ttl,
)
from dnsfront.ipc.spec import Action

#: Extended DNS Errors of RFC 8914, 4.16 to 4.18.
ERRORS: Final = {"blocked": 15, "censored": 16, "filtered": 17, "none": 0}


class Suffixes(Section):
    """Names, and all below them: a list in its place, or a file of any length."""

    names: tuple[Origin, ...] = Field((), description="Names, like ads.example.")
    file: ListFile | None = Field(
        None,
        description="A file of names: one a line, hosts, adblock (||name^), or RPZ.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, data: Any) -> Any:  # noqa: ANN401 - whatever YAML held
        """Take a list of names for one under `names`."""
        return {"names": data} if isinstance(data, list) else data

    def mistakes(self) -> Iterator[Fault]:
        """Yield names given twice, and a list of nothing."""
        for index in repeated(self.names):
            text = f"got {self.names[index]} again, want each name once"
            yield Fault(("names", index), text)
        if bool(self.names) == (self.file is not None):
            yield Fault((), "want a list of names, or a file, and not both")


class Match(Section):
    """What a rule is about; each key narrows it, and none is for every query."""

    clients: tuple[Network, ...] = Field((), description="Networks of clients.")
    suffixes: Suffixes | None = Field(None, description="Names, and all below them.")
    types: tuple[QueryType, ...] = Field(
        (), description="Types of questions, like AAAA or TYPE65."
    )
    transport: Literal["udp", "tcp"] | None = Field(
        None, description="How the query comes: udp or tcp."
    )


class Rule(Section):
    """What is done with queries that match; the first rule that does decides."""

    name: StrictStr = Field("", description="What status calls it.")
    match: Match = Field(as_written({}), description="What it is about.")
    action: Action = Field(
        description="What is done: nxdomain, nodata, refuse, drop, tc (over UDP), "
        "address, cname, no_cache, or pass, which is as if there were no more rules."
    )
    addresses: tuple[HostAddress, ...] = Field(
        (), description="The addresses of action address."
    )
    target: Name | None = Field(None, description="The name of action cname.")
    ttl_s: Ttl = Field(
        as_written("60s"), alias="ttl", description="How long clients may keep it."
    )
    reason: Literal["blocked", "censored", "filtered", "none"] = Field(
        "blocked",
        description="The Extended DNS Error: blocked by the operator (15), censored "
        "for somebody else (16), filtered as the client wanted (17), or none.",
    )

    @property
    def error(self) -> int:
        """The Extended DNS Error, 0 for none."""
        return ERRORS[self.reason]

    @property
    def depends_on_client(self) -> bool:
        """Whether its answers are not for everybody."""
        match = self.match
        is_narrowed = bool(match.clients) or match.transport is not None
        return is_narrowed or self.action == "tc"

    def mistakes(self) -> Iterator[Fault]:
        """Yield keys that do not fit the action."""
        suffixes = self.match.suffixes
        if suffixes is not None:
            for path, text, _ in suffixes.mistakes():
                yield Fault(("match", "suffixes", *path), text)
        for key, action, value in (
            ("addresses", "address", self.addresses),
            ("target", "cname", self.target),
        ):
            if self.action == action and not value:
                yield Fault(("action",), f"got {action}, want {key} too", ((key,),))
            elif self.action != action and value:
                yield Fault((key,), f"want action: {action} with it, or none")
        for index in repeated(self.addresses):
            text = f"got {self.addresses[index]} again, want each address once"
            yield Fault(("addresses", index), text)
        if self.action == "tc" and self.match.transport == "tcp":
            text = "got tcp, want udp, since tc sends clients to TCP"
            yield Fault(("match", "transport"), text)
        if self.action == "no_cache" and self.depends_on_client:
            where: KeyPath = ("match", "clients" if self.match.clients else "transport")
            yield Fault(where, "want none with no_cache: the cache is for everybody")
