"""The keys `pools` and `forward`: names that go elsewhere than all others."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Final

from dnsfront.config.sections.section import Fault
from dnsfront.config.sections.upstreams import Upstreams
from dnsfront.dns.names import qname_from_text, qname_to_text
from dnsfront.ipc.spec import DEFAULT_POOL, WORDS

#: All servers of all pools: two configs of so many have their counters side by side.
MAX_SERVERS: Final = 256


def forward_mistakes(
    upstreams: Upstreams, pools: Mapping[str, Upstreams], forward: Mapping[str, str]
) -> Iterator[Fault]:
    """Yield pools without servers, and names that go nowhere or are there twice."""
    for name, pool in pools.items():
        if not pool.servers:
            text = "got none, want a server (names without a pool: forward has words)"
            yield Fault(("pools", name, "servers"), text)
    count = sum(len(x.servers) for x in (upstreams, *pools.values()))
    if count > MAX_SERVERS:
        text = f"got {count} servers in all pools together, want at most {MAX_SERVERS}"
        yield Fault(("pools",), text)
    known = [*pools, DEFAULT_POOL, *WORDS]
    seen: set[str] = set()
    for suffix, destination in forward.items():
        path = ("forward", suffix)
        name = qname_to_text(qname_from_text(suffix))
        if name in seen:
            yield Fault(path, f"got {name} again, want it once")
        seen.add(name)
        if destination not in known:
            close = difflib.get_close_matches(destination, known, n=1)
            wanted = close[0] if close else "one of " + ", ".join(known)
            text = f'got "{destination}", want {wanted}'
            yield Fault(path, text, (("pools", destination),))
        elif destination == DEFAULT_POOL and not upstreams.servers:
            text = f"got {DEFAULT_POOL}, want a server in upstreams.servers for that"
            yield Fault(path, text, (("upstreams",),))


def forward_warnings(
    pools: Mapping[str, Upstreams], forward: Mapping[str, str], origins: list[str]
) -> Iterator[Fault]:
    """Yield pools that no name goes to, and names of zones, which go before."""
    used = set(forward.values())
    for name in pools:
        if name not in used:
            text = "no name in forward goes to it, so nothing is asked of its servers"
            yield Fault(("pools", name), text)
    for suffix in forward:
        name = qname_to_text(qname_from_text(suffix))
        if name in origins:
            text = f"the zone {name} goes before, so this is for no name"
            yield Fault(("forward", suffix), text)
