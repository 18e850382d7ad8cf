"""The response cache: true to the second about every TTL, and to every question."""

from __future__ import annotations

import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.dns import wire
from dnsfront.dns.cache import STALE_TTL_S, Cache
from dnsfront.dns.entry import ODD_RCODE, ODD_TAIL, view_of
from dnsfront.dns.response import Response, parse_response
from tests.unit.caching import (
    DAY_S,
    HTTPS,
    NAME,
    TYPE97,
    address,
    ask,
    denial,
    entries_alive,
    flush,
    get,
    limits,
    put,
    tail_of,
    ttls_of,
)

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


def test_stale_records_live_no_longer_than_any_other() -> None:
    cache = Cache(limits(max_ttl_s=3))
    entry = put(cache, address(10))

    body = cache.stale_body(entry, 5)

    assert body is not None
    assert ttls_of(body, entry.ttl_offsets) == [3]


def test_nothing_is_served_stale_where_that_is_off() -> None:
    cache = Cache(limits(serve_stale_s=0))
    entry = put(cache, address(10))

    assert cache.stale_body(entry, 10) is None


def test_flushed_entry_is_not_served_stale() -> None:
    cache = Cache(limits())
    entry = put(cache, address(10))

    flush(cache)

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


def test_the_least_ttl_raises_even_a_ttl_of_zero() -> None:
    cache = Cache(limits(min_ttl_s=30))

    put(cache, address(0))

    assert ask(cache, 0) == [30]
    assert ask(cache, 30) is None


def with_additional(answer_ttl_s: int, additional_ttl_s: int) -> Response:
    made = dns.message.make_response(dns.message.make_query("www.example.test", "A"))
    made.answer.append(
        dns.rrset.from_text("www.example.test.", answer_ttl_s, "IN", "A", "192.0.2.1")
    )
    made.additional.append(
        dns.rrset.from_text("x.test.", additional_ttl_s, "IN", "A", "192.0.2.2")
    )
    octets = made.to_wire()
    return parse_response(octets, wire.question_end(octets))


def test_a_ttl_of_zero_beside_the_answer_keeps_it_not_out() -> None:
    cache = Cache(limits())

    put(cache, with_additional(300, 0))

    assert ask(cache, 0) == [300, 0]
    assert ask(cache, 299) == [1, 0]


def test_the_least_ttl_raises_what_stands_beside_the_answer() -> None:
    cache = Cache(limits(min_ttl_s=30))

    put(cache, with_additional(300, 0))

    assert ask(cache, 0) == [300, 30]


@pytest.mark.parametrize(
    "response",
    [with_additional(2**31, 0), with_additional(0, 2**31), with_additional(2**31, 60)],
    ids=["zero beside it", "zero in it", "neither"],
)
def test_no_ttl_over_the_largest_gets_through(response: Response) -> None:
    cache = Cache(limits(max_ttl_s=100))

    entry = put(cache, response)

    assert max(ttls_of(entry.body, entry.ttl_offsets)) == 100


def test_what_is_never_kept_is_not_kept_by_the_least_ttl() -> None:
    cache = Cache(limits(min_ttl_s=30))
    made = dns.message.make_response(dns.message.make_query("www.example.test", "A"))
    made.answer.append(
        dns.rrset.from_text("www.example.test.", 300, "IN", "CNAME", "x.test.")
    )
    octets = made.to_wire()

    entry = put(cache, parse_response(octets, wire.question_end(octets)))

    assert not entry.is_live
    assert ask(cache, 0) is None
