"""The response cache: bounded, and true to the second about every TTL."""

from __future__ import annotations

import gc
import struct
from typing import Any

import dns.message
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from dnsfront.dns import wire
from dnsfront.dns.cache import (
    ODD_RCODE,
    ODD_TAIL,
    ODD_ZONE,
    STALE_TTL_S,
    Cache,
    Entry,
    Limits,
    head_of,
    is_under,
    view_of,
)
from dnsfront.dns.response import Response, parse_response
from dnsfront.dns.sections import Sections

A, HTTPS, TYPE97 = 1, 65, 97
NAME = b"\3www\7example\4test\0"
DAY_S = 86400


def limits(**changes: Any) -> Limits:  # noqa: ANN401 - as Limits has them
    wanted = {
        "max_entries": 100,
        "min_ttl_s": 0,
        "max_ttl_s": DAY_S,
        "serve_stale_s": DAY_S,
        "prefetch": True,
    }
    return Limits(**(wanted | changes))


def tail_of(qtype: int) -> bytes:
    return struct.pack("!HH", qtype, 1)


def address(*ttls: int, mark: int = 1) -> Response:
    """Return a response of one address a TTL; *mark* tells it from others."""
    records = b"".join(
        b"\xc0\x0c"
        + struct.pack("!HHIHBBBB", A, 1, ttl, 4, 192, 0, mark >> 8, mark & 255)
        for ttl in ttls
    )
    header = struct.pack("!6H", 0, wire.QR, 1, len(ttls), 0, 0)
    return parse_response(header + b"\0\0\1\0\1" + records, 17)


def denial(ttl: int, minimum: int, *, rcode: int = wire.NXDOMAIN) -> Response:
    made = dns.message.make_response(dns.message.make_query("www.example.test", "A"))
    made.set_rcode(rcode)
    made.authority.append(
        dns.rrset.from_text(
            "example.test.", ttl, "IN", "SOA", f"a. b. 1 2 3 4 {minimum}"
        )
    )
    octets = made.to_wire()
    return parse_response(octets, wire.question_end(octets))


def zone_sections(rcode: int = 0) -> Sections:
    record = b"\xc0\x0c" + struct.pack("!HHIH4s", A, 1, 3600, 4, b"\xc0\0\2\1")
    return Sections(rcode, True, False, 1, 0, 0, record)  # noqa: FBT003 - plain data


def put(
    cache: Cache,
    response: Response,
    *,
    name: bytes = NAME,
    qtype: int = A,
    view: int = 1,
    now_s: int = 0,
) -> Entry:
    tail = tail_of(qtype)
    return cache.put(view, (name + tail).lower(), tail, response, now_s)


def get(
    cache: Cache, *, name: bytes = NAME, qtype: int = A, view: int = 1
) -> Entry | None:
    tail = tail_of(qtype)
    return cache.get(view, (name + tail).lower(), tail)


def ask(
    cache: Cache, now_s: int, *, name: bytes = NAME, qtype: int = A, view: int = 1
) -> list[int] | None:
    """Return the TTLs of the response that a client gets from the cache, if any."""
    entry = get(cache, name=name, qtype=qtype, view=view)
    if entry is None or not cache.fresh(entry, now_s):
        return None
    return ttls_of(entry.body, entry.ttl_offsets)


def ttls_of(body: bytes, offsets: tuple[int, ...]) -> list[int]:
    return [struct.unpack_from("!I", body, at)[0] for at in offsets]


def entries_alive() -> int:
    gc.collect()
    return sum(type(thing) is Entry for thing in gc.get_objects())


# One entry's life


def test_what_was_put_is_there() -> None:
    cache = Cache(limits())

    entry = put(cache, address(300))

    assert get(cache) is entry
    assert ask(cache, 0) == [300]
    assert entry.rcode == wire.NOERROR
    assert entry.odd == 0
    assert len(cache) == 1


def test_what_was_not_put_is_not_there() -> None:
    cache = Cache(limits())
    put(cache, address(300))

    assert get(cache, name=b"\0") is None
    assert get(cache, qtype=28) is None


@given(
    st.lists(st.integers(1, 5 * DAY_S), min_size=1, max_size=4),
    st.lists(st.integers(0, 2 * DAY_S), min_size=1, max_size=8),
    st.integers(0, 2**40),
)
def test_ttls_count_down_to_the_second(
    ttls: list[int], later_s: list[int], start_s: int
) -> None:
    cache = Cache(limits())
    put(cache, address(*ttls), now_s=start_s)
    life_s = min(*ttls, DAY_S)

    for passed_s in sorted(later_s):
        found = ask(cache, start_s + passed_s)

        if passed_s >= life_s:
            assert found is None
        else:
            assert found == [min(ttl, DAY_S) - passed_s for ttl in ttls]
            assert min(found) >= 1


def test_entry_expires_at_the_end_of_its_last_second() -> None:
    cache = Cache(limits())
    put(cache, address(10), now_s=1000)

    assert ask(cache, 1009) == [1]
    assert ask(cache, 1010) is None


def test_expired_entry_stays_to_be_served_stale() -> None:
    cache = Cache(limits(serve_stale_s=100))
    entry = put(cache, address(10, 20))

    assert not cache.fresh(entry, 10)

    for now_s in (10, 109):
        body = cache.stale_body(entry, now_s)
        assert body is not None
        assert ttls_of(body, entry.ttl_offsets) == [STALE_TTL_S, STALE_TTL_S]
    assert cache.stale_body(entry, 110) is None
    assert get(cache) is entry


def test_nothing_is_served_stale_where_that_is_off() -> None:
    cache = Cache(limits(serve_stale_s=0))
    entry = put(cache, address(10))

    assert cache.stale_body(entry, 10) is None


def test_flushed_entry_is_not_served_stale() -> None:
    cache = Cache(limits())
    entry = put(cache, address(10))

    cache.flush(lambda _qname: True)

    assert cache.stale_body(entry, 5) is None
    assert not cache.fresh(entry, 5)


def test_response_that_may_not_be_kept_is_passed_on() -> None:
    cache = Cache(limits())

    entry = put(cache, address(0))

    assert ttls_of(entry.body, entry.ttl_offsets) == [0]
    assert not entry.is_live
    assert get(cache) is None
    assert len(cache) == 0


def test_new_response_replaces_the_old_one() -> None:
    cache = Cache(limits())
    put(cache, address(10, mark=1))

    put(cache, address(20, mark=2), now_s=5)

    entry = get(cache)
    assert entry is not None
    assert entry.body.endswith(b"\xc0\0\0\2")
    assert ask(cache, 24) == [1]
    assert ask(cache, 25) is None
    assert len(cache) == 1


def test_response_code_makes_an_entry_odd() -> None:
    cache = Cache(limits())

    entry = put(cache, denial(60, 60))

    assert entry.odd & ODD_RCODE
    assert entry.rcode == wire.NXDOMAIN


# Limits of TTLs


@pytest.mark.parametrize(
    ("low", "high", "ttls", "kept"),
    [
        (0, 100, (300, 60), [100, 60]),
        (0, 100, (0xFFFFFFFF, 60), [100, 60]),
        (100, DAY_S, (300, 60), [300, 100]),
        (100, 100, (300, 60), [100, 100]),
        (0, DAY_S, (300, 60), [300, 60]),
    ],
    ids=["largest", "first bit set", "smallest", "both", "neither"],
)
def test_ttls_are_brought_between_the_limits(
    low: int, high: int, ttls: tuple[int, int], kept: list[int]
) -> None:
    cache = Cache(limits(min_ttl_s=low, max_ttl_s=high))

    put(cache, address(*ttls))

    assert ask(cache, 0) == kept
    assert ask(cache, min(kept) - 1) == [ttl - min(kept) + 1 for ttl in kept]
    assert ask(cache, min(kept)) is None


@pytest.mark.parametrize("rcode", [wire.NOERROR, wire.NXDOMAIN])
def test_denial_is_shown_for_as_long_as_it_is_kept(rcode: int) -> None:
    cache = Cache(limits())

    put(cache, denial(3600, 300, rcode=rcode))

    assert ask(cache, 0) == [300]
    assert ask(cache, 299) == [1]
    assert ask(cache, 300) is None


@given(
    st.integers(0, 1000),
    st.integers(1, 1000),
    st.lists(st.integers(0, 2000), min_size=1, max_size=4),
    st.integers(0, 3000),
)
def test_fresh_entry_never_shows_a_ttl_below_one(
    low: int, high: int, ttls: list[int], passed_s: int
) -> None:
    cache = Cache(limits(min_ttl_s=low, max_ttl_s=max(low, high)))
    put(cache, address(*ttls))

    found = ask(cache, passed_s)

    assert found is None or min(found) >= 1


# Views and look-alikes


@pytest.mark.parametrize("flags", [0, wire.RD, wire.CD, wire.RD | wire.CD])
@pytest.mark.parametrize("is_dnssec_ok", [False, True])
def test_views_do_not_answer_for_each_other(*, flags: int, is_dnssec_ok: bool) -> None:
    cache = Cache(limits())
    view = view_of(flags | wire.AD, is_dnssec_ok=is_dnssec_ok)

    put(cache, address(300), view=view)

    found = [other for other in range(8) if get(cache, view=other) is not None]
    assert found == [view]


def test_every_combination_has_a_view_of_its_own() -> None:
    views = {
        view_of(rd | cd, is_dnssec_ok=is_dnssec_ok)
        for rd in (0, wire.RD)
        for cd in (0, wire.CD)
        for is_dnssec_ok in (False, True)
    }

    assert views == set(range(8))


@pytest.mark.parametrize(("first", "second"), [(HTTPS, TYPE97), (TYPE97, HTTPS)])
def test_https_and_type_97_never_answer_each_other(first: int, second: int) -> None:
    cache = Cache(limits())

    put(cache, address(300), qtype=first)

    entry = get(cache, qtype=first)
    assert entry is not None
    assert entry.odd & ODD_TAIL
    assert get(cache, qtype=second) is None


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_types_that_fold_alike_are_told_apart(first: int, second: int) -> None:
    cache = Cache(limits())
    put(cache, address(300), qtype=first)

    entry = get(cache, qtype=second)

    assert (entry is not None) == (first == second)
    folds_alike = tail_of(first).lower() == tail_of(second).lower()
    if folds_alike and first != second:
        found = cache.views[1][(NAME + tail_of(second)).lower()]
        assert found.odd & ODD_TAIL


def test_look_alikes_that_take_turns_do_not_pile_up() -> None:
    cache = Cache(limits(max_entries=10))
    before = entries_alive()

    for turn in range(1000):
        put(cache, address(300), qtype=(HTTPS, TYPE97)[turn & 1], now_s=turn)

    assert len(cache) <= 10
    assert entries_alive() - before <= 10
    assert get(cache, qtype=TYPE97) is not None


# The bound


def name_of(number: int) -> bytes:
    text = str(number).encode()
    return bytes((len(text),)) + text + NAME


def test_full_cache_forgets_what_came_first() -> None:
    cache = Cache(limits(max_entries=3))

    for number in range(5):
        put(cache, address(300), name=name_of(number))

    kept = [number for number in range(5) if get(cache, name=name_of(number))]
    assert kept == [2, 3, 4]
    assert len(cache) == 3
    assert cache.evictions == 2


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
    assert cache.evictions == 1


def test_smaller_limit_applies_at_once() -> None:
    cache = Cache(limits(max_entries=10))
    for number in range(10):
        put(cache, address(3000), name=name_of(number))

    cache.resize(limits(max_entries=4, max_ttl_s=5))

    assert len(cache) == 4
    put(cache, address(3000), name=name_of(10))
    assert ask(cache, 0, name=name_of(10)) == [5]
    assert len(cache) == 4


def test_views_stay_the_same_objects() -> None:
    cache = Cache(limits())
    views = cache.views
    dictionaries = list(cache.views)

    put(cache, address(300))
    cache.flush(lambda _qname: True)
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

    cache.flush_zones()

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

    count = cache.flush(lambda qname: qname == NAME)

    assert count == 16
    assert len(cache) == 1
    assert get(cache, name=name_of(1)) is not None


def test_flushed_name_is_cached_anew() -> None:
    cache = Cache(limits())
    put(cache, address(300))
    cache.flush(lambda qname: is_under(qname, b"\4test\0"))

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
            cache.flush(lambda qname, turn=turn: qname == name_of(turn % 80))

    assert len(cache) <= 50
    assert entries_alive() - before <= 50 + len(cache.due)


# Prefetch


def due_seconds(cache: Cache, ttl: int, *, asked_at: range) -> list[int]:
    """Return at which of *asked_at* the entry wanted to be fetched again."""
    put(cache, address(ttl))
    due = []
    for now_s in asked_at:
        for _ in range(3):
            ask(cache, now_s)
        due += [now_s] * len(cache.due)
        cache.due.clear()
    return due


def test_entry_is_due_once_a_second_in_the_last_tenth_of_its_life() -> None:
    cache = Cache(limits())

    due = due_seconds(cache, 100, asked_at=range(101))

    assert due == list(range(90, 100))


def test_entry_that_nobody_asks_for_is_never_due() -> None:
    cache = Cache(limits())

    due = due_seconds(cache, 100, asked_at=range(80))

    assert due == []


def test_nothing_is_due_where_prefetch_is_off() -> None:
    cache = Cache(limits(prefetch=False))

    due = due_seconds(cache, 100, asked_at=range(101))

    assert due == []


def test_entry_that_was_fetched_again_lives_anew() -> None:
    cache = Cache(limits())
    put(cache, address(100))
    ask(cache, 95)
    [entry] = cache.due
    cache.due.clear()

    again = put(cache, address(100), now_s=96)

    assert again is entry
    assert ask(cache, 150) == [46]
    assert cache.due == []


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
        if ttl:
            kept_s = max(self.low, min(ttl, 60))
            place = (view, (name + tail).lower())
            self.known[place] = (tail, self.mark, self.now_s + kept_s, kept_s)
            self.zone.discard(place)
            # What was just put is there: nobody puts what is at once forgotten.
            assert get(self.cache, name=name, qtype=qtype, view=view) is not None

    @rule(name=names, qtype=types, view=views)
    def put_zone(self, name: bytes, qtype: int, view: int) -> None:
        tail = tail_of(qtype)
        place = (view, (name + tail).lower())
        self.cache.put_zone(view, place[1], tail, zone_sections(), self.now_s)
        self.known[place] = (tail, 0, 1 << 60, 0)
        self.zone.add(place)

    @rule(name=names, qtype=types, view=views)
    def ask(self, name: bytes, qtype: int, view: int) -> None:
        entry = get(self.cache, name=name, qtype=qtype, view=view)
        tail = tail_of(qtype)
        place = (view, (name + tail).lower())
        known_tail, mark, expires_at, _kept_s = self.known.get(place, (b"", 0, 0, 0))
        if place in self.zone:
            assert (entry is not None) == (known_tail == tail)
        if entry is None:
            return
        assert known_tail == tail
        assert self.cache.fresh(entry, self.now_s) == (expires_at > self.now_s)
        if place in self.zone:
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
        self.cache.flush(lambda qname: qname == name)
        for place in [place for place in self.known if place[1][:-4] == name]:
            del self.known[place]
            self.zone.discard(place)

    @rule()
    def flush_zones(self) -> None:
        self.cache.flush_zones()
        for place in self.zone:
            del self.known[place]
        self.zone.clear()

    @rule(max_entries=st.integers(1, 8))
    def resize(self, max_entries: int) -> None:
        self.max_entries = max_entries
        self.cache.resize(
            limits(max_entries=max_entries, min_ttl_s=self.low, max_ttl_s=60)
        )

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
TestCacheInAnyOrder.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None
)
