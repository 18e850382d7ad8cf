"""From the moment a zone is served, every answer under it is the zone's."""

from __future__ import annotations

from collections.abc import Iterator

import dns.rcode
import pytest

from dnsfront.dns.zones.zone_set import ZoneSet
from dnsfront.ipc.stats import Counter
from tests.unit.asking import load_zone
from tests.unit.fake_upstream import ADDRESS, FakeUpstream
from tests.unit.stub_client import query_for, received_one
from tests.unit.worker_rig import Rig, cached, miss

ZONE = """\
$TTL 60
@ SOA ns1 hostmaster 1 7200 900 1209600 300
@ NS ns1
ns1 A 192.0.2.53
www A 192.0.2.99
"""


def zones() -> ZoneSet:
    return ZoneSet([load_zone("example.com", ZONE, "test")])


@pytest.fixture
def rig(upstream: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream]) as made:
        yield made


def test_who_waits_for_an_upstream_is_answered_by_the_new_zone(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)
    pool = rig.pool
    assert pool is not None

    rig.answering.serve(zones())
    rig.answering.reclaim()
    rig.round()

    assert "192.0.2.99" in received_one(client).answer[0].to_text()
    assert pool.pending == 0
    upstream.answer(ADDRESS)
    rig.round()
    assert client.receive() == []
    assert "192.0.2.99" in rig.ask_for(query_for()).answer[0].to_text()


def test_response_that_comes_after_the_zone_is_not_kept(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)

    rig.answering.serve(zones())
    upstream.answer(ADDRESS)
    rig.round()

    assert "192.0.2.99" in received_one(client).answer[0].to_text()
    assert len(rig.cache) == 0


def test_other_fetches_go_on(rig: Rig, upstream: FakeUpstream) -> None:
    client = miss(rig, query_for("www.example.net"))
    assert rig.pool is not None

    rig.answering.serve(zones())
    rig.answering.reclaim()

    assert rig.pool.pending == 1
    upstream.answer("www.example.net. 300 A 192.0.2.7")
    rig.round()
    assert "192.0.2.7" in received_one(client).answer[0].to_text()


def test_entries_from_another_worker_do_not_hide_a_zone(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    [entry] = rig.cache.entries()
    with Rig() as other:
        other.answering.serve(zones())

        assert not other.cache.adopt(entry, other.clock.now_s)

        answer = other.ask_for(query_for()).answer[0].to_text()
        assert "192.0.2.99" in answer


@pytest.mark.parametrize(
    ("record", "is_kept"),
    [
        ("www.example.com. 300 A 192.0.2.1", False),
        ("www.example.org. 300 A 192.0.2.1", True),
        ("www.example.org. 300 CNAME www.example.com.", False),
    ],
    ids=["a name of the zone", "another name", "an alias of a name of the zone"],
)
def test_what_a_new_zone_has_a_say_in_is_forgotten(
    rig: Rig, upstream: FakeUpstream, record: str, *, is_kept: bool
) -> None:
    client = miss(rig, query_for(record.partition(". ")[0]))
    upstream.answer(record, ADDRESS)
    rig.until(client.receive)
    assert len(rig.cache.entries()) == 1

    list(rig.answering.change_zones(zones()))

    assert len(rig.cache.entries()) == is_kept


def test_what_is_due_is_not_fetched_for_a_zone(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    rig.cache.due += rig.cache.entries()
    assert rig.pool is not None

    rig.answering.serve(zones())
    rig.answering.reclaim()

    assert rig.cache.due == []


def test_names_go_to_the_upstream_when_the_zone_is_gone(
    rig: Rig, upstream: FakeUpstream
) -> None:
    rig.answering.serve(zones())
    assert "192.0.2.99" in rig.ask_for(query_for()).answer[0].to_text()

    list(rig.answering.change_zones(None))

    client = miss(rig)
    upstream.answer(ADDRESS)
    rig.round()
    assert "192.0.2.1" in received_one(client).answer[0].to_text()
    assert rig.count(Counter.CACHE_REQUESTS) == 1


def test_ds_at_the_origin_of_a_zone_is_asked_of_the_parent_side(
    rig: Rig, upstream: FakeUpstream
) -> None:
    rig.answering.serve(zones())
    client = miss(rig, query_for("example.com", "DS"))

    upstream.answer("example.com. 60 DS 1 8 2 " + 32 * "00")
    rig.round()

    assert "DS 1 8 2" in received_one(client).answer[0].to_text()
    # The upstream's word is kept, though it is about a name of ours.
    again = rig.ask_for(query_for("example.com", "DS"))
    assert "DS 1 8 2" in again.answer[0].to_text()
    assert rig.count(Counter.CACHE_HITS) == 1
    assert rig.ask_for(query_for("www.example.com", "DS")).authority
    assert "192.0.2.99" in rig.ask_for(query_for()).answer[0].to_text()


def test_without_upstreams_ds_at_the_origin_is_denied_by_the_zone() -> None:
    with Rig() as rig:
        rig.answering.serve(zones())

        response = rig.ask_for(query_for("example.com", "DS"))

        assert not response.answer
        assert response.authority


# Aliases of upstreams that lead to a name of ours


@pytest.mark.parametrize(
    "records",
    [
        pytest.param(("alias.test. 300 CNAME www.example.com.",), id="a bare alias"),
        pytest.param(
            ("alias.test. 300 CNAME www.example.com.", ADDRESS),
            id="with what the upstream has for it",
        ),
        pytest.param(
            (
                "alias.test. 300 CNAME other.test.",
                "other.test. 300 CNAME www.example.com.",
                "www.example.com. 300 CNAME far.test.",
                "far.test. 300 A 192.0.2.66",
            ),
            id="through others, and on to others",
        ),
    ],
)
def test_alias_of_an_upstream_ends_in_the_zone_of_ours(
    rig: Rig, upstream: FakeUpstream, records: tuple[str, ...]
) -> None:
    rig.answering.serve(zones())
    client = miss(rig, query_for("alias.test"))

    upstream.answer(*records)
    rig.round()

    response = received_one(client)
    assert response.rcode() == dns.rcode.NOERROR
    assert response.answer[-1].to_text() == "www.example.com. 60 IN A 192.0.2.99"
    assert "192.0.2.66" not in response.to_text()
    assert upstream.take() == []
    again = rig.ask_for(query_for("alias.test"))
    assert again.answer[-1].name == response.answer[-1].name


def test_alias_of_an_upstream_to_a_name_that_our_zone_lacks_is_denied_by_it(
    rig: Rig, upstream: FakeUpstream
) -> None:
    rig.answering.serve(zones())
    client = miss(rig, query_for("alias.test"))

    upstream.answer(
        "alias.test. 300 CNAME none.example.com.", "none.example.com. 300 A 192.0.2.66"
    )
    rig.round()

    response = received_one(client)
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert response.authority[0].name.to_text() == "example.com."
    assert "192.0.2.66" not in response.to_text()


def test_alias_itself_is_what_was_asked_for(rig: Rig, upstream: FakeUpstream) -> None:
    rig.answering.serve(zones())
    client = miss(rig, query_for("alias.test", "CNAME"))

    upstream.answer("alias.test. 300 CNAME www.example.com.")
    rig.round()

    [answer] = received_one(client).answer
    assert answer.to_text() == "alias.test. 300 IN CNAME www.example.com."
