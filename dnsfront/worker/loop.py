"""One worker: how it is put together, its rounds, its drain.

It owns a share of the names, a cache for them and sockets towards the upstreams; the
listening sockets it shares with the supervisor, so that they outlive it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Final

from dnsfront import logs
from dnsfront.dns.cache import Cache
from dnsfront.dns.shape import Shapes
from dnsfront.ipc import memory, stats
from dnsfront.ipc.identity import Identity
from dnsfront.ipc.messages import (
    Drain,
    Drained,
    KnowPeers,
    Ping,
    Pong,
    Ready,
    Start,
    UseTable,
)
from dnsfront.ipc.spec import WorkerSpec
from dnsfront.kernel.layouts import described
from dnsfront.worker.answering.answering import Answering
from dnsfront.worker.answering.arrivals import Arrivals
from dnsfront.worker.answering.bookkeeper import Bookkeeper
from dnsfront.worker.answering.delivery import Delivery
from dnsfront.worker.answering.failures import Failures
from dnsfront.worker.answering.images import Images
from dnsfront.worker.answering.local import Local
from dnsfront.worker.answering.ruling import rules_of
from dnsfront.worker.answering.stale import Stale
from dnsfront.worker.answering.words import Words
from dnsfront.worker.clients.gate import Gate
from dnsfront.worker.counts import Counts
from dnsfront.worker.orders.book import BookOrders
from dnsfront.worker.orders.config import (
    ConfigOrders,
    client_descriptors,
    forward,
    identify,
    look,
    recognise,
)
from dnsfront.worker.orders.dumps import DumpOrders
from dnsfront.worker.orders.entries import EntryOrders
from dnsfront.worker.orders.listeners import ListenerOrders
from dnsfront.worker.orders.orders import Orders
from dnsfront.worker.peers.handover import Peers
from dnsfront.worker.peers.inbox import Inbox
from dnsfront.worker.peers.ownership import Ownership
from dnsfront.worker.peers.transfer import Recipient
from dnsfront.worker.process import descriptors
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.process.faults import Faults
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.process.reactor import Reactor
from dnsfront.worker.transports.listening import Listening
from dnsfront.worker.transports.streams import Streams
from dnsfront.worker.upstreams.forwarding import Forwarding


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
        self._ownership = Ownership(
            spec.worker_id, spec.hash_key, start.live_fd, start.load_fd
        )
        self._ownership.publish(start.table_fd, start.slots)
        self._cache = Cache(spec.cache)
        self._bookkeeper = Bookkeeper(
            self._cache, hash_key=spec.hash_key, clock=self._clock, meter=self._meter
        )
        self._gate = Gate(spec.access)
        self._reactor = Reactor(
            self._clock,
            after_round=self._after_round,
            on_tick=self._on_tick,
            on_fault=self._faults.caught,
        )
        health = memoryview(memory.read_only(start.health_fd)).cast("Q")
        shapes = Shapes(
            self._cache.views, nsid=spec.name.encode(), udp_size=spec.edns.udp_size
        )
        delivery = Delivery(self._meter, self._faults)
        failures = Failures(self._clock, self._meter)
        stale = Stale(self._cache, delivery, self._clock, self._meter)
        local = Local(
            self._cache,
            delivery,
            clock=self._clock,
            meter=self._meter,
            faults=self._faults,
        )
        arrivals = Arrivals(self._cache, self._clock, local, delivery)
        self._forwarding = Forwarding(
            limits=spec.limits,
            outcomes=arrivals.outcomes(stale, failures),
            health=health.__getitem__,
            reactor=self._reactor,
            meter=self._meter,
            faults=self._faults,
        )
        self._answering = Answering(
            worker_id=spec.worker_id,
            cache=self._cache,
            shapes=shapes,
            ownership=self._ownership,
            forwarding=self._forwarding,
            delivery=delivery,
            failures=failures,
            stale=stale,
            local=local,
            words=Words(delivery, self._meter),
            clock=self._clock,
            meter=self._meter,
            faults=self._faults,
            is_steered=spec.steering == "ebpf",
        )
        forward(self._forwarding, spec)
        self._forwarding.be_patient(spec.cache.serve_stale_after_s)
        self._answering.serve(images.zones(spec.zones, spec.special_names))
        rules = rules_of(spec.rules, images.names)
        self._answering.rule(rules)
        look(self._gate, self._bookkeeper, rules)
        images.keep(spec.zones, spec.packs)
        identify(shapes, local, spec)
        recognise(shapes, spec)
        self._peers = Peers(spec.worker_id)
        free = descriptors.left()
        self._streams = Streams(
            answering=self._answering,
            reactor=self._reactor,
            peers=self._peers,
            limits=spec.limits,
            descriptors=client_descriptors(free, spec),
        )
        self._listening = Listening(
            answering=self._answering,
            ownership=self._ownership,
            gate=self._gate,
            peers=self._peers,
            reactor=self._reactor,
            streams=self._streams,
        )
        self._listening.add(spec.listeners, start.socket_fds)
        self._inbox = Inbox(
            socket.socket(fileno=start.handover_fd),
            self._peers,
            on_datagram=self._listening.answer_passed,
            on_query=self._answering.query,
            on_parcel=Recipient(self._cache, self._clock, self._meter).adopt,
        )
        self._counts = Counts(
            self._meter,
            cache=self._cache,
            forwarding=self._forwarding,
            listening=self._listening,
            peers=self._peers,
            inbox=self._inbox,
        )
        self._orders = Orders(
            control, on_end=self._reactor.stop, on_fault=self._faults.caught
        )
        self._orders.on(KnowPeers, self._on_peers)
        self._orders.on(UseTable, self._on_table)
        self._orders.on(Drain, self._on_drain)
        self._orders.on(Ping, lambda _order: Pong())
        BookOrders(self._orders, self._bookkeeper)
        EntryOrders(
            self._orders,
            worker_id=spec.worker_id,
            cache=self._cache,
            failures=failures,
            ownership=self._ownership,
            peers=self._peers,
            meter=self._meter,
            faults=self._faults,
            catch_up=self._inbox.catch_up,
        )
        DumpOrders(
            self._orders,
            worker_id=spec.worker_id,
            cache=self._cache,
            ownership=self._ownership,
            local=local,
            forwarding=self._forwarding,
            clock=self._clock,
        )
        ConfigOrders(
            self._orders,
            spec,
            images=images,
            cache=self._cache,
            shapes=shapes,
            local=local,
            failures=failures,
            answering=self._answering,
            bookkeeper=self._bookkeeper,
            gate=self._gate,
            streams=self._streams,
            free=free,
            forwarding=self._forwarding,
            clock=self._clock,
        )
        ListenerOrders(
            self._orders,
            listening=self._listening,
            clock=self._clock,
            catch_up=self._inbox.catch_up,
        )
        #: What a round does when it has called those whose descriptors are ready.
        self._parts: Final[tuple[Callable[[], object], ...]] = (
            self._forwarding.expire,
            self._prefetch,
            self._orders.go_on,
            self._take_back,
            self._answering.delivery.go_on,
            # Ahead of the upstreams: the query behind an answer may be a miss.
            self._streams.work,
            self._forwarding.flush,
            self._listening.flush,
            self._peers.flush,
            self._bookkeeper.work,
            self._meter.flush,
            self._counts.flush,
            self._trim,
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
        self._reactor.watch(self._orders.fileno(), self._orders.ready)
        # Before it serves: a predecessor sends its cache.
        self._reactor.watch(self._inbox.fileno(), self._on_handover)
        ours = Identity.here(described())
        self._orders.tell(Ready(ours.version, ours.layout))
        self._reactor.run()

    # -- what the supervisor orders

    def _on_peers(self, order: KnowPeers) -> None:
        sockets = [socket.socket(fileno=fd) for fd in order.socket_fds]
        self._peers.replace(dict(zip(order.ids, sockets, strict=True)))
        self._serve()

    def _serve(self) -> None:
        """Take from all listening sockets from now on.

        Not before this worker is live: what waited for a predecessor would look like
        another's, and be offered to nobody.
        """
        if self._is_draining or self._listening.is_paused:
            return
        if not self._is_serving:
            self._is_serving = True
            self._listening.catch_up()
        self._listening.watch()

    def _on_table(self, order: UseTable) -> None:
        self._ownership.publish(order.table_fd, order.slots)
        os.close(order.table_fd)

    def _on_drain(self, order: Drain) -> None:
        """Finish what there is, but for what waits at the listeners kept, and end."""
        self._is_draining = True
        self._listening.drain(order.kept)
        self._listening.unwatch()

    def _on_handover(self, _event: int) -> None:
        self._inbox.receive()

    # -- a round

    def _after_round(self) -> float | None:
        for part in self._parts:
            try:
                part()
            except Exception:  # noqa: BLE001 - the other parts have their turn
                self._faults.caught(getattr(part, "__qualname__", "round"))
        if self._is_draining and self._is_drained():
            self._orders.tell(Drained())
            self._reactor.stop()
        return self._wait_s()

    def _prefetch(self) -> None:
        """Fetch again what is asked for and soon expires."""
        if self._cache.due:
            self._answering.prefetch()

    def _take_back(self) -> None:
        """Answer queries over TCP that were handed over in vain."""
        if self._peers.has_given_back:
            for octets, waiter in self._peers.given_back():
                waiter.is_to_answer = True  # nobody else is left to ask
                self._answering.query(octets, waiter)

    def _trim(self) -> None:
        self._is_trimming = self._cache.trim()

    def _wait_s(self) -> float | None:
        """Return how long there is nothing to do but to wait for others."""
        if (
            self._is_trimming
            or self._answering.delivery.crowds.waiting
            or self._peers.has_given_back
            or self._streams.has_work
            or self._bookkeeper.has_work
        ):
            return 0
        upstream_s, order_s = self._forwarding.wait_s(), self._orders.wait_s()
        if upstream_s is None or order_s is None:
            return order_s if upstream_s is None else upstream_s
        return min(upstream_s, order_s)

    def _on_tick(self, now_ns: int) -> bool:
        """Do what is due; return whether something may become due by itself."""
        self._bookkeeper.harvest()
        self._counts.show()
        self._peers.take_overdue_back()
        self._forwarding.sweep()
        self._listening.expire(now_ns)
        return (
            self._is_draining
            or self._listening.is_ticking
            or self._peers.is_waiting
            or not self._forwarding.is_settled
        )

    def _is_drained(self) -> bool:
        """Take what the sockets still hold; return whether nobody waits any more."""
        if not self._listening.take():
            return False
        if self._inbox.receive() > 0:
            return False
        if not self._forwarding.is_idle:
            return False
        if self._answering.delivery.crowds.waiting:
            return False
        self._listening.flush()
        self._peers.flush()
        return not self._listening.connections
