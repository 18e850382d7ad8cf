"""The host gets other addresses or another way out: upstreams are reached as before."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import NamedTuple

import dns.rcode
import pytest

from tests.namespaces import OtherNetwork, ip
from tests.system.clients import ask
from tests.system.front import Address, FrontEnd
from tests.system.processes import needed, output_of
from tests.system.upstream import FakeUpstream
from tests.waiting import eventually

_UPSTREAM = {4: Address("10.53.0.53", 5300), 6: Address("fd53::53", 5300)}
_GATEWAY = {4: "10.1.{}.2", 6: "fd01:{}::2"}
_PREFIX = {4: "/24", 6: "/64"}
_numbers = count()


def _host(version: int, link: int, number: int) -> str:
    return f"10.1.{link}.{number}" if version == 4 else f"fd01:{link}::{number}"


class Site(NamedTuple):
    """A front end, and the network across two links where its upstreams are."""

    front: FrontEnd
    there: OtherNetwork
    upstream: FakeUpstream
    version: int

    def route(self, link: int) -> None:
        """Have the way to the upstream go over one of the links."""
        version, host = self.version, self.upstream.address.host
        gateway = _GATEWAY[version].format(link)
        ip(f"-{version}", "route", "replace", host, "via", gateway, "dev", f"up{link}")

    def wait_for_neighbour(self, host: str) -> None:
        """Wait until the other side finds *host*: IPv6 may take seconds to tell of it.

        What is sent there until then is lost, by nobody's fault.
        """

        def is_found() -> bool:
            with self.there.inside():
                family = socket.AF_INET6 if self.version == 6 else socket.AF_INET
                with socket.socket(family, socket.SOCK_DGRAM) as sock:
                    sock.sendto(b"", (host, 9))
                return "lladdr" in output_of("ip", "neighbour", "show", host)

        eventually(is_found, within_s=10)

    def ask_anew(self, names: int) -> None:
        """Ask for names never asked for; each must be answered within two seconds."""
        for _ in range(names):
            name = f"n{next(_numbers)}.example."
            response = ask(self.front.address, name, timeout_s=2)
            assert response.rcode() == dns.rcode.NOERROR

    def replaced(self, reason: str) -> float:
        """Return how many ports were given up for *reason*."""
        return self.front.metrics().value(
            "upstream_ports_replaced_total",
            upstream=str(self.upstream.address),
            reason=reason,
        )


def _address(version: int, verb: str, link: int, number: int, end: str) -> None:
    text = _host(version, link, number) + _PREFIX[version]
    extra = ("nodad",) if version == 6 and verb == "add" else ()
    ip("address", verb, text, "dev", f"{end}{link}", *extra)


@pytest.fixture(
    params=[(4, "800ms"), (6, "2s")], ids=["IPv4", "IPv6 and a long time-out"]
)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    needed("ip")
    version, timeout = request.param
    with ExitStack() as stack:
        there = stack.enter_context(OtherNetwork())
        for link in (1, 2):
            there.link(f"up{link}", f"down{link}")
            stack.callback(ip, "link", "delete", f"up{link}")
            _address(version, "add", link, 1, "up")
        with there.inside():
            for link in (1, 2):
                _address(version, "add", link, 2, "down")
            length = {4: "32", 6: "128"}[version]
            ip("address", "add", f"{_UPSTREAM[version].host}/{length}", "dev", "lo")
            upstream = stack.enter_context(FakeUpstream(address=_UPSTREAM[version]))
        servers = [{"address": str(upstream.address)}]
        upstreams = {"servers": servers, "timeout": timeout}
        made = FrontEnd(tmp_path, upstreams=upstreams, ring={"workers": 1})
        found = Site(made, there, upstream, version)
        found.route(1)
        stack.enter_context(made)
        # Enough for each of the ports to have been drawn.
        found.ask_anew(100)
        yield found


def test_misses_are_answered_after_the_host_was_renumbered(site: Site) -> None:
    _address(site.version, "del", 1, 1, "up")
    _address(site.version, "add", 1, 7, "up")
    site.route(1)
    site.wait_for_neighbour(_host(site.version, 1, 7))

    site.ask_anew(40)

    assert site.replaced("error") + site.replaced("silent") > 0
    assert {asked.client.host for asked in site.upstream.asked[-10:]} == {
        _host(site.version, 1, 7)
    }


def test_misses_are_answered_after_the_route_moved(site: Site) -> None:
    with site.there.inside():
        ip("link", "set", "down1", "down")
    site.route(2)
    site.wait_for_neighbour(_host(site.version, 2, 1))

    site.ask_anew(40)

    assert site.replaced("error") + site.replaced("silent") > 0
    assert {asked.client.host for asked in site.upstream.asked[-10:]} == {
        _host(site.version, 2, 1)
    }
