"""Who listens to a cache knows what is in it, whatever happens there."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dnsfront.dns.cache import Cache
from dnsfront.dns.entry import Entry
from dnsfront.dns.forgetting import at_or_below, everything, named
from dnsfront.dns.observer import Observer
from tests.unit.caching import (
    HTTPS,
    NAME,
    TYPE97,
    A,
    address,
    ask,
    denial,
    flush,
    limits,
    name_of,
    put,
    tail_of,
    zone_sections,
)

PARENT = NAME[4:]
NAMES = [NAME, PARENT, *map(name_of, range(4))]
KIB = 1 << 10

names = st.sampled_from(NAMES)
types = st.sampled_from([A, HTTPS, TYPE97, 255])
views = st.integers(0, 2)


@dataclass(frozen=True)
class Known:
    """What a observer keeps of an entry: all but the TTLs, which age."""

    head: bytes
    size: int
    mark: bytes
    odd: int
    expires_at: int

    @classmethod
    def of(cls, entry: Entry) -> Known:
        body = entry.body
        return cls(entry.head, len(body), body[-2:], entry.odd, entry.expires_at)


class Mirror:
    """Has what a cache has, from what it is told alone."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, bytes], Known] = {}
        self.observer = Observer(self.came, self.changed, self.went)

    def came(self, entry: Entry) -> None:
        assert (entry.view, entry.key) not in self.known
        self.known[entry.view, entry.key] = Known.of(entry)

    def changed(self, entry: Entry) -> None:
        assert (entry.view, entry.key) in self.known
        self.known[entry.view, entry.key] = Known.of(entry)

    def went(self, entry: Entry) -> None:
        assert self.known.pop((entry.view, entry.key)) == Known.of(entry)


def content_of(cache: Cache) -> dict[tuple[int, bytes], Known]:
    return {
        (number, key): Known.of(entry)
        for number, view in enumerate(cache.views)
        for key, entry in view.items()
    }


def is_below_parent(_view: int, canonical: bytes) -> bool:
    return canonical[:-4].endswith(PARENT)


class ObserverMachine(RuleBasedStateMachine):
    """Any order of operations, some of them a piece at a time; two who listen."""

    @initialize()
    def start(self) -> None:
        self.now_s = 1000
        self.high = 3600
        self.cache = Cache(self._limits(8))
        self.mirror = Mirror()
        self.cache.observe(self.mirror.observer)
        self.pieces: list[Generator[None, None, Any]] = []
        self.mark = 0

    def _limits(self, max_entries: int) -> Any:  # noqa: ANN401 - as limits() has it
        return limits(
            max_entries=max_entries,
            max_size_octets=8 * KIB,
            max_entry_size_octets=2 * KIB,
            max_ttl_s=self.high,
        )

    @rule(
        name=names,
        qtype=types,
        view=views,
        ttl_s=st.sampled_from([0, 5, 300, 7200]),
        records=st.sampled_from([1, 2, 60, 200]),
    )
    def put(self, name: bytes, qtype: int, view: int, ttl_s: int, records: int) -> None:
        self.mark += 1
        tail = tail_of(qtype)
        response = address(*[ttl_s] * records, mark=self.mark)
        self.cache.put(view, (name + tail).lower(), tail, response, self.now_s)

    @rule(name=names, view=views)
    def put_denial(self, name: bytes, view: int) -> None:
        tail = tail_of(A)
        self.cache.put(view, (name + tail).lower(), tail, denial(60, 60), self.now_s)

    @rule(name=names, qtype=types, view=views)
    def put_zone(self, name: bytes, qtype: int, view: int) -> None:
        tail = tail_of(qtype)
        key = (name + tail).lower()
        self.cache.put_zone(view, key, tail, zone_sections(), self.now_s)

    @rule(name=names, qtype=types, view=views, ttl_s=st.sampled_from([5, 7200]))
    def adopt(self, name: bytes, qtype: int, view: int, ttl_s: int) -> None:
        other = Cache(limits())
        now_s = self.now_s - 3
        entry = put(
            other, address(ttl_s), name=name, qtype=qtype, view=view, now_s=now_s
        )
        self.cache.adopt(entry, self.now_s)

    @rule(name=names, qtype=types, view=views)
    def ask(self, name: bytes, qtype: int, view: int) -> None:
        ask(self.cache, self.now_s, name=name, qtype=qtype, view=view)

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds: int) -> None:
        self.now_s += seconds

    @rule(name=names)
    def flush_name(self, name: bytes) -> None:
        flush(self.cache, named(name))

    @rule()
    def flush_everything(self) -> None:
        flush(self.cache, everything)

    @rule()
    def begin_to_flush(self) -> None:
        self.pieces.append(self.cache.flushing(at_or_below(PARENT)))

    @rule(has_zone=st.booleans())
    def change_zones(self, *, has_zone: bool) -> None:
        self.cache.know_zones(is_below_parent if has_zone else None)
        self.pieces.append(self.cache.forgetting_zones({PARENT}))

    @rule(max_entries=st.integers(1, 8), high=st.sampled_from([60, 3600]))
    def resize(self, max_entries: int, high: int) -> None:
        self.high = high
        self.cache.resize(self._limits(max_entries))
        self.pieces.append(self.cache.shortening(self.now_s))

    @rule()
    def go_on(self) -> None:
        self.cache.trim()
        for piece in self.pieces[:]:
            if next(piece, "over") == "over":
                self.pieces.remove(piece)

    @rule()
    def finish(self) -> None:
        for piece in self.pieces:
            list(piece)
        self.pieces.clear()

    @rule()
    def another_listens(self) -> None:
        self.mirror = Mirror()
        self.cache.observe(self.mirror.observer)

    @invariant()
    def the_mirror_has_what_the_cache_has(self) -> None:
        if hasattr(self, "cache"):
            assert self.mirror.known == content_of(self.cache)


TestObserverInAnyOrder = ObserverMachine.TestCase
TestObserverInAnyOrder.settings = settings(max_examples=120, stateful_step_count=60)


def test_who_listens_no_more_is_told_nothing() -> None:
    cache, mirror = Cache(limits()), Mirror()
    cache.observe(mirror.observer)
    put(cache, address(300))

    cache.observe(None)
    flush(cache)

    assert len(mirror.known) == 1


def test_what_goes_still_has_its_response() -> None:
    cache = Cache(limits())
    bodies: list[bytes] = []
    entry = put(cache, address(300))
    body = entry.body
    mirror = Mirror()
    cache.observe(
        Observer(mirror.came, mirror.changed, lambda entry: bodies.append(entry.body))
    )

    flush(cache)

    assert bodies == [body]


def test_entries_that_are_cut_to_a_smaller_ttl_have_changed() -> None:
    cache, mirror = Cache(limits()), Mirror()
    cache.observe(mirror.observer)
    put(cache, address(300))

    cache.resize(limits(max_ttl_s=60))
    list(cache.shortening(0))

    [known] = mirror.known.values()
    assert known.expires_at == 60


def asked_again(cache: Cache) -> list[Entry]:
    asked: list[Entry] = []
    mirror = Mirror()
    cache.observe(Observer(mirror.came, mirror.changed, mirror.went, asked.append))
    return asked


def test_who_is_hit_in_a_second_second_is_told_once_a_second() -> None:
    cache = Cache(limits())
    asked = asked_again(cache)
    entry = put(cache, address(300))

    assert cache.fresh(entry, 1)
    assert asked == []
    assert cache.fresh(entry, 2)
    assert cache.fresh(entry, 7)
    assert asked == [entry, entry]


def test_who_has_expired_is_not_told() -> None:
    cache = Cache(limits())
    asked = asked_again(cache)
    entry = put(cache, address(300))
    assert cache.fresh(entry, 1)

    assert not cache.fresh(entry, 300)
    assert asked == []


def test_hits_elsewhere_keep_an_entry_and_leave_its_ttls_to_be_aged() -> None:
    cache = Cache(limits(max_entries=2))
    entry = put(cache, address(300))
    cache.note_asked(entry, 5)
    for number in range(4):
        put(cache, address(300), name=name_of(number))

    assert entry.is_live
    assert entry.stamp != 5
