"""What a worker is told about itself: records, sent as JSON in a memfd.

The supervisor validates the config and reads the zone files; a worker gets only the
result, so it needs neither YAML nor pydantic nor the right to read those files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from dnsfront.dns.settings import CacheSettings
from dnsfront.ipc.transports import TRANSPORTS, Transport

#: An address, a port and a family.
Endpoint = tuple[str, int, int]
#: An endpoint's address, port and family, and a transport.
ListenerKey = tuple[str, int, int, str]
#: How a pool chooses among its servers.
Policy = Literal["chash", "ordered", "least_outstanding", "fastest"]
#: What the pool of the section `upstreams` is called among those with names.
DEFAULT_POOL: Final = "default"
#: What `forward` may have in place of a pool.
WORDS: Final = ("refuse", "nxdomain", "local")
#: Those that tell nothing, not even which DS records there are.
REFUSING: Final = frozenset(("refuse", "nxdomain"))
#: What a rule does with queries that it matches.
Action = Literal[
    "nxdomain",
    "nodata",
    "refuse",
    "drop",
    "tc",
    "address",
    "cname",
    "no_cache",
    "pass",
]
#: What clients get that are not let in.
Denial = Literal["refuse", "drop"]
#: The least that is logged.
LogLevel = Literal["debug", "info", "warning", "error"]
#: Tries of one question, each of an upstream for a time-out.
MAX_TRIES: Final = 3
#: How many rules there may be, and are counted, each by its place in the config.
MAX_RULES: Final = 64
#: The least time that a worker has to finish, and what it has beyond the last time-out.
_LEAST_DRAIN_S: Final = 5.0
_DRAIN_SPARE_S: Final = 2.0


def endpoint_text(address: str, port: int) -> str:
    """Return *address* and *port* as the config spells them: IPv6 in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@dataclass(frozen=True)
class Listener:
    """One address that is served over one transport.

    *family* is ``socket.AF_INET`` or ``AF_INET6`` as a number, *transport* one of
    `TRANSPORTS`; *is_wildcard* asks for the reply to leave from the address that was
    asked (PKTINFO). *number*, 0 to 255, is what the workers of one supervisor call it
    for as long as it is served; *index* tells which entry of `listen` asks for it.
    """

    address: str
    port: int
    family: int
    transport: str
    is_wildcard: bool
    number: int = 0
    index: int = field(default=0, compare=False)

    @property
    def endpoint(self) -> Endpoint:
        """What its socket is bound to."""
        return (self.address, self.port, self.family)

    @property
    def key(self) -> ListenerKey:
        """What tells it from others, in this process and in its successor."""
        return (*self.endpoint, self.transport)

    @property
    def over(self) -> Transport:
        """Its transport."""
        return TRANSPORTS[self.transport]


@dataclass(frozen=True)
class UpstreamTls:
    """How a server proves who it is.

    *name* stands in its certificate, which one of *authorities* vouches for: those are
    PEM, in pieces. Its key is one of *pins*, if there are any.
    """

    name: str
    authorities: tuple[str, ...]
    pins: tuple[str, ...] = ()


@dataclass(frozen=True)
class UpstreamServer:
    """One address of a pool, which misses go to, over TLS alone where *tls* is given.

    *index* is its position in the shared counters and on the page `health`; the
    supervisor gives an address the same index for as long as it runs.
    """

    index: int
    address: str
    port: int
    family: int
    weight: int
    tls: UpstreamTls | None = None


@dataclass(frozen=True)
class ZoneImage:
    """A zone answered here: its origin, the digest of its file, and where its image is.

    *pack* names the memory, which other zones may share; what is in it never changes.
    """

    origin: str
    digest: str
    pack: str
    at: int
    octets: int


@dataclass(frozen=True)
class ListImage:
    """A list of names: the digest of its file, and where its image is."""

    digest: str
    pack: str
    at: int
    octets: int


@dataclass(frozen=True)
class RuleSettings:
    """An entry of `rules`; *number* counts from 1, and chooses its counter.

    Its names are *names*, or those of *image*, or all. *error* is an Extended DNS Error
    of RFC 8914, 0 for none.
    """

    number: int
    clients: tuple[str, ...]
    transport: str | None
    types: tuple[int, ...]
    names: tuple[str, ...]
    image: ListImage | None
    action: Action
    addresses: tuple[str, ...]
    target: str | None
    ttl_s: int
    error: int


@dataclass(frozen=True)
class Limits:
    """What strangers may cost one worker; the keys of `limits` in the config."""

    tcp_connections: int
    tcp_connections_per_client: int
    tcp_queries_per_connection: int
    tcp_idle_s: float
    tcp_memory_octets: int
    pending: int
    pending_per_zone: int
    waiters_per_fetch: int


@dataclass(frozen=True)
class PoolSettings:
    """Upstream servers with one policy; the keys of `upstreams` in the config."""

    policy: Policy
    timeout_s: float
    servers: tuple[UpstreamServer, ...]
    name: str = DEFAULT_POOL
    bounded_load: float = 0
    hedge: bool = False
    mixed_case: bool = False
    cookies: bool = False


@dataclass(frozen=True)
class ForwardRule:
    """An entry of `forward`: a name and all below it, and a pool or one of `WORDS`."""

    suffix: str
    destination: str


@dataclass(frozen=True)
class AccessSettings:
    """Who may ask, and what all others get; the keys of `access` in the config."""

    allow: tuple[str, ...]
    deny: Denial


@dataclass(frozen=True)
class EdnsSettings:
    """The keys of `edns` in the config; *cookie_secrets* are 16 octets each, in hex."""

    udp_size: int
    cookies: bool = False
    cookie_secrets: tuple[str, ...] = ()


@dataclass(frozen=True)
class IdentitySettings:
    """What is told to who asks which server this is; the keys of `identity`."""

    id: str
    version: str


@dataclass(frozen=True)
class LogSettings:
    """The keys of `log` in the config."""

    level: LogLevel


@dataclass(frozen=True)
class WorkerSpec:
    """Everything of the config that a worker acts on; equal for all but its name.

    Each part has the keys of one section, so what a change concerns shows in comparing
    the parts.
    """

    worker_id: int
    name: str
    listeners: tuple[Listener, ...]
    hash_key_hex: str
    steering: str  # "ebpf" or "userspace"
    upstreams: PoolSettings
    zones: tuple[ZoneImage, ...]
    special_names: tuple[str, ...]
    rules: tuple[RuleSettings, ...]
    cache: CacheSettings
    edns: EdnsSettings
    identity: IdentitySettings
    limits: Limits
    access: AccessSettings
    log: LogSettings
    #: The pools with names that `forward` uses.
    pools: tuple[PoolSettings, ...] = ()
    forward: tuple[ForwardRule, ...] = ()

    @property
    def packs(self) -> frozenset[str]:
        """The memory that the images of zones and of lists lie in."""
        lists = [rule.image for rule in self.rules if rule.image is not None]
        return frozenset(
            (*(zone.pack for zone in self.zones), *(x.pack for x in lists))
        )

    @property
    def hash_key(self) -> bytes:
        """The key of the qname hash."""
        return bytes.fromhex(self.hash_key_hex)

    @property
    def drain_timeout_s(self) -> float:
        """How long a query may be pending that no upstream answers, and no less."""
        timeouts_s = [x.timeout_s for x in self.all_pools if x.servers]
        waits_s = max(timeouts_s, default=0) * MAX_TRIES
        return max(_LEAST_DRAIN_S, waits_s + _DRAIN_SPARE_S)

    @property
    def all_pools(self) -> tuple[PoolSettings, ...]:
        """The default pool, and those with names."""
        return (self.upstreams, *self.pools)
