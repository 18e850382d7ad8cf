"""The upstreams of a host: a number for each, what they count, and who is up."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dnsfront.config.address import SocketAddress
from dnsfront.errors import TlsError, UnavailableError
from dnsfront.ipc import memory
from dnsfront.ipc.spec import DEFAULT_POOL, UpstreamServer
from dnsfront.ipc.stats import (
    HEALTH_MASK,
    HELD_SHIFT,
    MAX_UPSTREAMS,
    UPSTREAM_WORDS,
    Health,
    upstream_at,
)

if TYPE_CHECKING:
    from dnsfront.config.sections.upstreams import ServerEntry

_LOG = logging.getLogger(__name__)

_PAGE_OCTETS: Final = MAX_UPSTREAMS * 8

#: Its pool, its address and its port tell one upstream from another.
_Key = tuple[str, str, int]


@dataclass(frozen=True)
class Known:
    """An upstream that has an index: its pool, and its address for people."""

    pool: str
    text: str
    index: int


class UpstreamRegistry:
    """Gives every upstream of a pool an index, and keeps it as long as there is room.

    One address in two pools is two upstreams: what one pool asks of it may be what it
    knows nothing about.

    The index selects the upstream's counters in every worker's page and its word of the
    health page: `Health.UP`, which is presumed until something says otherwise. There
    are more indices than two configs can want: an address that is new gets one that was
    never used, else the one whose upstream was configured the longest ago, so that no
    worker can still wait for an answer of it. The counters of such an index are not set
    to zero, since only workers write to their pages; what they showed is subtracted
    from then on. *pages* returns the pages of all workers that there ever were.
    """

    def __init__(self, pages: Callable[[], Iterable[memoryview]]) -> None:
        self.health_fd, page = memory.own_page("dnsfront-health", _PAGE_OCTETS)
        self._health = memoryview(page).cast("Q")
        for index in range(MAX_UPSTREAMS):
            self._health[index] = Health.UP
        self._pages = pages
        # Those configured the longest ago first.
        self._indices: dict[_Key, int] = {}
        self._begins: dict[int, list[int]] = {}
        self._silent: set[int] = set()
        self._down: dict[int, tuple[str, float]] = {}
        self._faults: dict[int, TlsError] = {}

    def assign(
        self, servers: Iterable[ServerEntry], pool: str = DEFAULT_POOL
    ) -> tuple[UpstreamServer, ...]:
        """Return *servers*, which are all there are, as :meth:`assign_all` does."""
        return self.assign_all({pool: servers})[pool]

    def assign_all(
        self, pools: Mapping[str, Iterable[ServerEntry]]
    ) -> dict[str, tuple[UpstreamServer, ...]]:
        """Return the servers of *pools* with their indices; new ones get free ones.

        Raises:
            UnavailableError: there are more of them than indices.
        """
        entries = {pool: tuple(servers) for pool, servers in pools.items()}
        known = self._indices
        wanted = [_key(pool, x) for pool, servers in entries.items() for x in servers]
        if len(set(wanted)) > MAX_UPSTREAMS:
            raise UnavailableError(
                f"upstreams.servers: got {len(wanted)}, want {MAX_UPSTREAMS} at most"
            )
        for key in wanted:
            index = known.pop(key, None)
            if index is not None:
                known[key] = index
        for key in wanted:
            if key not in known:
                known[key] = self._free_index(wanted)
        return {
            pool: tuple(
                UpstreamServer(
                    index=known[_key(pool, server)],
                    address=server.address,
                    port=server.port,
                    family=server.family,
                    weight=server.weight,
                    tls=server.tls_record,
                )
                for server in servers
            )
            for pool, servers in entries.items()
        }

    def indices(
        self, servers: Iterable[ServerEntry], pool: str = DEFAULT_POOL
    ) -> list[int]:
        """Return the index of each of *servers*, which were assigned before."""
        return [self._indices[_key(pool, server)] for server in servers]

    def _free_index(self, wanted: list[_Key]) -> int:
        """Return an index for an address that is new; it counts from zero."""
        if len(self._indices) < MAX_UPSTREAMS:
            return len(self._indices)
        oldest = next(key for key in self._indices if key not in wanted)
        index = self._indices.pop(oldest)
        self._begins[index] = self._sums(index)
        self._health[index] = Health.UP
        self._silent.discard(index)
        self._down.pop(index, None)
        self._faults.pop(index, None)
        return index

    def known(self) -> list[Known]:
        """Return every upstream that still has an index."""
        return [
            Known(pool, str(SocketAddress(address, port)), index)
            for (pool, address, port), index in self._indices.items()
        ]

    def counts(self, index: int) -> list[int]:
        """Return what all workers counted of an upstream, by `Upstream`."""
        words = self._sums(index)
        if index in self._begins:
            words = [x - y for x, y in zip(words, self._begins[index], strict=True)]
        return words

    def _sums(self, index: int) -> list[int]:
        begin = upstream_at(index)
        end = begin + UPSTREAM_WORDS
        return [
            sum(x) for x in zip(*(p[begin:end] for p in self._pages()), strict=True)
        ] or [0] * UPSTREAM_WORDS

    def is_up(self, index: int) -> bool:
        """Return whether the health page says that upstream *index* is to be asked."""
        return self._health[index] & HEALTH_MASK == Health.UP

    def is_heard(self, index: int) -> bool:
        """Return whether upstream *index* says anything, useful or not."""
        return self.is_up(index) or index not in self._silent

    def why_down(self, index: int) -> tuple[str, float] | None:
        """Return what put upstream *index* down, and when by the epoch; None if up."""
        return self._down.get(index)

    def tls_fault(self, index: int) -> TlsError | None:
        """Return why upstream *index* is not believed over TLS, None if it is."""
        return self._faults.get(index)

    def believe(self, index: int, error: TlsError | None) -> None:
        """Note whether upstream *index* is believed, and tell once when it is not."""
        before = self._faults.pop(index, None)
        if error is not None:
            self._faults[index] = error
        if (before and before.fault) == (error and error.fault):
            return
        pool, text = next((x.pool, x.text) for x in self.known() if x.index == index)
        if error is None:
            _LOG.info("upstream_believed upstream=%s pool=%s", text, pool)
            return
        _LOG.warning(
            "upstream_not_believed upstream=%s pool=%s fault=%s reason=%s",
            text, pool, error.fault, error,
        )  # fmt: skip

    def mark(
        self,
        index: int,
        health: Health,
        *,
        is_heard: bool = False,
        reason: str = "probes",
        held: int = 0,
    ) -> None:
        """Tell every worker what to think of upstream *index*, and note why.

        Of its names *held* in sixteen are still asked of others.
        """
        self._health[index] = health | held << HELD_SHIFT
        if health == Health.UP:
            self._down.pop(index, None)
        else:
            since = self._down.get(index, ("", time.time()))[1]
            self._down[index] = (reason, since)
        if is_heard or health == Health.UP:
            self._silent.discard(index)
        else:
            self._silent.add(index)

    def close(self) -> None:
        """Give up the descriptor; mappings of the page live on."""
        os.close(self.health_fd)


def _key(pool: str, server: ServerEntry) -> _Key:
    return (pool, server.address, server.port)
