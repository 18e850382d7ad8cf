"""Whether each upstream answers, asked once a second over UDP."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from dnsfront.ipc.stats import Health
from dnsfront.supervisor.listeners import address_text

if TYPE_CHECKING:
    from dnsfront.ipc.spec import UpstreamServer
    from dnsfront.supervisor.upstreams import UpstreamRegistry

_LOG = logging.getLogger(__name__)

_INTERVAL_S: Final = 1.0
#: One lost datagram says nothing about a resolver that answered before.
_FAILURES_TO_DOWN: Final = 2
_MAX_RESPONSE_OCTETS: Final = 4096
#: RD=0, one question: the root's NS. A resolver says something to it at once, if only
#: REFUSED, whereas with RD=1 one without a way to the root would be thought dead.
_PROBE_AFTER_ID: Final = bytes.fromhex("0000 0001 0000 0000 0000 00 0002 0001")


class HealthChecker:
    """Probes the upstreams it was given last and writes the shared health page."""

    def __init__(self, registry: UpstreamRegistry) -> None:
        self._registry = registry
        self._tasks: dict[UpstreamServer, asyncio.Task[None]] = {}
        self._timeout_s = 0.0

    def watch(self, servers: Iterable[UpstreamServer], timeout_s: float) -> None:
        """Probe exactly *servers* from now on, *timeout_s* for each response."""
        self._timeout_s = timeout_s
        wanted = set(servers)
        for server in self._tasks.keys() - wanted:
            self._tasks.pop(server).cancel()
        for server in wanted - self._tasks.keys():
            self._tasks[server] = asyncio.create_task(
                self._watch_one(server), name=f"health of upstream {server.index}"
            )

    async def close(self) -> None:
        """Stop probing."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch_one(self, server: UpstreamServer) -> None:
        # Nobody has answered yet, so the first silence counts at once.
        failures = _FAILURES_TO_DOWN - 1
        while True:
            if await is_answering(server, self._timeout_s):
                failures = 0
                self._mark(server, is_up=True)
            else:
                failures += 1
                if failures >= _FAILURES_TO_DOWN:
                    self._mark(server, is_up=False)
            await asyncio.sleep(_INTERVAL_S)

    def _mark(self, server: UpstreamServer, *, is_up: bool) -> None:
        if self._registry.is_up(server.index) == is_up:
            return
        self._registry.mark(server.index, Health.UP if is_up else Health.DOWN)
        address = address_text(server.address, server.port)
        if is_up:
            _LOG.info("upstream_up upstream=%s", address)
        else:
            _LOG.warning(
                "upstream_down upstream=%s timeout_s=%g", address, self._timeout_s
            )


async def is_answering(server: UpstreamServer, timeout_s: float) -> bool:
    """Return whether *server* responds to one query, whatever the response says.

    Each probe has a socket of its own, so its source port is as random as its id, and a
    connected one, so that a port unreachable is an answer too: no.
    """
    loop = asyncio.get_running_loop()
    query_id = os.urandom(2)
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    try:
        with socket.socket(server.family, kind) as sock:
            sock.connect((server.address, server.port))
            async with asyncio.timeout(timeout_s):
                await loop.sock_sendall(sock, query_id + _PROBE_AFTER_ID)
                while True:
                    response = await loop.sock_recv(sock, _MAX_RESPONSE_OCTETS)
                    is_response = len(response) > 2 and response[2] & 0x80
                    if is_response and response[:2] == query_id:
                        return True
    except (OSError, TimeoutError):
        return False
