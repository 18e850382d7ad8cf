"""What is said of names that go to no pool: by a word of `forward`, or REFUSED.

A denial comes with an SOA record as locally served zones have it (RFC 6303, 3), so that
whoever asks keeps it for a while. Nothing of it is cached here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from dnsfront.dns import edns, wire
from dnsfront.dns.destinations import Destinations
from dnsfront.dns.names import ancestors
from dnsfront.ipc.stats import Counter
from dnsfront.worker.answering.delivery import Delivery
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.process.meter import Meter

_COUNTERS: Final = {
    "refuse": Counter.WORD_REFUSE,
    "nxdomain": Counter.WORD_NXDOMAIN,
    "local": Counter.WORD_LOCAL,
}
#: How long a denial may be kept: not for long, since configs change.
_TTL_S: Final = 300
_RNAME: Final = b"\6nobody\7invalid\0"
_NUMBERS: Final = struct.pack("!5I", 1, 3600, 1200, 604800, _TTL_S)
_RECORD: Final = struct.Struct("!HHHIH")
_HEAD: Final = struct.Struct("!4H")
_SOA: Final = wire.SOA.to_bytes(2, "big")
_ANY: Final = wire.ANY.to_bytes(2, "big")


class Words:
    """The answers of words; `destinations` is None where all names have a pool."""

    def __init__(self, delivery: Delivery, meter: Meter) -> None:
        self.destinations: Destinations | None = None
        self._above: frozenset[bytes] = frozenset()
        self._delivery = delivery
        self._meter = meter

    def know(self, destinations: Destinations | None, origins: Iterable[bytes]) -> None:
        """Go by *destinations* from now on; there are zones of ours at *origins*."""
        self.destinations = destinations
        self._above = frozenset()
        if destinations is not None:
            above_zones = {x for origin in origins for x in ancestors(origin)}
            self._above = destinations.above | above_zones

    def answer(self, canonical: bytes, waiter: Waiter) -> None:
        """Answer the question *canonical*, which no pool is asked."""
        word, head, records = self._said(canonical)
        delivery = self._delivery
        if word in _COUNTERS:
            self._meter.count(_COUNTERS[word])
        if head is None:
            error = edns.EDE_BLOCKED if word else edns.EDE_NOT_AUTHORITATIVE
            delivery.send_failure([waiter], wire.REFUSED, error)
            return
        if word == "nxdomain":
            option = edns.error_option(edns.EDE_BLOCKED)
            size = len(waiter.question) + len(records)
            waiter.shape = waiter.shape.with_errors(option, size)
        delivery.send_message(waiter, head, records)

    def message(self, canonical: bytes) -> bytes | None:
        """Return the same as a whole message, with an id of 0."""
        _word, head, records = self._said(canonical)
        if head is None:
            flags = wire.QR | wire.RA | wire.REFUSED
            head = _HEAD.pack(flags, 0, 0, 0)
        return b"\0\0" + head[:2] + b"\0\1" + head[2:] + canonical + records

    def _said(self, canonical: bytes) -> tuple[str, bytes | None, bytes]:
        """Return the word for a question, the head and the records of the answer.

        The word is empty where there is none, the head None where all is refused.
        """
        destinations = self.destinations
        if destinations is None:
            return "", None, b""
        suffix = destinations.suffix_of(canonical)
        word = destinations.rules.get(suffix, "")
        if word not in _COUNTERS:
            return "", None, b""
        if word == "refuse":
            return word, None, b""
        qname, qtype = canonical[:-4], canonical[-4:-2]
        is_there = qname in self._above or (word == "local" and qname == suffix)
        is_asked_for = word == "local" and qname == suffix and qtype in (_SOA, _ANY)
        flags = wire.QR | wire.RA | (wire.NOERROR if is_there else wire.NXDOMAIN)
        if word == "local":
            flags |= wire.AA
        head = _HEAD.pack(flags, int(is_asked_for), int(not is_asked_for), 0)
        return word, head, _soa(qname, suffix)


def _soa(qname: bytes, suffix: bytes) -> bytes:
    """Return the SOA record of *suffix*, behind a question for *qname*."""
    owner = 0xC000 | wire.HEADER_OCTETS + len(qname) - len(suffix)
    data = owner.to_bytes(2, "big") + _RNAME + _NUMBERS
    return _RECORD.pack(owner, wire.SOA, wire.CLASS_IN, _TTL_S, len(data)) + data
