"""What may be answered: the truth of zones and upstreams, and for how long it holds.

Pure: told the time, in seconds since the run began. Answers carry where they come from:
an address from an upstream tells the second in which it was given, one from a zone
which version of the zone it is of.

    10.S.T.T   an upstream's word: S is a sum over the name, T.T the second
    172.Z.V.V  from the zone number Z in its version V.V
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Final

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

#: Below this the upstreams know every name, by the first letters of its first label.
UPSTREAM_SUFFIX: Final = "up.test"
_TTLS: Final = (1, 2, 5, 30, 300)
NEGATIVE_TTL_S: Final = 3
ZONE_TTL_S: Final = 60
STALE_TTL_S: Final = 30
ZONES: Final = tuple(f"z{number}.test" for number in range(4))
#: What clients are told of servers that do not answer, where no server knows better.
_FAILURES: Final = {
    dns.rcode.SERVFAIL,
    dns.rcode.REFUSED,
    dns.rcode.FORMERR,
    dns.rcode.NOTIMP,
}
#: Clocks of both sides are read in whole seconds.
_SLACK_S: Final = 2.0
_FOREVER: Final = float("inf")
_BIG_STRINGS: Final = 12

#: What may be wrong with a query; operations excuse some of them.
LOST: Final = "lost"
LATE: Final = "late"
FAILED: Final = "failed"
STALE: Final = "stale"
WRONG: Final = "wrong"
CUT: Final = "cut"  # a TCP connection that ended early


@dataclass(frozen=True)
class Question:
    """One question of a client, and when it was asked."""

    name: str
    rdtype: str
    sent_s: float
    is_tcp: bool = False
    is_stranger: bool = False

    @property
    def zone(self) -> str:
        """The zone that the name would be in, if it is served; or nothing."""
        zone = ".".join(self.name.split(".")[-2:])
        return zone if zone in ZONES else ""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a response, *kind* being one of the words above."""

    kind: str
    text: str


def signature(name: str) -> int:
    """Return the octet by which an upstream's answers for *name* are known."""
    return zlib.crc32(name.lower().encode()) & 0xFF


def ttl_of(name: str) -> int:
    """Return the TTL that upstreams give to *name*."""
    return _TTLS[zlib.crc32(name.lower().encode()[::-1]) % len(_TTLS)]


def kind_of(name: str) -> str:
    """Return the letters that *name* begins with: what upstreams say of it."""
    return name.split(".", maxsplit=1)[0].rstrip("0123456789").lower()


def upstream_address(name: str, second: int) -> str:
    """Return the address that upstreams give for *name* in a second."""
    return f"10.{signature(name)}.{second >> 8 & 255}.{second & 255}"


def big_text(name: str, second: int) -> str:
    """Return the data of a TXT record that needs TCP."""
    return " ".join([f'"{signature(name)} {second} {"x" * 150}"'] * _BIG_STRINGS)


def zone_address(zone: str, version: int) -> str:
    """Return the address of every name in a version of a zone."""
    return f"172.{ZONES.index(zone)}.{version >> 8 & 255}.{version & 255}"


def zone_text(zone: str, version: int) -> str:
    """Return the zone file of a version."""
    address = zone_address(zone, version)
    hosts = "".join(f"n{number} A {address}\n" for number in range(20))
    return (
        f"$TTL {ZONE_TTL_S}\n@ SOA ns1 hostmaster {version} 3600 900 604800 60\n"
        f"@ NS ns1\nns1 A 192.0.2.53\nwww CNAME n0\n*.wild A {address}\n{hosts}"
    )


class Timeline:
    """The values that something has, may have and had: for a time two may be seen."""

    def __init__(self, value: int | None) -> None:
        self._spans: list[tuple[int | None, float, float]] = [
            (value, -_FOREVER, _FOREVER)
        ]

    @property
    def latest(self) -> int | None:
        """The value that is wanted now."""
        return self._spans[-1][0]

    def begin(self, value: int | None, now_s: float) -> None:
        """From now on *value* may be seen."""
        self._spans.append((value, now_s, _FOREVER))

    def settle(self, now_s: float) -> None:
        """From now on nothing but the latest value may be seen."""
        latest = self._spans[-1]
        self._spans = [
            (value, since, min(until, now_s)) for value, since, until in self._spans
        ]
        self._spans[-1] = latest

    def allowed(self, sent_s: float, received_s: float) -> set[int | None]:
        """Return what may have been seen between two instants."""
        return {
            value
            for value, since, until in self._spans
            if since <= received_s and until >= sent_s
        }


@dataclass
class Model:
    """All that decides which answers are right."""

    zones: dict[str, Timeline] = field(
        default_factory=lambda: {zone: Timeline(None) for zone in ZONES}
    )
    #: 1 while the stranger may ask, 0 while not.
    stranger: Timeline = field(default_factory=lambda: Timeline(1))
    #: The largest there was: entries keep the lifetime that they began with.
    largest_min_ttl_s: int = 0
    max_ttl_s: int = 86400
    max_ttl_since_s: float = 0.0
    #: When what was kept of a name was forgotten, or, where a dot leads, below it.
    flushed_s: dict[str, float] = field(default_factory=dict)

    def is_upstreams(self, question: Question, received_s: float) -> bool:
        """Return whether an upstream may have been asked."""
        zone = self.zones.get(question.zone)
        return zone is None or None in zone.allowed(question.sent_s, received_s)

    def judge(  # noqa: PLR0911 - a case each
        self, question: Question, response: dns.message.Message, received_s: float
    ) -> list[Fault]:
        """Return all that is wrong with *response*, which may be excused."""
        if question.is_stranger:
            allowed = self.stranger.allowed(question.sent_s, received_s)
            is_refused = response.rcode() == dns.rcode.REFUSED
            if is_refused and 0 in allowed:
                return []
            if not is_refused and 1 not in allowed:
                return [_wrong(question, "answered, though not allowed to ask")]
        if response.rcode() in _FAILURES:
            rcode = dns.rcode.to_text(response.rcode())
            return [Fault(FAILED, f"{question.name} {question.rdtype}: {rcode}")]
        if not question.zone:
            return self._judge_upstream(question, response, received_s)
        allowed = self.zones[question.zone].allowed(question.sent_s, received_s)
        address = _address(response)
        if None in allowed and (address.startswith("10.") or not address):
            return self._judge_upstream(question, response, received_s)
        wanted = {zone_address(question.zone, x) for x in allowed if x is not None}
        if address in wanted and response.rcode() == dns.rcode.NOERROR:
            return []
        return [_wrong(question, f"got {_text(response)}, want one of {wanted}")]

    def _judge_upstream(
        self, question: Question, response: dns.message.Message, received_s: float
    ) -> list[Fault]:
        if response.flags & dns.flags.TC and not question.is_tcp:
            is_right = kind_of(question.name) == "big" and not response.answer
            return [] if is_right else [_wrong(question, "cut without need")]
        said = _said(question, response)
        if said is None:
            return [_wrong(question, f"got {_text(response)}")]
        second, ttl_s, original_s = said
        faults = []
        if second > received_s + _SLACK_S:
            faults.append(_wrong(question, f"from the future: {second}"))
        # It left at some time between the two; nobody knows how long it lay here.
        age_s = question.sent_s - second
        lifetime_s = max(original_s, self.largest_min_ttl_s)
        is_after = second > self.max_ttl_since_s + _SLACK_S
        bound_s = max(self.max_ttl_s, self.largest_min_ttl_s)
        if is_after and ttl_s > bound_s:
            faults.append(_wrong(question, f"TTL {ttl_s} over max_ttl {bound_s}"))
        # RFC 8767: stale records have a TTL of 30 seconds.
        is_stale = ttl_s == STALE_TTL_S > original_s and age_s > lifetime_s - _SLACK_S
        if is_stale or age_s > lifetime_s + _SLACK_S:
            text = f"{question.name}: of second {second}, {age_s:.1f} s old, "
            faults.append(Fault(STALE, f"{text}TTL {original_s}, told {ttl_s}"))
        elif ttl_s > lifetime_s - age_s + _SLACK_S and not _is_stale(response):
            text = f"TTL {ttl_s} of {lifetime_s} after {age_s:.1f} s"
            faults.append(_wrong(question, text))
        for where, flushed_s in self.flushed_s.items():
            is_zone = where == "" or where.startswith(".")
            is_meant = question.name == where or (
                is_zone and question.name.endswith(where)
            )
            if is_meant and question.sent_s > flushed_s > second + _SLACK_S:
                text = f"of second {second}, flushed at {flushed_s:.1f}"
                faults.append(_wrong(question, text))
        return faults


def _wrong(question: Question, text: str) -> Fault:
    transport = "TCP" if question.is_tcp else "UDP"
    return Fault(WRONG, f"{question.name} {question.rdtype} over {transport}: {text}")


def _text(response: dns.message.Message) -> str:
    rcode = dns.rcode.to_text(response.rcode())
    records = "; ".join(x.to_text()[:200] for x in response.answer) or "no answer"
    return f"{rcode} {records}"


def _address(response: dns.message.Message) -> str:
    for rrset in response.answer:
        if rrset.rdtype == dns.rdatatype.A:
            return str(rrset[0])
    return ""


def _is_stale(response: dns.message.Message) -> bool:
    return any(
        isinstance(option, dns.edns.EDEOption) and option.code in (3, 19)
        for option in response.options
    )


def _said(  # noqa: PLR0911 - a case each
    question: Question, response: dns.message.Message
) -> tuple[int, int, int] | None:
    """Return when an upstream said this, the TTL of now and the one it began with.

    None if no upstream would have said it.
    """
    kind, name = kind_of(question.name), question.name
    rcode = response.rcode()
    if kind in ("nx", "nodata"):
        wanted = dns.rcode.NXDOMAIN if kind == "nx" else dns.rcode.NOERROR
        if rcode != wanted or response.answer or len(response.authority) != 1:
            return None
        [soa] = response.authority
        return soa[0].serial, soa.ttl, NEGATIVE_TTL_S
    if rcode != dns.rcode.NOERROR or not response.answer:
        return None
    if kind == "big":
        [rrset] = response.answer
        strings = rrset[0].strings
        octets, second, _ = strings[0].split(b" ")
        if strings != (strings[0],) * _BIG_STRINGS or int(octets) != signature(name):
            return None
        return int(second), rrset.ttl, ttl_of(name)
    target = name
    if kind == "alias":
        if len(response.answer) != 2:
            return None
        target = target_of(name)
    address = _address(response).split(".")
    if address[:2] != ["10", str(signature(target))]:
        return None
    second = int(address[2]) << 8 | int(address[3])
    return second, min(x.ttl for x in response.answer), ttl_of(target)


def target_of(name: str) -> str:
    """Return what upstreams say that *name* is an alias of."""
    label, _, rest = name.partition(".")
    return f"a{label.removeprefix('alias')}.{rest}"
