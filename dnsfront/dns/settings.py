"""What the operator wants of the cache: the keys of the config's section `cache`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CacheSettings:
    """What one worker's cache may hold, and for how long."""

    max_entries: int
    max_size_octets: int
    max_entry_size_octets: int
    min_ttl_s: int
    max_ttl_s: int
    serve_stale_s: int
    prefetch: bool
    rotate: bool = False
    serve_stale_after_s: float = 1.8
    deny_below: bool = False
