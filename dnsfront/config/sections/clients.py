"""The sections `limits` and `access`: who may ask, and what strangers may cost."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field, StrictInt

from dnsfront.config.sections.section import Fault, Section, as_written
from dnsfront.config.values import Network, Size, Timeout
from dnsfront.ipc.spec import Denial


class Limits(Section):
    """What strangers may cost, per worker."""

    tcp_connections: StrictInt = Field(
        1000, ge=1, le=1_000_000, description="TCP connections of clients at once."
    )
    tcp_connections_per_client: StrictInt = Field(
        100,
        ge=1,
        le=1_000_000,
        description="The same for one client: one IPv4 address, or one IPv6 /64.",
    )
    tcp_queries_per_connection: StrictInt = Field(
        0,
        ge=0,
        le=1_000_000_000,
        description="Queries after which a TCP connection is closed; 0 for no end.",
    )
    tcp_idle_s: Timeout = Field(
        as_written("10s"),
        alias="tcp_idle",
        description="How long a TCP connection may do nothing before it is closed.",
    )
    tcp_memory_octets: Size = Field(
        as_written("64MiB"),
        alias="tcp_memory",
        description="Memory for what TCP clients sent, and for what they do not read.",
    )
    pending: StrictInt = Field(
        20_000, ge=1, le=1_000_000, description="Questions asked of upstreams at once."
    )
    pending_per_zone: StrictInt = Field(
        2000,
        ge=1,
        le=1_000_000,
        description="The same for the names of one zone that has not answered.",
    )
    waiters_per_fetch: StrictInt = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Queries that may wait for the answer to one question.",
    )


class Access(Section):
    """Who may ask."""

    allow: tuple[Network, ...] = Field(
        ("127.0.0.0/8", "::1/128"),
        description="Client networks that are served.",
        json_schema_extra={"minItems": 1},
    )
    deny: Denial = Field(
        "refuse",
        description="What all others get over UDP: REFUSED, or no response at all.",
    )

    def mistakes(self) -> Iterator[Fault]:
        """Yield a list that lets nobody in."""
        if not self.allow:
            text = "got an empty list, want a network (all clients would be refused)"
            yield Fault(("allow",), text)
