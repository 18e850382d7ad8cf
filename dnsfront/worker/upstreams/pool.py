"""Misses go out and come back: one outstanding fetch a question, retried and bounded.

Coalescing is a duty, not a luxury: two identical questions under way at once would
double an attacker's chance to guess an id (RFC 5452, 5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.chain import may_lead_on
from dnsfront.dns.entry import Entry
from dnsfront.dns.response import NEVER_KEPT, Response, parse_response
from dnsfront.errors import TooManyRecordsError, WireError
from dnsfront.ipc.spec import Limits, UpstreamServer
from dnsfront.ipc.stats import Counter, Limit, Upstream
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.process.batch import BATCH, COMPACT, HEADER_WORDS, ReceiveBatch
from dnsfront.worker.process.faults import Faults
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.process.reactor import Reactor
from dnsfront.worker.upstreams.aliases import lead_of
from dnsfront.worker.upstreams.choice import Choice, Order
from dnsfront.worker.upstreams.fetch import Fetch, Port
from dnsfront.worker.upstreams.outcomes import Outcomes
from dnsfront.worker.upstreams.pending import Pending
from dnsfront.worker.upstreams.ports import Ports
from dnsfront.worker.upstreams.queries import (
    edns_forms,
    is_bare_error,
    is_response,
    message,
)
from dnsfront.worker.upstreams.round_trip import RoundTrip
from dnsfront.worker.upstreams.server import Server
from dnsfront.worker.upstreams.timers import Timers
from dnsfront.worker.upstreams.tries import (
    OFFENDED,
    RETRY_ELSEWHERE,
    Act,
    Step,
    Tries,
    learn,
)

#: Fetches that are overdue or refused, taken up in one round; and batches that leave
#: towards one server. More would keep those waiting whose answers are there.
_TURNS: Final = 512
_BATCHES: Final = 16


class Pool:
    """A group of upstream servers with one policy, and the fetches that ask them.

    *order* names the servers to try for a qname, best first; *is_up* tells what the
    health checks think of the upstream with an index. `under_way` has the fetches by
    view and canonical question.
    """

    def __init__(
        self,
        servers: Sequence[UpstreamServer],
        *,
        order: Order,
        is_up: Callable[[int], bool],
        is_on_trial: Callable[[int], bool] | None = None,
        timeout_s: float,
        udp_size: int = wire.UDP_PAYLOAD_OCTETS,
        limits: Limits,
        reactor: Reactor,
        outcomes: Outcomes,
        meter: Meter,
        faults: Faults,
    ) -> None:
        self._pending = Pending(limits)
        self.under_way = self._pending.under_way
        timeout_ns = round(timeout_s * 1e9)
        found = [
            Server(spec, position, RoundTrip(timeout_ns))
            for position, spec in enumerate(servers)
        ]
        self._ports = [Ports(x, reactor, self._receive, meter) for x in found]
        self._choice = Choice(found, order, is_up, is_on_trial)
        self._forms = edns_forms(udp_size)
        self._outcomes = outcomes
        self._meter = meter
        self._clock = meter.clock
        self._faults = faults
        self._timers = Timers(timeout_ns)
        self._tries = Tries(timeout_ns)
        self._unheard: deque[tuple[Fetch, int]] = deque()
        self._received = ReceiveBatch()

    @property
    def pending(self) -> int:
        """How many fetches are under way."""
        return self._pending.count

    def bound(self, limits: Limits) -> None:
        """Keep to *limits* from now on."""
        self._pending.bound(limits)

    def fetch(
        self,
        view: int,
        key: bytes,
        canonical: bytes,
        entry: Entry | None,
        waiter: Waiter | None,
    ) -> bool:
        """Ask the upstreams; without a *waiter* only to keep *entry* fresh.

        Nobody may be asking the same already: see `under_way`. Returns whether a fetch
        was started, which is not so when there are too many.
        """
        waiters = [] if waiter is None else [waiter]
        pending = self._pending
        if pending.count >= pending.crowd and not self._has_room(canonical, waiter):
            self._outcomes.fail(entry, waiters, wire.SERVFAIL, wire.EDE_NOT_READY, b"")
            return False
        candidates = self._choice.of(canonical[:-4])
        fetch = Fetch(view, key, canonical, entry, waiters, candidates, self._forms)
        pending.add(fetch, self._clock.now_ns)
        self._begin(fetch)
        return True

    def _has_room(self, canonical: bytes, waiter: Waiter | None) -> bool:
        """Return whether one more may be fetched, and make room for it."""
        pending = self._pending
        barrier = pending.barrier(canonical, waiter, self._clock.now_ns)
        if barrier is not None:
            self._meter.count(barrier)
            return False
        if pending.count < pending.most:
            return True
        self._meter.count(Limit.PENDING)
        hopeless = pending.hopeless()
        if hopeless is None:
            return False
        self._finish(hopeless)
        self._outcomes.fail(
            hopeless.entry, hopeless.waiters, wire.SERVFAIL, wire.EDE_NOT_READY, b""
        )
        return True

    def _begin(self, fetch: Fetch) -> None:
        """Ask the next server, at the end of this round."""
        server = self._tries.begin(fetch, self._clock.now_ns)
        self._ports[server.position].queue.append(fetch)

    def flush(self) -> None:
        """Send what was queued since the last call, a batch a system call.

        Of a great many the rest stays for the next round, which comes at once.
        """
        batches = _BATCHES
        busy = self._ports
        while busy and batches:
            for ports in busy:
                if ports.queue:
                    self._send_batch(ports)
            batches -= 1
            # What could not be sent is queued for the next server.
            busy = [ports for ports in self._ports if ports.queue]

    def _send_batch(self, ports: Ports) -> None:
        now_ns = self._clock.now_ns
        batch, ports.queue = ports.queue[:BATCH], ports.queue[BATCH:]
        # A late response to an earlier send may have come since they were queued.
        batch = [x for x in batch if not x.is_done and x.abandon_tcp is None]
        self._meter.upstream_sent(ports.server.index, len(batch))
        try:
            unsent = ports.send(batch, now_ns)
        except OSError:
            unsent = batch
        # What fails below gets another number of sends, so that look is void.
        self._timers.asked(batch, now_ns)
        for fetch in unsent:
            self._fail(fetch)

    def _receive(  # noqa: C901 - a call a response costs more than its parts
        self, ports: Ports, port: Port
    ) -> None:
        received = self._received
        count = received.receive(port.fd)
        pending, server = port.pending, port.server
        if count < 0:
            # ICMP says that nobody listens there: no need to wait for the time-out.
            self._unheard.extend(
                (fetch, fetch.sends)
                for fetch in pending.values()
                if fetch.server is server and fetch.abandon_tcp is None
            )
            return
        port.heard_ns = self._clock.now_ns
        if ports.suspect_ns:
            ports.gets_through(port)
        arena, sizes = received.arena, received.sizes
        timed: Fetch | None = None
        for i in range(count):
            size = sizes[i * HEADER_WORDS]
            if size > COMPACT:
                octets = received.datagram(i)
            else:
                octets = arena[i * COMPACT : i * COMPACT + size]
            identity = octets[:2]
            fetch = pending.get(identity)
            if fetch is None or not (
                is_response(octets, fetch.asked) or self._is_bare(fetch, port, octets)
            ):
                continue
            del pending[identity]
            if server is fetch.server:
                timed = fetch
            try:
                if octets[5] == 0:
                    self._refused_barely(fetch, server, octets)
                elif octets[2] & 2 == 0:
                    self._take(fetch, server, octets)
                elif server is fetch.server:
                    self._ask_over_tcp(fetch, server)
            except Exception:  # noqa: BLE001 - one response, not the batch
                self._survive(fetch)
        if timed is not None:
            took_ns = port.heard_ns - timed.sent_at_ns
            server.round_trip.took(took_ns, is_repeated=timed.repeats > 0)

    def _survive(self, fetch: Fetch) -> None:
        """Give *fetch* up for the exception at hand; the others go on."""
        self._faults.caught("upstream_response")
        fetch.candidates.clear()
        self._fail(fetch)

    def _take(  # noqa: C901 - a call a response costs more than its parts
        self, fetch: Fetch, server: Server, octets: bytes
    ) -> None:
        """Deliver the response *octets* of *server*, or try the next one.

        It may be late: then another server was asked meanwhile, and only what the
        late one knows counts, not what it does not.
        """
        is_late = server is not fetch.server
        try:
            response = parse_response(octets, wire.HEADER_OCTETS + len(fetch.asked))
        except WireError as error:
            if isinstance(error, TooManyRecordsError):
                self._meter.count(Limit.RECORDS)
                # Asking it the same again would only cost the same again.
                fetch.exclude(server)
            if not is_late:
                self._fail(fetch)
            return
        if not is_late:
            self._meter.upstream_answered(server.index, fetch.sent_at_ns)
        rcode = response.rcode
        if not (response.has_opt and server.edns.is_sure) and rcode not in OFFENDED:
            learn(fetch, server, response, self._clock.now_ns)
        if rcode in RETRY_ELSEWHERE or rcode > wire.RCODE_MASK:
            self._refused(fetch, server, response)
            return
        if is_late:
            self._came_late(fetch, server)
        if (
            response.ttl_s == NEVER_KEPT
            or fetch.partial
            or (self._outcomes.local_message is not None and may_lead_on(octets))
        ):
            whole = self._whole(fetch, server, octets, response)
            if whole is None:
                return
            response = whole
        if fetch.shares:
            self._pending.heard(fetch, self._clock.now_ns)
        self._finish(fetch)
        self._outcomes.deliver(fetch, response)

    def _came_late(self, fetch: Fetch, server: Server) -> None:
        """Count that *server* answered after its time-out, and learn how long it took.

        The time-out was counted as a failure; this is what says that it is up.
        """
        sent_at_ns = fetch.first_sent_ns(server)
        self._meter.upstream_answered(server.index, sent_at_ns)
        took_ns = self._clock.now_ns - sent_at_ns
        server.round_trip.took(took_ns, is_repeated=True)

    def _whole(
        self, fetch: Fetch, server: Server, octets: bytes, response: Response
    ) -> Response | None:
        """Return the *response* with all that its aliases lead to, if that is known.

        If not it is asked for, or, where *server* had nothing to say at all, another.
        """
        try:
            lead = lead_of(fetch, octets, response, self._outcomes.local_message)
        except WireError:
            if server is fetch.server:
                self._fail(fetch)
            return None
        if lead.response is None:
            if lead.target:
                self._ask_for(fetch, lead.target, lead.octets)
            else:
                self._refuse_aliases(fetch)
        elif lead.is_lame:
            self._refused(fetch, server, lead.response)
            return None
        return lead.response

    def _ask_for(self, fetch: Fetch, target: bytes, octets: bytes) -> None:
        """Ask for the *target* that the aliases of the response *octets* end with."""
        fetch.partial = octets
        fetch.hang_up()
        self._tries.ask_for(fetch, target, self._choice.of(target))
        self._begin(fetch)

    def _refuse_aliases(self, fetch: Fetch) -> None:
        """Answer SERVFAIL for aliases without an end, and remember it (RFC 9520, 3.2).

        With a part of the chain, clients would take it for all there is.
        """
        self._meter.count(Limit.ALIASES)
        self._finish(fetch)
        outcomes, rcode = self._outcomes, wire.SERVFAIL
        outcomes.remember_failure(fetch.view, fetch.canonical, rcode, b"")
        outcomes.fail(fetch.entry, fetch.waiters, rcode, None, b"")

    def _refused(self, fetch: Fetch, server: Server, response: Response) -> None:
        """Go on without *server*, which could not say."""
        step = self._tries.refused(fetch, server, response)
        if step is not None:
            self._meter.upstream_refused(server.index)
            self._do(fetch, step)

    def _is_bare(self, fetch: Fetch, port: Port, octets: bytes) -> bool:
        """Return whether *octets* are an error without a question about the last try.

        That is forged more easily, so it can do no more than end the try it is about.
        """
        return is_bare_error(octets) and fetch.sent[-1][:2] == (port, octets[:2])

    def _refused_barely(self, fetch: Fetch, server: Server, octets: bytes) -> None:
        """End the try under way by an error of *server* that repeats no question."""
        rcode = octets[3] & wire.RCODE_MASK
        step = self._tries.refused_barely(fetch, server, rcode)
        self._meter.upstream_answered(server.index, fetch.sent_at_ns)
        self._meter.upstream_refused(server.index)
        self._do(fetch, step)

    def _ask_over_tcp(self, fetch: Fetch, server: Server) -> None:
        """Ask again over TCP, because the response did not fit a datagram."""

        def done(octets: bytes | None) -> None:
            if octets is not None and is_bare_error(octets):
                self._refused_barely(fetch, server, octets)
                return
            # TC over TCP says that even the whole is not whole (RFC 2181, 9).
            if octets is None or octets[2] & 2 or not is_response(octets, fetch.asked):
                self._fail(fetch)
                return
            try:
                self._take(fetch, server, octets)
            except Exception:  # noqa: BLE001 - one response, not the worker
                self._survive(fetch)

        now_ns = self._clock.now_ns
        self._tries.begin_over_tcp(fetch, now_ns)
        self._meter.upstream_sent(server.index, 1)
        try:
            links = self._ports[server.position].links
            fetch.abandon_tcp = links.ask(message(b"", fetch), done, now_ns).abandon
        except OSError:
            self._fail(fetch)
            return
        self._timers.look(fetch, self._tries.look_ns(fetch))

    def _fail(self, fetch: Fetch) -> None:
        """Go on without a response of the server that was asked last."""
        if not fetch.is_done:
            self._do(fetch, self._tries.failed(fetch))

    def _do(self, fetch: Fetch, step: Step) -> None:
        """Do what the rules want done about *fetch*."""
        server, act = fetch.server, step.act
        if step.may_be_stale:
            self._send_stale(fetch)
        if step.is_silence:
            self._distrust_port(fetch)
        if step.is_failure:
            self._meter.upstream_failed(server.index)
        if act is Act.REPEAT:
            self._meter.upstream_count(server.index, Upstream.RETRANSMISSIONS)
            self._repeat(fetch)
        elif act is Act.RENEW:
            self._meter.upstream_sent(server.index, 1)
            self._repeat(fetch)
        elif act is Act.GO_ON:
            fetch.hang_up()
            self._begin(fetch)
        elif act is Act.GIVE_UP:
            self._give_up(fetch)

    def _repeat(self, fetch: Fetch) -> None:
        ports = self._ports[fetch.server.position]
        if not ports.repeat(fetch, self._clock.now_ns):
            self._fail(fetch)

    def _distrust_port(self, fetch: Fetch) -> None:
        """Give up the port of an overdue *fetch*, if nothing comes to it any more."""
        server = fetch.server
        for port, _identity, _since_ns in fetch.sent:
            if port.server is server:
                self._ports[server.position].distrust(port, fetch.sent_at_ns)

    def _give_up(self, fetch: Fetch) -> None:
        """Answer all who wait with the failure, and remember it."""
        self._finish(fetch)
        outcomes, rcode, errors = self._outcomes, fetch.failed_rcode, fetch.errors
        outcomes.remember_failure(fetch.view, fetch.canonical, rcode, errors)
        outcomes.fail(fetch.entry, fetch.waiters, rcode, fetch.error, errors)

    def _finish(self, fetch: Fetch) -> None:
        fetch.is_done = True
        self._pending.remove(fetch)
        fetch.server.outstanding -= 1
        for port, identity, _since_ns in fetch.sent:
            port.pending.pop(identity, None)
        if fetch.abandon_tcp is not None:
            fetch.hang_up()

    def expire(self) -> None:
        """Look at what may be overdue, and at what was refused; not at all at once."""
        now_ns = self._clock.now_ns
        turns = _TURNS
        while self._unheard and turns:
            unheard, sends = self._unheard.popleft()
            if unheard.sends == sends and unheard.abandon_tcp is None:
                self._fail(unheard)
                turns -= 1
        while turns:
            fetch = self._timers.due(now_ns)
            if fetch is None:
                return
            self._look(fetch, now_ns)
            turns -= 1

    def _look(self, fetch: Fetch, now_ns: int) -> None:
        sends = fetch.sends
        self._do(fetch, self._tries.time_passed(fetch, now_ns))
        # What was sent elsewhere has another number of sends, and a look of its own.
        if not fetch.is_done and fetch.sends == sends:
            self._timers.look(fetch, self._tries.look_ns(fetch))

    def wait_s(self) -> float | None:
        """Return the seconds until something may be overdue, None if nothing can be."""
        if self._unheard:
            return 0
        for ports in self._ports:
            if ports.queue:
                return 0
        due_ns = self._timers.next_ns()
        return None if due_ns is None else max(0, due_ns - self._clock.now_ns) / 1e9

    def _send_stale(self, fetch: Fetch) -> None:
        """Answer from stale data while the fetch goes on (RFC 8767, 5)."""
        if fetch.entry is None:
            return
        if self._outcomes.send_stale(fetch.entry, fetch.waiters):
            self._pending.waiting -= len(fetch.waiters)
            fetch.waiters.clear()

    def take_back(self, is_wanted: Callable[[bytes], bool]) -> list[Fetch]:
        """End the fetches whose question *is_wanted* takes, and return them.

        Who waits for them is the caller's to answer.
        """
        fetches = [
            fetch
            for fetches in self.under_way
            for canonical, fetch in fetches.items()
            if is_wanted(canonical)
        ]
        for fetch in fetches:
            self._finish(fetch)
        return fetches

    def join(self, fetch: Fetch, waiter: Waiter) -> None:
        """Let *waiter* wait for a fetch that is under way.

        Often it is the same client, which has lost its patience: then the server had
        time to answer too, and its response may have been lost.
        """
        pending = self._pending
        is_over = len(fetch.waiters) >= pending.most_waiters
        waiting = pending.waiting + self._outcomes.to_be_told()
        if is_over or waiting >= pending.most_waiting:
            self._meter.count(Limit.WAITERS_PER_FETCH if is_over else Limit.WAITERS)
            if waiter.is_tcp:
                # Not left waiting, since it has a place there that others want.
                rcode, error = wire.SERVFAIL, wire.EDE_NOT_READY
                self._outcomes.fail(fetch.entry, [waiter], rcode, error, b"")
            return
        self._meter.count(Counter.COALESCED)
        pending.waiting += 1
        fetch.waiters.append(waiter)
        self._do(fetch, self._tries.asked_again(fetch, self._clock.now_ns))

    def sweep(self) -> None:
        """Close ports that are done with, and look who is up."""
        self._choice.rank()
        self._pending.sweep()
        for ports in self._ports:
            ports.sweep(self._clock.now_ns)

    def close(self) -> None:
        """Close every socket; fetches still under way fail."""
        for fetches in self.under_way:
            for fetch in list(fetches.values()):
                fetch.candidates.clear()
                self._fail(fetch)
        for ports in self._ports:
            ports.close()
