"""The orders that put another spec in force, and what a spec means for each part."""

from __future__ import annotations

import os
import time

from dnsfront import logs
from dnsfront.dns.cache import Cache
from dnsfront.dns.cookies import ServerCookies
from dnsfront.dns.rules.ruleset import RuleSet
from dnsfront.dns.shape import Shapes
from dnsfront.errors import DnsfrontError
from dnsfront.ipc import memory, records
from dnsfront.ipc.messages import Configure, Configured, MapImages, Refused
from dnsfront.ipc.spec import WorkerSpec
from dnsfront.worker.answering.answering import Answering
from dnsfront.worker.answering.bookkeeper import Bookkeeper
from dnsfront.worker.answering.failures import Failures
from dnsfront.worker.answering.identity import identity_records
from dnsfront.worker.answering.images import Images
from dnsfront.worker.answering.local import Local
from dnsfront.worker.answering.ruling import rules_of
from dnsfront.worker.clients.gate import Gate
from dnsfront.worker.orders.orders import MAX_REASON, Orders, Pieces
from dnsfront.worker.process import descriptors
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.transports.streams import Streams
from dnsfront.worker.upstreams.forwarding import Forwarding


class ConfigOrders:
    """Has the spec in force, of which *spec* is the first, and changes it.

    *free* is how many descriptors the worker had left.
    """

    def __init__(
        self,
        orders: Orders,
        spec: WorkerSpec,
        *,
        images: Images,
        cache: Cache,
        shapes: Shapes,
        local: Local,
        failures: Failures,
        answering: Answering,
        bookkeeper: Bookkeeper,
        gate: Gate,
        streams: Streams,
        free: int,
        forwarding: Forwarding,
        clock: Clock,
    ) -> None:
        self._spec = spec
        self._images = images
        self._cache = cache
        self._shapes = shapes
        self._local = local
        self._failures = failures
        self._answering = answering
        self._bookkeeper = bookkeeper
        self._gate = gate
        self._streams = streams
        self._free = free
        self._forwarding = forwarding
        self._clock = clock
        orders.on(MapImages, self._on_images)
        orders.on(Configure, self._on_configure)

    def _on_images(self, order: MapImages) -> None:
        """Map what the next spec names."""
        self._images.map(order.packs, order.memory_fds)

    def _on_configure(self, order: Configure) -> Pieces:
        spec = records.from_json(WorkerSpec, memory.content(order.spec_fd))
        os.close(order.spec_fd)
        try:
            zones = self._images.zones(spec.zones, spec.special_names)
            rules = rules_of(spec.rules, self._images.names)
        except DnsfrontError as exc:
            self._images.keep(self._spec.zones, self._spec.packs)
            return Refused(str(exc)[:MAX_REASON])
        before, self._spec = self._spec, spec
        logs.set_level(spec.log.level)
        self._cache.resize(spec.cache)
        self._limit_clients(before)
        identify(self._shapes, self._local, spec)
        recognise(self._shapes, spec)
        if _forwarded(spec) != _forwarded(before):
            destinations = self._forwarding.destinations
            forward(self._forwarding, spec)
            self._failures.forget()
            if spec.forward != before.forward:
                yield from self._answering.redirect(destinations)
        self._images.keep(spec.zones, spec.packs)
        if spec.rules != before.rules:
            look(self._gate, self._bookkeeper, rules)
            yield from self._answering.change_rules(rules)
        if _has_other_zones(before, spec):
            yield from self._answering.change_zones(zones)
        if spec.cache.max_ttl_s < before.cache.max_ttl_s:
            yield from self._cache.shortening(self._clock.now_s)
        return Configured()

    def _limit_clients(self, before: WorkerSpec) -> None:
        """Have clients allowed, and cost, what the spec wants, and not as *before*."""
        spec = self._spec
        if spec.access != before.access:
            self._gate.replace(spec.access)
            self._streams.keep_out(self._gate)
        self._streams.configure(spec.limits, client_descriptors(self._free, spec))
        self._forwarding.bound(spec.limits)
        self._forwarding.be_patient(spec.cache.serve_stale_after_s)


def _has_other_zones(before: WorkerSpec, spec: WorkerSpec) -> bool:
    """Return whether zones answer otherwise under *spec* than they did *before*."""
    # Without upstreams a zone says of its origin what is its parent's to say.
    is_alone, was_alone = not _has_servers(spec), not _has_servers(before)
    names = (spec.zones, spec.special_names)
    return names != (before.zones, before.special_names) or is_alone != was_alone


def _has_servers(spec: WorkerSpec) -> bool:
    return any(pool.servers for pool in spec.all_pools)


def _forwarded(spec: WorkerSpec) -> tuple[object, ...]:
    return spec.upstreams, spec.pools, spec.forward, spec.edns.udp_size


def look(gate: Gate, bookkeeper: Bookkeeper, rules: RuleSet) -> None:
    """Have *rules* look at the queries that they may answer for one client alone."""
    gate.rule(rules.is_client if rules.has_personal else None)
    bookkeeper.withhold(rules.withholds if rules.has_personal else None)


def identify(shapes: Shapes, local: Local, spec: WorkerSpec) -> None:
    """Tell what *spec* wants told, in messages as long as it allows."""
    shapes.resize(spec.edns.udp_size)
    local.identity = identity_records(
        spec.identity.id.replace("{worker}", spec.name), spec.identity.version
    )


def recognise(shapes: Shapes, spec: WorkerSpec) -> None:
    """Give clients the cookies that *spec* wants, and say how long they are kept."""
    shapes.keep_alive(spec.limits.tcp_idle_s)
    secrets = [bytes.fromhex(secret) for secret in spec.edns.cookie_secrets]
    has_cookies = spec.edns.cookies and bool(secrets)
    shapes.use_cookies(ServerCookies(secrets, time.time) if has_cookies else None)


def forward(forwarding: Forwarding, spec: WorkerSpec) -> None:
    """Have misses go to the upstreams of *spec*."""
    forwarding.replace(
        spec.upstreams,
        hash_key=spec.hash_key,
        udp_size=spec.edns.udp_size,
        pools=spec.pools,
        rules=spec.forward,
    )


def client_descriptors(free: int, spec: WorkerSpec) -> int:
    """Return how many of *free* descriptors clients over TCP may have."""
    return descriptors.for_clients(
        free,
        servers=sum(len(pool.servers) for pool in spec.all_pools),
        wanted=spec.limits.tcp_connections,
    )
