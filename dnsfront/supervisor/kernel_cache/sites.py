"""Where the kernel is to answer: at which interfaces, by which hook, for what.

Pure: it is told the config's wishes and what the host has.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dnsfront.ipc.spec import Endpoint, Listener
from dnsfront.kernel.hook import HookMode
from dnsfront.supervisor.host.interfaces import Interface

#: Where packets of this host alone come in, which its own output has let out.
_LOOPBACK: Final = "lo"


@dataclass(frozen=True)
class Site:
    """An interface, and the hooks to be tried there, the best first.

    Or a *refusal*: why it is better not to.
    """

    interface: str
    modes: tuple[HookMode, ...]
    refusal: str = ""
    #: Somebody asked for it by the name of the hook, and wants to be told.
    is_asked_for: bool = True


def endpoints(
    listeners: Iterable[Listener], host: Iterable[Interface]
) -> dict[Endpoint, bool]:
    """Return the addresses of *host* that *listeners* serve over UDP.

    The value tells those of a wildcard alone. It stands for all addresses of its family
    but those of one link only, which are the same on several links.
    """
    addresses = {x for interface in host for x in interface.addresses}
    found: dict[Endpoint, bool] = {}
    for listener in listeners:
        if listener.transport != "udp":
            continue
        for packed in addresses:
            ip = ipaddress.ip_address(packed)
            family = int(socket.AF_INET if ip.version == 4 else socket.AF_INET6)
            if family != listener.family or (ip.version == 6 and ip.is_link_local):
                continue
            if listener.is_wildcard or str(ip) == listener.address:
                endpoint = (str(ip), listener.port, family)
                found[endpoint] = found.get(endpoint, True) and listener.is_wildcard
    return found


def sites(
    mode: str,
    names: Sequence[str],
    served: Iterable[Endpoint],
    host: Iterable[Interface],
    filters: Sequence[str] = (),
) -> tuple[Site, ...]:
    """Return where to answer, for the keys `mode` and `interfaces` of the config.

    Without *names*, at those that carry an address of *served*; a name that *host* does
    not have is returned all the same, for whoever attaches to tell. Where *filters*
    have a say of packets, only `auto` cares: an answer comes before they are asked.
    """
    packed = {socket.inet_pton(family, address) for address, _, family in served}
    wanted = names or [x.name for x in host if x.addresses & packed]
    bare = {interface.name for interface in host if not interface.has_ethernet}
    drivers = {interface.name: interface.driver for interface in host}
    return tuple(
        Site(
            name,
            _modes(mode, drivers.get(name, "")),
            _refusal(mode, name, bare, filters),
            is_asked_for=mode != "auto",
        )
        for name in wanted
    )


def _modes(mode: str, driver: str) -> tuple[HookMode, ...]:
    # What XDP in veth sends back is lost, unless the peer has a program as well.
    if mode == "xdp" and driver != "veth":
        return ("xdp", "xdp_generic")
    return ("xdp_generic",) if mode == "xdp" else ("tc",)


def _refusal(
    mode: str, name: str, bare: Collection[str], filters: Sequence[str]
) -> str:
    if name in bare:
        return f"answer at {name} ({mode}): its packets have no Ethernet header"
    if mode != "auto" or name == _LOOPBACK or not filters:
        return ""
    more = f" and {len(filters) - 1} more" if filters[1:] else ""
    return (
        f"answer at {name} (auto): this host filters packets ({filters[0]}{more}), and"
        ' an answer in the kernel comes before that; say "mode: tc" to have it anyway'
    )
