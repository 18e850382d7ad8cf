"""What this worker answers without an upstream: its zones, and what it is itself.

Types that name no data, classes that are not the Internet's, and ANY over UDP get
their short answers here too.
"""

from __future__ import annotations

from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.cache import Cache
from dnsfront.dns.chain import joined
from dnsfront.dns.destinations import Destinations
from dnsfront.dns.entry import Entry
from dnsfront.dns.rules.ruleset import Decision, RuleSet
from dnsfront.dns.sections import Sections
from dnsfront.dns.zones.authority import Zone
from dnsfront.dns.zones.records import DS
from dnsfront.dns.zones.zone_set import ZoneSet
from dnsfront.ipc.stats import Source
from dnsfront.worker.answering.delivery import Delivery
from dnsfront.worker.answering.finishing import Finishing
from dnsfront.worker.answering.ruling import Ruling
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.process.faults import Faults
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.upstreams.fetch import Beginning

#: The views of queries with RD, and with DO.
_WANTS_RECURSION: Final = 1
_WANTS_SIGNATURES: Final = 4
#: Types that name no data: transfers, TKEY and TSIG, mailbox relics, OPT.
_META_TYPES: Final = frozenset((wire.OPT, *range(249, 255)))
_IN: Final = wire.CLASS_IN.to_bytes(2, "big")
ANY_IN: Final = wire.ANY.to_bytes(2, "big") + _IN
_A_IN: Final = wire.A.to_bytes(2, "big") + _IN
_DS_IN: Final = DS.to_bytes(2, "big") + _IN
#: TXT and ANY of class CHAOS, and the head of the response to them: one answer.
_CHAOS: Final = frozenset(bytes((0, t, 0, 3)) for t in (wire.TXT, wire.ANY))
_CHAOS_HEAD: Final = (wire.QR | wire.AA | wire.RA).to_bytes(2, "big") + bytes(
    (0, 1, 0, 0, 0, 0)
)
#: Questions whose answer is the alias itself: CNAME, ANY.
_NOT_FOLLOWED: Final = (b"\0\5\0\1", ANY_IN)
_SHORT_HEAD: Final = (wire.QR | wire.RA).to_bytes(2, "big")
#: Types of which nearly all queries are: A, NS, MX, TXT, AAAA, SRV, HTTPS, class IN.
#: Of these only zones have something to say here.
PLAIN: Final = frozenset(bytes((0, t)) + _IN for t in (1, 2, 15, 16, 28, 33, 65))


class Local:
    """The zones of this worker, and what else it answers itself.

    `zones` is None without any, `destinations` without `forward`; a name that does not
    end with one of `tops` is in no zone.
    `identity` has the record for each qname of class CHAOS that is answered.
    """

    def __init__(
        self,
        cache: Cache,
        delivery: Delivery,
        *,
        clock: Clock,
        meter: Meter,
        faults: Faults,
    ) -> None:
        self.zones: ZoneSet | None = None
        self.destinations: Destinations | None = None
        self.tops: tuple[bytes, ...] = ()
        self.identity: dict[bytes, bytes] = {}
        self.ruling = Ruling(cache, delivery, clock=clock, meter=meter)
        self._cache = cache
        self._delivery = delivery
        self._finishing: Finishing | None = None
        self._clock = clock
        self._meter = meter
        self._faults = faults

    def serve(self, zones: ZoneSet | None, finishing: Finishing) -> None:
        """Answer from *zones* from now on; see :meth:`Answering.serve`.

        Where a question is forwarded, its zone does not speak for its parent, and
        *finishing* has upstreams say what the zone does not.
        """
        self.zones = zones
        self._finishing = finishing
        self._know_tops()

    def rule(self, rules: RuleSet, finishing: Finishing) -> None:
        """Answer by *rules* from now on, ahead of any zone.

        *finishing* has upstreams say what their aliases lead to.
        """
        self.ruling.use(rules)
        self._finishing = finishing
        self._know_tops()

    def _know_tops(self) -> None:
        self.tops = () if self.zones is None else self.zones.tops
        if self.ruling.has_general:
            self.tops = (b"\0",)
        self._cache.know_zones(self.has_zone_for if self.tops else None, self.tops)

    def has_zone_for(self, view: int, canonical: bytes) -> bool:
        """Return whether a rule or a zone of ours answers a question, or begins to."""
        return (
            self.ruling.answers(canonical)
            or self._answering_zone(view, canonical) is not None
        )

    def _answering_zone(self, view: int, canonical: bytes) -> Zone | None:
        """Return the zone that answers a question in a view.

        Who wants recursion gets more than a referral where upstreams can tell.
        """
        zone = self._zone_for(canonical)
        if (
            zone is None
            or not view & _WANTS_RECURSION
            or not zone.delegates(canonical[:-4], _qtype(canonical))
            or not self._is_forwarded(canonical)
        ):
            return zone
        return None

    def _is_forwarded(self, canonical: bytes) -> bool:
        return self._finishing is not None and self._finishing.is_forwarded(canonical)

    def _zone_for(self, canonical: bytes) -> Zone | None:
        """Return the zone that answers a question, None where an upstream does."""
        if self.zones is None:
            return None
        qname = canonical[:-4]
        if not qname.endswith(self.tops):
            return None
        if canonical.endswith(_DS_IN) and self._is_forwarded(canonical):
            zone = self.zones.find_for_ds(qname)
        else:
            zone = self.zones.find(qname)
        if zone is None or self._is_outranked(zone, canonical):
            return None
        if not zone.only or canonical.endswith(zone.only):
            return zone
        return None if self._is_forwarded(canonical) else zone

    def _is_outranked(self, zone: Zone, canonical: bytes) -> bool:
        """Return whether `forward` has a longer suffix for a question than *zone*.

        Of equal length it goes before special names, and behind zones of the config.
        """
        if self.destinations is None:
            return False
        surplus = len(self.destinations.suffix_of(canonical)) - len(zone.origin)
        return surplus > 0 or (zone.is_special and surplus == 0)

    def _find(self, qname: bytes) -> Zone | None:
        """Return the zone for a name that aliases in another one lead to."""
        return self._zone_for(qname + _A_IN)

    def _sections(
        self, zone: Zone, view: int, canonical: bytes, *, is_open: bool
    ) -> Sections:
        find = None if self.zones is None else self.zones.find
        if self.destinations is not None:
            find = self._find
        qtype = _qtype(canonical)
        return zone.respond(
            canonical[:-4],
            qtype,
            wire.CLASS_IN,
            canonical,
            find,
            is_open=is_open,
            is_dnssec_ok=bool(view & _WANTS_SIGNATURES),
        )

    def message(self, view: int, canonical: bytes) -> bytes | None:
        """Return what is said here to a question, None where neither rule nor zone is.

        It is a whole message, with an id of 0.
        """
        said = self.ruling.message(canonical)
        if said is not None:
            return said
        zone = self._answering_zone(view, canonical)
        if zone is None:
            return None
        is_open = bool(view & _WANTS_RECURSION)
        return _message(
            canonical, self._sections(zone, view, canonical, is_open=is_open)
        )

    def answer(
        self, canonical: bytes, key: bytes, waiter: Waiter, entry: Entry | None = None
    ) -> bool:
        """Answer what needs no upstream; return whether that was so.

        What a zone only begins is finished by upstreams, in place of the expired
        *entry*.
        """
        tail = canonical[-4:]
        if tail[2:] != _IN or int.from_bytes(tail[:2], "big") in _META_TYPES:
            self._tell_identity(canonical, waiter)
            return True
        if self.ruling.has_general:
            decision = self.ruling.rules.decide(canonical)
            if decision is not None and self._is_obeyed(
                decision, canonical, key, entry, waiter
            ):
                return True
        view = waiter.shape.view
        zone = self._answering_zone(view, canonical)
        if zone is not None:
            if self._is_finished(zone, view, canonical, key, entry, waiter):
                return True
            sections = self._sections(zone, view, canonical, is_open=False)
            made = self._cache.put_zone(view, key, tail, sections, self._clock.now_s)
            self._delivery.send(waiter, made, Source.ZONE)
            return True
        if tail == ANY_IN and not waiter.is_stream:
            # RFC 8482, 4.4: over UDP, ANY is a tool of amplification; TCP proves the
            # client's address.
            self._meter.sent(wire.NOERROR, Source.MISS, waiter.received_at_ns)
            shape = waiter.shape
            waiter.respond(
                shape.truncated(waiter.identity, waiter.question, _SHORT_HEAD)
            )
            return True
        return False

    def _is_obeyed(
        self,
        decision: Decision,
        canonical: bytes,
        key: bytes,
        entry: Entry | None,
        waiter: Waiter,
    ) -> bool:
        """Return whether a rule answers, with what its alias leads to."""
        ruling, view, target = self.ruling, waiter.shape.view, decision.target
        if (
            not target
            or target == canonical[:-4]
            or not view & _WANTS_RECURSION
            or canonical[-4:] in _NOT_FOLLOWED
        ):
            return ruling.answer(decision, canonical, key, waiter)
        begun = ruling.message(canonical)
        assert begun is not None, "it is decided"
        ended = self._ended_here(view, begun, target + canonical[-4:])
        if ended is not None or self._finishing is None:
            return ruling.answer(decision, canonical, key, waiter, ended)
        beginning = Beginning(begun, target)
        if not self._finishing.finish(view, key, canonical, beginning, entry, waiter):
            return ruling.answer(decision, canonical, key, waiter)
        ruling.count(decision)
        return True

    def _ended_here(self, view: int, begun: bytes, asked: bytes) -> Sections | None:
        """Return *begun*, an alias, with what is said here to *asked*, its target's."""
        said = self.message(view, asked)
        if said is None:
            return None
        octets = joined(begun, said)
        fields = wire.HEADER.unpack_from(octets)
        return Sections(
            rcode=fields[1] & wire.RCODE_MASK,
            is_authoritative=False,
            is_authentic=False,
            answers=fields[3],
            authorities=fields[4],
            additionals=fields[5],
            octets=octets[wire.question_end(octets) :],
        )

    def _is_finished(
        self,
        zone: Zone,
        view: int,
        canonical: bytes,
        key: bytes,
        entry: Entry | None,
        waiter: Waiter | None,
    ) -> bool:
        """Return whether upstreams finish what *zone* begins to say."""
        finishing = self._finishing
        if finishing is None or not view & _WANTS_RECURSION:
            return False
        sections = self._sections(zone, view, canonical, is_open=True)
        if not sections.target:
            return False
        beginning = Beginning(_message(canonical, sections), sections.target)
        if waiter is not None and self.ruling.answers(sections.target + canonical[-4:]):
            asked = sections.target + canonical[-4:]
            ended = self._ended_here(view, beginning.octets, asked)
            if ended is not None:
                made = self._cache.put_zone(
                    view, key, canonical[-4:], ended, self._clock.now_s
                )
                self._delivery.send(waiter, made, Source.ZONE)
                return True
        return finishing.finish(view, key, canonical, beginning, entry, waiter)

    def refresh(self, entry: Entry) -> bool:
        """Have *entry* fetched again if a zone begins it; return whether one does."""
        canonical = entry.canonical
        if self.ruling.answers(canonical):
            return True  # it is answered anew when it is asked for
        zone = self._answering_zone(entry.view, canonical)
        if zone is None:
            return False
        self._is_finished(zone, entry.view, canonical, entry.key, entry, None)
        return True

    def answer_all(self, canonical: bytes, key: bytes, waiters: list[Waiter]) -> None:
        """Answer *waiters*, whose question an upstream was asked and a zone has now."""

        def tell(waiters: list[Waiter]) -> None:
            for waiter in waiters:
                try:
                    self.answer(canonical, key, waiter)
                except Exception:  # noqa: BLE001 - the others are answered
                    self._faults.caught("reclaim")
                    self._delivery.send_servfail([waiter])

        self._delivery.tell(waiters, tell)

    def _tell_identity(self, canonical: bytes, waiter: Waiter) -> None:
        """Answer a question that is not about the Internet's data; most are REFUSED."""
        record = self.identity.get(canonical[:-4])
        if record is None or canonical[-4:] not in _CHAOS:
            self._delivery.send_rcode(waiter, wire.REFUSED)
            return
        self._delivery.send_message(waiter, _CHAOS_HEAD, record)


def _qtype(canonical: bytes) -> int:
    return canonical[-4] << 8 | canonical[-3]


def _message(canonical: bytes, sections: Sections) -> bytes:
    """Return *sections* as a whole message, with an id of 0."""
    header = wire.HEADER.pack(
        0,
        wire.QR | wire.RA | sections.rcode,
        1,
        sections.answers,
        sections.authorities,
        sections.additionals,
    )
    return header + canonical + sections.octets
