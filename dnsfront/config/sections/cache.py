"""The sections `cache` and `kernel_cache`: what is kept, and where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, StrictBool, StrictInt

from dnsfront.config.sections.section import Fault, Section, as_written
from dnsfront.config.units import duration_ms_to_text, size_octets_to_text
from dnsfront.config.values import Interface, Size, Ttl


class Cache(Section):
    """The cache of each worker, which holds the names that the worker owns."""

    max_entries: StrictInt = Field(
        100_000, ge=1, le=100_000_000, description="Responses kept, per worker."
    )
    max_size_octets: Size = Field(
        as_written("64MiB"),
        alias="max_size",
        description="Memory that they may take, per worker, bookkeeping included; when "
        "it is full, large responses go before small ones that are in use.",
    )
    max_entry_size_octets: Size = Field(
        as_written("16KiB"),
        alias="max_entry_size",
        description="The largest response kept; larger ones are passed on only.",
    )
    min_ttl_s: Ttl = Field(
        as_written("0s"),
        alias="min_ttl",
        description="Shorter TTLs are raised to this.",
    )
    max_ttl_s: Ttl = Field(
        as_written("1d"), alias="max_ttl", description="Longer TTLs are cut to this."
    )
    serve_stale_s: Ttl = Field(
        as_written("1d"),
        alias="serve_stale",
        description="How long an expired response may still be given when no upstream "
        "answers (RFC 8767); 0s for never.",
    )
    prefetch: StrictBool = Field(
        default=True,
        description="Fetch popular names anew shortly before they expire.",
    )
    rotate: StrictBool = Field(
        default=False,
        description="Give the addresses of an answer in another order each time.",
    )

    def mistakes(self) -> Iterator[Fault]:
        """Yield TTL limits that leave no TTL."""
        if self.min_ttl_s > self.max_ttl_s:
            least = duration_ms_to_text(self.min_ttl_s * 1000)
            most = duration_ms_to_text(self.max_ttl_s * 1000)
            text = f"got {least}, want at most max_ttl, which is {most}"
            yield Fault(("min_ttl",), text, (("max_ttl",),))
        if self.max_entry_size_octets > self.max_size_octets:
            entry = size_octets_to_text(self.max_entry_size_octets)
            whole = size_octets_to_text(self.max_size_octets)
            text = f"got {entry}, want at most max_size, which is {whole}"
            yield Fault(("max_entry_size",), text, (("max_size",),))


class KernelCache(Section):
    """Answers from inside the kernel, before any worker wakes."""

    mode: Literal["off", "auto", "xdp", "tc"] = Field(
        "off", description="Only off: the kernel cache is not in this version."
    )
    interfaces: tuple[Interface, ...] = Field(
        (), description="Network interfaces to answer at; none for all."
    )

    def mistakes(self) -> Iterator[Fault]:
        """Yield modes to come."""
        if self.mode != "off":
            text = (
                f'got "{self.mode}", want off: the kernel cache is not in this version'
            )
            yield Fault(("mode",), text)
