"""What a zone responds: each response is read back by dnspython."""

from __future__ import annotations

from pathlib import Path

import dns.flags
import dns.rdatatype
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dnsfront.dns.names import qname_from_text
from dnsfront.dns.wire import NOERROR, NXDOMAIN, REFUSED
from dnsfront.dns.zones.authority import Zone
from tests.unit.asking import HEAD, ask, lines, load_zone, message_of, question_of

DEMO = Path(__file__).parents[2] / "deploy" / "example.test.zone"

ZONE = (
    HEAD
    + """\
ns1      AAAA 2001:db8::53
@        MX 10 mail
@        MX 20 mx.elsewhere.test.
mail     A 192.0.2.25
www      60 IN A 192.0.2.80
www      60 IN AAAA 2001:db8::80
MiXed    A 192.0.2.81
one      CNAME two
two      IN 5 CNAME www
dangling CNAME nowhere
outside  CNAME www.elsewhere.test.
loop     CNAME loop2
loop2    CNAME loop
self     CNAME self
below    CNAME host.child
_sip._tcp SRV 1 2 5060 mail
deep.er.empty A 192.0.2.90
*.wild   A 192.0.2.99
*.wild   MX 5 mail
own.wild TXT "mine"
x.sub.wild A 192.0.2.98
*.alias  CNAME www
child    NS ns.child
child    NS ns1
child    DS 12345 13 2 """
    + 16 * "01 02"
    + """
ns.child A 192.0.2.153
under.child TXT "occluded"
"""
)

WWW_A = "www.example.test. 60 IN A 192.0.2.80"
SOA = (
    "example.test. 300 IN SOA ns1.example.test. hostmaster.example.test. "
    "1 7200 900 1209600 300"
)
NS_CHILD = [
    "child.example.test. 3600 IN NS ns.child.example.test.",
    "child.example.test. 3600 IN NS ns1.example.test.",
]
NS1 = [
    "ns1.example.test. 3600 IN A 192.0.2.53",
    "ns1.example.test. 3600 IN AAAA 2001:db8::53",
]


@pytest.fixture(scope="module")
def zone() -> Zone:
    return load_zone("example.test", ZONE, "test.zone")


def test_demo_zone_answers_www_with_both_families() -> None:
    zone = load_zone("example.test", DEMO.read_text("ascii"), str(DEMO))

    a, aaaa = (ask(zone, "www.example.test", rtype) for rtype in ("A", "AAAA"))

    assert lines(a.answer) == ["www.example.test. 60 IN A 192.0.2.80"]
    assert lines(aaaa.answer) == ["www.example.test. 60 IN AAAA 2001:db8::80"]


def test_demo_zone_has_an_answer_that_needs_tcp() -> None:
    zone = load_zone("example.test", DEMO.read_text("ascii"), str(DEMO))

    response = ask(zone, "large.example.test", "TXT")

    assert len(response.answer[0][0].strings) == 12
    assert len(response.to_wire()) > 1232


@pytest.mark.parametrize(
    ("name", "rtype", "answer"),
    [
        pytest.param("www", "A", [WWW_A], id="exact match"),
        pytest.param(
            "mixed", "A", ["mixed.example.test. 3600 IN A 192.0.2.81"], id="owner case"
        ),
        pytest.param(
            "one",
            "A",
            [
                "one.example.test. 3600 IN CNAME two.example.test.",
                "two.example.test. 5 IN CNAME www.example.test.",
                WWW_A,
            ],
            id="chain",
        ),
        pytest.param(
            "one",
            "CNAME",
            ["one.example.test. 3600 IN CNAME two.example.test."],
            id="question for the CNAME itself",
        ),
        pytest.param(
            "outside",
            "A",
            ["outside.example.test. 3600 IN CNAME www.elsewhere.test."],
            id="chain that leaves the zone",
        ),
        pytest.param(
            "loop",
            "A",
            [
                "loop.example.test. 3600 IN CNAME loop2.example.test.",
                "loop2.example.test. 3600 IN CNAME loop.example.test.",
            ],
            id="loop of two",
        ),
        pytest.param(
            "self",
            "A",
            ["self.example.test. 3600 IN CNAME self.example.test."],
            id="loop of one",
        ),
        pytest.param(
            "a.wild", "A", ["a.wild.example.test. 3600 IN A 192.0.2.99"], id="wildcard"
        ),
        pytest.param(
            "b.a.wild",
            "A",
            ["b.a.wild.example.test. 3600 IN A 192.0.2.99"],
            id="wildcard two labels below",
        ),
        pytest.param(
            "*.wild",
            "A",
            ["*.wild.example.test. 3600 IN A 192.0.2.99"],
            id="the wildcard by its own name",
        ),
        pytest.param(
            "any.alias",
            "A",
            ["any.alias.example.test. 3600 IN CNAME www.example.test.", WWW_A],
            id="wildcard that is a CNAME",
        ),
        pytest.param(
            "child",
            "DS",
            ["child.example.test. 3600 IN DS 12345 13 2 " + 16 * "0102"],
            id="DS at the cut comes from the parent",
        ),
    ],
)
def test_answer(zone: Zone, name: str, rtype: str, answer: list[str]) -> None:
    response = ask(zone, f"{name}.example.test", rtype)

    assert lines(response.answer) == answer
    assert response.rcode() == NOERROR
    assert response.flags & dns.flags.AA
    assert not response.authority


@pytest.mark.parametrize(
    ("name", "rtype", "rcode"),
    [
        pytest.param("www", "TXT", NOERROR, id="type missing"),
        pytest.param("empty", "A", NOERROR, id="empty non-terminal"),
        pytest.param("er.empty", "A", NOERROR, id="empty non-terminal further down"),
        pytest.param("wild", "A", NOERROR, id="empty non-terminal above a wildcard"),
        pytest.param("a.wild", "AAAA", NOERROR, id="type the wildcard lacks"),
        pytest.param("own.wild", "A", NOERROR, id="existing name hides the wildcard"),
        pytest.param("sub.wild", "A", NOERROR, id="empty name hides the wildcard"),
        pytest.param("nowhere", "A", NXDOMAIN, id="no such name"),
        pytest.param("a.www", "A", NXDOMAIN, id="below an existing name"),
        pytest.param("a.own.wild", "A", NXDOMAIN, id="wildcard ends at an encloser"),
        pytest.param("a.sub.wild", "A", NXDOMAIN, id="wildcard ends at an empty name"),
        pytest.param("a.*.wild", "A", NXDOMAIN, id="below the wildcard's own name"),
    ],
)
def test_denial_carries_the_soa(zone: Zone, name: str, rtype: str, rcode: int) -> None:
    response = ask(zone, f"{name}.example.test", rtype)

    assert response.rcode() == rcode
    assert response.flags & dns.flags.AA
    assert not response.answer
    assert lines(response.authority) == [SOA]


@pytest.mark.parametrize(
    ("soa_ttl_s", "minimum_s"), [(60, 300), (300, 60)], ids=["TTL", "MINIMUM"]
)
def test_denial_is_kept_for_the_lesser(soa_ttl_s: int, minimum_s: int) -> None:
    zone = load_zone(
        "example.test", f"@ {soa_ttl_s} SOA a b 1 2 3 4 {minimum_s}\n@ NS ns.test.", "z"
    )

    response = ask(zone, "nowhere.example.test", "A")

    assert response.authority[0].ttl == 60
    assert zone.soa_minimum == 60
    assert ask(zone, "example.test", "SOA").answer[0].ttl == soa_ttl_s


def test_rcode_is_that_of_the_end_of_the_chain(zone: Zone) -> None:
    response = ask(zone, "dangling.example.test", "A")

    assert response.rcode() == NXDOMAIN
    assert len(response.answer) == 1
    assert lines(response.authority) == [SOA]


@pytest.mark.parametrize("name", ["child", "host.child", "under.child", "a.b.child"])
@pytest.mark.parametrize("rtype", ["A", "NS", "TXT", "ANY"])
def test_below_a_cut_is_a_referral(zone: Zone, name: str, rtype: str) -> None:
    response = ask(zone, f"{name}.example.test", rtype)

    assert not response.flags & dns.flags.AA
    assert response.rcode() == NOERROR
    assert not response.answer
    assert lines(response.authority) == NS_CHILD
    assert lines(response.additional) == [
        "ns.child.example.test. 3600 IN A 192.0.2.153",
        *NS1,
    ]


def test_chain_into_a_delegation_ends_in_a_referral(zone: Zone) -> None:
    response = ask(zone, "below.example.test", "A")

    assert len(response.answer) == 1
    assert response.flags & dns.flags.AA
    assert lines(response.authority) == NS_CHILD


@pytest.mark.parametrize(
    ("name", "rtype", "additional"),
    [
        ("example.test", "NS", NS1),
        ("example.test", "MX", ["mail.example.test. 3600 IN A 192.0.2.25"]),
        ("a.wild.example.test", "MX", ["mail.example.test. 3600 IN A 192.0.2.25"]),
        ("_sip._tcp.example.test", "SRV", ["mail.example.test. 3600 IN A 192.0.2.25"]),
        ("www.example.test", "A", []),
    ],
)
def test_additional_addresses(
    zone: Zone, name: str, rtype: str, additional: list[str]
) -> None:
    assert lines(ask(zone, name, rtype).additional) == additional


def test_additional_addresses_never_have_a_response_cut() -> None:
    hosts = range(20)
    zone = load_zone(
        "example.test",
        HEAD + "".join(f"@ MX 1 m{n}\nm{n} A 192.0.2.{n}\n" for n in hosts),
        "z",
    )
    question = question_of(zone.origin, dns.rdatatype.MX)

    sections = zone.respond(zone.origin, dns.rdatatype.MX, 1, question)

    assert sections.answers == 20
    assert 12 + len(question) + len(sections.octets) <= 512
    assert len(message_of(sections, question).answer) == 20


def test_an_address_is_added_once() -> None:
    zone = load_zone("example.test", HEAD + "@ MX 1 ns1\n@ MX 2 ns1\n", "z")

    assert len(ask(zone, "example.test", "MX").additional) == 1


def test_any_gets_the_smallest_rrset(zone: Zone) -> None:
    response = ask(zone, "www.example.test", "ANY")

    assert lines(response.answer) == [WWW_A]


def test_any_at_an_empty_name_is_denied(zone: Zone) -> None:
    assert lines(ask(zone, "empty.example.test", "ANY").authority) == [SOA]


def test_class_any_is_answered_and_others_are_refused(zone: Zone) -> None:
    assert lines(ask(zone, "www.example.test", "A", qclass=255).answer) == [WWW_A]
    assert ask(zone, "www.example.test", "A", qclass=3).rcode() == REFUSED


def test_question_outside_the_zone_is_refused(zone: Zone) -> None:
    response = ask(zone, "www.elsewhere.test", "A")

    assert response.rcode() == REFUSED
    assert not response.flags & dns.flags.AA


def test_answer_echoes_the_case_of_the_question(zone: Zone) -> None:
    qname = qname_from_text("www.example.test")
    sections = zone.respond(qname, 1, 1, question_of(qname, 1))

    response = message_of(sections, question_of(qname.upper(), 1))

    assert sections.octets.startswith(b"\xc0\x0c")
    assert response.answer[0].name.to_text() == "WWW.EXAMPLE.TEST."


def test_names_behind_the_reach_of_a_pointer_are_written_out() -> None:
    text = "x" * 250
    records = "".join(f'big TXT "{n:03d}{text}"\n' for n in range(64))
    zone = load_zone(
        "example.test",
        f"{HEAD}{records}big MX 1 host.far.away.\n"
        + "".join(f"many MX {n} h{n}.far.away.\n" for n in range(1100)),
        "z",
    )

    many = ask(zone, "many.example.test", "MX")

    assert [rrset[0].exchange.to_text() for rrset in many.answer] == [
        f"h{n}.far.away." for n in range(1100)
    ]
    assert len(ask(zone, "big.example.test", "TXT").answer) == 64


LABELS = st.lists(
    st.sampled_from([b"", b"*", b"a", b"wild", b"child", b"www", b"empty", b"one"])
    | st.binary(max_size=63),
    max_size=6,
).map(lambda labels: [label for label in labels if label])


@given(labels=LABELS, qtype=st.sampled_from([1, 2, 5, 6, 15, 16, 28, 33, 43, 255, 999]))
@settings(max_examples=300)
def test_any_question_gets_a_readable_response(
    zone: Zone, labels: list[bytes], qtype: int
) -> None:
    qname = b"".join(bytes([len(label)]) + label for label in labels) + zone.origin
    assume(len(qname) <= 255)
    question = question_of(qname, qtype)

    response = message_of(zone.respond(qname.lower(), qtype, 1, question), question)

    assert response.rcode() in {NOERROR, NXDOMAIN}
    assert response.answer or response.authority
