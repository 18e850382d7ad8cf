"""Rules: which of them decides, and what clients then get."""

from __future__ import annotations

from collections.abc import Iterator

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.dns.rules.names import NameList
from dnsfront.dns.rules.text import read_list
from dnsfront.ipc.spec import ListImage, RuleSettings
from dnsfront.ipc.stats import Counter, Ruled
from dnsfront.worker.answering.ruling import rules_of
from tests.unit.fake_upstream import ADDRESS, FakeUpstream
from tests.unit.ruling import SOA, ask, put_in_force, rule, said
from tests.unit.streaming import Stream
from tests.unit.stub_client import query_for, received, received_one
from tests.unit.worker_rig import Rig, cached, miss


@pytest.fixture
def rig(upstream: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream]) as made:
        yield made


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (rule("nxdomain"), ("NXDOMAIN", [f"ads.example.com. 60 IN {SOA}"])),
        (rule("nodata"), ("NOERROR", [f"ads.example.com. 60 IN {SOA}"])),
        (rule("refuse"), ("REFUSED", [])),
        (
            rule("address", addresses=("192.0.2.7", "192.0.2.8", "2001:db8::7")),
            ("NOERROR", ["x.ads.example.com. 60 IN A 192.0.2.7 192.0.2.8"]),
        ),
        (
            rule("address", addresses=("2001:db8::7",)),
            ("NOERROR", [f"ads.example.com. 60 IN {SOA}"]),
        ),
    ],
    ids=["nxdomain", "nodata", "refuse", "address", "no such address"],
)
def test_rule_says(
    rig: Rig,
    upstream: FakeUpstream,
    settings: RuleSettings,
    wanted: tuple[str, list[str]],
) -> None:
    put_in_force(rig, settings)

    # The second comes out of the cache.
    for count in (1, 2):
        rcode, records, errors = said(ask(rig, "x.ads.example.com"))
        lines = [line for record in records for line in record.splitlines()]
        if len(lines) > 1:
            lines = [f"{lines[0]} {lines[1].split()[-1]}"]
        assert (rcode, lines) == wanted
        assert errors == [15]
        assert rig.count(Ruled.FIRST) == count
    assert upstream.take() == []


def test_response_over_tcp_and_without_edns_is_the_same(rig: Rig) -> None:
    put_in_force(rig, rule("nxdomain", error=17))

    plain = rig.ask_for(query_for("ads.example.com"))

    assert said(plain) == ("NXDOMAIN", [f"ads.example.com. 60 IN {SOA}"], [])
    assert said(ask(rig, "ads.example.com"))[2] == [17]


def test_drop_sends_nothing_and_is_counted(rig: Rig, upstream: FakeUpstream) -> None:
    put_in_force(rig, rule("drop"))

    assert rig.ask(query_for("ads.example.com").to_wire()) == []
    assert rig.ask(query_for("ads.example.com").to_wire()) == []

    assert rig.count(Counter.IGNORED_RULED) == rig.count(Ruled.FIRST) == 2
    assert upstream.take() == []


def test_neighbours_and_other_types_are_asked_for(
    rig: Rig, upstream: FakeUpstream
) -> None:
    put_in_force(rig, rule("nxdomain", types=(28,)))

    assert said(ask(rig, "example.org", "AAAA"))[0] == "NXDOMAIN"
    miss(rig, query_for("example.org"))
    miss(rig, query_for("example.com", "AAAA"))

    assert len(upstream.take()) == 2


def test_first_rule_that_matches_decides(rig: Rig, upstream: FakeUpstream) -> None:
    put_in_force(
        rig,
        rule("pass", ("good.example.org",)),
        rule("nxdomain", number=2),
        rule("refuse", number=3),
    )

    assert said(ask(rig, "bad.example.org"))[0] == "NXDOMAIN"
    miss(rig, query_for("a.good.example.org"))

    assert len(upstream.take()) == 1
    assert [rig.count(Ruled.FIRST + at) for at in range(3)] == [1, 1, 0]


def test_what_is_cached_obeys_at_once_and_is_back_afterwards(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    assert said(ask(rig, "www.example.com"))[0] == "NOERROR"

    put_in_force(rig, rule("nxdomain", ("example.com",)))
    assert said(ask(rig, "www.example.com"))[0] == "NXDOMAIN"

    put_in_force(rig)
    client = miss(rig)
    upstream.answer(ADDRESS)
    rig.round()
    assert received_one(client).answer


def test_who_waits_for_an_upstream_gets_what_the_new_rule_says(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)

    put_in_force(rig, rule("nodata", ("com",)))
    rig.round()

    assert "SOA" in received_one(client).authority[0].to_text()
    upstream.answer(ADDRESS)
    rig.round()
    assert len(rig.cache) == 0


def test_other_entries_stay(rig: Rig, upstream: FakeUpstream) -> None:
    cached(rig, upstream)

    put_in_force(rig, rule("nxdomain"))

    assert len(rig.cache) == 1


def test_alias_that_leads_to_a_ruled_name_ends_there(
    rig: Rig, upstream: FakeUpstream
) -> None:
    put_in_force(rig, rule("nxdomain"))
    client = miss(rig)

    upstream.answer(
        "www.example.com. 60 CNAME t.ads.example.com.",
        "t.ads.example.com. 60 A 192.0.2.66",
    )
    rig.round()

    response = received_one(client)
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert len(response.answer) == 1

    put_in_force(rig)
    assert rig.ask(query_for().to_wire()) == []  # it is fetched again


def test_no_cache_keeps_nothing(rig: Rig, upstream: FakeUpstream) -> None:
    cached(rig, upstream)
    put_in_force(rig, rule("no_cache", ("example.com",)))

    for _ in range(2):
        client = miss(rig)
        upstream.answer(ADDRESS)
        rig.round()
        assert received_one(client).answer

    assert len(rig.cache) == 0


# -- rules that look at the client


def test_rule_for_some_clients_leaves_others_alone(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    put_in_force(rig, rule("nxdomain", (), clients=("127.0.0.2/32",)))
    guarded, other = rig.client("127.0.0.2"), rig.client("127.0.0.3")

    for _ in range(2):
        [octets] = rig.ask(query_for(payload=1232).to_wire(), guarded)
        assert said(dns.message.from_wire(octets)) == (
            "NXDOMAIN",
            [f". 60 IN {SOA}"],
            [15],
        )
        [octets] = rig.ask(query_for(payload=1232).to_wire(), other)
        assert said(dns.message.from_wire(octets))[0] == "NOERROR"

    assert rig.count(Ruled.FIRST) == 2
    put_in_force(rig)
    [octets] = rig.ask(query_for().to_wire(), guarded)
    assert dns.message.from_wire(octets).answer


def test_client_that_is_let_pass_is_not_stopped_by_later_rules(
    rig: Rig, upstream: FakeUpstream
) -> None:
    put_in_force(
        rig,
        rule("pass", (), clients=("127.0.0.2/32",)),
        rule("refuse", ("com",), number=2),
    )
    free, bound = rig.client("127.0.0.2"), rig.client("127.0.0.3")

    assert rig.ask(query_for().to_wire(), free) == []
    upstream.answer(ADDRESS)
    rig.round()
    assert received_one(free).answer

    for client, rcode in ((bound, dns.rcode.REFUSED), (free, dns.rcode.NOERROR)) * 2:
        [octets] = rig.ask(query_for().to_wire(), client)
        assert dns.message.from_wire(octets).rcode() == rcode


def test_rule_for_everybody_ahead_of_one_for_some_decides_for_them_too(
    rig: Rig,
) -> None:
    put_in_force(
        rig,
        rule("nodata"),
        rule("refuse", (), clients=("127.0.0.2/32",), number=2),
    )
    client = rig.client("127.0.0.2")

    for _ in range(2):
        [octets] = rig.ask(query_for("ads.example.com").to_wire(), client)
        assert dns.message.from_wire(octets).rcode() == dns.rcode.NOERROR
    [octets] = rig.ask(query_for().to_wire(), client)
    assert dns.message.from_wire(octets).rcode() == dns.rcode.REFUSED


def test_tc_sends_clients_to_tcp(rig: Rig, upstream: FakeUpstream) -> None:
    cached(rig, upstream)
    put_in_force(rig, rule("tc", ("example.com",)))

    response = rig.ask_for(query_for())

    assert response.flags & dns.flags.TC
    assert response.answer == []


def test_transport_narrows(rig: Rig, upstream: FakeUpstream) -> None:
    cached(rig, upstream)
    put_in_force(rig, rule("refuse", (), transport="tcp"))
    assert rig.ask_for(query_for()).answer

    put_in_force(rig, rule("refuse", (), transport="udp"))

    assert rig.ask_for(query_for()).rcode() == dns.rcode.REFUSED


def test_policy_of_a_list_goes_before_the_action_of_its_rule(rig: Rig) -> None:
    text = (
        b"$TTL 60\nx SOA a b 1 1 1 1 1\nnx.test CNAME .\n*.no.test CNAME *.\n"
        b"ok.nx.test CNAME rpz-passthru.\ndrop.test CNAME rpz-drop.\n"
    )
    image = b"".join(read_list(text).writer.pieces())
    settings = rule("refuse", (), image=ListImage("d", "p", 0, len(image)))
    made = rules_of([settings], lambda _image: NameList(memoryview(image)))
    list(rig.answering.change_rules(made))

    assert said(ask(rig, "nx.test"))[0] == "NXDOMAIN"
    assert said(ask(rig, "a.no.test"))[0] == "NOERROR"
    assert rig.ask(query_for("drop.test").to_wire()) == []
    client = miss(rig, query_for("ok.nx.test"))
    assert received(client) == []


@pytest.mark.parametrize("transport", ["udp", "tcp", None])
def test_rule_for_clients_of_a_transport_over_ipv6(
    upstream: FakeUpstream, transport: str | None
) -> None:
    with Rig(upstreams=[upstream], host="::1") as rig:
        settings = rule("refuse", (), clients=("::1/128",), transport=transport)
        put_in_force(rig, settings)
        stream = Stream(rig)
        stream.send(query_for())
        rig.client().send(query_for().to_wire())
        rig.until(
            lambda: rig.count(Counter.QUERIES_TCP) and rig.count(Counter.QUERIES_UDP)
        )
        stream.close()

        assert rig.count(Ruled.FIRST) == (2 if transport is None else 1)
        assert len(upstream.take()) == (transport is not None)


def test_drop_over_tcp_is_refused_so_that_the_connection_goes_on(rig: Rig) -> None:
    put_in_force(rig, rule("drop"))
    stream = Stream(rig)

    stream.send(query_for("ads.example.com"))
    [response] = stream.until(1)
    stream.close()

    assert response.rcode() == dns.rcode.REFUSED
