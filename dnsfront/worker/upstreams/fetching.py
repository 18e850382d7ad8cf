"""What is done about each fetch, from its first query to its end.

The rules say what (`tries.py`), the sockets do it (`sending.py`); what comes back is
told apart here, and handed on to who answers clients.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.response import NEVER_KEPT, Response, parse_response
from dnsfront.errors import TooManyRecordsError, WireError
from dnsfront.ipc.stats import Limit, Upstream
from dnsfront.worker.process.batch import COMPACT, ReceiveBatch
from dnsfront.worker.process.calls import HEADER_WORDS
from dnsfront.worker.process.faults import Faults
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.process.reactor import Reactor
from dnsfront.worker.upstreams.aliases import lead_of
from dnsfront.worker.upstreams.fetch import Fetch, Port
from dnsfront.worker.upstreams.hedging import Hedging
from dnsfront.worker.upstreams.near_misses import NearMisses
from dnsfront.worker.upstreams.outcomes import Outcomes
from dnsfront.worker.upstreams.pending import Pending
from dnsfront.worker.upstreams.ports import Ports
from dnsfront.worker.upstreams.queries import (
    is_bare_about,
    is_bare_error,
    is_response,
)
from dnsfront.worker.upstreams.rcodes import is_answer
from dnsfront.worker.upstreams.sending import Sending
from dnsfront.worker.upstreams.server import Server
from dnsfront.worker.upstreams.timers import Timers
from dnsfront.worker.upstreams.tries import (
    OFFENDED,
    Act,
    Step,
    Tries,
    learn,
)

#: Fetches that are overdue or refused, taken up in one round. More would keep those
#: waiting whose answers are there.
_TURNS: Final = 512


class Fetching:
    """The fetches of one pool that are *pending*, and the sockets towards *servers*.

    *candidates* returns the servers to try for a qname that the aliases of a server end
    with, the first of them last.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        pending: Pending,
        *,
        timeout_ns: int,
        candidates: Callable[[bytes, Server], list[Server]],
        reactor: Reactor,
        outcomes: Outcomes,
        meter: Meter,
        faults: Faults,
        is_hedging: bool = False,
    ) -> None:
        self._pending = pending
        self._candidates = candidates
        self._outcomes = outcomes
        self._meter = meter
        self._clock = meter.clock
        self._faults = faults
        self._timers = timers = Timers(timeout_ns)
        self._hedging = Hedging(timers, meter, timeout_ns) if is_hedging else None
        self.tries = Tries(timeout_ns)
        self.sending = Sending(
            servers,
            reactor,
            meter,
            receive=self._receive,
            take=self._take_stream,
            # Those that did not leave get a look too, but are sent elsewhere at once,
            # and timers pass over a look from before that.
            on_sent=timers.asked if self._hedging is None else self._hedging.asked,
            fail=self.fail,
        )
        self._ports = self.sending.ports
        self._unheard: deque[tuple[Fetch, int]] = deque()
        self._received = ReceiveBatch()
        self._near_misses = NearMisses(pending.under_way)

    def begin(self, fetch: Fetch) -> None:
        """Ask the next server, at the end of this round."""
        server = self.tries.begin(fetch, self._clock.now_ns)
        self._ports[server.position].queue.append(fetch)

    def _receive(  # noqa: C901, PLR0912 - a call a response costs more than its parts
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
                if fetch.server is server and fetch.is_over_udp
            )
            return
        port.heard_ns = self._clock.now_ns
        if ports.suspect_ns:
            ports.gets_through(port)
        arena, sizes = received.arena, received.sizes
        timed: Fetch | None = None
        marks = server.marks
        for i in range(count):
            size = sizes[i * HEADER_WORDS]
            if size > COMPACT:
                octets = received.datagram(i)
            else:
                octets = arena[i * COMPACT : i * COMPACT + size]
            identity = octets[:2]
            fetch = pending.get(identity)
            if fetch is None or not (
                is_response(octets, fetch.asked) or is_bare_about(fetch, port, octets)
            ):
                self._beware(port, octets)
                continue
            del pending[identity]
            if server is fetch.server:
                timed = fetch
            if marks is not None and octets[5]:
                # What is doubtful comes back truncated, so TCP has the last word.
                octets = marks.read(octets, fetch.asked, port.heard_ns)
            try:
                if octets[5] == 0:
                    self._refused_barely(fetch, server, octets)
                elif octets[2] & 2 == 0:
                    self._use(fetch, server, octets)
                elif server is fetch.server and fetch.abandon_tcp is None:
                    self._ask_over_tcp(fetch)
            except Exception:  # noqa: BLE001 - one response, not the batch
                self._survive(fetch)
        if timed is not None:
            took_ns = port.heard_ns - timed.sent_at_ns
            server.round_trip.took(took_ns, is_repeated=timed.repeats > 0)
            if self._hedging is not None:
                self._hedging.heard(server, port.heard_ns, took_ns)

    def _beware(self, port: Port, octets: bytes) -> None:
        """Believe nothing over UDP any more where somebody guesses at an id."""
        fetch = self._near_misses.aim_of(port, octets)
        if fetch is not None and fetch.abandon_tcp is None:
            self._meter.upstream_count(fetch.server.index, Upstream.FORGED)
            self._ask_over_tcp(fetch)

    def _survive(self, fetch: Fetch) -> None:
        """Give *fetch* up for the exception at hand; the others go on."""
        self._faults.caught("upstream_response")
        fetch.candidates.clear()
        self.fail(fetch)

    def _use(  # noqa: C901 - a call a response costs more than its parts
        self, fetch: Fetch, server: Server, octets: bytes
    ) -> None:
        """Deliver the response *octets* of *server*, or try the next one.

        It may be late: then another server was asked meanwhile, and only what the
        late one knows counts, not what it does not.
        """
        is_late = server is not fetch.server
        body_at = wire.HEADER_OCTETS + len(fetch.asked)
        try:
            response = parse_response(octets, body_at)
        except WireError as error:
            if isinstance(error, TooManyRecordsError):
                self._meter.count(Limit.RECORDS)
                # Asking it the same again would only cost the same again.
                fetch.exclude(server)
            if not is_late:
                self.fail(fetch)
            return
        if not is_late:
            self._meter.upstream_answered(server.index, fetch.sent_at_ns)
        rcode = response.rcode
        if not (response.has_opt and server.edns.is_sure) and rcode not in OFFENDED:
            learn(fetch, server, response, self._clock.now_ns)
        if rcode and not is_answer(rcode, octets, body_at):
            self._refused(fetch, server, response)
            return
        if is_late:
            # It was counted as a failure when its time was over, but it is up.
            sent_at_ns, server.heard_ns = (
                fetch.first_sent_ns(server),
                self._clock.now_ns,
            )
            self._meter.upstream_answered(server.index, sent_at_ns)
            server.round_trip.took(server.heard_ns - sent_at_ns, is_repeated=True)
        if (
            response.ttl_s == NEVER_KEPT
            or fetch.partial
            or (response.may_lead_on and self._outcomes.local_message is not None)
        ):
            whole = self._whole(fetch, server, octets, response)
            if whole is None:
                return
            response = whole
        if fetch.shares:
            self._pending.heard(fetch, self._clock.now_ns)
        self.finish(fetch)
        self._outcomes.deliver(fetch, response)

    def _whole(
        self, fetch: Fetch, server: Server, octets: bytes, response: Response
    ) -> Response | None:
        """Return the *response* with all that its aliases lead to, if that is known.

        If not it is asked for, or, where *server* had nothing to say at all, another.
        """
        try:
            outcomes = self._outcomes
            lead = lead_of(
                fetch, octets, response, outcomes.local_message, outcomes.is_elsewhere
            )
        except WireError:
            if server is fetch.server:
                self.fail(fetch)
            return None
        if lead.response is None:
            if lead.target:
                self._ask_for(fetch, server, lead.target, lead.octets)
            else:
                self._refuse_aliases(fetch)
        elif lead.is_lame:
            self._refused(fetch, server, lead.response)
            return None
        return lead.response

    def _ask_for(
        self, fetch: Fetch, server: Server, target: bytes, octets: bytes
    ) -> None:
        """Ask for the *target* that the aliases in *octets* of *server* end with."""
        fetch.partial = octets
        fetch.hang_up()
        for ports in self._ports:
            if fetch in ports.queue:
                ports.queue.remove(fetch)  # the answer came late: this is no question
        elsewhere = self._outcomes.ask_elsewhere
        if elsewhere is None or not elsewhere(fetch, target):
            self.go_on_with(fetch, target, server)

    def go_on_with(self, fetch: Fetch, target: bytes, server: Server) -> None:
        """Ask for *target*, which the aliases that *server* told lead to."""
        self.tries.ask_for(fetch, target, server, self._candidates)
        self.begin(fetch)

    def _refuse_aliases(self, fetch: Fetch) -> None:
        """Answer SERVFAIL for aliases without an end, and remember it (RFC 9520, 3.2).

        With a part of the chain, clients would take it for all there is.
        """
        self._meter.count(Limit.ALIASES)
        fetch.failed_rcode, fetch.error, fetch.errors = wire.SERVFAIL, None, b""
        self.finish(fetch)
        self._outcomes.give_up(fetch)

    def _refused(self, fetch: Fetch, server: Server, response: Response) -> None:
        """Go on without *server*, which could not say."""
        step = self.tries.refused(fetch, server, response)
        if step is not None:
            self._meter.upstream_refused(server.index)
            self._do(fetch, step)

    def _refused_barely(self, fetch: Fetch, server: Server, octets: bytes) -> None:
        """End the try under way by an error of *server* that repeats no question."""
        rcode = octets[3] & wire.RCODE_MASK
        step = self.tries.refused_barely(fetch, server, rcode)
        self._meter.upstream_answered(server.index, fetch.sent_at_ns)
        self._meter.upstream_refused(server.index)
        self._do(fetch, step)

    def _ask_over_tcp(self, fetch: Fetch) -> None:
        """Ask again over TCP, because the response did not fit a datagram."""
        self.tries.begin_over_tcp(fetch, self._clock.now_ns)
        if self.sending.ask_over_tcp(fetch):
            self._timers.look(fetch, self.tries.look_ns(fetch))
        else:
            self.fail(fetch)

    def _take_stream(self, fetch: Fetch, octets: bytes | None) -> None:
        """Take the response of its server over TCP or TLS, or go on without it."""
        if octets is None or not self._use_stream(fetch, fetch.server, octets):
            self.fail(fetch)

    def _ask_over_tcp_too(self, fetch: Fetch) -> None:
        """Ask over TCP as well, because nothing came over UDP, which still may."""
        server = fetch.server

        def done(octets: bytes | None) -> None:
            fetch.abandon_tcp = None
            if octets is not None:
                self._use_stream(fetch, server, octets)

        if self.sending.ask_over_tcp_too(fetch, done):
            fetch.count_query_over_tcp()

    def _use_stream(self, fetch: Fetch, server: Server, octets: bytes) -> bool:
        """Take what came over TCP; return whether it was a response to the question."""
        if is_bare_error(octets):
            self._refused_barely(fetch, server, octets)
            return True
        # Truncated over TCP, the whole response is not whole (RFC 2181, 9).
        if octets[2] & 2 or not is_response(octets, fetch.asked):
            return False
        try:
            self._use(fetch, server, octets)
        except Exception:  # noqa: BLE001 - one response, not the worker
            self._survive(fetch)
        return True

    def fail(self, fetch: Fetch) -> None:
        """Go on without a response of the server that was asked last."""
        if not fetch.is_done:
            self._do(fetch, self.tries.failed(fetch))

    def _do(self, fetch: Fetch, step: Step) -> None:
        """Do what the rules want done about *fetch*."""
        act = step.act
        if step.is_silence:
            self.sending.distrust_port(fetch)
        if step.is_failure:
            self._meter.upstream_failed(fetch.server.index)
            fetch.server.round_trip.missed()
        if act is Act.REPEAT or act is Act.RENEW:
            self.sending.repeat(fetch, is_new_try=act is Act.RENEW)
        elif act is Act.GO_ON:
            fetch.hang_up()
            self.begin(fetch)
        elif act is Act.GIVE_UP:
            self.finish(fetch)
            self._outcomes.give_up(fetch)
        if step.is_over_tcp and not fetch.is_done and fetch.abandon_tcp is None:
            self._ask_over_tcp_too(fetch)

    def asked_again(self, fetch: Fetch) -> None:
        """Repeat the query of *fetch* for a client's sake, if it is time for that."""
        self._do(fetch, self.tries.asked_again(fetch, self._clock.now_ns))

    def finish(self, fetch: Fetch) -> None:
        """End *fetch*; who waits for it is the caller's to answer."""
        fetch.is_done = True
        if fetch.home is not None:
            fetch.home.remove(fetch)
        fetch.server.outstanding -= 1
        for port, identity, _since_ns in fetch.sent:
            port.pending.pop(identity, None)
        if fetch.abandon_tcp is not None:
            fetch.hang_up()

    def expire(self) -> None:
        """Look at what may be overdue, and at what was refused; not at all at once."""
        now_ns = self._clock.now_ns
        if self._hedging is not None:
            self._hedging.expire(now_ns)
        turns = _TURNS
        while self._unheard and turns:
            unheard, sends = self._unheard.popleft()
            if unheard.sends == sends and unheard.is_over_udp:
                self.fail(unheard)
                turns -= 1
        while turns:
            fetch = self._timers.due(now_ns)
            if fetch is None:
                return
            self._look(fetch, now_ns)
            turns -= 1

    def _look(self, fetch: Fetch, now_ns: int) -> None:
        if self._hedging is not None and self._hedging.is_due(fetch, now_ns):
            self._do(fetch, self._hedging.begin(fetch))
            return
        sends = fetch.sends
        self._do(fetch, self.tries.time_passed(fetch, now_ns))
        # What was sent elsewhere has another number of sends, and a look of its own.
        if not fetch.is_done and fetch.sends == sends:
            self._timers.look(fetch, self.tries.look_ns(fetch))

    def wait_s(self) -> float | None:
        """Return the seconds until something may be overdue, None if nothing can be."""
        if self._unheard or self.sending.has_queue:
            return 0
        due_ns = self._timers.next_ns()
        return None if due_ns is None else max(0, due_ns - self._clock.now_ns) / 1e9
