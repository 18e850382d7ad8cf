"""The response cache is bounded, whatever is put into it and taken out."""

from __future__ import annotations

import gc
import struct

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from dnsfront.dns import wire
from dnsfront.dns.cache import Cache
from dnsfront.dns.entry import ODD_ZONE, head_of
from dnsfront.dns.forgetting import at_or_below, named
from dnsfront.dns.names import is_under
from tests.unit.caching import (
    DAY_S,
    HTTPS,
    NAME,
    TYPE97,
    A,
    address,
    ask,
    entries_alive,
    flush,
    flush_zones,
    get,
    limits,
    name_of,
    put,
    tail_of,
    trim,
    ttls_of,
    zone_sections,
)

# The bound


def test_full_cache_forgets_what_came_first() -> None:
    cache = Cache(limits(max_entries=3))

    for number in range(5):
        put(cache, address(300), name=name_of(number))

    kept = [number for number in range(5) if get(cache, name=name_of(number))]
    assert kept == [2, 3, 4]
    assert len(cache) == 3
    assert cache.losses.evictions == 2


def test_full_cache_keeps_what_is_asked_for() -> None:
    cache = Cache(limits(max_entries=10))
    put(cache, address(3000), name=name_of(0))

    for now_s in range(1, 200):
        assert ask(cache, now_s, name=name_of(0)) is not None
        put(cache, address(3000), name=name_of(now_s), now_s=now_s)

    assert len(cache) == 10


def test_full_cache_where_all_are_asked_for_forgets_one() -> None:
    cache = Cache(limits(max_entries=10))
    for number in range(10):
        put(cache, address(3000), name=name_of(number))
    for number in range(10):
        ask(cache, 1, name=name_of(number))

    put(cache, address(3000), name=name_of(10), now_s=1)

    assert len(cache) == 10
    assert get(cache, name=name_of(10)) is not None
    assert cache.losses.evictions == 1


def test_smaller_limit_applies_piece_by_piece() -> None:
    cache = Cache(limits(max_entries=10))
    for number in range(10):
        put(cache, address(3000), name=name_of(number))

    cache.resize(limits(max_entries=4, max_ttl_s=5))
    trim(cache)

    assert len(cache) == 4
    put(cache, address(3000), name=name_of(10))
    assert ask(cache, 0, name=name_of(10)) == [5]
    assert len(cache) == 4


def test_views_stay_the_same_objects() -> None:
    cache = Cache(limits())
    views = cache.views
    dictionaries = list(cache.views)

    put(cache, address(300))
    flush(cache)
    cache.resize(limits(max_entries=1))

    assert cache.views is views
    assert all(a is b for a, b in zip(cache.views, dictionaries, strict=True))


def test_odd_layouts_of_responses_leave_nothing_behind() -> None:
    cache = Cache(limits(max_entries=10))
    response = address(300)

    gc.collect()
    before = len(gc.get_objects())
    for number in range(5000):
        response.ttl_offsets = (6, 1000 + number)
        response.head = struct.pack("!4H", wire.QR, 1, 0, number)
        response.body = bytes(2000 + number)
        put(cache, response, name=name_of(number))
    gc.collect()

    # A tuple of integers is known to the collector only for a while: count the rest.
    assert len(gc.get_objects()) - before < 500
    shared = [getattr(cache, name) for name in ("_heads", "_offsets")]
    assert max(len(pool) for pool in shared) < 2000


# Zones


def test_zone_entry_never_ages() -> None:
    cache = Cache(limits())
    tail = tail_of(A)

    entry = cache.put_zone(1, NAME + tail, tail, zone_sections(), 0)

    assert cache.fresh(entry, 10 * DAY_S)
    assert entry.body == zone_sections().octets
    assert entry.odd & ODD_ZONE
    assert entry.head == head_of(zone_sections())
    assert cache.due == []


def test_zone_entries_are_kept_apart_from_the_bound() -> None:
    cache = Cache(limits(max_entries=2))
    tail = tail_of(A)
    for number in range(100):
        cache.put_zone(1, name_of(number) + tail, tail, zone_sections(), 0)
    put(cache, address(300), name=name_of(1000))

    assert len(cache) == 1
    assert all(get(cache, name=name_of(number)) for number in range(100))
    assert get(cache, name=name_of(1000)) is not None


def test_flood_of_names_in_a_zone_is_bounded() -> None:
    cache = Cache(limits())
    tail = tail_of(A)
    before = entries_alive()

    for number in range(10000):
        cache.put_zone(1, name_of(number) + tail, tail, zone_sections(), 0)

    assert entries_alive() - before < 5000
    assert get(cache, name=name_of(9999)) is not None
    assert get(cache, name=name_of(0)) is None


def test_same_zone_entry_put_again_and_again_does_not_pile_up() -> None:
    cache = Cache(limits())
    tail = tail_of(A)
    before = entries_alive()

    for _ in range(10000):
        cache.put_zone(1, NAME + tail, tail, zone_sections(), 0)

    assert entries_alive() - before < 5000
    assert get(cache) is not None


def test_flushing_zones_leaves_the_others() -> None:
    cache = Cache(limits())
    tail = tail_of(A)
    zone_entry = cache.put_zone(1, NAME + tail, tail, zone_sections(), 0)
    put(cache, address(300), name=name_of(1))

    flush_zones(cache)

    assert get(cache) is None
    assert not zone_entry.is_live
    assert get(cache, name=name_of(1)) is not None


def test_response_in_place_of_a_zone_entry_counts_and_expires() -> None:
    cache = Cache(limits(max_entries=1))
    tail = tail_of(A)
    cache.put_zone(1, NAME + tail, tail, zone_sections(), 0)

    entry = put(cache, address(300))

    assert len(cache) == 1
    assert not entry.odd & ODD_ZONE
    assert ask(cache, 300) is None


# Flushing


@pytest.mark.parametrize(
    ("qname", "origin", "is_below"),
    [
        (NAME, NAME, True),
        (NAME, b"\7example\4test\0", True),
        (NAME, b"\4test\0", True),
        (NAME, b"\0", True),
        (b"\0", b"\0", True),
        (b"\0", NAME, False),
        (b"\4test\0", NAME, False),
        (b"\7example\4test\0", b"\5xmple\4test\0", False),
        (b"\x0bnot\7example\4test\0", b"\7example\4test\0", False),
        (b"\6a\4test\0", b"\4test\0", False),
    ],
    ids=[
        "itself",
        "child",
        "grandchild",
        "below the root",
        "the root",
        "root below a name",
        "parent",
        "another",
        "end inside a label",
        "whole label inside a label",
    ],
)
def test_name_is_below_an_origin_label_by_label(
    *, qname: bytes, origin: bytes, is_below: bool
) -> None:
    assert is_under(qname, origin) == is_below


def test_flush_of_a_name_takes_all_its_types_and_views() -> None:
    cache = Cache(limits())
    for view in range(8):
        put(cache, address(300), view=view)
        put(cache, address(300), view=view, qtype=28)
    put(cache, address(300), name=name_of(1))

    count = flush(cache, named(NAME))

    assert count == 16
    assert len(cache) == 1
    assert get(cache, name=name_of(1)) is not None


def test_flushed_name_is_cached_anew() -> None:
    cache = Cache(limits())
    put(cache, address(300))
    flush(cache, at_or_below(b"\4test\0"))

    put(cache, address(200), now_s=7)

    assert ask(cache, 8) == [199]
    assert len(cache) == 1


def test_flushes_and_expiries_leave_nothing_behind() -> None:
    cache = Cache(limits(max_entries=50, serve_stale_s=0))
    before = entries_alive()

    for turn in range(3000):
        put(cache, address(1 + turn % 7), name=name_of(turn % 80), now_s=turn)
        ask(cache, turn, name=name_of(turn * 7 % 80))
        if turn % 10 == 0:
            flush(cache, named(name_of(turn % 80)))

    assert len(cache) <= 50
    assert entries_alive() - before <= 50 + len(cache.due)


# All of it at once


class CacheMachine(RuleBasedStateMachine):
    """Anything in any order, next to a dictionary that knows what must be so."""

    names = st.integers(0, 12).map(name_of)
    types = st.sampled_from((A, 28, HTTPS, TYPE97))
    views = st.integers(0, 1)

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000
        self.mark = 0
        self.known: dict[tuple[int, bytes], tuple[bytes, int, int, int]] = {}
        self.zone: set[tuple[int, bytes]] = set()

    @initialize(max_entries=st.integers(1, 8), low=st.integers(0, 5))
    def start(self, max_entries: int, low: int) -> None:
        self.low = low
        self.max_entries = max_entries
        self.cache = Cache(limits(max_entries=max_entries, min_ttl_s=low, max_ttl_s=60))

    @rule(name=names, qtype=types, view=views, ttl=st.integers(0, 90))
    def put(self, name: bytes, qtype: int, view: int, ttl: int) -> None:
        self.mark += 1
        put(
            self.cache,
            address(ttl, mark=self.mark),
            name=name,
            qtype=qtype,
            view=view,
            now_s=self.now_s,
        )
        tail = tail_of(qtype)
        if kept_s := max(self.low, min(ttl, 60)):
            where = (view, (name + tail).lower())
            self.known[where] = (tail, self.mark, self.now_s + kept_s, kept_s)
            self.zone.discard(where)
            # What was just put is there: nobody puts what is at once forgotten.
            assert get(self.cache, name=name, qtype=qtype, view=view) is not None

    @rule(name=names, qtype=types, view=views)
    def put_zone(self, name: bytes, qtype: int, view: int) -> None:
        tail = tail_of(qtype)
        where = (view, (name + tail).lower())
        self.cache.put_zone(view, where[1], tail, zone_sections(), self.now_s)
        self.known[where] = (tail, 0, 1 << 60, 0)
        self.zone.add(where)

    @rule(name=names, qtype=types, view=views)
    def ask(self, name: bytes, qtype: int, view: int) -> None:
        entry = get(self.cache, name=name, qtype=qtype, view=view)
        tail = tail_of(qtype)
        where = (view, (name + tail).lower())
        known_tail, mark, expires_at, _kept_s = self.known.get(where, (b"", 0, 0, 0))
        if where in self.zone:
            assert (entry is not None) == (known_tail == tail)
        if entry is None:
            return
        assert known_tail == tail
        assert self.cache.fresh(entry, self.now_s) == (expires_at > self.now_s)
        if where in self.zone:
            assert entry.body == zone_sections().octets
        elif expires_at > self.now_s:
            [ttl] = ttls_of(entry.body, entry.ttl_offsets)
            assert ttl == expires_at - self.now_s
            assert int.from_bytes(entry.body[-2:], "big") == mark
        else:
            assert self.cache.stale_body(entry, self.now_s) is not None

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds: int) -> None:
        self.now_s += seconds

    @rule(name=names)
    def flush_name(self, name: bytes) -> None:
        flush(self.cache, named(name))
        for where in [where for where in self.known if where[1][:-4] == name]:
            del self.known[where]
            self.zone.discard(where)

    @rule()
    def flush_zones(self) -> None:
        flush_zones(self.cache)
        for where in self.zone:
            del self.known[where]
        self.zone.clear()

    @rule(max_entries=st.integers(1, 8))
    def resize(self, max_entries: int) -> None:
        self.max_entries = max_entries
        self.cache.resize(
            limits(max_entries=max_entries, min_ttl_s=self.low, max_ttl_s=60)
        )
        trim(self.cache)

    @precondition(lambda self: hasattr(self, "cache"))
    @invariant()
    def never_more_than_the_bound(self) -> None:
        kept = [
            entry
            for view in self.cache.views
            for entry in view.values()
            if not entry.odd & ODD_ZONE
        ]
        assert len(kept) <= len(self.cache) <= self.max_entries
        assert all(entry.is_live for entry in kept)


TestCacheInAnyOrder = CacheMachine.TestCase
TestCacheInAnyOrder.settings = settings(max_examples=60, stateful_step_count=60)
