"""One worker process: how it is put together, its rounds, its drain.

Everything it needs arrives over the control channel (`ipc/channel.py`). It owns a share
of the names, a cache for them and sockets towards the upstreams; the listening sockets
it shares with the supervisor, so that they outlive it.
"""

from __future__ import annotations

import gc
import logging
import mmap
import os
import signal
import socket
import time
from collections.abc import Generator
from functools import partial
from typing import Final

from dnsfront import logs
from dnsfront.dns import wire
from dnsfront.dns.cache import Cache, Limits, is_under
from dnsfront.dns.shape import Shapes
from dnsfront.dns.zones import ZoneSet, load_zone
from dnsfront.errors import DnsfrontError
from dnsfront.ipc import channel, stats
from dnsfront.ipc.spec import WorkerSpec
from dnsfront.ipc.stats import Counter
from dnsfront.worker import privileges
from dnsfront.worker.access import AccessList
from dnsfront.worker.frontend import Frontend
from dnsfront.worker.handover import Peers, Receivers
from dnsfront.worker.meter import Meter
from dnsfront.worker.ownership import Ownership, first_owner
from dnsfront.worker.policy import order_of
from dnsfront.worker.reactor import Reactor
from dnsfront.worker.tcp import TcpListener
from dnsfront.worker.transfer import transfer
from dnsfront.worker.udp import UdpListener
from dnsfront.worker.upstream import Resolver

_log = logging.getLogger(__name__)

_NS: Final = 1_000_000_000

#: Queries leave no cycles behind, so looking for them as often as Python does by
#: default would mostly walk the cache for nothing.
_GC_THRESHOLDS: Final = (50_000, 20, 100)


def main(control_fd: int) -> int:
    """Serve until the supervisor says so or is gone; return the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A stop comes over the channel: who signals the whole group gets a drain too.
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=control_fd)
    started = channel.receive(control)
    if started is None:
        return os.EX_UNAVAILABLE
    message, fds = started
    worker = Worker(control, message, fds)
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    privileges.drop()
    worker.run()
    return os.EX_OK


class Worker:
    """The parts of a worker and the order in which a round goes through them."""

    def __init__(
        self, control: socket.socket, start: channel.Message, fds: list[int]
    ) -> None:
        spec_fd, stats_fd, live_fd, load_fd, health_fd, table_fd, handover_fd = fds[:7]
        spec = WorkerSpec.from_json(channel.read_memfd(spec_fd))
        logs.set_up(spec.log_level, spec.name)
        self._control = control
        self._spec = spec
        self._is_serving = False
        self._kept: frozenset[int] = frozenset()
        self._is_draining = False
        self._retiring: list[Resolver] = []
        self._transfer: Generator[None, None, int] | None = None
        self._receivers: Receivers | None = None
        self._move_until_ns = 0
        self._health = memoryview(mmap.mmap(health_fd, 0)).cast("Q")
        self._meter = Meter(stats.words(stats_fd))
        key = bytes.fromhex(spec.hash_key_hex)
        self._ownership = Ownership(spec.worker_id, key, live_fd, load_fd)
        self._ownership.publish(table_fd, start["slots"])
        self._cache = Cache(_limits(spec))
        self._access = AccessList(spec.access_allow)
        self._reactor = Reactor(
            before_round=self._before_round,
            after_round=self._after_round,
            on_tick=self._on_tick,
        )
        self._frontend = Frontend(
            worker_id=spec.worker_id,
            cache=self._cache,
            shapes=Shapes(self._cache.views, nsid=spec.name.encode()),
            ownership=self._ownership,
            meter=self._meter,
            is_steered=spec.steering == "ebpf",
        )
        self._before_round(time.monotonic_ns())
        self._frontend.zones = _zones(spec)
        self._open_upstreams()
        self._peers = Peers(spec.worker_id, socket.socket(fileno=handover_fd))
        self._listen(fds[7:])
        for fd in (spec_fd, stats_fd, live_fd, load_fd, health_fd, table_fd):
            os.close(fd)

    def _listen(self, fds: list[int]) -> None:
        self._udp: list[UdpListener] = []
        self._tcp: list[TcpListener] = []
        for index, listener in enumerate(self._spec.listeners):
            udp, tcp = (socket.socket(fileno=fd) for fd in fds[2 * index :][:2])
            self._udp.append(
                UdpListener(
                    index,
                    udp,
                    is_wildcard=listener.is_wildcard,
                    frontend=self._frontend,
                    ownership=self._ownership,
                    access=self._access,
                    peers=self._peers,
                    clock=time.monotonic_ns,
                )
            )
            self._tcp.append(
                TcpListener(
                    tcp,
                    frontend=self._frontend,
                    reactor=self._reactor,
                    access=self._access,
                    peers=self._peers,
                )
            )

    def _open_upstreams(self) -> None:
        """Ask the upstreams of the spec; fetches under way end where they began."""
        spec = self._spec
        if self._frontend.resolver is not None:
            self._retiring.append(self._frontend.resolver)
        self._frontend.resolver = None
        if not spec.upstream_servers:
            return
        key = bytes.fromhex(spec.hash_key_hex)
        self._frontend.resolver = Resolver(
            spec.upstream_servers,
            order=order_of(spec.upstream_policy, spec.upstream_servers, key),
            is_up=lambda index: bool(self._health[index]),
            timeout_s=spec.upstream_timeout_s,
            reactor=self._reactor,
            answers=self._frontend,
            meter=self._meter,
        )

    def run(self) -> None:
        """Serve until drained, or until the supervisor is gone."""
        self._control.setblocking(False)  # noqa: FBT003 - its signature
        self._reactor.watch(self._control.fileno(), self._on_control)
        # Before it serves: a predecessor sends its cache.
        self._reactor.watch(self._peers.fileno(), self._on_handover)
        self._tell({"op": "ready"})
        self._reactor.run()

    def _serve(self) -> None:
        """Take from the sockets from now on.

        Not before the first `peers`, which says that this worker is live: what waited
        for a predecessor would look like another's, and be offered to nobody.
        """
        self._is_serving = True
        steered = self._ownership.steered
        are_empty = [udp.drain() for udp in self._udp]
        if all(are_empty):
            self._ownership.settle(steered)
        self._watch()

    def _watch(self) -> None:
        watch = self._reactor.watch
        for udp in self._udp:
            watch(udp.fileno(), udp.ready)
        for tcp in self._tcp:
            watch(tcp.fileno(), tcp.ready)

    def _unwatch(self) -> None:
        fds = [udp.fileno() for udp in self._udp] + [tcp.fileno() for tcp in self._tcp]
        for fd in fds:
            self._reactor.forget(fd)

    def _before_round(self, now_ns: int) -> None:
        self._frontend.now_ns = self._meter.now_ns = now_ns
        self._frontend.now_s = now_ns // _NS

    def _after_round(self) -> float | None:
        self._expire()
        if self._transfer is not None:
            self._move_on(self._transfer)
        # Ahead of the upstreams: the query that waits behind an answer may be a miss.
        for tcp in self._tcp:
            if tcp.written:
                tcp.flush()
        for resolver in self._resolvers():
            resolver.flush()
        for udp in self._udp:
            udp.flush()
        self._peers.flush()
        self._meter.flush()
        if self._cache.evictions:
            self._meter.count(Counter.CACHE_EVICTIONS, self._cache.evictions)
            self._cache.evictions = 0
        if self._is_draining and self._is_drained():
            self._tell({"op": "drained"})
            self._reactor.stop()
        return self._wait_s()

    def _wait_s(self) -> float | None:
        """Return how long there is nothing to do but to wait for others."""
        if self._transfer is not None or any(tcp.written for tcp in self._tcp):
            return 0
        waits = [resolver.wait_s() for resolver in self._resolvers()]
        return min((wait_s for wait_s in waits if wait_s is not None), default=None)

    def _resolvers(self) -> list[Resolver]:
        resolver = self._frontend.resolver
        return self._retiring if resolver is None else [resolver, *self._retiring]

    def _expire(self) -> None:
        """Fail what is overdue upstream, and fetch again what soon expires here."""
        for overdue in self._resolvers():
            overdue.expire()
        resolver = self._frontend.resolver
        if self._cache.due:
            if resolver is not None:
                self._refetch(resolver)
            self._cache.due.clear()

    def _refetch(self, resolver: Resolver) -> None:
        """Fetch again what is asked for and about to expire, if that did not fail."""
        for entry in self._cache.due:
            view, exact = entry.view, entry.key[:-4] + entry.tail
            if (
                exact not in resolver.under_way[view]
                and self._frontend.failure(view, exact) is None
                and resolver.fetch(view, entry.key, exact, entry, None)
            ):
                self._meter.count(Counter.CACHE_PREFETCHES)

    def _on_tick(self, now_ns: int) -> None:
        resolver = self._frontend.resolver
        self._meter.set_gauge(Counter.CACHE_ENTRIES, len(self._cache))
        self._meter.set_gauge(Counter.PENDING, resolver.pending if resolver else 0)
        if self._peers.failed:
            self._meter.count(Counter.HANDOVER_FAILED, self._peers.failed)
            self._peers.failed = 0
        if resolver is not None:
            resolver.sweep()
        for retiring in [x for x in self._retiring if not x.pending]:
            retiring.close()
            self._retiring.remove(retiring)
        for tcp in self._tcp:
            tcp.expire(now_ns)

    def _on_handover(self, _event: int) -> None:
        self._peers.receive(self._frontend, self._udp)

    def _on_control(self, _event: int) -> None:
        try:
            received = channel.receive(self._control)
        except BlockingIOError:
            return
        except ConnectionError:
            received = None
        if received is None:
            # The supervisor is gone, and with it whoever could respawn this worker.
            self._reactor.stop()
            return
        message, fds = received
        handler = {
            "peers": self._on_peers,
            "table": self._on_table,
            "move": self._on_move,
            "configure": self._on_configure,
            "flush": self._on_flush,
            "pause": self._on_pause,
            "resume": self._on_resume,
            "drain": self._on_drain,
        }[message["op"]]
        handler(message, fds)

    def _on_peers(self, message: channel.Message, fds: list[int]) -> None:
        sockets = [socket.socket(fileno=fd) for fd in fds]
        known = dict(zip(message["ids"], sockets, strict=True))
        for octets, waiter in self._peers.replace(known):
            waiter.is_placed = True  # its owner is gone, so it is ours to answer
            self._frontend.query(octets, waiter)
        if not (self._is_serving or self._is_draining):
            self._serve()

    def _on_table(self, message: channel.Message, fds: list[int]) -> None:
        [table_fd] = fds
        self._ownership.publish(table_fd, message["slots"])
        os.close(table_fd)

    def _on_move(self, message: channel.Message, fds: list[int]) -> None:
        """Begin to send what will be others' to its next owners; see `_move_on`."""
        table_fd, *other_fds = fds
        table = channel.read_memfd(table_fd)
        os.close(table_fd)
        self._move_until_ns = self._frontend.now_ns + round(message["within_s"] * _NS)
        begin = partial(transfer, self._cache.entries(), now_s=self._frontend.now_s)
        if "ids" not in message:
            self._transfer = begin(
                owner=partial(self._ownership.owner_under, table),
                own_id=self._spec.worker_id,
                send=self._peers.pass_entries,
            )
            return
        receivers = Receivers(message["ids"], other_fds)
        key = bytes.fromhex(message["hash_key_hex"])
        self._receivers = receivers
        self._transfer = begin(
            owner=lambda name: first_owner(table, name, key, receivers.__contains__),
            own_id=0,
            send=receivers.send,
        )

    def _move_on(self, move: Generator[None, None, int]) -> None:
        """Send a piece more; past its time the rest stays, and arrives cold."""
        entries = 0
        try:
            if self._frontend.now_ns < self._move_until_ns:
                next(move)
                return
        except StopIteration as end:
            entries = end.value
        self._transfer = None
        if self._receivers is not None:
            self._receivers.close()
            self._receivers = None
        self._tell({"op": "moved", "entries": entries})

    def _on_configure(self, _message: channel.Message, fds: list[int]) -> None:
        [spec_fd] = fds
        spec = WorkerSpec.from_json(channel.read_memfd(spec_fd))
        os.close(spec_fd)
        try:
            zones = _zones(spec)
        except DnsfrontError as exc:
            self._tell({"op": "refused", "reason": str(exc)})
            return
        before, self._spec = self._spec, spec
        logs.set_level(spec.log_level)
        self._cache.resize(_limits(spec))
        if spec.access_allow != before.access_allow:
            self._access.replace(spec.access_allow)
        if spec.zones != before.zones:
            self._frontend.zones = zones
            self._forget_zones(before, spec)
        if _upstreams(spec) != _upstreams(before):
            self._open_upstreams()
            self._frontend.forget_failures()
        self._tell({"op": "configured"})

    def _forget_zones(self, before: WorkerSpec, after: WorkerSpec) -> None:
        """Forget what zones said, and what upstreams said about names in new zones."""
        self._cache.flush_zones()
        known = {zone.origin for zone in before.zones}
        for zone in after.zones:
            if zone.origin not in known:
                origin = wire.qname_from_text(zone.origin)
                self._cache.flush(partial(is_under, origin=origin))

    def _on_flush(self, message: channel.Message, _fds: list[int]) -> None:
        if "qname" in message:
            wanted = wire.qname_from_text(message["qname"])
            entries = self._cache.flush(lambda qname: qname == wanted)
        elif "zone" in message:
            origin = wire.qname_from_text(message["zone"])
            entries = self._cache.flush(lambda qname: is_under(qname, origin))
        else:
            entries = self._cache.flush(lambda _qname: True)
        self._frontend.forget_failures()
        self._tell({"op": "flushed", "token": message["token"], "entries": entries})

    def _on_pause(self, _message: channel.Message, _fds: list[int]) -> None:
        """Leave what arrives to whoever reads the same sockets."""
        self._unwatch()
        self._tell({"op": "paused"})

    def _on_resume(self, _message: channel.Message, _fds: list[int]) -> None:
        self._watch()

    def _on_drain(self, message: channel.Message, _fds: list[int]) -> None:
        self._is_draining = True
        self._kept = frozenset(message["kept"])
        for index, tcp in enumerate(self._tcp):
            tcp.drain(is_kept=index in self._kept)
        self._unwatch()

    def _is_drained(self) -> bool:
        """Take what the sockets still hold; return whether nobody waits any more."""
        mine = [udp for udp in self._udp if udp.index not in self._kept]
        are_empty = [udp.drain() for udp in mine]
        if not all(are_empty):
            return False
        if self._peers.receive(self._frontend, self._udp) > 0:
            return False
        if any(resolver.pending for resolver in self._resolvers()):
            return False
        for udp in self._udp:
            udp.flush()
        self._peers.flush()
        return not any(tcp.connections for tcp in self._tcp)

    def _tell(self, message: channel.Message) -> None:
        try:
            channel.send(self._control, message)
        except OSError as exc:
            _log.warning("control_send_failed op=%s error=%s", message["op"], exc)


def _limits(spec: WorkerSpec) -> Limits:
    return Limits(
        max_entries=spec.cache_max_entries,
        min_ttl_s=spec.cache_min_ttl_s,
        max_ttl_s=spec.cache_max_ttl_s,
        serve_stale_s=spec.cache_serve_stale_s,
        prefetch=spec.cache_prefetch,
    )


def _zones(spec: WorkerSpec) -> ZoneSet | None:
    if not spec.zones:
        return None
    return ZoneSet([load_zone(x.origin, x.text, x.path) for x in spec.zones])


def _upstreams(spec: WorkerSpec) -> tuple[object, ...]:
    return (spec.upstream_policy, spec.upstream_timeout_s, spec.upstream_servers)
