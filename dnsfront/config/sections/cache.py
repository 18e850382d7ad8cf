"""The sections `cache` and `kernel_cache`: what is kept, and where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field, StrictBool, StrictInt

from dnsfront.config.sections.section import Fault, Section, as_written, repeated
from dnsfront.config.units import duration_ms_to_text, size_octets_to_text
from dnsfront.config.values import (
    FileOrOff,
    InterfaceName,
    OffWord,
    Size,
    Ttl,
    WaitingTime,
)

#: For less than the first there is nearly nothing to answer; a map takes the second.
#: A larger book would keep a worker from its queries for a tenth of a second, when it
#: gets it and each time its hits are looked through.
_KERNEL_SIZE_RANGE: Final = (64 << 10, 256 << 20)
#: What any client takes, and what any link carries in one packet.
_KERNEL_ANSWER_RANGE: Final = (512, 1232)


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
    serve_stale_after_s: WaitingTime = Field(
        as_written("1800ms"),
        alias="serve_stale_after",
        description="How long a client waits for upstreams where there is an expired "
        "response to give it: 0s to 30s.",
    )
    prefetch: StrictBool = Field(
        default=True,
        description="Fetch popular names anew shortly before they expire.",
    )
    rotate: StrictBool = Field(
        default=False,
        description="Give the addresses of an answer in another order each time.",
    )

    deny_below: StrictBool = Field(
        default=False,
        description="Where upstreams say that there is no such name, say so of all "
        "names below it too (RFC 8020), as far as one worker owns both.",
    )

    dump_file: FileOrOff = Field(
        as_written("off"),
        description="A file that the caches are written to at a stop, and loaded from "
        "at the next start, so that a boot begins warm; off for none.",
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

    mode: Annotated[Literal["off", "auto", "xdp", "tc"], OffWord] = Field(
        "auto",
        description="Where the kernel answers: in the driver or behind it (xdp), "
        "behind the packet taps (tc), there too unless this host has a packet filter, "
        "but always over lo (auto), or nowhere (off).",
    )
    interfaces: tuple[InterfaceName, ...] = Field(
        (),
        description="Network interfaces to answer at; none for those that carry the "
        "addresses of listen.",
    )
    max_size_octets: Size = Field(
        as_written("16MiB"),
        alias="max_size",
        description="Memory for the responses, of all workers together.",
    )
    max_answer_octets: Size = Field(
        as_written("512B"),
        alias="max_answer",
        description="The longest response that the kernel gives.",
    )

    def mistakes(self) -> Iterator[Fault]:
        """Yield interfaces named twice, and sizes of which nothing comes."""
        for index in repeated(self.interfaces):
            text = f'got "{self.interfaces[index]}" twice, want each interface once'
            yield Fault(("interfaces", index), text)
        for key, octets, least, most in (
            ("max_size", self.max_size_octets, *_KERNEL_SIZE_RANGE),
            ("max_answer", self.max_answer_octets, *_KERNEL_ANSWER_RANGE),
        ):
            if not least <= octets <= most:
                got, low, high = map(size_octets_to_text, (octets, least, most))
                yield Fault((key,), f"got {got}, want a size from {low} to {high}")
