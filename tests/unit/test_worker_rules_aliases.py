"""Aliases that rules make, and aliases that lead to what rules decide."""

from __future__ import annotations

from collections.abc import Iterator

import dns.rcode
import pytest

from dnsfront.ipc.stats import Ruled
from tests.unit.fake_upstream import FakeUpstream
from tests.unit.ruling import ask, put_in_force, rule, said
from tests.unit.stub_client import query_for, received, received_one
from tests.unit.worker_rig import ZONE, Rig, miss

WALLED = "walled.example.net"


@pytest.fixture
def rig(upstream: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream]) as made:
        yield made


def test_alias_by_rule_has_upstreams_asked_for_its_target(
    rig: Rig, upstream: FakeUpstream
) -> None:
    put_in_force(rig, rule("cname", target=WALLED, ttl_s=5))
    client = rig.client()
    assert rig.ask(query_for("x.ads.example.com", payload=1232).to_wire(), client) == []

    query = upstream.answer(f"{WALLED}. 300 A 192.0.2.9")
    rig.round()

    assert query.question[0].name.to_text() == f"{WALLED}."
    for response in (received_one(client), ask(rig, "x.ads.example.com")):
        assert said(response) == (
            "NOERROR",
            [
                f"x.ads.example.com. 5 IN CNAME {WALLED}.",
                f"{WALLED}. 300 IN A 192.0.2.9",
            ],
            [15],
        )
    put_in_force(rig)
    miss(rig, query_for("x.ads.example.com"))


def test_alias_by_rule_into_a_zone_ends_there_and_is_counted_at_each_hit(
    upstream: FakeUpstream,
) -> None:
    with Rig(upstreams=[upstream], zone=ZONE) as rig:
        put_in_force(rig, rule("cname", target="www.example.test"))

        for count in (1, 2, 3):
            rcode, records, errors = said(ask(rig, "ads.example.com"))
            assert (rcode, errors) == ("NOERROR", [15])
            assert "192.0.2.80" in records[1]
            assert rig.count(Ruled.FIRST) == count
        assert upstream.take() == []


def test_alias_by_rule_without_upstreams_is_told_alone() -> None:
    with Rig() as rig:
        put_in_force(rig, rule("cname", target=WALLED))

        response = ask(rig, "ads.example.com")

        assert said(response)[1] == [f"ads.example.com. 60 IN CNAME {WALLED}."]


def test_alias_by_rule_is_not_fetched_again_by_its_own_name(
    rig: Rig, upstream: FakeUpstream
) -> None:
    put_in_force(rig, rule("cname", target=WALLED))
    client = miss(rig, query_for("ads.example.com"))
    upstream.answer(f"{WALLED}. 60 A 192.0.2.9")
    rig.round()
    assert received(client)
    rig.wait(57)
    assert ask(rig, "ads.example.com").answer
    rig.answering.prefetch()
    rig.round()

    assert upstream.take() == []


def test_alias_of_a_zone_that_leads_to_a_ruled_name_ends_there(
    upstream: FakeUpstream,
) -> None:
    zone = f"{ZONE}out CNAME t.ads.example.com.\n"
    with Rig(upstreams=[upstream], zone=zone) as rig:
        put_in_force(rig, rule("nxdomain"))

        response = ask(rig, "out.example.test")

        assert response.rcode() == dns.rcode.NXDOMAIN
        assert len(response.answer) == 1
        assert upstream.take() == []
