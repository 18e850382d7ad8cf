"""A bounded cache of responses, in the form in which they leave.

Pure: it is told the time, in whole monotonic seconds. One worker, one loop, one cache:
there is no lock, and none is needed.

An entry is found by its *key*: the question section with ASCII letters folded to lower
case, in one of eight *views*, since RD, CD and DO may change what a resolver says. The
fold is one call over the whole question and so also folds the octets of qtype and
qclass: type 65 (HTTPS) and type 97 share a key. Such an entry is marked and keeps the
true octets, and whoever finds it compares them.

:class:`Cache` is the only way in and out: whatever puts, adopts, replaces, shortens or
forgets entries is a method of it, and its observer is told.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator
from collections.abc import Set as AbstractSet
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.denials import Denials
from dnsfront.dns.entry import (
    DENIAL_OCTETS,
    ENTRY_OCTETS,
    NOT_ASKED_FOR,
    ODD_RCODE,
    ODD_STUB,
    ODD_ZONE,
    PLAIN_TAILS,
    VIEWS,
    Entry,
    aged,
    made,
    odd_of,
    stub_of,
)
from dnsfront.dns.forgetting import outdated
from dnsfront.dns.observer import Observer
from dnsfront.dns.residents import Residents
from dnsfront.dns.response import Response
from dnsfront.dns.sections import Sections
from dnsfront.dns.settings import CacheSettings

#: RFC 8767, 5.2: the TTL of stale records.
STALE_TTL_S: Final = 30
_NEVER: Final = 1 << 62
#: Distinct heads and TTL offsets that entries share; more of them are rare ones.
MAX_SHARED: Final = 1024
#: TTL offsets up to which an entry is likely to share them with others.
_MAX_SHARED_OFFSETS: Final = 8
_OF_ZONE: Final = wire.AA >> 8  #: what a zone began and upstreams finished has AA
#: Entries looked at in one piece of a flush: about a millisecond.
_FLUSH_CHUNK: Final = 2000


class Cache:
    """Entries by view and key; forgets by TTL, then by disuse and by weight.

    `views` are the dictionaries that the fast path reads, the same objects for the life
    of the cache. `due` collects entries that want to be fetched again before they
    expire. `losses` counts what there was no room for. `denials` has those that deny a
    name; `denies_below` tells whether they count for the names below it.
    """

    def __init__(self, settings: CacheSettings) -> None:
        self.views: tuple[dict[bytes, Entry], ...] = tuple({} for _ in range(VIEWS))
        self.due: list[Entry] = []
        self.denials = Denials()
        self.denies_below = settings.deny_below
        self._is_local: Callable[[int, bytes], bool] | None = None
        self._tops: tuple[bytes, ...] = ()
        self._observer: Observer | None = None
        self._heads: dict[bytes, bytes] = {}
        self._offsets: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._tails: dict[bytes, bytes] = {}
        self._settings = settings
        self._residents = Residents(
            settings.max_entries, settings.max_size_octets, self._forget
        )
        self.losses = self._residents.losses

    def observe(self, observer: Observer | None) -> None:
        """Tell *observer* from now on what comes, changes and goes; None tells nobody.

        It is told first that what is here has come.
        """
        self._observer = observer
        if observer is not None:
            for view in self.views:
                for entry in tuple(view.values()):
                    observer.came(entry)

    def know_zones(
        self,
        is_local: Callable[[int, bytes], bool] | None,
        tops: tuple[bytes, ...] = (b"\0",),
    ) -> None:
        """Let no response in, from now on, to a question that *is_local* is true of.

        A zone of ours answers those; their names end with one of *tops*. What was let
        in before goes by :meth:`forgetting_zones`.
        """
        self._is_local = is_local
        self._tops = () if is_local is None else tops

    def resize(self, settings: CacheSettings) -> None:
        """Apply other settings to what comes; what is there follows by :meth:`trim`."""
        self._settings = settings
        self.denies_below = settings.deny_below
        self._residents.resize(settings.max_entries, settings.max_size_octets)

    def trim(self) -> bool:
        """Bring the cache nearer to its bounds; return whether there is more to do."""
        self._residents.trim()
        return self._residents.is_over

    def __len__(self) -> int:
        """How many responses are kept, those made from zones not counted."""
        return len(self._residents)

    @property
    def octets(self) -> int:
        """What all entries weigh."""
        return self._residents.octets

    def get(self, view: int, key: bytes, tail: bytes) -> Entry | None:
        """Return the entry, fresh or not, for the question of *key* and *tail*."""
        entry = self.views[view].get(key)
        return entry if entry is not None and entry.tail == tail else None

    def fresh(self, entry: Entry, now_s: int) -> bool:
        """Make the TTLs of *entry* true for *now_s*; return whether it may be sent.

        Costs one pass over the TTLs in the first call of a second, nothing later.
        """
        if entry.expires_at <= now_s:
            return False
        age_s = now_s - entry.aged_at
        if age_s and entry.ttl_offsets and not entry.odd & ODD_ZONE:
            entry.body = aged(entry.body, entry.ttl_offsets, lambda ttl: ttl - age_s)
            entry.aged_at = now_s
            if self._settings.prefetch and now_s >= entry.due_at:
                self.due.append(entry)
        if self._observer is not None and entry.stamp != NOT_ASKED_FOR:
            self._observer.asked_again(entry)
        entry.stamp = now_s
        return True

    def note_asked(self, entry: Entry, now_s: int) -> None:
        """Count a live *entry* as asked for, which somebody else gave out."""
        entry.stamp = now_s - 1  # that of now says that its TTLs are true

    def take_due(self) -> list[Entry]:
        """Return the entries that want to be fetched again, each of them once."""
        due = self.due[:]
        self.due.clear()
        return due

    def stale_body(self, entry: Entry, now_s: int) -> bytes | None:
        """Return the records of an expired *entry* as stale ones; None if too old."""
        if entry.odd & ODD_STUB:
            return None  # it has none
        if not 0 < entry.expires_at > now_s - self._settings.serve_stale_s:
            return None
        ttl_s = min(STALE_TTL_S, self._settings.max_ttl_s)
        return aged(entry.body, entry.ttl_offsets, lambda _ttl: ttl_s)

    def put(  # noqa: C901, PLR0912, PLR0915 - a call a miss costs more than what is done
        self, view: int, key: bytes, tail: bytes, response: Response, now_s: int
    ) -> Entry | None:
        """Return an entry with the response, kept if its TTL is over zero.

        TTLs are brought between the smallest and the largest of the config first. The
        entry of the same key and view is replaced. None says that this is for a zone of
        ours to answer.
        """
        if (
            key.endswith(self._tops, 0, -4)
            and self._is_local is not None
            and not response.head[0] & _OF_ZONE
            and self._is_local(view, key[:-4] + tail)
        ):
            return None
        settings = self._settings
        low, high = settings.min_ttl_s, settings.max_ttl_s
        ttl_s, body = response.ttl_s, response.body
        # RFC 2308, 5: a negative response lives as long as its SOA says.
        ceiling = ttl_s if 0 <= ttl_s < high and not response.has_answers else high
        if ttl_s < 0:
            low = ttl_s = 0
        if response.min_ttl_s < low or response.max_ttl_s > ceiling:
            ceiling = max(low, ceiling)
            body = aged(
                body, response.ttl_offsets, lambda ttl: max(low, min(ttl, ceiling))
            )
            ttl_s = max(low, min(ttl_s, high))
        elif ttl_s > high:
            ttl_s = high
        found = self.views[view]
        entry = found.get(key) if ttl_s else None
        weight = stub_ttl_s = 0
        if ttl_s and len(body) > settings.max_entry_size_octets:
            stub_ttl_s, ttl_s = ttl_s, 0
        if entry is None or not self._can_take(entry, tail, body, ttl_s):
            entry = Entry(view, key, self._tails.setdefault(tail, tail))
        else:
            weight = entry.weight_octets
            # Who is fetched again was asked for again.
            entry.stamp = now_s
        if len(self._offsets) > MAX_SHARED or len(self._heads) > MAX_SHARED:
            # Whoever owns a zone can make up new ones for ever.
            self._offsets.clear()
            self._heads.clear()
        head, offsets = response.head, response.ttl_offsets
        entry.head = self._heads.setdefault(head, head)
        entry.body = body
        if len(offsets) <= _MAX_SHARED_OFFSETS:
            entry.ttl_offsets = self._offsets.setdefault(offsets, offsets)
        else:
            entry.ttl_offsets = array("H", offsets)
        is_plain = tail in PLAIN_TAILS and not (response.rcode or response.errors)
        entry.odd = (
            0 if is_plain else odd_of(key, tail, response.rcode, response.errors)
        )
        entry.errors = response.errors
        if settings.rotate:
            entry.note_rotation()
        entry.aged_at = now_s
        if ttl_s:
            entry.lifetime_s = ttl_s
            entry.expires_at = now_s + ttl_s
            observer = self._observer
            if weight:
                self._residents.weigh_again(entry, entry.weight_octets - weight)
                if observer is not None:
                    observer.changed(entry)
            else:
                # _can_take() has let go of the entry that had this key.
                weight = ENTRY_OCTETS + len(key) + len(body) + 2 * len(offsets)
                weight += len(response.errors)
                if response.rcode and entry.denies_name:
                    weight += DENIAL_OCTETS + len(key)
                self._residents.admit(entry, weight)
                found[key] = entry
                if observer is not None:
                    observer.came(entry)
        elif stub_ttl_s:
            self._keep_stub(entry, now_s, now_s + stub_ttl_s)
        if response.rcode and entry.denies_name:
            if ttl_s:
                self.denials.came(entry)
        else:
            # What was said last of a name counts.
            denied = self.denials.by_name[view]
            if denied:
                denied.pop(key[:-4], None)
        return entry

    def _keep_stub(self, entry: Entry, now_s: int, expires_at: int) -> None:
        """Keep what UDP clients get of an *entry* that is too large to be kept.

        They get nothing but TC anyway, and would have it fetched again and again.
        """
        self.losses.oversized += 1
        if len(entry.body) <= wire.MAX_UDP_OCTETS:
            return
        stub = stub_of(entry, now_s, expires_at)
        stub.head = self._heads.setdefault(stub.head, stub.head)
        self._admit(stub)

    def _can_take(self, entry: Entry, tail: bytes, body: bytes, ttl_s: int) -> bool:
        """Return whether *entry* can hold another response; else it has to go."""
        if (
            entry.tail == tail
            and ttl_s
            and not entry.odd & ODD_ZONE
            and not self._residents.would_move(entry, len(body) - len(entry.body))
        ):
            return True
        self._residents.leave(entry)
        return False

    def put_zone(
        self, view: int, key: bytes, tail: bytes, sections: Sections, now_s: int
    ) -> Entry:
        """Return an entry for a response from a zone; it never expires nor ages."""
        return self.put_made(made(view, key, tail, sections, now_s))

    def put_made(self, entry: Entry) -> Entry:
        """Keep an *entry* that was made here, and return it."""
        now_s = entry.stamp
        if self._settings.rotate:
            entry.note_rotation()
        if len(entry.body) > self._settings.max_entry_size_octets:
            self._keep_stub(entry, now_s, _NEVER)
            return entry
        entry.expires_at = _NEVER
        self._admit(entry)
        return entry

    def entries(self) -> list[Entry]:
        """Return the entries of this moment, those made from zones left out."""
        return [entry for entry in self._residents.entries() if entry.is_live]

    def adopt(self, entry: Entry, now_s: int) -> bool:
        """Keep an *entry* that another cache had; return whether it was of use.

        An entry of ours for the same question is as good, and stays.
        """
        other = self.views[entry.view].get(entry.key)
        if entry.expires_at <= now_s or (
            other is not None and other.tail == entry.tail and other.expires_at > now_s
        ):
            return False
        if self._is_local is not None and self._is_local(entry.view, entry.canonical):
            return False
        if len(entry.body) > self._settings.max_entry_size_octets:
            self.losses.oversized += 1
            return False
        entry.shorten(now_s, self._settings.max_ttl_s)
        if self._settings.rotate:
            entry.note_rotation()
        entry.tail = self._tails.setdefault(entry.tail, entry.tail)
        entry.head = self._heads.setdefault(entry.head, entry.head)
        offsets = tuple(entry.ttl_offsets)
        if len(offsets) <= _MAX_SHARED_OFFSETS:
            entry.ttl_offsets = self._offsets.setdefault(offsets, offsets)
        else:
            entry.ttl_offsets = array("H", offsets)
        self._admit(entry)
        return True

    def _admit(self, entry: Entry) -> None:
        """Take in a new *entry*, after room was made: it is not the one to go."""
        residents = self._residents
        view = self.views[entry.view]
        other = view.get(entry.key)
        if other is not None:
            residents.leave(other)
        residents.admit(entry, entry.weight_octets)
        view[entry.key] = entry
        if entry.odd & ODD_RCODE and entry.denies_name:
            self.denials.came(entry)
        if self._observer is not None:
            self._observer.came(entry)

    def _forget(self, entry: Entry) -> None:
        """Have nobody find *entry*, which its queue lets go."""
        view = self.views[entry.view]
        if view.get(entry.key) is entry:
            del view[entry.key]
            if entry.odd & ODD_RCODE:
                self.denials.went(entry)
            if self._observer is not None:
                self._observer.went(entry)

    def shortening(self, now_s: int) -> Generator[None, None, None]:
        """Have nothing live longer than the largest TTL of now, a piece at a time."""
        for view in self.views:
            present = list(view.values())
            for at in range(0, len(present), _FLUSH_CHUNK):
                for entry in present[at : at + _FLUSH_CHUNK]:
                    if entry.expires_at > now_s and not entry.odd & ODD_ZONE:
                        entry.shorten(now_s, self._settings.max_ttl_s)
                        if self._observer is not None:
                            self._observer.changed(entry)
                yield

    def forgetting_zones(
        self, origins: AbstractSet[bytes]
    ) -> Generator[None, None, None]:
        """Forget what zones at *origins* have a say in, a piece at a time.

        *origins* are those of now, which :meth:`know_zones` was told, and those before.
        """
        yield from self.flushing(outdated(origins, self._is_local))

    def flushing(
        self, is_wanted: Callable[[Entry], bool]
    ) -> Generator[None, None, int]:
        """Forget every entry of this moment that *is_wanted* takes, a piece at a time.

        Returns how many there were. What comes meanwhile stays.
        """
        count = 0
        for view in self.views:
            present = list(view.values())
            for at in range(0, len(present), _FLUSH_CHUNK):
                for entry in present[at : at + _FLUSH_CHUNK]:
                    if entry.is_live and is_wanted(entry):
                        self._residents.leave(entry)
                        count += 1
                yield
        if count:
            yield from self._residents.compact()
        return count
