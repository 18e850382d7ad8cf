"""One cached response, in the form in which it leaves, and what it weighs."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.rotation import rotated
from dnsfront.dns.sections import Sections

VIEWS: Final = 8

#: Why an entry needs a second look before it is sent; 0 for most.
ODD_TAIL: Final = 1  # qtype and qclass must be compared: see `dns/cache.py`
ODD_RCODE: Final = 2  # the response code is not NOERROR
ODD_ZONE: Final = 4  # made from a zone of ours, so it is no hit of the cache
ODD_ERRORS: Final = 8  # there are Extended DNS Errors to send with it
ODD_ANY: Final = 16  # of qtype ANY, which UDP does not get from an upstream
ODD_ROTATES: Final = 32  # its addresses change their order with each response
ODD_STUB: Final = 64  # without its records, which are too large: for UDP alone
ODD_RULED: Final = 128  # made by a rule, which `lifetime_s` has the number of

#: Type and class of most questions, none of whose octets is a letter: A, NS, MX, TXT,
#: AAAA, SRV.
PLAIN_TAILS: Final = frozenset(bytes((0, t, 0, 1)) for t in (1, 2, 15, 16, 28, 33))

#: The value of `stamp` before the first hit, and after a second chance.
NOT_ASKED_FOR: Final = -1

#: Octets of an entry beside its key and its records: the object, its numbers, its
#: share of a dictionary and of a queue. Measured, and checked by a test of memory.
ENTRY_OCTETS: Final = 400

#: Octets more of one that denies its name, which the cache finds by that name too
#: (`dns/denials.py`), besides the name itself.
DENIAL_OCTETS: Final = 100

#: An entry is fetched again while it is asked for in the last tenth of its life.
_PREFETCH_SHARE: Final = 10

_ANY: Final = wire.ANY.to_bytes(2, "big")
_HEAD = struct.Struct("!4H")
_TTL = struct.Struct("!I")


def view_of(flags: int, *, is_dnssec_ok: bool) -> int:
    """Return the view of a query with these header *flags*."""
    return (
        (1 if flags & wire.RD else 0)
        | (2 if flags & wire.CD else 0)
        | (4 if is_dnssec_ok else 0)
    )


def head_of(sections: Sections) -> bytes:
    """Return flags and record counts in the eight octets that entries keep."""
    flags = wire.QR | wire.RA | sections.rcode
    flags |= wire.AA if sections.is_authoritative else 0
    flags |= wire.AD if sections.is_authentic else 0
    return _HEAD.pack(
        flags, sections.answers, sections.authorities, sections.additionals
    )


def stub_head(head: bytes) -> bytes:
    """Return the *head* of a response that is cut to its question (RFC 2181, 9)."""
    flags = head[0] << 8 | head[1] | wire.TC
    return _HEAD.pack(flags, 0, 0, 0)


def odd_of(key: bytes, tail: bytes, rcode: int, errors: bytes) -> int:
    """Return why an entry with an upstream's response needs a second look."""
    odd = ODD_RCODE if rcode else 0
    if errors:
        odd |= ODD_ERRORS
    if tail[:2] == _ANY:
        odd |= ODD_ANY
    if not key.endswith(tail) or tail.upper() != tail:
        odd |= ODD_TAIL
    return odd


def aged(body: bytes, ttl_offsets: Sequence[int], age: Callable[[int], int]) -> bytes:
    """Return *body* with what *age* makes of each of its TTLs, at least 0."""
    octets = bytearray(body)
    for at in ttl_offsets:
        _TTL.pack_into(octets, at, max(0, age(_TTL.unpack_from(octets, at)[0])))
    return bytes(octets)


class Entry:
    """A response to one question in one view.

    `head` is flags and counts, `body` the records. Their TTLs are at `ttl_offsets` and
    were true in the second `aged_at`. `errors` are the upstream's Extended DNS Errors
    as EDNS options. `stamp` is the second in which the entry was last asked for. If
    that is the current one, the body may be sent as it is; else :meth:`Cache.fresh`
    says whether it may. `stamp`, `aged_at` and `expires_at` are monotonic seconds.
    `queue` is the number of the queue that the entry stands in (`dns/residents.py`).
    """

    __slots__ = (
        "aged_at",
        "body",
        "errors",
        "expires_at",
        "head",
        "key",
        "lifetime_s",
        "odd",
        "queue",
        "stamp",
        "tail",
        "ttl_offsets",
        "view",
    )

    def __init__(self, view: int, key: bytes, tail: bytes) -> None:
        self.view = view
        self.key = key
        self.tail = tail
        self.stamp = NOT_ASKED_FOR
        self.aged_at = 0
        self.expires_at = 0
        self.lifetime_s = 0
        self.odd = 0
        self.queue = 0
        self.head = b""
        self.body = b""
        self.ttl_offsets: Sequence[int] = ()
        self.errors = b""

    @property
    def canonical(self) -> bytes:
        """The question: qname in lower case, true qtype and qclass."""
        return self.key[:-4] + self.tail

    @property
    def rcode(self) -> int:
        """The response code."""
        return self.head[1] & 15

    def note_rotation(self) -> None:
        """Note it if there are addresses whose order can change."""
        if rotated(self.body, self.head[2] << 8 | self.head[3]) != self.body:
            self.odd |= ODD_ROTATES

    def rotate(self) -> None:
        """Give the addresses another order."""
        self.body = rotated(self.body, self.head[2] << 8 | self.head[3])

    def shorten(self, now_s: int, high_s: int) -> None:
        """Cut the TTLs, while it lives, to *high_s*."""
        age_s = now_s - self.aged_at
        self.body = aged(
            self.body, self.ttl_offsets, lambda ttl: min(ttl - age_s, high_s)
        )
        self.aged_at = now_s
        self.expires_at = min(self.expires_at, now_s + high_s)
        self.lifetime_s = min(self.lifetime_s, high_s)

    def to_message(self) -> bytes:
        """Return the response as a whole message, with an id of 0."""
        head = b"\0\0" + self.head[:2] + b"\0\1" + self.head[2:]
        return head + self.canonical + self.body

    @property
    def due_at(self) -> int:
        """The second from which on whoever asks for it has it fetched again."""
        return self.expires_at - self.lifetime_s // _PREFETCH_SHARE

    @property
    def is_live(self) -> bool:
        """Whether the entry is still in the cache."""
        return self.expires_at != 0

    @property
    def denies_name(self) -> bool:
        """Whether an upstream said that there is no such name, of whatever type.

        Behind an alias it is the alias's target that there is none of (RFC 2308, 2.1).
        """
        return (
            self.odd & (ODD_RCODE | ODD_ZONE | ODD_STUB) == ODD_RCODE
            and self.rcode == wire.NXDOMAIN
            and not (self.head[2] or self.head[3])
        )

    @property
    def weight_octets(self) -> int:
        """The memory that it takes, as counted against `cache.max_size`."""
        octets = ENTRY_OCTETS + len(self.key) + len(self.body) + len(self.errors)
        if self.odd & ODD_RCODE and self.denies_name:
            octets += DENIAL_OCTETS + len(self.key)
        return octets + 2 * len(self.ttl_offsets)


def stub_of(entry: Entry, now_s: int, expires_at: int) -> Entry:
    """Return what UDP clients get of an *entry* that is too large to be kept."""
    stub = Entry(entry.view, entry.key, entry.tail)
    stub.head = stub_head(entry.head)
    stub.odd = entry.odd & ~ODD_ROTATES | ODD_STUB
    stub.errors = entry.errors
    stub.stamp = stub.aged_at = now_s
    stub.lifetime_s = expires_at - now_s
    stub.expires_at = expires_at
    return stub


def made(
    view: int,
    key: bytes,
    tail: bytes,
    sections: Sections,
    now_s: int,
    *,
    errors: bytes = b"",
    rule: int = 0,
) -> Entry:
    """Return an entry for a response that is made here, from a zone or by a *rule*.

    *rule* is the number of that; *errors* are Extended DNS Errors to send along.
    """
    entry = Entry(view, key, tail)
    entry.head = head_of(sections)
    entry.body = sections.octets
    entry.odd = ODD_ZONE | ODD_TAIL | (ODD_RCODE if sections.rcode else 0)
    if errors:
        entry.odd |= ODD_ERRORS
        entry.errors = errors
    if rule:
        entry.odd |= ODD_RULED
        entry.lifetime_s = rule
    entry.stamp = now_s
    return entry
