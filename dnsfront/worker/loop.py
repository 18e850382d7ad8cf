"""One worker process: how it is put together, its rounds, its drain.

Everything it needs arrives over the control channel (`ipc/channel.py`). It owns a share
of the names, a cache for them and sockets towards the upstreams; the listening sockets
it shares with the supervisor, so that they outlive it.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from typing import Final

from dnsfront import logs
from dnsfront.dns.cache import Cache
from dnsfront.dns.shape import Shapes
from dnsfront.ipc import channel, memory, messages, packets, records, signals, stats
from dnsfront.ipc.identity import Identity
from dnsfront.ipc.messages import (
    Drain,
    Drained,
    KnowPeers,
    MapImages,
    OtherCode,
    Ping,
    Pong,
    Ready,
    Start,
    UseTable,
)
from dnsfront.ipc.spec import WorkerSpec
from dnsfront.ipc.stats import Counter, Limit
from dnsfront.kernel.layouts import described
from dnsfront.worker.answering.answering import Answering
from dnsfront.worker.answering.images import Images
from dnsfront.worker.clients.gate import Gate
from dnsfront.worker.orders.config import (
    ConfigOrders,
    client_descriptors,
    forward,
    identify,
)
from dnsfront.worker.orders.entries import EntryOrders
from dnsfront.worker.orders.listeners import ListenerOrders
from dnsfront.worker.orders.orders import Orders
from dnsfront.worker.peers.handover import Peers
from dnsfront.worker.peers.inbox import Inbox
from dnsfront.worker.peers.ownership import Ownership
from dnsfront.worker.peers.transfer import Recipient
from dnsfront.worker.process import descriptors, privileges
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.process.faults import Faults
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.process.reactor import Reactor
from dnsfront.worker.transports.listening import Listening
from dnsfront.worker.transports.streams import Streams
from dnsfront.worker.upstreams.forwarding import Forwarding

_NS: Final = 1_000_000_000
#: More batches than fit into the hand-over socket, whose messages may never end.
_CATCH_UP_ROUNDS: Final = 1024

#: Queries leave no cycles behind, so looking for them as often as Python does by
#: default would mostly walk the cache for nothing.
_GC_THRESHOLDS: Final = (50_000, 20, 100)


def main(control_fd: int) -> int:
    """Serve until the supervisor says so or is gone; return the exit code."""
    # A stop comes over the channel: who signals the whole group gets a drain too.
    signals.ignore(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    control = socket.socket(fileno=control_fd)
    received = channel.receive(control)
    if received is None:
        return os.EX_UNAVAILABLE
    ours = Identity.here(described())
    if Identity.told(received[0]) != ours:
        told, _none = packets.pack(OtherCode(ours.version, ours.layout))
        channel.send(control, told)
        control.close()
        return os.EX_SOFTWARE
    start = messages.order_in(*received)
    assert isinstance(start, Start), "the first order"
    spec = records.from_json(WorkerSpec, memory.content(start.spec_fd))
    os.close(start.spec_fd)
    images = Images()
    while images.are_missing(spec.zones):
        received = channel.receive(control)
        if received is None:
            return os.EX_UNAVAILABLE
        order = messages.order_in(*received)
        assert isinstance(order, MapImages), "what the first spec names"
        images.take(order.packs, order.memory_fds)
    worker = WorkerLoop(control, start, spec, images)
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    privileges.drop(start.user)
    worker.run()
    return os.EX_OK


class WorkerLoop:
    """The parts of a worker and the order in which a round goes through them."""

    def __init__(
        self,
        control: socket.socket,
        start: Start,
        spec: WorkerSpec,
        images: Images,
    ) -> None:
        logs.set_up(spec.log.level, spec.name)
        self._is_serving = False
        self._is_draining = False
        self._is_trimming = False
        self._clock = Clock(time.monotonic_ns())
        self._meter = Meter(stats.words(start.stats_fd), self._clock)
        self._faults = Faults(self._meter)
        self.ownership = Ownership(
            spec.worker_id, spec.hash_key, start.live_fd, start.load_fd
        )
        self.ownership.publish(start.table_fd, start.slots)
        self.cache = Cache(spec.cache)
        self.gate = Gate(spec.access)
        self.reactor = Reactor(
            before_round=self._clock.set,
            after_round=self._after_round,
            on_tick=self._on_tick,
            on_fault=self._on_fault,
        )
        health = memoryview(memory.read_only(start.health_fd)).cast("Q")
        self.forwarding = Forwarding(
            health=health.__getitem__,
            reactor=self.reactor,
            meter=self._meter,
            faults=self._faults,
        )
        self.answering = Answering(
            worker_id=spec.worker_id,
            cache=self.cache,
            shapes=Shapes(
                self.cache.views,
                nsid=spec.name.encode(),
                udp_size=spec.edns.udp_size,
            ),
            ownership=self.ownership,
            forwarding=self.forwarding,
            clock=self._clock,
            meter=self._meter,
            faults=self._faults,
            is_steered=spec.steering == "ebpf",
        )
        self.answering.serve(images.zones(spec.zones))
        images.keep(spec.zones)
        identify(self.answering, spec)
        forward(self.forwarding, spec)
        self.peers = Peers(spec.worker_id)
        free = descriptors.left()
        self.streams = Streams(
            answering=self.answering,
            reactor=self.reactor,
            peers=self.peers,
            limits=spec.limits,
            descriptors=client_descriptors(free, spec),
        )
        self.listening = Listening(
            answering=self.answering,
            ownership=self.ownership,
            gate=self.gate,
            peers=self.peers,
            reactor=self.reactor,
            streams=self.streams,
        )
        self.listening.add(spec.listeners, start.socket_fds)
        self._inbox = Inbox(
            socket.socket(fileno=start.handover_fd),
            self.peers,
            on_datagram=self.listening.answer_passed,
            on_query=self.answering.query,
            on_parcel=Recipient(self.cache, self._clock, self._meter).adopt,
        )
        self._orders = Orders(
            control, on_end=self.reactor.stop, on_fault=self._on_fault
        )
        self._orders.on(KnowPeers, self._on_peers)
        self._orders.on(UseTable, self._on_table)
        self._orders.on(Drain, self._on_drain)
        self._orders.on(Ping, lambda _order: Pong())
        EntryOrders(
            self._orders,
            worker_id=spec.worker_id,
            cache=self.cache,
            answering=self.answering,
            ownership=self.ownership,
            peers=self.peers,
            meter=self._meter,
            catch_up=self._catch_up,
        )
        ConfigOrders(
            self._orders,
            spec,
            images=images,
            cache=self.cache,
            answering=self.answering,
            gate=self.gate,
            streams=self.streams,
            free=free,
            forwarding=self.forwarding,
        )
        ListenerOrders(
            self._orders,
            listening=self.listening,
            answering=self.answering,
            catch_up=self._catch_up,
        )
        self._parts: Final = (
            self._expire,
            self._go_on,
            self._take_back,
            self.answering.delivery.go_on,
            # Ahead of the upstreams: the query behind an answer may be a miss.
            self._serve_tcp,
            self._flush_upstreams,
            self._flush_udp,
            self._flush_counts,
        )
        for fd in (
            start.stats_fd,
            start.live_fd,
            start.load_fd,
            start.health_fd,
            start.table_fd,
        ):
            os.close(fd)

    def run(self) -> None:
        """Serve until drained, or until the supervisor is gone."""
        self.reactor.watch(self._orders.fileno(), self._orders.ready)
        # Before it serves: a predecessor sends its cache.
        self.reactor.watch(self._inbox.fileno(), self._on_handover)
        ours = Identity.here(described())
        self._orders.tell(Ready(ours.version, ours.layout))
        self.reactor.run()

    # -- what the supervisor orders

    def _on_peers(self, order: KnowPeers) -> None:
        sockets = [socket.socket(fileno=fd) for fd in order.socket_fds]
        self.peers.replace(dict(zip(order.ids, sockets, strict=True)))
        self._serve()

    def _serve(self) -> None:
        """Take from all listening sockets from now on.

        Not before this worker is live: what waited for a predecessor would look like
        another's, and be offered to nobody.
        """
        if self._is_draining:
            return
        if not self._is_serving:
            self._is_serving = True
            self.listening.catch_up()
        self.listening.watch()

    def _on_table(self, order: UseTable) -> None:
        self.ownership.publish(order.table_fd, order.slots)
        os.close(order.table_fd)

    def _on_drain(self, order: Drain) -> None:
        """Finish what there is, but for what waits at the listeners kept, and end."""
        self._is_draining = True
        self.listening.drain(order.kept)
        self.listening.unwatch()

    def _take_handed_over(self) -> bool:
        """Take what other workers passed here; return whether there was any."""
        return self._inbox.receive() > 0

    def _catch_up(self) -> None:
        """Take what other workers passed here until now, and no more than can wait."""
        for _ in range(_CATCH_UP_ROUNDS):
            if not self._take_handed_over():
                return

    def _on_handover(self, _event: int) -> None:
        self._take_handed_over()

    # -- a round

    def _on_fault(self, part: str) -> None:
        self._faults.caught(part)

    def _after_round(self) -> float | None:
        for part in self._parts:
            try:
                part()
            except Exception:  # noqa: BLE001 - the other parts have their turn
                self._on_fault(part.__name__)
        if self._is_draining and self._is_drained():
            self._orders.tell(Drained())
            self.reactor.stop()
        return self._wait_s()

    def _go_on(self) -> None:
        if self._orders.is_under_way:
            self._orders.go_on()

    def _take_back(self) -> None:
        """Answer queries over TCP that were handed over in vain."""
        if self.peers.has_given_back:
            for octets, waiter in self.peers.given_back():
                waiter.is_ours = True  # nobody else is left to ask
                self.answering.query(octets, waiter)

    def _serve_tcp(self) -> None:
        self.streams.work()

    def _flush_upstreams(self) -> None:
        self.forwarding.flush()

    def _flush_udp(self) -> None:
        self.listening.flush()

    def _flush_counts(self) -> None:
        self.peers.flush()
        self._meter.flush()
        losses = self.cache.losses
        if losses.evictions or losses.oversized:
            self._meter.count(Counter.CACHE_EVICTIONS, losses.evictions)
            self._meter.count(Limit.CACHE_SIZE, losses.for_weight)
            self._meter.count(Limit.CACHE_ENTRY_SIZE, losses.oversized)
            losses.clear()
        self._is_trimming = self.cache.trim()

    def _wait_s(self) -> float | None:
        """Return how long there is nothing to do but to wait for others."""
        has_crowd = (
            self.answering.delivery.crowds.waiting > 0 or self.peers.has_given_back
        )
        if self._is_trimming or has_crowd or self.streams.has_work:
            return 0
        waits = [self.forwarding.wait_s()]
        if self._orders.is_under_way:
            waits.append(self._orders.wait_s())
        return min((wait_s for wait_s in waits if wait_s is not None), default=None)

    def _expire(self) -> None:
        """Fail what is overdue upstream, and fetch again what soon expires here."""
        self.forwarding.expire()
        if self.cache.due:
            self.answering.prefetch()

    def _on_tick(self, now_ns: int) -> None:
        self._meter.set_gauge(Counter.CACHE_ENTRIES, len(self.cache))
        self._meter.set_gauge(Counter.CACHE_OCTETS, self.cache.octets)
        self._meter.set_gauge(Counter.PENDING, self.forwarding.pending)
        self._meter.set_gauge(Counter.TCP_OPEN, self.listening.connections)
        if self.peers.failed:
            self._meter.count(Counter.HANDOVER_FAILED, self.peers.failed)
            self.peers.failed = 0
        self.peers.take_overdue_back()
        if self._inbox.refused:
            self._meter.count(Counter.HANDOVER_REFUSED, self._inbox.refused)
            self._inbox.refused = 0
        self.forwarding.sweep()
        self.listening.expire(now_ns)

    def _is_drained(self) -> bool:
        """Take what the sockets still hold; return whether nobody waits any more."""
        if not self.listening.take():
            return False
        if self._take_handed_over():
            return False
        if not self.forwarding.is_idle:
            return False
        if self.answering.delivery.crowds.waiting:
            return False
        self.listening.flush()
        self.peers.flush()
        return not self.listening.connections
