"""Whether each upstream is of use: by probes, and by what its queries came to."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from dnsfront.config.address import SocketAddress
from dnsfront.ipc.stats import BUCKETS, Health, Upstream
from dnsfront.supervisor.host.beat import next_beat
from dnsfront.supervisor.host.tasks import watched
from dnsfront.supervisor.upstreams.judgement import LOOK_EVERY_S, Judgement
from dnsfront.supervisor.upstreams.probe import ProbeForm
from dnsfront.supervisor.upstreams.tls_probe import TlsProbe

if TYPE_CHECKING:
    from dnsfront.ipc.spec import UpstreamServer
    from dnsfront.supervisor.upstreams.registry import UpstreamRegistry

_LOG = logging.getLogger(__name__)

_MAX_RESPONSE_OCTETS: Final = 4096


@dataclass
class _Watch:
    """One upstream under watch: its judgement, and what was counted until now."""

    server: UpstreamServer
    form: ProbeForm
    judgement: Judgement
    task: asyncio.Task[None] | None = None
    counts: tuple[int, int] = field(default=(0, 0))


class HealthChecker:
    """Watches the upstreams it was given last and writes the shared health page."""

    def __init__(self, registry: UpstreamRegistry) -> None:
        self._registry = registry
        self._watches: dict[tuple[UpstreamServer, ProbeForm], _Watch] = {}
        self._looking: asyncio.Task[None] | None = None

    def watch(self, servers: Iterable[tuple[UpstreamServer, ProbeForm]]) -> None:
        """Watch exactly *servers* from now on, each with probes of its form."""
        wanted = dict.fromkeys(servers)
        for pair in self._watches.keys() - wanted.keys():
            task = self._watches.pop(pair).task
            if task is not None:
                task.cancel()
        for pair in wanted:
            if pair not in self._watches:
                self._watches[pair] = self._begin(*pair)
        if self._looking is None:
            self._looking = watched("upstreams", self._look())

    def _begin(self, server: UpstreamServer, form: ProbeForm) -> _Watch:
        judgement = Judgement(rise=form.rise, fall=form.fall)
        judgement.presume(is_up=self._registry.is_up(server.index))
        watch = _Watch(server, form, judgement, counts=self._counts(server))
        watch.task = watched(
            f"health of upstream {server.index}", self._probe(watch, form)
        )
        return watch

    async def close(self) -> None:
        """Stop watching."""
        tasks = [watch.task for watch in self._watches.values()] + [self._looking]
        self._watches.clear()
        self._looking = None
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _probe(self, watch: _Watch, form: ProbeForm) -> None:
        clock: Callable[[], float] = asyncio.get_running_loop().time
        missed = 0
        with TlsProbe(watch.server) as over_tls:
            while True:
                if watch.server.tls is None:
                    is_answered = await is_answering(watch.server, form, missed)
                else:
                    is_answered = await over_tls.is_answered(form, missed)
                    self._registry.believe(watch.server.index, over_tls.error)
                missed = 0 if is_answered else missed + 1
                watch.judgement.probed(clock(), is_answered=is_answered)
                self._mark(watch)
                await next_beat(form.interval_s)

    async def _look(self) -> None:
        """Look at what workers count of each upstream, once in a while."""
        clock: Callable[[], float] = asyncio.get_running_loop().time
        while True:
            await next_beat(LOOK_EVERY_S)
            for watch in self._watches.values():
                was_good, was_bad = watch.counts
                good, bad = self._counts(watch.server)
                # A worker counts a refusal before it counts the response that held it.
                watch.counts = (max(good, was_good), bad)
                watch.judgement.counted(
                    clock(), watch.counts[0] - was_good, bad - was_bad
                )
                self._mark(watch)

    def _counts(self, server: UpstreamServer) -> tuple[int, int]:
        """Return how many queries *server* answered so far, and how many it failed."""
        words = self._registry.counts(server.index)
        answered = sum(words[Upstream.DURATION : Upstream.DURATION + BUCKETS])
        return answered - words[Upstream.REFUSALS], words[Upstream.FAILURES]

    def _mark(self, watch: _Watch) -> None:
        server, judgement = watch.server, watch.judgement
        was_up = self._registry.is_up(server.index)
        self._registry.mark(
            server.index,
            judgement.health,
            is_heard=judgement.is_heard,
            reason=judgement.reason,
            held=judgement.held(watch.form.slow_start_s),
        )
        is_up = judgement.health == Health.UP
        if was_up == is_up:
            return
        _LOG.log(
            logging.INFO if is_up else logging.WARNING,
            "%s upstream=%s pool=%s reason=%s",
            "upstream_up" if is_up else "upstream_down",
            SocketAddress(server.address, server.port),
            watch.form.pool,
            judgement.reason,
        )


async def is_answering(server: UpstreamServer, form: ProbeForm, attempt: int) -> bool:
    """Return whether *server* answers one probe.

    Each probe has a socket of its own, so its source port is as random as its id, and a
    connected one, so that a port unreachable is an answer too: no.
    """
    loop = asyncio.get_running_loop()
    query_id = os.urandom(2)
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    try:
        with socket.socket(server.family, kind) as sock:
            sock.connect((server.address, server.port))
            async with asyncio.timeout(form.timeout_s):
                await loop.sock_sendall(sock, form.query(query_id, attempt))
                while True:
                    response = await loop.sock_recv(sock, _MAX_RESPONSE_OCTETS)
                    is_response = len(response) > 2 and response[2] & 0x80
                    if is_response and response[:2] == query_id:
                        return form.is_answer(response)
    except (OSError, TimeoutError):
        return False
