"""What a zone of ours begins and upstreams finish: aliases, and names below cuts."""

from __future__ import annotations

from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.dns.zones.zone_set import ZoneSet
from dnsfront.ipc.stats import Counter
from tests.unit.asking import load_zone
from tests.unit.fake_upstream import FakeUpstream
from tests.unit.stub_client import query_for, received, received_one
from tests.unit.worker_rig import Rig, miss

ZONE = """\
$TTL 60
@ SOA ns1 hostmaster 1 7200 900 1209600 300
@ NS ns1
ns1 A 192.0.2.53
www A 192.0.2.99
out CNAME www.far.test.
*.wild CNAME www.far.test.
twice CNAME out
below CNAME host.child
inner CNAME www.other.test.
child NS ns.child
ns.child A 192.0.2.54
end DNAME far.test.
"""
OTHER = """\
$TTL 60
@ SOA ns1 hostmaster 1 7200 900 1209600 300
@ NS ns1
www CNAME www.far.test.
"""
FAR = "www.far.test. 300 A 192.0.2.7"


def zones(text: str = ZONE) -> ZoneSet:
    return ZoneSet(
        [load_zone("our.test", text, "z"), load_zone("other.test", OTHER, "z")]
    )


@pytest.fixture
def rig(upstream: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream]) as made:
        made.answering.serve(zones())
        yield made


def finished(
    rig: Rig, upstream: FakeUpstream, name: str, *records: str, rcode: int = 0
) -> dns.message.Message:
    """Return the response to *name* when the upstream has said *records*."""
    client = miss(rig, query_for(name))
    upstream.answer(*records, rcode=rcode)
    rig.round()
    return received_one(client)


def in_silence(rig: Rig, upstream: FakeUpstream) -> dns.message.Message:
    """Return the response to an alias whose target the upstream is silent about."""
    client = miss(rig, query_for("out.our.test"))
    while not (responses := received(client)):
        rig.wait(0.4)
    upstream.take()
    return responses[0]


def without_recursion(name: str) -> dns.message.Message:
    query = query_for(name)
    query.flags &= ~dns.flags.RD
    return query


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("out.our.test", ["out.our.test.", "www.far.test."]),
        ("a.wild.our.test", ["a.wild.our.test.", "www.far.test."]),
        ("twice.our.test", ["twice.our.test.", "out.our.test.", "www.far.test."]),
        ("inner.our.test", ["inner.our.test.", "www.other.test.", "www.far.test."]),
        ("www.end.our.test", ["end.our.test.", "www.end.our.test.", "www.far.test."]),
    ],
    ids=["alias", "wildcard", "two aliases", "another zone", "DNAME"],
)
def test_alias_out_of_a_zone_is_finished_and_kept(
    rig: Rig, upstream: FakeUpstream, name: str, names: list[str]
) -> None:
    response = finished(rig, upstream, name, FAR)

    assert [rrset.name.to_text() for rrset in response.answer] == names
    assert response.answer[-1].to_text() == "www.far.test. 300 IN A 192.0.2.7"
    assert response.flags & dns.flags.AA
    assert not response.flags & dns.flags.AD
    rig.wait(10)
    again = rig.ask_for(query_for(name))
    assert [rrset.ttl for rrset in again.answer] == [50] * (len(names) - 1) + [290]
    assert again.flags & dns.flags.AA
    assert upstream.take() == []
    assert rig.count(Counter.CACHE_HITS) == 1


def test_name_below_a_delegation_is_asked_of_upstreams_and_kept(
    rig: Rig, upstream: FakeUpstream
) -> None:
    record = "host.child.our.test. 300 A 192.0.2.8"

    response = finished(rig, upstream, "host.child.our.test", record)

    assert response.answer[0].to_text() == "host.child.our.test. 300 IN A 192.0.2.8"
    assert not response.flags & dns.flags.AA
    assert rig.ask_for(query_for("host.child.our.test")).answer
    assert upstream.take() == []


def test_alias_to_a_name_below_a_delegation_is_finished(
    rig: Rig, upstream: FakeUpstream
) -> None:
    record = "host.child.our.test. 300 A 192.0.2.8"

    response = finished(rig, upstream, "below.our.test", record)

    assert len(response.answer) == 2
    assert not response.authority


def test_without_recursion_a_zone_says_what_it_has(rig: Rig) -> None:
    alias = rig.ask_for(without_recursion("out.our.test"))
    referral = rig.ask_for(without_recursion("host.child.our.test"))

    assert [rrset.name.to_text() for rrset in alias.answer] == ["out.our.test."]
    assert referral.authority[0].name.to_text() == "child.our.test."
    assert rig.count(Counter.CACHE_REQUESTS) == 0


def test_without_upstreams_a_zone_says_what_it_has() -> None:
    with Rig() as rig:
        rig.answering.serve(zones())

        assert len(rig.ask_for(query_for("out.our.test")).answer) == 1
        assert rig.ask_for(query_for("host.child.our.test")).authority


def test_alias_itself_is_the_zones(rig: Rig) -> None:
    assert len(rig.ask_for(query_for("out.our.test", "CNAME")).answer) == 1


def test_rcode_is_that_of_the_target(rig: Rig, upstream: FakeUpstream) -> None:
    response = finished(rig, upstream, "out.our.test", rcode=3)

    assert response.rcode() == dns.rcode.NXDOMAIN
    assert len(response.answer) == 1


def test_target_that_cannot_be_asked_for_is_a_failure_and_remembered(
    rig: Rig, upstream: FakeUpstream
) -> None:
    assert in_silence(rig, upstream).rcode() == dns.rcode.SERVFAIL
    again = rig.ask_for(query_for("out.our.test"))
    assert again.rcode() == dns.rcode.SERVFAIL
    assert upstream.take() == []


def test_alias_that_leads_back_is_a_failure(rig: Rig, upstream: FakeUpstream) -> None:
    response = finished(
        rig, upstream, "out.our.test", "www.far.test. 300 CNAME out.our.test."
    )

    assert response.rcode() == dns.rcode.SERVFAIL
    assert upstream.take() == []


def test_alias_that_leads_into_a_zone_and_out_again_is_finished(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig, query_for("out.our.test"))
    upstream.answer("www.far.test. 300 CNAME a.end.our.test.")
    rig.round()
    query = upstream.answer("a.far.test. 300 A 192.0.2.9")
    rig.round()

    assert query.question[0].name.to_text() == "a.far.test."
    response = received_one(client)
    assert response.answer[0].name.to_text() == "out.our.test."
    assert response.answer[-1].to_text() == "a.far.test. 300 IN A 192.0.2.9"


def test_who_asks_the_same_waits_for_the_same(rig: Rig, upstream: FakeUpstream) -> None:
    first = miss(rig, query_for("out.our.test"))
    second = miss(rig, query_for("out.our.test"))
    upstream.answer(FAR)
    rig.round()

    assert received_one(first).answer == received_one(second).answer
    assert rig.count(Counter.COALESCED) == 1


def test_another_zone_counts_at_once_for_what_was_finished(
    rig: Rig, upstream: FakeUpstream
) -> None:
    finished(rig, upstream, "out.our.test", FAR)
    record = "host.child.our.test. 300 A 192.0.2.8"
    finished(rig, upstream, "host.child.our.test", record)
    waiting = miss(rig, query_for("twice.our.test"))
    other = ZONE.replace("www.far.test.", "www")
    text = other.replace("child NS", "x NS") + "host.child A 192.0.2.1\n"

    list(rig.answering.change_zones(zones(text)))
    rig.round()

    for name in ("out.our.test", "twice.our.test"):
        answer = rig.ask_for(query_for(name)).answer
        assert answer[-1].to_text() == "www.our.test. 60 IN A 192.0.2.99"
    assert received_one(waiting).answer[-1][0].address == "192.0.2.99"
    below = rig.ask_for(query_for("host.child.our.test")).answer
    assert below[0][0].address == "192.0.2.1"


def test_what_was_finished_is_forgotten_with_the_zone(
    rig: Rig, upstream: FakeUpstream
) -> None:
    finished(rig, upstream, "out.our.test", FAR)

    list(rig.answering.change_zones(None))

    assert len(rig.cache) == 0


def test_other_workers_do_not_take_what_was_finished(
    rig: Rig, upstream: FakeUpstream
) -> None:
    finished(rig, upstream, "out.our.test", FAR)
    [entry] = rig.cache.entries()
    with Rig() as other:
        other.answering.serve(zones())

        assert not other.cache.adopt(entry, other.clock.now_s)


def test_what_is_asked_for_is_fetched_again_before_it_expires(
    rig: Rig, upstream: FakeUpstream
) -> None:
    finished(rig, upstream, "out.our.test", FAR)
    rig.wait(57)
    assert rig.ask_for(query_for("out.our.test")).answer

    rig.answering.prefetch()
    rig.round()
    upstream.answer("www.far.test. 300 A 192.0.2.10")
    rig.round()

    [answer] = rig.ask_for(query_for("out.our.test")).answer[1:]
    assert answer.to_text() == "www.far.test. 300 IN A 192.0.2.10"
    assert rig.count(Counter.CACHE_PREFETCHES) == 1


def test_expired_answer_is_sent_where_the_target_is_silent(
    rig: Rig, upstream: FakeUpstream
) -> None:
    finished(rig, upstream, "out.our.test", FAR)
    rig.wait(100)

    response = in_silence(rig, upstream)

    assert [rrset.ttl for rrset in response.answer] == [30, 30]
