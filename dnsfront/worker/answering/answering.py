"""A query in, a response out: from the cache, a zone, its owner or an upstream.

The fast path of `udp.py` answers hits itself and brings here what it does not find; all
other queries come here as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from functools import partial

from dnsfront.dns import edns, wire
from dnsfront.dns.cache import Cache
from dnsfront.dns.chain import follow
from dnsfront.dns.destinations import Destinations, moved
from dnsfront.dns.entry import ODD_ANY, ODD_STUB, ODD_ZONE, Entry
from dnsfront.dns.forgetting import led_to, ruled
from dnsfront.dns.query import Query, error_response, parse_query
from dnsfront.dns.rules.ruleset import RuleSet
from dnsfront.dns.shape import Shapes
from dnsfront.dns.zones.zone_set import ZoneSet
from dnsfront.errors import UnknownKeyError, WireError
from dnsfront.ipc.spec import DEFAULT_POOL
from dnsfront.ipc.stats import Counter, Source
from dnsfront.worker.answering.delivery import Delivery
from dnsfront.worker.answering.denied import Denied
from dnsfront.worker.answering.failures import Failures
from dnsfront.worker.answering.finishing import Finishing
from dnsfront.worker.answering.local import ANY_IN, PLAIN, Local
from dnsfront.worker.answering.stale import Stale
from dnsfront.worker.answering.words import Words
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.peers.ownership import Ownership
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.process.faults import Faults
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.upstreams.fetch import Fetch
from dnsfront.worker.upstreams.forwarding import Forwarding


class Answering:
    """What one worker knows about answering; its parts are the files beside this one.

    Misses go where *forwarding* says. The fast path reads `cache`, `shapes`, `clock`
    and `meter` itself.
    """

    def __init__(
        self,
        *,
        worker_id: int,
        cache: Cache,
        shapes: Shapes,
        ownership: Ownership,
        forwarding: Forwarding,
        delivery: Delivery,
        failures: Failures,
        stale: Stale,
        local: Local,
        words: Words,
        clock: Clock,
        meter: Meter,
        faults: Faults,
        is_steered: bool,
    ) -> None:
        self.cache = cache
        self.clock = clock
        self.shapes = shapes
        self.meter = meter
        self.faults = faults
        self.forwarding = forwarding
        self.delivery = delivery
        self.failures = failures
        self.stale = stale
        self.local = local
        self.words = words
        self._finishing = Finishing(forwarding, failures, stale, meter)
        self._denied = Denied(cache, forwarding, local.ruling, delivery, meter)
        self._worker_id = worker_id
        self._ownership = ownership
        self._handover_counter = (
            Counter.HANDOVER_MISPLACED if is_steered else Counter.HANDOVER_USERSPACE
        )

    def query(self, octets: bytes, waiter: Waiter) -> None:
        """Answer any message from a client, well formed or not."""
        try:
            self._query(octets, waiter)
        except Exception:  # noqa: BLE001 - no query takes others with it
            self.survive(octets, waiter)

    def survive(self, octets: bytes, waiter: Waiter) -> None:
        """Answer SERVFAIL, for the exception at hand: no query takes others with it.

        Called at several places, since a shared guard would cost every miss a call.
        """
        self.faults.caught("query")
        if self._is_ignored(octets):
            return
        try:
            self._reject(octets, wire.SERVFAIL, waiter)
        except Exception:  # noqa: BLE001 - now there is nobody left to tell
            self.faults.caught("response")

    def _is_ignored(self, octets: bytes) -> bool:
        """Count and tell what gets no response, since it may not be a query at all."""
        if len(octets) < wire.HEADER_OCTETS:
            self.meter.count(Counter.IGNORED_SHORT)
            return True
        if octets[2] & 0x80:
            # Two servers that answer each other's responses would never stop.
            self.meter.count(Counter.IGNORED_RESPONSE)
            return True
        return False

    def _query(self, octets: bytes, waiter: Waiter) -> None:
        query = None if self._is_ignored(octets) else self._parsed(octets, waiter)
        if query is None:
            return
        shapes = self.shapes
        address = b""
        if query.edns is not None and query.edns.cookie:
            address = waiter.cookie_address()
        shape = shapes.of(query, is_stream=waiter.is_stream, address=address)
        if not waiter.is_stream:
            shapes.learn(octets, query, shape, address)
        waiter.identity = query.identity
        waiter.question = query.question
        waiter.shape = shape
        waiter.received_at_ns = self.clock.now_ns
        ruling = self.local.ruling
        if ruling.has_personal:
            canonical = query.qname + query.question[-4:]
            if ruling.answer_for(canonical, waiter):
                return
        key = query.question.lower()
        entry = self.cache.get(shape.view, key, query.question[-4:])
        if entry is not None and waiter.is_stream and entry.odd & ODD_STUB:
            entry = None
        if (
            entry is not None
            and self.cache.fresh(entry, self.clock.now_s)
            and (waiter.is_stream or not entry.odd & ODD_ANY)
        ):
            is_zone = bool(entry.odd & ODD_ZONE)
            if not is_zone:
                self.meter.count(Counter.CACHE_REQUESTS)
                self.meter.count(Counter.CACHE_HITS)
            source = Source.ZONE if is_zone else Source.HIT
            self.delivery.send(waiter, entry, source)
            return
        self.miss(octets, key, entry, waiter)

    def _parsed(self, octets: bytes, waiter: Waiter) -> Query | None:
        """Return the parts of a query; what has to be answered otherwise has been."""
        try:
            query = parse_query(octets)
        except WireError as exc:
            if not self._tells_cookie(octets, waiter):
                tsig = exc.tsig if isinstance(exc, UnknownKeyError) else b""
                self._reject(octets, exc.rcode, waiter, tsig)
            return None
        if query.edns is not None and query.edns.version > 0:
            self._reject(octets, wire.BADVERS, waiter)
            return None
        return query

    def _tells_cookie(self, octets: bytes, waiter: Waiter) -> bool:
        """Answer a query for nothing but a cookie; False if it is none."""
        told = self.shapes.cookie_alone(octets, waiter.cookie_address())
        if told is None:
            return False
        rcode, message = told
        self.meter.count_rcode(rcode)
        waiter.respond(message)
        return True

    def _reject(
        self, octets: bytes, rcode: int, waiter: Waiter, tsig: bytes = b""
    ) -> None:
        self.meter.count_rcode(rcode)
        error = edns.EDE_PROHIBITED if rcode == wire.REFUSED else None
        size = self.shapes.udp_size
        waiter.respond(
            error_response(octets, rcode, error=error, udp_size=size, tsig=tsig)
        )

    def refuse(self, octets: bytes, waiter: Waiter) -> None:
        """Answer REFUSED to a client that the access list does not allow."""
        if not self._is_ignored(octets):
            self.meter.count(Counter.REFUSED)
            self._reject(octets, wire.REFUSED, waiter)

    def miss(  # noqa: C901, PLR0911 - a call a miss costs more than what is done
        self, octets: bytes, key: bytes, entry: Entry | None, waiter: Waiter
    ) -> None:
        """Answer a query that the cache has no fresh *entry* for.

        *key* is its folded question; *octets* is the query as it came, for its owner.
        What it raises is for its caller to :meth:`survive`.
        """
        question, view = waiter.question, waiter.shape.view
        tail = question[-4:]
        qname = key[:-4]
        canonical = key if key.endswith(tail) else qname + tail
        forwarding = self.forwarding
        pool = forwarding.default
        if forwarding.destinations is not None:
            pool = forwarding.find(canonical)
        if pool is not None:
            fetch = pool.under_way[view].get(canonical)
            if fetch is not None and (waiter.is_stream or tail != ANY_IN):
                self.meter.count(Counter.CACHE_REQUESTS)
                pool.join(fetch, waiter)
                return
        if entry is None:
            if wire.question_end(question, 0) != len(question):
                # The octets at the end only looked like an OPT record met before.
                self._query(octets, waiter)
                return
        elif entry.tail != tail:
            entry = None
        if not waiter.is_to_answer and self._handed_over(qname, octets, waiter):
            return
        local = self.local
        if (tail not in PLAIN or qname.endswith(local.tops)) and local.answer(
            canonical, key, waiter, entry
        ):
            return
        if pool is None:
            self._answer_without_pool(canonical, entry, waiter)
            return
        self.meter.count(Counter.CACHE_REQUESTS)
        cache = self.cache
        denial = cache.denials.by_name[view].get(qname)
        if denial is None and cache.denies_below:
            denial = cache.denials.above(view, qname, self.clock.now_s)
        if denial is not None and self._denied.answer(
            denial, pool, canonical, key, waiter
        ):
            return
        failures = self.failures
        failure = failures.find(view, canonical) if failures.remembered else None
        if failure is not None:
            rcode, errors = failure
            # RFC 8914, 4.14: this one is about SERVFAIL alone.
            cached = edns.EDE_CACHED_ERROR if rcode == wire.SERVFAIL else None
            self.stale.fail(entry, [waiter], rcode, cached, errors)
            return
        pool.fetch(view, key, canonical, entry, waiter)

    def _answer_without_pool(
        self, canonical: bytes, entry: Entry | None, waiter: Waiter
    ) -> None:
        if self.forwarding.destinations is None:
            error = edns.EDE_NOT_AUTHORITATIVE
            self.stale.fail(entry, [waiter], wire.REFUSED, error)
        else:
            self.words.answer(canonical, waiter)

    def _handed_over(self, qname: bytes, octets: bytes, waiter: Waiter) -> bool:
        owner = self._ownership.owner(qname)
        if owner in (0, self._worker_id):
            return False
        if not waiter.hand_over(owner, octets):
            self.meter.count(Counter.HANDOVER_FAILED)
            return False
        counter = Counter.HANDOVER_TCP if waiter.is_stream else self._handover_counter
        self.meter.count(counter)
        return True

    def is_awaited_at(self, listeners: Collection[object]) -> bool:
        """Return whether a client of one of these UDP listeners may wait for us."""
        return self.delivery.crowds.waiting > 0 or self.forwarding.is_awaited_at(
            listeners
        )

    def prefetch(self) -> None:
        """Fetch again what is asked for and about to expire, if that did not fail."""
        for entry in self.cache.take_due():
            view, canonical = entry.view, entry.canonical
            if entry.key.endswith(self.local.tops, 0, -4) and self.local.refresh(entry):
                continue
            pool = self.forwarding.find(canonical)
            if (
                pool is not None
                and canonical not in pool.under_way[view]
                and self.failures.find(view, canonical) is None
                and pool.fetch(view, entry.key, canonical, entry, None)
            ):
                self.meter.count(Counter.CACHE_PREFETCHES)

    def serve(self, zones: ZoneSet | None) -> None:
        """Answer from *zones* from now on: no response of an upstream to them gets in.

        What is cached of their names is the caller's to forget.
        """
        self.local.serve(zones, self._finishing)
        self._know_destinations()

    def _know_destinations(self) -> None:
        """Have all parts know what is answered here, and where all else goes."""
        zones, destinations = self.local.zones, self.forwarding.destinations
        origins = frozenset() if zones is None else zones.origins
        self.words.know(destinations, origins)
        self.local.destinations = destinations
        is_all_forwarded = not self.local.tops and destinations is None
        self.forwarding.know_zones(None if is_all_forwarded else self._message)

    def _message(self, view: int, canonical: bytes) -> bytes | None:
        """Return what is said here to a question, None where an upstream is asked."""
        message = self.local.message(view, canonical)
        if message is None and self.forwarding.find(canonical) is None:
            message = self.words.message(canonical)
        return message

    def redirect(self, before: Destinations | None) -> Generator[None, None, None]:
        """Have names go where they go now, and not as *before*, step by step.

        What is under way for such a name, or was led to one by aliases, is asked again;
        what is cached of them is forgotten, here and in what the kernel answers.
        """
        self._know_destinations()
        is_moved = moved(before, self.forwarding.destinations, DEFAULT_POOL)
        self.cache.take_due()
        for fetch in self.forwarding.end_fetches(partial(_is_led_to, is_moved)):
            self._ask_again(fetch)
        yield from self.cache.flushing(led_to(is_moved))

    def _ask_again(self, fetch: Fetch) -> None:
        """Have who waits for *fetch*, which was ended, answered as is right now."""
        pool = self.forwarding.find(fetch.canonical)
        if self.local.has_zone_for(fetch.view, fetch.canonical):
            self.local.answer_all(fetch.canonical, fetch.key, fetch.waiters)
            return
        if pool is not None:
            fetch.entry = None  # what came from elsewhere is not to be sent
            pool.fetch_again(fetch)
            return

        def tell(waiters: list[Waiter]) -> None:
            for waiter in waiters:
                self.words.answer(fetch.canonical, waiter)

        self.delivery.tell(fetch.waiters, tell)

    def rule(self, rules: RuleSet) -> None:
        """Answer by *rules* from now on; what is cached is the caller's to forget."""
        self.local.rule(rules, self._finishing)
        self._know_destinations()

    def change_rules(self, rules: RuleSet) -> Generator[None, None, None]:
        """Answer by *rules* from now on, and forget what they touch, step by step."""
        before = self.local.ruling.rules
        self.rule(rules)
        self.reclaim()
        yield from self.cache.flushing(ruled(before.touches, rules.touches))

    def change_zones(self, zones: ZoneSet | None) -> Generator[None, None, None]:
        """Answer from other *zones* from now on, and forget the cached, step by step.

        That is all that the zones of before or of now have a say in.
        """
        origins: frozenset[bytes] = frozenset()
        for each in (self.local.zones, zones):
            if each is not None:
                origins |= each.origins
        self.serve(zones)
        self.failures.forget()
        self.reclaim()
        yield from self.cache.forgetting_zones(origins)

    def reclaim(self) -> None:
        """Answer what upstreams are asked and a zone of ours answers now.

        What is cached of such names is the caller's to forget.
        """
        self.cache.take_due()
        for fetch in self.forwarding.end_fetches(self._is_for_zone):
            self.local.answer_all(fetch.canonical, fetch.key, fetch.waiters)

    def _is_for_zone(self, fetch: Fetch) -> bool:
        return self.local.has_zone_for(fetch.view, fetch.canonical)


def _is_led_to(is_moved: Callable[[bytes], bool], fetch: Fetch) -> bool:
    """Return whether a fetch is, or was at one of its aliases, about what has moved."""
    if is_moved(fetch.canonical) or is_moved(fetch.asked):
        return True
    octets = fetch.partial
    return bool(octets) and any(
        is_moved(name + fetch.canonical[-4:])
        for name in follow(octets, wire.question_end(octets)).names
    )
