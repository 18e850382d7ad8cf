"""The upstreams of a host: a number for each, what they count, and who is up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from dnsfront.config.address import SocketAddress
from dnsfront.errors import UnavailableError
from dnsfront.ipc import memory
from dnsfront.ipc.spec import UpstreamServer
from dnsfront.ipc.stats import (
    MAX_UPSTREAMS,
    UPSTREAM_WORDS,
    Health,
    upstream_at,
)

if TYPE_CHECKING:
    from dnsfront.config.sections.upstreams import ServerEntry

_PAGE_OCTETS: Final = MAX_UPSTREAMS * 8

#: Its address and its port tell one upstream from another.
_Key = tuple[str, int]


class UpstreamRegistry:
    """Gives every address and port an index, and keeps it as long as there is room.

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

    def assign(self, servers: Iterable[ServerEntry]) -> tuple[UpstreamServer, ...]:
        """Return *servers* with their indices; new addresses get free ones.

        Raises:
            UnavailableError: there are more of them than indices.
        """
        servers = tuple(servers)
        known = self._indices
        wanted = [(server.address, server.port) for server in servers]
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
        return tuple(
            UpstreamServer(
                index=known[server.address, server.port],
                address=server.address,
                port=server.port,
                family=server.family,
                weight=server.weight,
            )
            for server in servers
        )

    def indices(self, servers: Iterable[ServerEntry]) -> list[int]:
        """Return the index of each of *servers*, which were assigned before."""
        return [self._indices[server.address, server.port] for server in servers]

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
        return index

    def texts(self) -> dict[str, int]:
        """Return the index of every upstream that is still known, by its address."""
        return {str(SocketAddress(*key)): index for key, index in self._indices.items()}

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
        return self._health[index] == Health.UP

    def is_heard(self, index: int) -> bool:
        """Return whether upstream *index* says anything, useful or not."""
        return self.is_up(index) or index not in self._silent

    def why_down(self, index: int) -> tuple[str, float] | None:
        """Return what put upstream *index* down, and when by the epoch; None if up."""
        return self._down.get(index)

    def mark(
        self,
        index: int,
        health: Health,
        *,
        is_heard: bool = False,
        reason: str = "probes",
    ) -> None:
        """Tell every worker what to think of upstream *index*, and note why."""
        self._health[index] = health
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
