"""What the cache may weigh, who goes first, and who stays."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import count, pairwise

from hypothesis import given
from hypothesis import strategies as st

from dnsfront.dns import wire
from dnsfront.dns.cache import Cache
from dnsfront.dns.entry import ODD_STUB, ODD_ZONE, Entry
from dnsfront.dns.forgetting import named
from tests.unit.caching import (
    NAME,
    A,
    address,
    ask,
    flush,
    get,
    limits,
    name_of,
    put,
    tail_of,
    trim,
    zone_sections,
)

KIB = 1 << 10
MIB = 1 << 20
#: Records of 16 octets each.
LARGE = [300] * 1000
SMALL = [300]


def weight_of(cache: Cache) -> int:
    entries: list[Entry] = [x for view in cache.views for x in view.values()]
    return sum(entry.weight_octets for entry in entries)


# The bound in octets


def test_large_responses_weigh_what_they_take() -> None:
    cache = Cache(limits(max_entries=10_000, max_size_octets=MIB))

    response = address(*LARGE)
    for number in range(1000):
        put(cache, response, name=name_of(number))

    assert cache.octets == weight_of(cache) <= MIB
    assert 40 < len(cache) < 64
    assert cache.losses.for_weight == 1000 - len(cache)


def test_response_that_is_too_large_is_passed_on_and_counted() -> None:
    cache = Cache(limits(max_entry_size_octets=15 * KIB))
    put(cache, address(*SMALL))

    entry = put(cache, address(*LARGE))

    assert len(entry.body) == 16_000
    assert cache.losses.oversized == 1
    # What it takes the place of is out of date.
    kept = get(cache)
    assert kept is None or kept.odd & ODD_STUB


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 400)), max_size=60))
def test_octets_are_those_of_what_is_kept(puts: list[tuple[int, int]]) -> None:
    cache = Cache(limits(max_entries=20, max_size_octets=20 * KIB))

    for now_s, (number, records) in enumerate(puts):
        response = address(*[300] * records)
        response.errors = bytes(number)
        put(cache, response, name=name_of(number), now_s=now_s)
        if number % 3 == 0:
            ask(cache, now_s, name=name_of(number))
        if number % 7 == 0:
            flush(cache, named(name_of(number + 1)))
        trim(cache)

        assert cache.octets == weight_of(cache) <= 20 * KIB
        assert len(cache) <= 20


def test_weight_covers_the_memory_that_entries_take() -> None:
    for records in (1, 6, 30, 1000):
        cache = Cache(limits(max_entries=10_000))
        response = address(*[300] * records)
        tracemalloc.start()
        try:
            before, _peak = tracemalloc.get_traced_memory()
            for number in range(2000 // records + 200):
                response.body = bytes(bytearray(response.body))
                put(cache, response, name=name_of(number))
            after, _peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        # Shared numbers and the dictionary's spare room come on top of few entries.
        assert after - before < cache.octets + 64 * KIB


def test_an_entry_of_100_octets_weighs_less_than_600() -> None:
    cache = Cache(limits())

    entry = put(cache, address(*[300] * 6))

    assert len(entry.body) == 96
    assert entry.weight_octets < 600


# Who goes first


def test_flood_of_large_responses_leaves_small_names_in_use() -> None:
    cache = Cache(limits(max_entries=10_000, max_size_octets=MIB))
    small = [name_of(number) for number in range(1000)]
    for name in small:
        put(cache, address(*SMALL), name=name)
        ask(cache, 1, name=name)

    response = address(*LARGE)
    for number in range(2000):
        put(cache, response, name=name_of(5000 + number), now_s=1)

    assert all(get(cache, name=name) for name in small)
    assert cache.octets <= MIB


def test_large_response_finds_room_among_small_ones() -> None:
    cache = Cache(limits(max_entries=10_000, max_size_octets=256 * KIB))
    for number in range(2000):
        put(cache, address(*SMALL), name=name_of(number))

    put(cache, address(*LARGE), name=name_of(9999))
    for number in range(20):
        put(cache, address(*SMALL), name=name_of(3000 + number))
    trim(cache)

    assert get(cache, name=name_of(9999)) is not None
    assert cache.octets <= 256 * KIB


def test_answers_from_zones_take_no_more_than_their_share() -> None:
    cache = Cache(limits(max_entries=10_000, max_size_octets=256 * KIB))
    tail = tail_of(A)
    for number in range(300):
        put(cache, address(*SMALL), name=name_of(number))
        ask(cache, 1, name=name_of(number))

    for number in range(4000):
        cache.put_zone(1, name_of(5000 + number) + tail, tail, zone_sections(), 0)

    assert all(get(cache, name=name_of(number)) for number in range(300))
    assert cache.octets <= 256 * KIB


# Recency


def test_hit_in_the_second_of_the_fetch_counts() -> None:
    cache = Cache(limits(max_entries=10))
    put(cache, address(*SMALL), name=name_of(0))
    assert ask(cache, 0, name=name_of(0)) == SMALL

    for number in range(1, 100):
        put(cache, address(*SMALL), name=name_of(number))
        ask(cache, 0, name=name_of(0))

    assert get(cache, name=name_of(0)) is not None


def test_scan_of_names_asked_for_once_leaves_what_is_in_use() -> None:
    cache = Cache(limits(max_entries=100))
    used = [name_of(number) for number in range(80)]
    for now_s in (0, 1):
        for name in used:
            if get(cache, name=name) is None:
                put(cache, address(3000), name=name, now_s=now_s)
            ask(cache, now_s, name=name)

    # A hundred new names between two questions for the same one.
    for number in range(10_000):
        put(cache, address(3000), name=name_of(1000 + number), now_s=2)
        if number % 100 == 0:
            ask(cache, 2, name=used[number // 100 % 80])

    assert sum(get(cache, name=name) is not None for name in used) >= 76


def test_names_that_come_back_soon_stay() -> None:
    cache = Cache(limits(max_entries=100))
    for number in range(150):
        put(cache, address(3000), name=name_of(number))
    back = [name_of(number) for number in range(20)]
    assert not any(get(cache, name=name) for name in back)

    for name in back:
        put(cache, address(3000), name=name)
    for number in range(300, 800):
        put(cache, address(3000), name=name_of(number))

    # Where two share a place among those remembered, the later one stands there.
    assert sum(get(cache, name=name) is not None for name in back) >= 10


def test_cache_in_which_all_is_asked_for_is_not_walked() -> None:
    cache = Cache(limits(max_entries=5000))
    for number in range(5000):
        put(cache, address(3000), name=name_of(number))
        ask(cache, 0, name=name_of(number))

    put(cache, address(3000), name=name_of(5000))

    reset = sum(entry.stamp < 0 for entry in cache.entries())
    assert reset < 100
    assert len(cache) == 5000


# In small steps


def test_shrinking_goes_in_small_steps() -> None:
    cache = Cache(limits(max_entries=10_000))
    for number in range(10_000):
        put(cache, address(*SMALL), name=name_of(number))

    cache.resize(limits(max_entries=10))
    assert len(cache) == 10_000
    sizes = [len(cache)]
    while cache.trim():
        sizes.append(len(cache))

    assert len(cache) == 10
    assert max(a - b for a, b in pairwise(sizes)) <= 1000


def test_flush_goes_in_small_steps_and_spares_what_comes_meanwhile() -> None:
    cache = Cache(limits(max_entries=10_000))
    for number in range(9000):
        put(cache, address(*SMALL), name=name_of(number))
    numbers = count(9000)
    left = [len(cache.views[1])]

    for _ in cache.flushing(lambda _entry: True):
        put(cache, address(*SMALL), name=name_of(next(numbers)))
        left.append(len(cache.views[1]))

    assert max(a - b for a, b in pairwise(left)) <= 2000
    assert len(cache) == len(cache.views[1]) == next(numbers) - 9000
    assert cache.octets == weight_of(cache)


# The door


def test_what_a_zone_of_ours_answers_does_not_get_in() -> None:
    cache, other = Cache(limits()), Cache(limits())
    adopted = put(other, address(*SMALL))
    cache.know_zones(lambda _view, canonical: canonical.startswith(b"\3www"))
    tail = tail_of(A)

    key = adopted.key
    assert cache.put(1, key, tail, address(*SMALL), 0) is None
    assert not cache.adopt(adopted, 0)
    assert len(cache) == 0
    put(cache, address(*SMALL), name=name_of(1))
    assert len(cache) == 1


# What is too large


def test_udp_clients_are_told_of_what_is_too_large_for_as_long_as_it_lives() -> None:
    cache = Cache(limits(max_entry_size_octets=4 * KIB))

    entry = put(cache, address(*LARGE))

    stub = get(cache)
    assert stub is not None
    assert stub.odd & ODD_STUB
    assert int.from_bytes(stub.head[:2], "big") & wire.TC
    assert stub.head[2:] == bytes(6)
    assert (stub.body, len(entry.body)) == (b"", 16_000)
    assert cache.octets == weight_of(cache) < KIB
    assert cache.fresh(stub, 299)
    assert not cache.fresh(stub, 300)
    assert cache.stale_body(stub, 301) is None


def test_what_udp_could_carry_is_not_made_a_stub() -> None:
    cache = Cache(limits(max_entry_size_octets=KIB))

    put(cache, address(*[300] * 200))

    assert cache.losses.oversized == 1
    assert get(cache) is None


def test_stub_gives_way_to_a_response_that_fits() -> None:
    cache = Cache(limits(max_entry_size_octets=4 * KIB))
    put(cache, address(*LARGE))

    put(cache, address(*SMALL), now_s=1)

    assert ask(cache, 2) == [299]
    assert cache.octets == weight_of(cache)


def test_large_answers_of_zones_leave_a_stub_too() -> None:
    cache = Cache(limits(max_entry_size_octets=4 * KIB))
    tail = tail_of(A)
    sections = replace(zone_sections(), octets=bytes(10_000))

    entry = cache.put_zone(1, NAME + tail, tail, sections, 0)

    assert len(entry.body) == 10_000
    stub = get(cache)
    assert stub is not None
    assert stub.odd & ODD_STUB
    assert stub.odd & ODD_ZONE


# A smaller largest TTL


def test_smaller_largest_ttl_holds_for_what_is_there_and_for_what_is_adopted() -> None:
    cache, other = Cache(limits()), Cache(limits(max_ttl_s=10))
    put(cache, address(300, 5))
    entry = put(cache, address(300), name=name_of(1))
    cache.resize(limits(max_ttl_s=10))

    for _ in cache.shortening(2):
        pass

    assert ask(cache, 2) == [10, 3]
    assert ask(cache, 11, name=name_of(1)) == [1]
    assert ask(cache, 12, name=name_of(1)) is None
    entry.lifetime_s, entry.expires_at, entry.aged_at = 300, 300, 0
    entry.body = address(300).body
    assert other.adopt(entry, 0)
    assert ask(other, 9, name=name_of(1)) == [1]
