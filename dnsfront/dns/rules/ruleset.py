"""The rules of the config: which one decides a query, and what it then says.

Pure: no socket, no clock. Of a rule that looks at the client, the *personal* ones, the
answer is for that client alone; what all others say is the same for everybody, and can
be cached like the answer of a zone.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.names import qname_from_text
from dnsfront.dns.rules.names import (
    ACTION_BITS,
    ACTION_MASK,
    AS_RULED,
    DROP,
    NODATA,
    NXDOMAIN,
    PASS,
    NameList,
)
from dnsfront.dns.sections import Sections

#: What a rule may say beside what a list can (`dnsfront/dns/rules/names.py`).
REFUSE: Final = 16
TC: Final = 20
ADDRESS: Final = 17
CNAME: Final = 18
NO_CACHE: Final = 19
#: Actions by their words in the config.
ACTIONS: Final = {
    "nxdomain": NXDOMAIN,
    "nodata": NODATA,
    "refuse": REFUSE,
    "drop": DROP,
    "tc": TC,
    "address": ADDRESS,
    "cname": CNAME,
    "no_cache": NO_CACHE,
    "pass": PASS,
}

_CNAME_TYPE: Final = 5
_AAAA: Final = 28
_RECORD: Final = struct.Struct("!HHHIH")
#: Where the name of the question begins, as a compression pointer.
_POINTER: Final = 0xC000 | wire.HEADER_OCTETS
#: As in `dnsfront/dns/zones/special.py`, with little time to live.
_SOA_NAMES: Final = qname_from_text("localhost") + qname_from_text("nobody.invalid")

#: Whether a packed client address is one of a rule's.
IsClient = Callable[[bytes], bool]


class Rule:
    """One rule: what it matches, and what it says.

    *number* counts from 1. *names* None matches every name; no *types* match every
    type; *is_client* None every client, *is_stream* None every transport.
    """

    def __init__(
        self,
        number: int,
        action: int,
        *,
        names: NameList | None = None,
        types: Iterable[int] = (),
        is_client: IsClient | None = None,
        is_stream: bool | None = None,
        addresses: Sequence[bytes] = (),
        target: bytes = b"",
        ttl_s: int = 60,
        error: int = 0,
    ) -> None:
        self.number = number
        self.action = action
        self.is_client = is_client
        self.is_stream = is_stream
        self.error = error
        self.is_personal = (
            is_client is not None or is_stream is not None or action == TC
        )
        self.has_names = names is not None
        self._names = names
        self._types = frozenset(rtype.to_bytes(2, "big") for rtype in types)
        self._addresses = addresses
        self.target = target
        self._ttl_s = ttl_s

    def find(self, canonical: bytes) -> int:
        """Return what :meth:`NameList.find` says of a question, 0 where none matches.

        *canonical* is the question with its name in lower case.
        """
        if self._types and canonical[-4:-2] not in self._types:
            return 0
        return self.find_name(canonical[:-4])

    def find_name(self, qname: bytes) -> int:
        """Return the same of a name, of whatever type."""
        if self._names is None:
            # The root, behind all labels.
            return (len(qname) - 1) << ACTION_BITS | AS_RULED
        found = self._names.find(qname)
        # What a list lets pass is not in it, whatever it says of names above.
        return 0 if found & ACTION_MASK == PASS else found

    def takes(self, client: bytes, *, is_stream: bool) -> bool:
        """Return whether the rule looks at queries of this client, over this way."""
        if self.action == TC and is_stream:
            return False
        if self.is_stream is not None and self.is_stream != is_stream:
            return False
        return self.is_client is None or self.is_client(client)

    def says(self, canonical: bytes, action: int, suffix_at: int) -> Sections:
        """Return the response of *action* to a question.

        *suffix_at* is where in its name the one begins that the rule has.
        """
        if action == REFUSE:
            return _sections(wire.REFUSED)
        if action == NXDOMAIN:
            return _sections(wire.NXDOMAIN, soa=self._soa(suffix_at))
        qtype = int.from_bytes(canonical[-4:-2], "big")
        records: list[bytes] = []
        if action == CNAME:
            records = [self._record(_CNAME_TYPE, self.target)]
        elif action == ADDRESS and qtype in (wire.A, _AAAA):
            size = 4 if qtype == wire.A else 16
            records = [
                self._record(qtype, x) for x in self._addresses if len(x) == size
            ]
        if records:
            return _sections(wire.NOERROR, b"".join(records), len(records))
        return _sections(wire.NOERROR, soa=self._soa(suffix_at))

    def _record(self, rtype: int, data: bytes) -> bytes:
        fixed = _RECORD.pack(_POINTER, rtype, wire.CLASS_IN, self._ttl_s, len(data))
        return fixed + data

    def _soa(self, suffix_at: int) -> bytes:
        """Return the SOA record that lets a denial be kept for a while (RFC 2308)."""
        ttl_s = self._ttl_s
        data = _SOA_NAMES + struct.pack("!5I", 1, 3600, 1200, 604800, ttl_s)
        owner = _POINTER + suffix_at
        return _RECORD.pack(owner, wire.SOA, wire.CLASS_IN, ttl_s, len(data)) + data


def _sections(
    rcode: int, answer: bytes = b"", answers: int = 0, *, soa: bytes = b""
) -> Sections:
    return Sections(
        rcode=rcode,
        is_authoritative=False,
        is_authentic=False,
        answers=answers,
        authorities=int(bool(soa)),
        additionals=0,
        octets=answer + soa,
    )


class Decision:
    """What *rule* does with a query: *action*, and where in its name the list's is."""

    __slots__ = ("action", "rule", "suffix_at")

    def __init__(self, rule: Rule, found: int) -> None:
        said = found & ACTION_MASK
        self.rule = rule
        self.action = rule.action if said == AS_RULED else said
        self.suffix_at = found >> ACTION_BITS

    @property
    def target(self) -> bytes:
        """The name that this makes the question's an alias of, empty for none."""
        return self.rule.target if self.action == CNAME else b""

    def sections(self, canonical: bytes) -> Sections:
        """Return the response to the question *canonical*."""
        return self.rule.says(canonical, self.action, self.suffix_at)


class RuleSet:
    """All rules, in their order: the first that matches decides.

    A rule behind a personal one that lets queries pass is personal too: what it says is
    not for everybody.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._general: list[Rule] = []
        self._personal: list[Rule] = []
        lets_pass = False
        for rule in self._rules:
            rule.is_personal |= lets_pass
            lets_pass |= rule.is_personal and rule.action == PASS
            (self._personal if rule.is_personal else self._general).append(rule)
        self.has_general: Final = bool(self._general)
        self.has_personal: Final = bool(self._personal)

    def decide(self, canonical: bytes) -> Decision | None:
        """Return what is decided of a question, whoever asks; None for nothing."""
        for rule in self._general:
            found = rule.find(canonical)
            if found:
                return Decision(rule, found)
        return None

    def decide_for(
        self, canonical: bytes, client: bytes, *, is_stream: bool
    ) -> Decision | None:
        """Return what is decided of a question for one client alone.

        None where nothing is, or where the first rule that matches is for everybody.
        """
        for rule in self._rules:
            if rule.takes(client, is_stream=is_stream):
                found = rule.find(canonical)
                if found:
                    return Decision(rule, found) if rule.is_personal else None
        return None

    def is_client(self, client: bytes) -> bool:
        """Return whether a rule may decide something for this client alone."""
        return any(
            rule.is_client is None or rule.is_client(client) for rule in self._personal
        )

    def answers(self, canonical: bytes) -> bool:
        """Return whether no upstream is asked a question, whoever asks it."""
        decision = self.decide(canonical)
        return decision is not None and decision.action not in (PASS, NO_CACHE)

    def forbids_keeping(self, canonical: bytes) -> bool:
        """Return whether no response to a question may be kept."""
        decision = self.decide(canonical)
        return decision is not None and decision.action == NO_CACHE

    def withholds(self, canonical: bytes) -> bool:
        """Return whether the answer to a question may depend on who asks."""
        return any(rule.find(canonical) for rule in self._personal)

    def touches(self, canonical: bytes) -> bool:
        """Return whether anything is decided of a question, whoever asks."""
        return self.decide(canonical) is not None
