"""What is said of names for which `forward` has a word in place of a pool."""

from __future__ import annotations

from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.ipc.stats import Counter
from tests.unit.fake_upstream import FakeUpstream
from tests.unit.pools_of import forward
from tests.unit.stub_client import query_for, received_one
from tests.unit.worker_rig import ZONE, Rig, miss

RULES = {
    "refused.example": "refuse",
    "ads.example": "nxdomain",
    "ok.here.ads.example": "default",
    "test": "local",
}


@pytest.fixture
def rig(upstream: FakeUpstream) -> Iterator[Rig]:
    with Rig(zone=ZONE) as made:
        forward(made, RULES, default=[upstream])
        yield made


def shown(message: dns.message.Message) -> tuple[str, list[str], list[str], list[int]]:
    """Return rcode, answer, authority and Extended DNS Errors."""
    return (
        dns.rcode.to_text(message.rcode()),
        [rrset.to_text() for rrset in message.answer],
        [rrset.to_text() for rrset in message.authority],
        [int.from_bytes(x.to_wire()[:2], "big") for x in message.options],
    )


def soa(origin: str) -> str:
    numbers = "1 3600 1200 604800 300"
    return f"{origin} 300 IN SOA {origin} nobody.invalid. {numbers}"


@pytest.mark.parametrize(
    ("name", "rtype", "expected"),
    [
        ("refused.example", "A", ("REFUSED", [], [], [15])),
        ("a.refused.example", "TXT", ("REFUSED", [], [], [15])),
        ("ads.example", "A", ("NOERROR", [], [soa("ads.example.")], [15])),
        ("b.a.ads.example", "HTTPS", ("NXDOMAIN", [], [soa("ads.example.")], [15])),
        ("here.ads.example", "A", ("NOERROR", [], [soa("ads.example.")], [15])),
        ("a.test", "A", ("NXDOMAIN", [], [soa("test.")], [])),
        ("test", "A", ("NOERROR", [], [soa("test.")], [])),
        ("test", "SOA", ("NOERROR", [soa("test.")], [], [])),
        ("www.example.test", "A", ("NOERROR", ["www.example.test. 300 IN A 192.0.2.80"]
                                   , [], [])),
    ],
)  # fmt: skip
def test_words_are_answers(
    rig: Rig,
    upstream: FakeUpstream,
    name: str,
    rtype: str,
    expected: tuple[str, list[str], list[str], list[int]],
) -> None:
    response = rig.ask_for(query_for(name, rtype, ednsflags=0))
    rcode, answer, authority, errors = shown(response)

    zone = [] if "example.test" in name else authority
    assert (rcode, answer, zone, errors) == expected
    assert bool(response.flags & dns.flags.AA) == name.endswith("test")
    assert upstream.take() == []


def test_words_answer_each_time_and_cache_nothing(
    rig: Rig, upstream: FakeUpstream
) -> None:
    for number in range(3):
        rig.ask_for(query_for(f"{number}.ads.example"))
        rig.ask_for(query_for("refused.example"))
    rig.ask_for(query_for("a.test"))

    assert len(rig.cache) == 0
    assert rig.count(Counter.WORD_NXDOMAIN) == 3
    assert rig.count(Counter.WORD_REFUSE) == 3
    assert rig.count(Counter.WORD_LOCAL) == 1
    assert rig.count(Counter.CACHE_REQUESTS) == 0
    assert upstream.take() == []


def test_an_exception_to_a_word_goes_to_its_pool(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig, query_for("www.ok.here.ads.example"))

    upstream.answer("www.ok.here.ads.example 60 A 192.0.2.7")
    rig.round()

    assert received_one(client).answer


@pytest.mark.parametrize(
    ("target", "rcode", "authority"),
    [
        ("a.ads.example.", "NXDOMAIN", [soa("ads.example.")]),
        ("a.refused.example.", "REFUSED", []),
        ("test.", "NOERROR", [soa("test.")]),
    ],
)
def test_an_alias_to_such_a_name_ends_with_its_word(
    rig: Rig, upstream: FakeUpstream, target: str, rcode: str, authority: list[str]
) -> None:
    alias = f"www.example.com. 300 CNAME {target}"
    client = miss(rig)

    upstream.answer(alias, f"{target} 60 A 192.0.2.7")
    rig.round()

    response = received_one(client)
    assert shown(response) == (
        rcode,
        [alias.replace(" CNAME", " IN CNAME")],
        authority,
        [],
    )
    assert upstream.take() == []


def test_names_that_go_nowhere_are_refused(rig: Rig, upstream: FakeUpstream) -> None:
    forward(rig, {"corp.example": "corp"}, corp=[upstream])

    response = rig.ask_for(query_for("www.example", ednsflags=0))

    assert shown(response) == ("REFUSED", [], [], [20])
