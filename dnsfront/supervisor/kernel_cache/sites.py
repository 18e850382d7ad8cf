"""Where the kernel is to answer: at which interfaces, by which hook, for what.

Pure: it is told the config's wishes and what the host has.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dnsfront.ipc.spec import Endpoint, Listener
from dnsfront.kernel.hook import HookMode
from dnsfront.supervisor.host.interfaces import Interface


@dataclass(frozen=True)
class Site:
    """An interface, and the hooks to be tried there, the best first."""

    interface: str
    modes: tuple[HookMode, ...]


def endpoints(
    listeners: Iterable[Listener], host: Iterable[Interface]
) -> frozenset[Endpoint]:
    """Return the addresses of *host* that *listeners* serve over UDP.

    Wildcards stand for all addresses of their family but those of one link only, which
    are the same on several links.
    """
    addresses = {x for interface in host for x in interface.addresses}
    found: set[Endpoint] = set()
    for listener in listeners:
        if listener.transport != "udp":
            continue
        for packed in addresses:
            ip = ipaddress.ip_address(packed)
            family = int(socket.AF_INET if ip.version == 4 else socket.AF_INET6)
            if family != listener.family or (ip.version == 6 and ip.is_link_local):
                continue
            if listener.is_wildcard or str(ip) == listener.address:
                found.add((str(ip), listener.port, family))
    return frozenset(found)


def own_addresses(host: Iterable[Interface]) -> frozenset[str]:
    """Return all addresses of *host*, which come as senders over its lo alone."""
    return frozenset(_text(x) for interface in host for x in interface.addresses)


def broadcasts(host: Iterable[Interface]) -> frozenset[str]:
    """Return the broadcasts of *host*'s networks, from which nobody sends."""
    return frozenset(_text(x) for interface in host for x in interface.broadcasts)


def _text(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


def sites(
    mode: str,
    names: Sequence[str],
    served: Iterable[Endpoint],
    host: Iterable[Interface],
) -> tuple[Site, ...]:
    """Return where to answer, for the keys `mode` and `interfaces` of the config.

    Without *names*, at those that carry an address of *served*; a name that *host* does
    not have is returned all the same, for whoever attaches to tell.
    """
    known = {interface.name: interface for interface in host}
    packed = {socket.inet_pton(family, address) for address, _, family in served}
    wanted = names or [
        name for name, interface in known.items() if interface.addresses & packed
    ]
    return tuple(Site(name, _modes(mode, known.get(name))) for name in wanted)


def _modes(mode: str, interface: Interface | None) -> tuple[HookMode, ...]:
    if mode == "tc":
        return ("tc",)
    if mode == "xdp":
        return ("xdp", "xdp_generic")
    # A device's own driver is the cheapest place of all. Where there is none, generic
    # XDP has a packet no sooner than TC, and hides it from packet taps.
    is_device = interface is not None and interface.is_device
    return ("xdp", "tc", "xdp_generic") if is_device else ("tc", "xdp_generic")
