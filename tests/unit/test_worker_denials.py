"""NXDOMAIN holds for all types of a name (RFC 2308, 5), on demand for those below."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from dnsfront.dns.cache import Cache
from dnsfront.dns.entry import ENTRY_OCTETS, NOT_ASKED_FOR
from dnsfront.dns.forgetting import named
from dnsfront.ipc.stats import Counter
from tests.unit.caching import NAME, address, denial, flush, limits, put, tail_of
from tests.unit.fake_upstream import ADDRESS, FakeUpstream, said_to
from tests.unit.pools_of import forward
from tests.unit.stub_client import query_for, received_one
from tests.unit.test_worker_rules import put_in_force, rule
from tests.unit.worker_rig import LIMITS, Rig, cached, miss

TYPES = ("A", "AAAA", "MX", "TXT", "HTTPS", "DS", "TYPE97", "TYPE65280")
SOA = "ns.example.com. host.example.com. 1 7200 900 1209600 60"
NXDOMAIN = dns.rcode.NXDOMAIN


@pytest.fixture
def rig(upstream: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream]) as made:
        yield made


@pytest.fixture
def cutting(upstream: FakeUpstream) -> Iterator[Rig]:
    wanted = dataclasses.replace(LIMITS, deny_below=True)
    with Rig(upstreams=[upstream], limits=wanted) as made:
        yield made


def deny(
    rig: Rig,
    upstream: FakeUpstream,
    query: dns.message.Message | None = None,
    *,
    soa: bool = True,
    rcode: int = NXDOMAIN,
    records: tuple[str, ...] = (),
) -> dns.message.Message:
    """Have *upstream* deny what a client asks for; return what the client gets."""
    client = miss(rig, query)
    asked, sender = upstream.take_one()
    said = said_to(asked, *records, rcode=rcode)
    if soa:
        said.authority.append(
            dns.rrset.from_text("example.com.", 300, "IN", "SOA", SOA)
        )
    upstream.send(said.to_wire(), sender)
    rig.round()
    return received_one(client)


def test_name_is_denied_for_all_types_by_one_fetch(
    rig: Rig, upstream: FakeUpstream
) -> None:
    first = deny(rig, upstream)
    rig.wait(7)

    told = [rig.ask_for(query_for("wWw.example.com", rtype)) for rtype in TYPES]

    assert upstream.take() == []
    for response, rtype in zip(told, TYPES, strict=True):
        assert response.rcode() == NXDOMAIN
        assert not response.answer
        assert dns.rdatatype.to_text(response.question[0].rdtype) == rtype
        assert str(response.question[0].name) == "wWw.example.com."
        [soa] = response.authority
        assert soa.name == first.authority[0].name
        assert soa[0] == first.authority[0][0]
        assert soa.ttl == 53
    assert rig.count(Counter.CACHE_HITS) == len(TYPES)


def test_what_is_asked_again_of_a_denied_name_is_a_plain_hit(
    rig: Rig, upstream: FakeUpstream
) -> None:
    deny(rig, upstream)
    first = rig.ask_for(query_for(rtype="AAAA"))

    again = rig.ask_for(query_for(rtype="AAAA"))

    again.id = first.id
    assert again.to_wire() == first.to_wire()
    assert len(rig.cache) == 2


def test_denial_ends_for_all_types_at_once(rig: Rig, upstream: FakeUpstream) -> None:
    deny(rig, upstream)
    rig.wait(59)
    assert rig.ask_for(query_for(rtype="MX")).authority[0].ttl == 1

    rig.wait(1)

    for rtype in ("MX", "TXT"):
        miss(rig, query_for(rtype=rtype))
        upstream.take_one()


def test_what_denies_less_than_the_name_holds_for_its_type(
    rig: Rig, upstream: FakeUpstream
) -> None:
    deny(rig, upstream, rcode=0)
    miss(rig, query_for(rtype="AAAA"))
    upstream.take_one()

    alias = "alias.example.com. 300 CNAME gone.example.com."
    deny(rig, upstream, query_for("alias.example.com"), records=(alias,))
    miss(rig, query_for("alias.example.com", "AAAA"))
    upstream.take_one()


def test_other_names_and_views_are_asked_for(rig: Rig, upstream: FakeUpstream) -> None:
    deny(rig, upstream)

    for query in (
        query_for("below.www.example.com"),
        query_for("example.com"),
        query_for(rtype="AAAA", want_dnssec=True),
    ):
        miss(rig, query)
        upstream.take_one()


def test_denial_without_soa_is_not_kept(rig: Rig, upstream: FakeUpstream) -> None:
    for rcode in (NXDOMAIN, 0):
        deny(rig, upstream, soa=False, rcode=rcode)
        assert len(rig.cache) == 0
        miss(rig, query_for(rtype="MX"))
        upstream.answer("www.example.com. 0 MX 10 mx.example.com.")
        rig.round()


def test_what_was_cached_before_the_denial_stays(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    deny(rig, upstream, query_for(rtype="AAAA"))

    assert rig.ask_for(query_for()).answer[0].to_text() == ADDRESS.replace(
        "com 300", "com. 300"
    ).replace(" 300 A", " 300 IN A")


# Names below (RFC 8020)


def test_names_below_are_denied_where_that_is_wanted(
    cutting: Rig, upstream: FakeUpstream
) -> None:
    deny(cutting, upstream)
    cutting.wait(20)

    told = cutting.ask_for(query_for("a.b.www.example.com", "AAAA"))
    again = cutting.ask_for(query_for("a.b.www.example.com", "AAAA"))

    assert upstream.take() == []
    for response in (told, again):
        assert response.rcode() == NXDOMAIN
        [soa] = response.authority
        assert soa.to_text() == f"example.com. 40 IN SOA {SOA}"
        assert str(response.question[0].name) == "a.b.www.example.com."
    miss(cutting, query_for("awww.example.com"))
    upstream.take_one()


def test_denial_that_has_ended_says_nothing_of_names_below(
    cutting: Rig, upstream: FakeUpstream
) -> None:
    deny(cutting, upstream)
    cutting.ask_for(query_for("a.www.example.com"))
    cutting.wait(60)

    for name in ("a.www.example.com", "b.www.example.com"):
        miss(cutting, query_for(name))
        upstream.take_one()


def test_parents_denial_of_ds_records_says_nothing_of_a_pools_names(
    upstream: FakeUpstream,
) -> None:
    pool = FakeUpstream(5)
    with contextlib.closing(pool), Rig() as rig:
        forward(rig, {"corp.example": "corp"}, default=[upstream], corp=[pool])
        deny(rig, upstream, query_for("corp.example", "DS"))

        miss(rig, query_for("corp.example", "A"))
        pool.take_one()

        assert rig.ask_for(query_for("corp.example", "DS")).rcode() == NXDOMAIN


def test_denial_is_no_answer_where_a_rule_has_nothing_kept(
    rig: Rig, upstream: FakeUpstream
) -> None:
    deny(rig, upstream)
    put_in_force(rig, rule("no_cache", ("www.example.com",), types=(28,)))

    miss(rig, query_for(rtype="AAAA"))
    upstream.take_one()


# The cache's part


def denied(cache: Cache) -> int:
    return sum(map(len, cache.denials.by_name))


def test_what_was_said_last_of_a_name_counts() -> None:
    cache = Cache(limits())
    put(cache, denial(300, 60))
    assert denied(cache) == 1

    put(cache, address(300), qtype=28)

    assert denied(cache) == 0
    put(cache, denial(300, 60))
    put(cache, address(300))
    assert denied(cache) == 0


def test_denial_that_goes_is_no_longer_found_by_its_name() -> None:
    cache = Cache(limits())
    put(cache, denial(300, 60))

    assert flush(cache, named(NAME)) == 1
    assert denied(cache) == 0

    put(cache, denial(300, 60))
    put(cache, denial(300, 0), qtype=28)
    assert denied(cache) == 1


def test_denials_are_bounded_with_the_cache_and_weighed() -> None:
    cache = Cache(limits(max_entries=10))
    for number in range(1000):
        name = b"\4%04d" % number + NAME
        put(cache, denial(300, 60), name=name)

    assert denied(cache) <= 10
    flush(cache)
    assert (denied(cache), cache.octets) == (0, 0)
    entry = put(cache, denial(300, 60))
    assert entry.weight_octets == cache.octets
    assert entry.weight_octets > ENTRY_OCTETS + 2 * len(entry.key)


def test_denial_that_another_cache_had_holds_for_all_types() -> None:
    giver, taker = Cache(limits()), Cache(limits())
    entry = put(giver, denial(300, 60))
    entry.stamp = NOT_ASKED_FOR

    assert taker.adopt(entry, 1)

    assert taker.denials.by_name[1][NAME] is entry
    assert tail_of(1) == entry.tail
