"""What a worker is told about itself: plain data, sent as JSON in a memfd.

The supervisor validates the config and reads the zone files; a worker gets only the
result, so it needs neither YAML nor pydantic nor the right to read those files.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

#: An address, a port and a family: what tells one listener from another.
Place = tuple[str, int, int]
#: Tries of one question, each of an upstream for a time-out.
MAX_TRIES: Final = 3
#: The least time that a worker has to finish, and what it has beyond the last time-out.
_DRAIN_WITHIN_S: Final = 5.0
_DRAIN_SPARE_S: Final = 2.0


@dataclass(frozen=True)
class Listener:
    """One address that is served over UDP and over TCP.

    *family* is ``socket.AF_INET`` or ``AF_INET6`` as a number; *is_wildcard* asks for
    the reply to leave from the address that was asked (PKTINFO). *number*, 0 to 255, is
    what the workers of one supervisor call it for as long as it is served.
    """

    address: str
    port: int
    family: int
    is_wildcard: bool
    number: int = 0

    @property
    def place(self) -> Place:
        """What it is bound to, the same in this process and in its successor."""
        return (self.address, self.port, self.family)


@dataclass(frozen=True)
class UpstreamServer:
    """A resolver that misses go to.

    *index* is its place in the shared upstream counters and health bitmap; the
    supervisor gives an address the same index for as long as it runs.
    """

    index: int
    address: str
    port: int
    family: int
    weight: int


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
class WorkerSpec:
    """Everything of the config that a worker acts on; equal for all but its name."""

    worker_id: int
    name: str
    listeners: tuple[Listener, ...]
    hash_key_hex: str
    steering: str  # "ebpf" or "userspace"
    upstream_policy: str  # "chash", "ordered" or "least_outstanding"
    upstream_timeout_s: float
    upstream_servers: tuple[UpstreamServer, ...]
    zones: tuple[ZoneImage, ...]
    cache_max_entries: int
    cache_max_octets: int
    cache_max_entry_octets: int
    cache_min_ttl_s: int
    cache_max_ttl_s: int
    cache_serve_stale_s: int
    cache_prefetch: bool
    cache_rotate: bool
    edns_udp_size: int
    identity_id: str
    identity_version: str
    limits: Limits
    access_allow: tuple[str, ...]
    access_deny: str  # "refuse" or "drop"
    log_level: str

    @property
    def drain_within_s(self) -> float:
        """How long a query may be pending that no upstream answers, and no less."""
        waits_s = self.upstream_timeout_s * MAX_TRIES if self.upstream_servers else 0
        return max(_DRAIN_WITHIN_S, waits_s + _DRAIN_SPARE_S)

    def to_json(self) -> bytes:
        """Return the spec as UTF-8 JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, octets: bytes) -> WorkerSpec:
        """Return the spec that :meth:`to_json` wrote."""
        fields: dict[str, Any] = json.loads(octets)
        fields["listeners"] = tuple(Listener(**x) for x in fields["listeners"])
        fields["upstream_servers"] = tuple(
            UpstreamServer(**x) for x in fields["upstream_servers"]
        )
        fields["limits"] = Limits(**fields["limits"])
        fields["zones"] = tuple(ZoneImage(**x) for x in fields["zones"])
        fields["access_allow"] = tuple(fields["access_allow"])
        return cls(**fields)
