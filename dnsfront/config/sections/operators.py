"""The sections `admin` and `log`: what operators and their programs see."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from pydantic import Field

from dnsfront.config.sections.section import Fault, Section, as_written
from dnsfront.config.socket_path import DEFAULT_CONTROL_SOCKET
from dnsfront.config.values import Address, Network, SocketPath
from dnsfront.ipc.spec import LogLevel


class Admin(Section):
    """Where operators and their programs reach the running server."""

    listen: Address = Field(
        as_written("127.0.0.1:9353"),
        description="IP:port of /metrics, /healthz, /readyz and /ring.json over HTTP.",
    )
    allow: tuple[Network, ...] = Field(
        ("127.0.0.0/8", "::1/128"),
        description="Networks that may read them; all others get 403. Whoever scrapes "
        "from another host has to be in it.",
        json_schema_extra={"minItems": 1},
    )
    socket: SocketPath = Field(
        as_written(DEFAULT_CONTROL_SOCKET),
        description="Control socket of status, reload, stop, drain and flush.",
    )

    def mistakes(self) -> Iterator[Fault]:
        """Yield a list that lets nobody in."""
        if not self.allow:
            text = "got an empty list, want a network (nobody could read the metrics)"
            yield Fault(("allow",), text)

    def warnings(self) -> Iterator[Fault]:
        """Yield an address for other hosts that none of them may use."""
        is_loopback = ip_address(self.listen.host).is_loopback
        if not is_loopback and "allow" not in self.model_fields_set:
            text = (
                f"not given while listen is {self.listen}: only this host's loopback "
                "addresses may read the metrics; want the networks that scrape them"
            )
            yield Fault(("allow",), text)


class Log(Section):
    """What is written to stderr."""

    level: LogLevel = Field(
        "info", description="The least important lines that are written."
    )
