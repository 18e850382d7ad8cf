"""A bounded cache of responses, in the form in which they leave.

Pure: it is told the time, in whole monotonic seconds. One worker, one loop, one cache:
there is no lock, and none is needed.

An entry is found by its *key*: the question section with ASCII letters folded to lower
case, in one of eight *views*, since RD, CD and DO may change what a resolver says. The
fold is one call over the whole question and so also folds the octets of qtype and
qclass: type 65 (HTTPS) and type 97 share a key. Such an entry is marked and keeps the
true octets, and whoever finds it compares them.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.response import Response
from dnsfront.dns.sections import Sections

VIEWS: Final = 8

#: Why an entry needs a second look before it is sent; 0 for most.
ODD_TAIL: Final = 1  # qtype and qclass must be compared: see the module's text
ODD_RCODE: Final = 2  # the response code is not NOERROR
ODD_ZONE: Final = 4  # made from a zone of ours, so it is no hit of the cache

#: RFC 8767, 5.2: the TTL of stale records.
STALE_TTL_S: Final = 30
#: An entry is fetched again while it is asked for in the last tenth of its life.
_PREFETCH_SHARE: Final = 10
#: Responses made from zones are kept apart from the cache's own bound.
_MAX_ZONE_ENTRIES: Final = 4096
_NEVER: Final = 1 << 62
#: Distinct heads and TTL offsets that entries share; more of them are rare ones.
_MAX_SHARED: Final = 1024

_TTL = struct.Struct("!I")
_HEAD = struct.Struct("!4H")


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


class Entry:
    """A response to one question in one view, its TTLs true as of *stamp*.

    *stamp* and *expires_at* are monotonic seconds, *head* is flags and counts, *body*
    the records with their TTLs at *ttl_offsets*. A reader who finds *stamp* at the
    current second may send the body as it is; anyone else asks :meth:`Cache.fresh`.
    """

    __slots__ = (
        "body",
        "expires_at",
        "head",
        "key",
        "lifetime_s",
        "odd",
        "seen_at",
        "stamp",
        "tail",
        "ttl_offsets",
        "view",
    )

    def __init__(self, view: int, key: bytes, tail: bytes) -> None:
        self.view = view
        self.key = key
        self.tail = tail
        self.stamp = -1
        self.seen_at = -1
        self.expires_at = 0
        self.lifetime_s = 0
        self.odd = 0
        self.head = b""
        self.body = b""
        self.ttl_offsets: tuple[int, ...] = ()

    @property
    def rcode(self) -> int:
        """The response code."""
        return self.head[1] & 15

    @property
    def is_live(self) -> bool:
        """Whether the entry is still in the cache."""
        return self.expires_at != 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator allows a cache: entries, and seconds."""

    max_entries: int
    min_ttl_s: int
    max_ttl_s: int
    serve_stale_s: int
    prefetch: bool


class Cache:
    """Entries by view and key; forgets by TTL, then by disuse.

    When it is full, the entry that came first goes, unless it was asked for since it
    was last considered: then it gets another round (CLOCK). `views` are the
    dictionaries that the fast path reads, the same objects for the life of the cache.
    `due` collects entries that want to be fetched again before they expire.
    """

    def __init__(self, limits: Limits) -> None:
        self.views: tuple[dict[bytes, Entry], ...] = tuple({} for _ in range(VIEWS))
        self.due: list[Entry] = []
        self.evictions = 0
        self._queue: deque[Entry] = deque()
        self._zone_queue: deque[Entry] = deque()
        self._heads: dict[bytes, bytes] = {}
        self._offsets: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._tails: dict[bytes, bytes] = {}
        self.resize(limits)

    def resize(self, limits: Limits) -> None:
        """Apply new limits to what is cached and to what comes."""
        self._limits = limits
        while len(self._queue) > limits.max_entries:
            self._evict()

    def __len__(self) -> int:
        """How many responses are kept, those made from zones not counted."""
        return len(self._queue)

    def get(self, view: int, key: bytes, tail: bytes) -> Entry | None:
        """Return the entry, fresh or not, for the question of *key* and *tail*."""
        entry = self.views[view].get(key)
        return entry if entry is not None and entry.tail == tail else None

    def fresh(self, entry: Entry, now_s: int) -> bool:
        """Make the TTLs of *entry* true for *now_s*; return whether it may be sent.

        Costs one pass over the TTLs in the first call of a second, nothing later.
        """
        age_s = now_s - entry.stamp
        if age_s == 0:
            return True
        remaining_s = entry.expires_at - now_s
        if remaining_s <= 0:
            return False
        if entry.ttl_offsets and not entry.odd & ODD_ZONE:
            entry.body = _aged(entry.body, entry.ttl_offsets, lambda ttl: ttl - age_s)
            if (
                self._limits.prefetch
                and remaining_s * _PREFETCH_SHARE <= entry.lifetime_s
            ):
                self.due.append(entry)
        entry.stamp = now_s
        return True

    def stale_body(self, entry: Entry, now_s: int) -> bytes | None:
        """Return the records of an expired *entry* as stale ones; None if too old."""
        if not 0 < entry.expires_at > now_s - self._limits.serve_stale_s:
            return None
        return _aged(entry.body, entry.ttl_offsets, lambda _ttl: STALE_TTL_S)

    def put(
        self, view: int, key: bytes, tail: bytes, response: Response, now_s: int
    ) -> Entry:
        """Return an entry with the response, kept if its TTL is over zero.

        TTLs are brought between the smallest and the largest of the config first. The
        entry of the same key and view is replaced.
        """
        limits = self._limits
        low, high = limits.min_ttl_s, limits.max_ttl_s
        ttl_s, body = response.ttl_s, response.body
        # RFC 2308, 5: a negative response lives as long as its SOA says.
        ceiling = ttl_s if 0 <= ttl_s < high and not response.has_answers else high
        if ttl_s < 0:
            low = ttl_s = 0
        if response.min_ttl_s < low or response.max_ttl_s > ceiling:
            ceiling = max(low, ceiling)
            body = _aged(
                body, response.ttl_offsets, lambda ttl: max(low, min(ttl, ceiling))
            )
            ttl_s = max(low, min(ttl_s, high))
        elif ttl_s > high:
            ttl_s = high
        entry = self.views[view].get(key) if ttl_s else None
        if entry is None or entry.tail != tail or entry.odd & ODD_ZONE:
            entry = Entry(view, key, self._tails.setdefault(tail, tail))
        if len(self._offsets) > _MAX_SHARED or len(self._heads) > _MAX_SHARED:
            # Whoever owns a zone can make up new ones for ever.
            self._offsets.clear()
            self._heads.clear()
        head, offsets = response.head, response.ttl_offsets
        entry.head = self._heads.setdefault(head, head)
        entry.body = body
        entry.ttl_offsets = self._offsets.setdefault(offsets, offsets)
        entry.odd = ODD_RCODE if response.rcode else 0
        if not key.endswith(tail) or tail.upper() != tail:
            entry.odd |= ODD_TAIL
        entry.stamp = now_s
        if ttl_s:
            self._keep(entry, ttl_s, now_s)
        return entry

    def put_zone(
        self, view: int, key: bytes, tail: bytes, sections: Sections, now_s: int
    ) -> Entry:
        """Return an entry for a response from a zone; it never expires nor ages."""
        entry = Entry(view, key, tail)
        entry.head = head_of(sections)
        entry.body = sections.octets
        entry.odd = ODD_ZONE | ODD_TAIL | (ODD_RCODE if sections.rcode else 0)
        entry.stamp = now_s
        entry.expires_at = _NEVER
        self._zone_queue.append(entry)
        if len(self._zone_queue) > _MAX_ZONE_ENTRIES:
            self._remove(self._zone_queue.popleft())
        self._insert(entry)
        return entry

    def entries(self) -> list[Entry]:
        """Return the entries of this moment, those that came last first."""
        return list(reversed(self._queue))

    def adopt(self, entry: Entry, now_s: int) -> bool:
        """Keep an *entry* that another cache had; return whether it was of use.

        An entry of ours for the same question is as good, and stays.
        """
        other = self.views[entry.view].get(entry.key)
        if entry.expires_at <= now_s or (
            other is not None and other.tail == entry.tail and other.expires_at > now_s
        ):
            return False
        entry.tail = self._tails.setdefault(entry.tail, entry.tail)
        entry.head = self._heads.setdefault(entry.head, entry.head)
        offsets = entry.ttl_offsets
        entry.ttl_offsets = self._offsets.setdefault(offsets, offsets)
        self._admit(entry, now_s)
        return True

    def _keep(self, entry: Entry, ttl_s: int, now_s: int) -> None:
        is_new = entry.expires_at == 0
        entry.lifetime_s = ttl_s
        entry.expires_at = now_s + ttl_s
        if is_new:
            self._admit(entry, now_s)

    def _admit(self, entry: Entry, now_s: int) -> None:
        """Take in a new *entry*, after room was made: it is not the one to go."""
        entry.seen_at = now_s
        self._insert(entry)
        queue = self._queue
        if len(queue) >= self._limits.max_entries:
            self._evict()
        queue.append(entry)

    def _insert(self, entry: Entry) -> None:
        view = self.views[entry.view]
        other = view.get(entry.key)
        if other is not None:
            other.expires_at = 0  # its place in the queue is skipped when it comes up
        view[entry.key] = entry

    def _evict(self) -> None:
        """Make room for one: the first in the queue that was not asked for again."""
        queue = self._queue
        for _ in range(len(queue)):
            entry = queue.popleft()
            if entry.is_live and entry.stamp > entry.seen_at:
                entry.seen_at = entry.stamp
                queue.append(entry)
                continue
            break
        else:
            entry = queue.popleft()
        self.evictions += entry.is_live
        self._remove(entry)

    def _remove(self, entry: Entry) -> None:
        view = self.views[entry.view]
        if view.get(entry.key) is entry:
            del view[entry.key]
        entry.expires_at = 0

    def flush(self, is_wanted: Callable[[bytes], bool]) -> int:
        """Forget every entry whose qname *is_wanted* takes; return how many."""
        return self._forget(lambda entry: is_wanted(entry.key[:-4]))

    def flush_zones(self) -> None:
        """Forget every response that was made from a zone."""
        self._forget(lambda entry: bool(entry.odd & ODD_ZONE))

    def _forget(self, is_wanted: Callable[[Entry], bool]) -> int:
        count = 0
        for view in self.views:
            for entry in [entry for entry in view.values() if is_wanted(entry)]:
                self._remove(entry)
                count += 1
        self._queue = deque(entry for entry in self._queue if entry.is_live)
        self._zone_queue = deque(entry for entry in self._zone_queue if entry.is_live)
        return count


def is_under(qname: bytes, origin: bytes) -> bool:
    """Return whether *qname* is *origin* or below it; both lower-case wire form."""
    surplus = len(qname) - len(origin)
    if surplus < 0 or not qname.endswith(origin):
        return False
    at = 0
    while at < surplus:
        at += qname[at] + 1
    return at == surplus


def _aged(
    body: bytes, ttl_offsets: tuple[int, ...], age: Callable[[int], int]
) -> bytes:
    octets = bytearray(body)
    for at in ttl_offsets:
        _TTL.pack_into(octets, at, max(0, age(_TTL.unpack_from(octets, at)[0])))
    return bytes(octets)
