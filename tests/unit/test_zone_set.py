"""Which zone of several answers a name, and chains that lead through them."""

from __future__ import annotations

import dns.flags
import pytest

from dnsfront.dns.names import qname_from_text
from dnsfront.dns.wire import NOERROR, SERVFAIL
from dnsfront.dns.zones.zone_set import ZoneSet
from tests.unit.asking import HEAD, ask, lines, load_zone


def test_longest_origin_wins() -> None:
    outer = load_zone("test", HEAD, "outer")
    inner = load_zone("example.test", HEAD, "inner")
    zones = ZoneSet([outer, inner])

    found = [
        zones.find(qname_from_text(name))
        for name in ("www.example.test", "example.test", "other.test", "test", "a", ".")
    ]

    assert found == [inner, inner, outer, outer, None, None]


def test_root_zone_holds_every_name() -> None:
    root = load_zone(".", HEAD, "root")

    assert ZoneSet([root]).find(qname_from_text("a.b")) is root
    assert lines(ask(root, "ns1", "A").answer) == ["ns1. 3600 IN A 192.0.2.53"]


def test_ds_at_an_origin_is_for_a_zone_that_holds_the_parent() -> None:
    parent = load_zone("test", HEAD, "parent")
    child = load_zone("example.test", HEAD, "child")
    names = ("example.test", "www.example.test", "test", "a")
    qnames = [qname_from_text(name) for name in names]

    alone, both = ZoneSet([child]), ZoneSet([child, parent])

    assert [alone.find_for_ds(name) for name in qnames] == [None, child, None, None]
    assert [both.find_for_ds(name) for name in qnames] == [parent, child, None, None]


def test_chain_goes_on_in_another_zone_of_the_set() -> None:
    zone = load_zone("example.test", HEAD + "www CNAME a.other.test.\n", "one")
    other = load_zone("other.test", HEAD + "a A 192.0.2.1\n", "other")

    response = ask(zone, "www.example.test", "A", find=ZoneSet([zone, other]).find)

    assert lines(response.answer) == [
        "www.example.test. 3600 IN CNAME a.other.test.",
        "a.other.test. 3600 IN A 192.0.2.1",
    ]


def test_ds_of_a_zone_of_the_set_is_answered_by_its_parent() -> None:
    parent = load_zone(
        "test", HEAD + "example NS ns1.example\nexample DS 1 8 2 " + 32 * "00", "p"
    )
    child = load_zone("example.test", HEAD, "child")
    find = ZoneSet([parent, child]).find

    assert lines(ask(child, "example.test", "DS", find=find).answer) == [
        "example.test. 3600 IN DS 1 8 2 " + 32 * "00"
    ]
    assert ask(child, "example.test", "NS").flags & dns.flags.AA


@pytest.mark.parametrize(
    ("links", "answers", "rcode"), [(99, 100, NOERROR), (100, 0, SERVFAIL)]
)
def test_a_chain_is_followed_to_its_end_or_fails(
    links: int, answers: int, rcode: int
) -> None:
    chain = "".join(f"c{n} CNAME c{n + 1}\n" for n in range(links))
    zone = load_zone("example.test", f"{HEAD}{chain}c{links} A 192.0.2.1\n", "z")

    response = ask(zone, "c0.example.test", "A")

    assert len(response.answer) == answers
    assert response.rcode() == rcode
    assert bool(response.flags & dns.flags.AA) == (rcode == NOERROR)


def test_a_chain_through_zones_is_bounded_as_a_whole() -> None:
    texts = {
        origin: HEAD + "".join(f"c{n} CNAME c{n + step}.{other}.\n" for n in range(99))
        for origin, other, step in (("a.test", "b.test", 0), ("b.test", "a.test", 1))
    }
    zones = [load_zone(origin, text, origin) for origin, text in texts.items()]
    find = ZoneSet(zones).find

    assert ask(zones[0], "c0.a.test", "A", find=find).rcode() == SERVFAIL
    assert len(ask(zones[0], "c80.a.test", "A", find=find).answer) == 38
