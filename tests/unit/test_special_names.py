"""Names that no upstream is asked for: what they say, and what goes before."""

from __future__ import annotations

from collections.abc import Iterator

import dns.rcode
import pytest

from dnsfront.dns.names import qname_from_text
from dnsfront.dns.zones import special
from dnsfront.dns.zones.special import zone_of
from dnsfront.dns.zones.zone_set import ZoneSet
from tests.unit.asking import HEAD, ask, lines, load_zone
from tests.unit.fake_upstream import FakeUpstream
from tests.unit.stub_client import query_for, received_one
from tests.unit.worker_rig import Rig, miss

ALL = ZoneSet([zone_of(name) for name in special.in_force((), ())])
SOA = "SOA localhost. nobody.invalid. 1 3600 1200 604800 10800"
SAID = [
    ("localhost", "A", ["localhost. 10800 IN A 127.0.0.1"]),
    ("a.b.localhost", "AAAA", ["a.b.localhost. 10800 IN AAAA ::1"]),
    ("localhost", "MX", 0),
    ("a.localhost", "TXT", 0),
    ("local", "A", 0),
    ("printer.local", "A", 3),
    ("www.onion", "AAAA", 3),
    ("invalid", "A", 0),
    ("a.b.alt", "A", 3),
    ("box.home.arpa", "A", 3),
    ("_dns.resolver.arpa", "TYPE64", 0),
    ("resolver.arpa", "TYPE64", 0),
    ("other.resolver.arpa", "TYPE64", 3),
    ("170.0.0.192.in-addr.arpa", "PTR", "ipv4only.arpa."),
    ("171.0.0.192.in-addr.arpa", "PTR", "ipv4only.arpa."),
    ("1.0.0.127.in-addr.arpa", "PTR", "localhost."),
    ("0.127.in-addr.arpa", "PTR", 0),
    ("2.0.0.127.in-addr.arpa", "PTR", 3),
    ("1.1.168.192.in-addr.arpa", "PTR", 3),
    ("16.172.in-addr.arpa", "PTR", 0),
    ("31.172.in-addr.arpa", "PTR", 0),
    ("127.100.in-addr.arpa", "PTR", 0),
    ("a.0.0.0.8.e.f.ip6.arpa", "PTR", 3),
    ("1.c.d.f.ip6.arpa", "PTR", 3),
]


@pytest.fixture
def rig(upstream: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream]) as made:
        made.answering.serve(ALL)
        yield made


@pytest.mark.parametrize(
    ("name", "rtype", "said"), SAID, ids=[f"{x[1]} of {x[0]}" for x in SAID]
)
def test_special_names_say(name: str, rtype: str, said: list[str] | str | int) -> None:
    zone = ALL.find(qname_from_text(name))
    assert zone is not None

    response = ask(zone, name, rtype)

    if isinstance(said, int):
        assert response.rcode() == said
        [denial] = lines(response.authority)
        assert denial.endswith(f". 10800 IN {SOA}")
        assert response.answer == []
    elif isinstance(said, str):
        assert lines(response.answer) == [f"{name}. 10800 IN PTR {said}"]
    else:
        assert lines(response.answer) == said


@pytest.mark.parametrize(
    "name",
    [
        "com",
        "www.test",
        "www.example",
        "alocalhost",
        "arpa",
        "in-addr.arpa",
        "15.172.in-addr.arpa",
        "32.172.in-addr.arpa",
        "63.100.in-addr.arpa",
        "128.100.in-addr.arpa",
        "0.0.192.in-addr.arpa",
        "c.e.f.ip6.arpa",
        "1.0.0.2.ip6.arpa",
    ],
)
def test_neighbours_of_special_names_are_not_special(name: str) -> None:
    assert ALL.find(qname_from_text(name)) is None


def test_off_and_on_choose_single_names_and_the_group() -> None:
    every = special.in_force((), ())

    assert set(special.NAMES) - set(every) == {"test"}
    assert set(special.in_force((), ("test",))) == set(special.NAMES)
    assert set(every) - set(special.in_force(("local", "onion"), ())) == {
        "local",
        "onion",
    }
    some = special.in_force(("private",), ("10.in-addr.arpa",))
    assert [x for x in some if x.startswith("10.")] == ["10.in-addr.arpa"]
    assert "168.192.in-addr.arpa" not in some
    assert "home.arpa" in some


def test_zone_of_the_config_goes_before_at_and_below_a_special_name() -> None:
    at = load_zone("home.arpa", HEAD, "at")
    below = load_zone("corp.local", HEAD, "below")
    above = load_zone("arpa", HEAD, "above")
    zones = ZoneSet([*map(zone_of, special.in_force((), ())), at, below, above])

    found = [
        zones.find(qname_from_text(name))
        for name in ("a.home.arpa", "a.corp.local", "a.local", "10.in-addr.arpa")
    ]

    assert found == [at, below, zone_of("local"), zone_of("10.in-addr.arpa")]


def test_no_upstream_is_asked_for_a_special_name(
    rig: Rig, upstream: FakeUpstream
) -> None:
    response = rig.ask_for(query_for("host.onion"))

    assert response.rcode() == dns.rcode.NXDOMAIN
    assert upstream.take() == []


def test_ds_of_a_special_name_is_for_upstreams_to_say(
    rig: Rig, upstream: FakeUpstream
) -> None:
    miss(rig, query_for("home.arpa", "DS"))

    query, _sender = upstream.take_one()
    assert query.question[0].to_text() == "home.arpa. IN DS"


def test_only_addresses_of_ipv4_are_answered_for_ipv4only(
    rig: Rig, upstream: FakeUpstream
) -> None:
    response = rig.ask_for(query_for("ipv4only.arpa"))
    client = miss(rig, query_for("ipv4only.arpa", "AAAA"))
    upstream.answer("ipv4only.arpa. 60 AAAA 64:ff9b::c000:aa")
    rig.round()

    [rrset] = response.answer
    assert {x.to_text() for x in rrset} == {"192.0.0.170", "192.0.0.171"}
    assert "64:ff9b::c000:aa" in received_one(client).answer[0].to_text()


def test_without_upstreams_ipv4only_has_no_other_addresses() -> None:
    with Rig() as rig:
        rig.answering.serve(ALL)

        response = rig.ask_for(query_for("ipv4only.arpa", "AAAA"))

    assert response.rcode() == dns.rcode.NOERROR
    assert response.answer == []


def test_alias_to_a_special_name_ends_there(rig: Rig, upstream: FakeUpstream) -> None:
    client = miss(rig)

    upstream.answer(
        "www.example.com. 60 CNAME a.localhost.", "a.localhost. 60 A 192.0.2.66"
    )
    rig.round()

    assert "127.0.0.1" in received_one(client).answer[1].to_text()


def test_special_name_switched_off_is_forgotten_and_asked_for(
    rig: Rig, upstream: FakeUpstream
) -> None:
    assert rig.ask_for(query_for("a.local")).rcode() == dns.rcode.NXDOMAIN
    names = special.in_force(("local",), ())

    list(rig.answering.change_zones(ZoneSet(map(zone_of, names))))

    client = miss(rig, query_for("a.local"))
    upstream.answer("a.local. 60 A 192.0.2.1")
    rig.round()
    assert "192.0.2.1" in received_one(client).answer[0].to_text()


def test_names_that_end_like_no_zone_cost_no_look_for_one() -> None:
    assert set(ALL.tops) == {
        b"\x09localhost\0",
        b"\x07invalid\0",
        b"\x05onion\0",
        b"\x03alt\0",
        b"\x05local\0",
        b"\x04arpa\0",
    }
    root = load_zone(".", HEAD, "root")
    assert ZoneSet([root, *map(zone_of, special.NAMES)]).find(b"\1a\0") is root
    many = ZoneSet(load_zone(f"x{i}", HEAD, "many") for i in range(40))
    assert many.tops == (b"\0",)
