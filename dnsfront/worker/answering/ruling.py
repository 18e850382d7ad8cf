"""Queries that rules answer: what is sent, what is kept of it, and what is counted.

What a rule says to everybody is an entry of the cache like the answer of a zone. What
it says to some clients alone is decided ahead of the cache, at each of their queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from socket import AF_INET, AF_INET6, inet_pton

from dnsfront.dns import edns, wire
from dnsfront.dns.cache import Cache
from dnsfront.dns.entry import head_of, made
from dnsfront.dns.names import qname_from_text
from dnsfront.dns.rules.names import DROP, PASS, NameList, list_of
from dnsfront.dns.rules.ruleset import ACTIONS, NO_CACHE, TC, Decision, Rule, RuleSet
from dnsfront.dns.sections import Sections
from dnsfront.ipc.spec import ListImage, RuleSettings
from dnsfront.ipc.stats import Counter, Source
from dnsfront.worker.answering.delivery import Delivery
from dnsfront.worker.clients.access import AccessList
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.process.meter import Meter

_CLASS_IN = wire.CLASS_IN.to_bytes(2, "big")


class Ruling:
    """Answers by the rules that are in force.

    `has_general` tells whether any of them are for everybody, `has_personal` whether
    any look at the client.
    """

    def __init__(
        self, cache: Cache, delivery: Delivery, *, clock: Clock, meter: Meter
    ) -> None:
        self.rules = RuleSet(())
        self.has_general = False
        self.has_personal = False
        self._cache = cache
        self._delivery = delivery
        self._clock = clock
        self._meter = meter

    def use(self, rules: RuleSet) -> None:
        """Answer by *rules* from now on; what is cached is the caller's to forget."""
        self.rules = rules
        self.has_general = rules.has_general
        self.has_personal = rules.has_personal

    def answers(self, canonical: bytes) -> bool:
        """Return whether a rule answers a question, whoever asks it."""
        return self.has_general and self.rules.answers(canonical)

    def forbids_keeping(self, canonical: bytes) -> bool:
        """Return whether the response to a question may not be kept."""
        return self.has_general and self.rules.forbids_keeping(canonical)

    def answer(
        self,
        decision: Decision,
        canonical: bytes,
        key: bytes,
        waiter: Waiter,
        sections: Sections | None = None,
    ) -> bool:
        """Answer a question as a rule wants it for everybody; False if it leaves it.

        *sections* is what it says, where that is more than the rule alone knows.
        """
        self._meter.count_rule(decision.rule.number)
        if decision.action in (PASS, NO_CACHE):
            return False
        if decision.action == DROP:
            self._drop(waiter)
            return True
        entry = made(
            waiter.shape.view,
            key,
            canonical[-4:],
            decision.sections(canonical) if sections is None else sections,
            self._clock.now_s,
            errors=_errors(decision),
            rule=decision.rule.number,
        )
        self._cache.put_made(entry)
        self._delivery.send(waiter, entry, Source.ZONE, is_counted=True)
        return True

    def errors_of(self, canonical: bytes) -> bytes:
        """Return what is to be sent along with an alias that a rule made.

        They are EDNS options; where no rule decides there are none.
        """
        decision = self.rules.decide(canonical) if self.has_general else None
        return b"" if decision is None or not decision.target else _errors(decision)

    def count(self, decision: Decision) -> None:
        """Count a *decision* that somebody else carries out."""
        self._meter.count_rule(decision.rule.number)

    def answer_for(self, canonical: bytes, waiter: Waiter) -> bool:
        """Answer a question as a rule wants it for this client; False if none does."""
        client = waiter.address()
        if not client or canonical[-2:] != _CLASS_IN:
            return False
        decision = self.rules.decide_for(canonical, client, is_stream=waiter.is_stream)
        if decision is None:
            return False
        self._meter.count_rule(decision.rule.number)
        if decision.action == PASS:
            return False
        if decision.action == DROP:
            self._drop(waiter)
            return True
        if decision.action == TC:
            flags = wire.QR | wire.RA | wire.TC
            self._delivery.send_message(
                waiter, flags.to_bytes(2, "big") + bytes(6), b""
            )
            return True
        sections = decision.sections(canonical)
        errors = _errors(decision)
        if errors:
            size = len(waiter.question) + len(sections.octets)
            waiter.shape = waiter.shape.with_errors(errors, size)
        self._delivery.send_message(waiter, head_of(sections), sections.octets)
        return True

    def message(self, canonical: bytes) -> bytes | None:
        """Return what a rule says to everybody as a message, None where none does.

        Aliases may lead there, so what is dropped is as if it were not.
        """
        decision = self.rules.decide(canonical) if self.has_general else None
        if decision is None or decision.action in (PASS, NO_CACHE):
            return None
        if decision.action == DROP:
            flags = wire.QR | wire.RA | wire.NXDOMAIN
            return wire.HEADER.pack(0, flags, 1, 0, 0, 0) + canonical
        sections = decision.sections(canonical)
        head = head_of(sections)
        return b"\0\0" + head[:2] + b"\0\1" + head[2:] + canonical + sections.octets

    def _drop(self, waiter: Waiter) -> None:
        """Send nothing; over a connection, which waits for each answer, REFUSED."""
        if waiter.is_stream:
            self._delivery.send_rcode(waiter, wire.REFUSED)
        else:
            self._meter.count(Counter.IGNORED_RULED)


def _errors(decision: Decision) -> bytes:
    return edns.error_option(decision.rule.error) if decision.rule.error else b""


def rules_of(
    settings: Iterable[RuleSettings], names_of: Callable[[ListImage], NameList]
) -> RuleSet:
    """Return the rules of a spec; *names_of* returns the list in an image.

    Raises:
        ListError: an image is missing, or of another version.
    """
    return RuleSet([_rule_of(rule, names_of) for rule in settings])


def _rule_of(settings: RuleSettings, names_of: Callable[[ListImage], NameList]) -> Rule:
    names = None
    if settings.image is not None:
        names = names_of(settings.image)
    elif settings.names:
        names = list_of([qname_from_text(name) for name in settings.names])
    transport = settings.transport
    target = settings.target
    return Rule(
        settings.number,
        ACTIONS[settings.action],
        names=names,
        types=settings.types,
        is_client=AccessList(settings.clients).allows if settings.clients else None,
        is_stream=None if transport is None else transport == "tcp",
        addresses=[_packed(x) for x in settings.addresses],
        target=b"" if target is None else qname_from_text(target),
        ttl_s=settings.ttl_s,
        error=settings.error,
    )


def _packed(address: str) -> bytes:
    return inet_pton(AF_INET6 if ":" in address else AF_INET, address)
