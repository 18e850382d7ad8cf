"""Names that are not for the world's servers, and the small zones that answer them.

Pure. What they say is what unbound says of them, where both know the name, octet for
octet; `docs/conformance.md` has the RFC of each and what is done otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.names import ancestors, qname_from_text
from dnsfront.dns.zones.authority import Zone
from dnsfront.dns.zones.image import Image, encode, encode_rrset, in_buckets
from dnsfront.dns.zones.records import AAAA, NS, PTR

_TTL_S: Final = 10800
_LOCALHOST: Final = qname_from_text("localhost")
_IPV4ONLY: Final = qname_from_text("ipv4only.arpa")
#: RFC 6303, 3, with the primary that unbound names.
_SOA: Final = (
    _LOCALHOST
    + qname_from_text("nobody.invalid")
    + struct.pack("!5I", 1, 3600, 1200, 604800, _TTL_S)
)

#: Data by type, of one name.
_Node = dict[int, tuple[bytes, ...]]
#: Nodes by name, of one zone.
_Nodes = dict[bytes, _Node]

_LOOPBACK: Final[_Node] = {
    wire.A: (bytes((127, 0, 0, 1)),),
    AAAA: (bytes(15) + b"\1",),
}


def _nothing(_origin: bytes) -> _Nodes:
    return {}


def _loopback(origin: bytes) -> _Nodes:
    # RFC 6761, 6.3: names below it are it.
    return {origin: _LOOPBACK, b"\1*" + origin: _LOOPBACK}


def _pointing_to(target: bytes, name: str = "") -> Callable[[bytes], _Nodes]:
    def nodes(origin: bytes) -> _Nodes:
        return {qname_from_text(name) if name else origin: {PTR: (target,)}}

    return nodes


def _nat64(origin: bytes) -> _Nodes:
    return {origin: {wire.A: (bytes((192, 0, 0, 170)), bytes((192, 0, 0, 171)))}}


def _discovery(origin: bytes) -> _Nodes:
    # RFC 9462, 4: a resolver that names no other denies the type, not the name.
    return {qname_from_text("_dns")[:-1] + origin: {}}


_PRIVATE: Final[Mapping[str, Callable[[bytes], _Nodes]]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "0.in-addr.arpa",
                "10.in-addr.arpa",
                *(f"{i}.172.in-addr.arpa" for i in range(16, 32)),
                "168.192.in-addr.arpa",
                # RFC 7793: what providers share.
                *(f"{i}.100.in-addr.arpa" for i in range(64, 128)),
                "254.169.in-addr.arpa",
                "2.0.192.in-addr.arpa",
                "100.51.198.in-addr.arpa",
                "113.0.203.in-addr.arpa",
                "255.255.255.255.in-addr.arpa",
                "0." * 32 + "ip6.arpa",
                "d.f.ip6.arpa",
                *(f"{i}.e.f.ip6.arpa" for i in "89ab"),
                "8.b.d.0.1.0.0.2.ip6.arpa",
            ),
            _nothing,
        ),
        "127.in-addr.arpa": _pointing_to(_LOCALHOST, "1.0.0.127.in-addr.arpa"),
        "1." + "0." * 31 + "ip6.arpa": _pointing_to(_LOCALHOST),
    }
)
#: What each name's zone holds beside SOA and NS.
_NAMES: Final[Mapping[str, Callable[[bytes], _Nodes]]] = MappingProxyType(
    {
        "localhost": _loopback,
        **dict.fromkeys(
            ("invalid", "onion", "alt", "local", "test", "home.arpa"), _nothing
        ),
        "resolver.arpa": _discovery,
        "ipv4only.arpa": _nat64,
        "170.0.0.192.in-addr.arpa": _pointing_to(_IPV4ONLY),
        "171.0.0.192.in-addr.arpa": _pointing_to(_IPV4ONLY),
        **_PRIVATE,
    }
)

#: Words that stand for several names: the reverse zones of RFC 6303 and RFC 7793.
GROUPS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"private": frozenset(_PRIVATE)}
)
#: Every name that can be answered as a special one.
NAMES: Final = tuple(_NAMES)
#: Those that are not, if nobody asks for it: RFC 6761, 6.2 is about servers that would
#: ask the root's, and networks for tests are what front ends stand before too.
OFF: Final = frozenset({"test"})

#: Names of which only one question is answered where there are upstreams, since theirs
#: may know more of it. RFC 8880, 7.1: a resolver that makes IPv6 addresses tells its
#: prefix by those of this name.
_ONLY: Final = MappingProxyType({"ipv4only.arpa": wire.A.to_bytes(2, "big") + b"\0\1"})


def in_force(off: Iterable[str], on: Iterable[str]) -> tuple[str, ...]:
    """Return the names that are special; those *on* are, though *off* says a group."""
    plain = OFF | _names(off)
    wanted = _names(on)
    return tuple(name for name in NAMES if name in wanted or name not in plain)


def _names(words: Iterable[str]) -> frozenset[str]:
    return frozenset().union(*(GROUPS.get(word, (word,)) for word in words))


@cache
def zone_of(name: str) -> Zone:
    """Return the zone that answers a special name and all names below it."""
    origin = qname_from_text(name)
    nodes: _Nodes = {origin: {}}
    for owner, node in _NAMES[name](origin).items():
        # A name that exists only by those below it exists.
        for ancestor in ancestors(owner):
            if ancestor == origin:
                break
            nodes.setdefault(ancestor, {})
        nodes[owner] = node
    nodes[origin] = {wire.SOA: (_SOA,), NS: (_LOCALHOST,), **nodes[origin]}
    encoded = (
        (
            owner,
            len(nodes[owner]),
            b"".join(encode_rrset(x, _TTL_S, y) for x, y in nodes[owner].items()),
        )
        for owner in in_buckets(nodes)
    )
    image = b"".join(encode(origin, len(nodes), encoded, 0))
    return Zone(Image(memoryview(image)), only=_ONLY.get(name, b""), is_special=True)
