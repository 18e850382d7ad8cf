"""Cache entries arrive at their next owner as they were."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.dns.cache import Cache
from dnsfront.dns.entry import ODD_ZONE, VIEWS, Entry
from dnsfront.ipc import stats
from dnsfront.ipc.stats import Counter
from dnsfront.worker.peers.transfer import (
    MAX_PARCEL_OCTETS,
    Recipient,
    transfer,
    unpack,
)
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.process.meter import Meter
from tests.unit.caching import limits

LIMITS = limits(max_entries=10_000, serve_stale_s=0, prefetch=False)
NOW_S = 1000
FIELDS = (
    "view",
    "key",
    "tail",
    "head",
    "body",
    "odd",
    "ttl_offsets",
    "lifetime_s",
    "stamp",
    "aged_at",
    "expires_at",
    "errors",
)


def an_entry(number: int, *, stamp: int = NOW_S, expires_at: int = NOW_S + 60) -> Entry:
    label = b"n%06d" % number
    entry = Entry(1, bytes([len(label)]) + label + b"\0\0\1\0\1", b"\0\1\0\1")
    entry.stamp, entry.expires_at, entry.lifetime_s = stamp, expires_at, 300
    entry.aged_at = stamp
    entry.head = b"\x81\x80\0\1\0\0\0\0"
    entry.body = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + number.to_bytes(4, "big")
    entry.ttl_offsets = (6,)
    return entry


def sent(entries: list[Entry], owner: int = 2) -> dict[int, bytes]:
    """Return what a transfer sends to each worker; every second try finds no room."""
    parcels: dict[int, bytes] = {}
    tries = 0

    def send(worker_id: int, parcel: bytes) -> bool:
        nonlocal tries
        tries += 1
        if tries % 2:
            return False
        octets = parcels.get(worker_id, bytes(4))[4:] + parcel[4:]
        parcels[worker_id] = len(octets).to_bytes(4, "little") + octets
        return True

    for _ in transfer(
        entries, owner=lambda _qname: owner, own_id=1, now_s=NOW_S, send=send
    ):
        pass
    return parcels


def fields(entry: Entry) -> list[object]:
    return [getattr(entry, name) for name in FIELDS]


@given(st.data(), st.binary(min_size=4, max_size=300))
def test_entry_arrives_as_it_was(data: st.DataObject, body: bytes) -> None:
    entry = an_entry(1)
    offsets = data.draw(st.lists(st.integers(0, len(body) - 4), max_size=20))
    entry.body, entry.ttl_offsets = body, tuple(offsets)
    entry.errors = data.draw(st.binary(max_size=256))

    [arrived] = unpack(sent([entry])[2])

    assert fields(arrived) == fields(entry)


def test_thousands_of_entries_arrive_those_asked_for_last_first() -> None:
    entries = [an_entry(number, stamp=number % 977) for number in range(3000)]

    arrived = list(unpack(sent(entries)[2]))

    assert [entry.stamp for entry in arrived] == sorted(
        (entry.stamp for entry in entries), reverse=True
    )
    assert {entry.key for entry in arrived} == {entry.key for entry in entries}


def test_longest_entry_there_can_be_arrives_whole() -> None:
    entries = [an_entry(number) for number in range(100)]
    for entry in entries[::10]:
        entry.body = bytes(65535)
        entry.ttl_offsets = tuple(range(0, 65531, 11))
    longest = 0
    arrived = []

    def send(_worker_id: int, parcel: bytes) -> bool:
        nonlocal longest
        longest = max(longest, len(parcel))
        arrived.extend(unpack(parcel))
        return True

    for _ in transfer(
        entries, owner=lambda _qname: 2, own_id=1, now_s=NOW_S, send=send
    ):
        pass

    assert 65535 < longest <= MAX_PARCEL_OCTETS
    assert [fields(x) for x in arrived] == [fields(x) for x in entries]


def test_what_no_message_can_hold_stays_behind() -> None:
    giant, other = an_entry(1), an_entry(2)
    giant.body = bytes(MAX_PARCEL_OCTETS)

    [arrived] = unpack(sent([giant, other])[2])

    assert arrived.key == other.key


PARCEL = sent([an_entry(1), an_entry(2)])[2]


@given(st.integers(0, len(PARCEL) - 1), st.binary(max_size=3))
def test_parcel_that_is_not_whole_is_refused(size: int, more: bytes) -> None:
    for parcel in (PARCEL[:size], PARCEL + more + b"x"):
        with pytest.raises((ValueError, struct.error)):
            unpack(parcel)


@given(st.integers(4, len(PARCEL) - 1), st.integers(0, 255))
def test_parcel_of_other_octets_is_refused_or_makes_whole_entries(
    at: int, octet: int
) -> None:
    parcel = PARCEL[:at] + bytes([octet]) + PARCEL[at + 1 :]
    entries = []
    with suppress(ValueError, struct.error):
        entries = unpack(parcel)

    for entry in entries:
        assert max(entry.ttl_offsets, default=-4) + 4 <= len(entry.body)
        assert entry.view < VIEWS


def test_what_stays_expired_or_comes_from_a_zone_is_not_sent() -> None:
    expired, of_zone = an_entry(1, expires_at=NOW_S), an_entry(2)
    of_zone.odd = ODD_ZONE

    assert not sent([expired, of_zone])
    assert not sent([an_entry(3)], owner=1)
    assert not sent([an_entry(4)], owner=0)


def test_adopted_entry_is_a_hit_with_its_remaining_ttl() -> None:
    cache = Cache(LIMITS)
    entry = an_entry(1)

    assert cache.adopt(entry, NOW_S + 10)

    found = cache.get(1, entry.key, entry.tail)
    assert found is not None
    assert cache.fresh(found, NOW_S + 10)
    assert found.body[6:10] == (50).to_bytes(4, "big")
    assert not cache.fresh(found, NOW_S + 60)


def test_own_entry_is_kept_and_an_expired_one_is_not_adopted() -> None:
    cache = Cache(LIMITS)
    cache.adopt(an_entry(1), NOW_S)

    assert not cache.adopt(an_entry(1), NOW_S)
    assert not cache.adopt(an_entry(2, expires_at=NOW_S), NOW_S)
    assert len(cache) == 1


def test_what_is_understood_counts_whether_it_is_of_use_or_not() -> None:
    words = stats.words(stats.create())
    clock = Clock()
    clock.set(NOW_S * 1_000_000_000)
    recipient = Recipient(Cache(LIMITS), clock, Meter(words, clock))
    [parcel] = sent([an_entry(1), an_entry(2)]).values()

    for octets in (parcel, parcel, parcel[:-1]):
        with suppress(ValueError, struct.error):
            recipient.adopt(octets)

    assert words[Counter.CACHE_ADOPTED] == 2
    assert words[Counter.TRANSFER_UNDERSTOOD] == 4


def test_adopting_keeps_the_bound() -> None:
    cache = Cache(limits(max_entries=5))

    for number in range(20):
        cache.adopt(an_entry(number), NOW_S)

    assert len(cache) == 5
