"""The upstreams a host has known: a number for each, and a shared page of who is up."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from dnsfront.errors import UnavailableError
from dnsfront.ipc.spec import UpstreamServer
from dnsfront.ipc.stats import MAX_UPSTREAMS
from dnsfront.supervisor.listeners import address_text

if TYPE_CHECKING:
    from dnsfront.config.sections import UpstreamServer as ConfiguredServer

_PAGE_OCTETS: Final = MAX_UPSTREAMS * 8


class UpstreamRegistry:
    """Gives every address and port one index for the life of the supervisor.

    The index selects the upstream's counters in every worker's page and its word of the
    health page: 1 for up, which is presumed until a probe says otherwise.
    """

    def __init__(self) -> None:
        self.health_fd = os.memfd_create("dnsfront-health", os.MFD_CLOEXEC)
        os.ftruncate(self.health_fd, _PAGE_OCTETS)
        self._health = memoryview(mmap.mmap(self.health_fd, _PAGE_OCTETS)).cast("Q")
        for index in range(MAX_UPSTREAMS):
            self._health[index] = 1
        self._indices: dict[tuple[str, int], int] = {}

    def assign(self, servers: Iterable[ConfiguredServer]) -> tuple[UpstreamServer, ...]:
        """Return *servers* with their indices; new addresses get the next free ones.

        Raises:
            UnavailableError: there is no index left; then none was given away.
        """
        servers = tuple(servers)
        known = self._indices
        new = [
            (server.address, server.port)
            for server in servers
            if (server.address, server.port) not in known
        ]
        if len(known) + len(new) > MAX_UPSTREAMS:
            raise UnavailableError(
                f"upstreams.servers: this server has met {len(known)} upstreams since "
                f"its start and has room for {MAX_UPSTREAMS}; restart it"
            )
        for address in new:
            known[address] = len(known)
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

    def texts(self) -> dict[str, int]:
        """Return the index of every upstream ever known, by its address as text."""
        return {address_text(*key): index for key, index in self._indices.items()}

    def is_up(self, index: int) -> bool:
        """Return what the health page says about upstream *index*."""
        return bool(self._health[index])

    def mark(self, index: int, *, is_up: bool) -> None:
        """Tell every worker whether upstream *index* answers."""
        self._health[index] = int(is_up)

    def close(self) -> None:
        """Give up the descriptor; mappings of the page live on."""
        os.close(self.health_fd)
