"""The section `upstreams`: where misses go to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, model_validator

from dnsfront.config.sections.section import Fault, Section, as_written, repeated
from dnsfront.config.trust import Authorities, HostName, Pins
from dnsfront.config.units import duration_ms_to_text
from dnsfront.config.values import Address, Interval, Name, Timeout, WaitingTime
from dnsfront.ipc.spec import Policy, UpstreamTls

_MAX_UPSTREAM_SERVERS: Final = 64
#: Half of what the shortest patience of common stub resolvers is.
MOST_PATIENT_S: Final = 1.0


class ServerTls(Section):
    """How a server that is asked over TLS proves who it is."""

    name: HostName = Field(
        description="The name, or the IP address, that stands in its certificate."
    )
    authorities: Authorities = Field(
        as_written("system"),
        alias="ca",
        description="Who signs its certificate: a file with certificates in PEM, or "
        "system for those that the host trusts.",
    )
    pins: Pins = Field(
        (),
        alias="pin",
        description="Digests of the keys that it may have, sha256/ and base64, one or "
        "a list: on top of the rest.",
        validate_default=False,
    )


class ServerEntry(Section):
    """One address that misses go to."""

    socket_address: Address = Field(alias="address", description="Its IP:port.")
    weight: StrictInt = Field(
        1, ge=1, le=100, description="Its share of the names, for policy chash."
    )
    tls: ServerTls | None = Field(
        None, description="Ask it over TLS (RFC 7858), and never in any other way."
    )

    @model_validator(mode="before")
    @classmethod
    def _never_by_mistake(cls, data: Any) -> Any:  # noqa: ANN401 - whatever YAML held
        """Take an empty `tls` for one without keys: it is no wish for none."""
        if isinstance(data, dict) and "tls" in data and data["tls"] is None:
            return {**data, "tls": {}}
        return data

    @property
    def tls_record(self) -> UpstreamTls | None:
        """What workers are told of `tls`."""
        return None if self.tls is None else self.tls.record(UpstreamTls)

    @property
    def address(self) -> str:
        """The IP address, without brackets and port."""
        return self.socket_address.host

    @property
    def port(self) -> int:
        """The port, for UDP and for TCP."""
        return self.socket_address.port

    @property
    def family(self) -> int:
        """``socket.AF_INET`` or ``AF_INET6``."""
        return self.socket_address.family

    @property
    def text(self) -> str:
        """``IP:port`` in its shortest form, the name of the upstream for people."""
        return str(self.socket_address)


class HealthCheck(Section):
    """How upstreams are probed. Queries of clients count as well, and for more."""

    name: Name = Field(
        ".",
        description="The name that probes ask for. Of the root any response will do; "
        "any other name must be answered, by NOERROR or NXDOMAIN.",
    )
    type: Literal["A", "AAAA", "CNAME", "MX", "NS", "SOA", "TXT"] = Field(
        "NS", description="The type that probes ask for."
    )
    interval_s: Interval = Field(
        as_written("1s"),
        alias="interval",
        description="How long after a probe the next one is sent.",
    )
    rise: StrictInt = Field(
        1, ge=1, le=100, description="Probes answered in a row that make it up."
    )
    fall: StrictInt = Field(
        2, ge=1, le=100, description="Probes missed in a row that make it down."
    )
    slow_start_s: WaitingTime = Field(
        as_written("0s"),
        alias="slow_start",
        description="How long one that was down has its names come back, little by "
        "little, for its cache is cold: 0s to 30s.",
    )


class Upstreams(Section):
    """Where misses are forwarded to."""

    policy: Policy = Field(
        "chash",
        description="chash: each name has one server, the same on all hosts with equal "
        "ring.seed. ordered: the first that is up. least_outstanding: the one with the "
        "fewest pending queries; equals take turns. fastest: the one that takes the "
        "least time, as measured; those about as fast share the names as by chash.",
    )
    bounded_load: StrictFloat = Field(
        1.25,
        le=100,
        description="Policy chash: a server with more than this times its share of the "
        "pending queries passes names on to the next; at least 1, or 0 for never.",
        json_schema_extra={"anyOf": [{"const": 0}, {"minimum": 1}]},
    )
    hedge: StrictBool = Field(
        default=False,
        description="Ask a second server besides where the first takes longer than "
        "nineteen of twenty of its answers; what comes first is taken.",
    )
    servers: tuple[ServerEntry, ...] = Field(
        (),
        max_length=_MAX_UPSTREAM_SERVERS,
        description="The resolvers; none is right where zones are all there is to say.",
    )
    timeout_s: Timeout = Field(
        as_written("800ms"),
        alias="timeout",
        description="How long to wait for one server before the next is asked; its "
        "query is repeated before that, by the round trip measured.",
    )
    mixed_case: StrictBool = Field(
        default=False,
        description="Ask over UDP in letters drawn at random, large and small, which "
        "a forger has to guess (0x20). Servers that do not keep them are asked over "
        "TCP, and then in small ones for a while.",
    )
    cookies: StrictBool = Field(
        default=False,
        description="Send DNS cookies over UDP (RFC 7873), which a forger has to guess "
        "for servers that know them; what such a server says without is doubtful, and "
        "asked for over TCP.",
    )
    health: HealthCheck = Field(
        as_written(
            {
                "name": ".",
                "type": "NS",
                "interval": "1s",
                "rise": 1,
                "fall": 2,
                "slow_start": "0s",
            }
        ),
        description="How they are probed.",
    )

    def mistakes(self) -> Iterator[Fault]:
        """Yield servers that are listed twice, and a valve that is always shut."""
        if 0 != self.bounded_load < 1:
            text = f"got {self.bounded_load:g}, want 0 or at least 1"
            yield Fault(("bounded_load",), text)
        addresses = [server.socket_address for server in self.servers]
        for index in repeated(addresses):
            text = f"got {addresses[index]} again, want it once, with a weight"
            yield Fault(("servers", index, "address"), text)

    def warnings(self) -> Iterator[Fault]:
        """Yield a time-out that outlasts the patience of clients."""
        if self.timeout_s > MOST_PATIENT_S:
            got = duration_ms_to_text(round(self.timeout_s * 1000))
            text = (
                f"{got} is more than {MOST_PATIENT_S:g}s: many clients give up after "
                "2s, before a second server was asked; want at most 1s"
            )
            yield Fault(("timeout",), text)
