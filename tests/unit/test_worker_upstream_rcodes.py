"""What comes of each response code of an upstream, as a table."""

from __future__ import annotations

import dns.rcode
import pytest

from tests.unit.fake_upstream import ADDRESS, FakeUpstream, said_to
from tests.unit.stub_client import query_for, received_one
from tests.unit.worker_rig import NS, Rig, cached, miss

#: By code: what clients are told where all servers say it, None where it is an answer.
TABLE = {
    dns.rcode.NOERROR: None,  # RFC 1035, 4.1.1; RFC 8767, 4
    dns.rcode.FORMERR: "FORMERR",
    dns.rcode.SERVFAIL: "SERVFAIL",
    dns.rcode.NXDOMAIN: None,  # RFC 8767, 4
    dns.rcode.NOTIMP: "NOTIMP",
    dns.rcode.REFUSED: "REFUSED",
    dns.rcode.YXDOMAIN: "SERVFAIL",  # without a DNAME record: RFC 2136, about updates
    dns.rcode.YXRRSET: "SERVFAIL",  # RFC 2136
    dns.rcode.NXRRSET: "SERVFAIL",  # RFC 2136
    dns.rcode.NOTAUTH: "SERVFAIL",  # RFC 2136, and RFC 8945, 5.2, about keys
    dns.rcode.NOTZONE: "SERVFAIL",  # RFC 2136
    dns.rcode.Rcode(11): "SERVFAIL",  # DSOTYPENI, RFC 8490, about sessions
    dns.rcode.Rcode(12): "SERVFAIL",  # to be assigned, as are those up to 15
    dns.rcode.Rcode(13): "SERVFAIL",
    dns.rcode.Rcode(14): "SERVFAIL",
    dns.rcode.Rcode(15): "SERVFAIL",
    dns.rcode.BADVERS: "SERVFAIL",  # RFC 6891, 6.1.3, about our OPT record
    dns.rcode.Rcode(17): "SERVFAIL",
    dns.rcode.Rcode(22): "SERVFAIL",
    dns.rcode.BADCOOKIE: "SERVFAIL",  # RFC 7873, 5.3, about a cookie that we sent not
}
FAILURES = [rcode for rcode, told in TABLE.items() if told]
#: A name of 255 octets below `d.test` that its DNAME record would make longer.
LONG = ".".join(["a" * 60] * 3 + ["b" * 60]) + ".d.test."
DNAME = "d.test. 300 DNAME longer.example."


def ids(rcode: int) -> str:
    return dns.rcode.to_text(dns.rcode.Rcode(rcode))


def say(upstream: FakeUpstream, rig: Rig, rcode: int, *records: str) -> None:
    """Answer whatever comes by *rcode*; some codes have us ask once more."""
    for _ in range(3):
        for query, sender in upstream.take():
            response = said_to(query, *records, rcode=rcode)
            upstream.send(response.to_wire(), sender)
        rig.round()


@pytest.mark.parametrize("rcode", TABLE, ids=ids)
def test_only_an_answer_is_not_asked_of_the_next(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream, rcode: int
) -> None:
    client = miss(rig_of_two)

    say(upstream, rig_of_two, rcode)
    say(second, rig_of_two, dns.rcode.NOERROR, ADDRESS)

    if TABLE[rcode] is None:
        assert rig_of_two.upstream(1) == (0, 0)
        assert received_one(client).rcode() == rcode
    else:
        assert rig_of_two.upstream(1) == (1, 0)
        assert received_one(client).answer


@pytest.mark.parametrize("rcode", FAILURES, ids=ids)
def test_clients_are_told_of_failures_they_know(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream, rcode: int
) -> None:
    client = miss(rig_of_two)

    say(upstream, rig_of_two, rcode)
    say(second, rig_of_two, rcode)

    assert dns.rcode.to_text(received_one(client).rcode()) == TABLE[rcode]


@pytest.mark.parametrize("rcode", FAILURES, ids=ids)
def test_expired_data_are_better_than_a_failure(
    rig: Rig, upstream: FakeUpstream, rcode: int
) -> None:
    cached(rig, upstream)
    rig.now_ns += 400 * NS
    client = miss(rig)

    say(upstream, rig, rcode)

    stale = received_one(client)
    assert (stale.rcode(), len(stale.answer)) == (dns.rcode.NOERROR, 1)


# YXDOMAIN


@pytest.mark.parametrize(
    ("records", "is_answer"),
    [
        ([DNAME], True),
        ([f"{LONG} 300 CNAME c.d.test.", DNAME], False),
        ([f"{LONG} 300 A 192.0.2.1"], False),
        (["d.test. 300 DNAME e.test."], False),
        (["other.test. 300 DNAME longer.example."], False),
        ([], False),
    ],
    ids=[
        "too long",
        "not the last name",
        "no DNAME",
        "not too long",
        "DNAME of others",
        "no record",
    ],
)
def test_name_too_long_below_a_dname_is_an_answer(
    rig_of_two: Rig,
    upstream: FakeUpstream,
    second: FakeUpstream,
    records: list[str],
    *,
    is_answer: bool,
) -> None:
    client = miss(rig_of_two, query_for(LONG))

    say(upstream, rig_of_two, dns.rcode.YXDOMAIN, *records)
    say(second, rig_of_two, dns.rcode.NXDOMAIN)

    response = received_one(client)
    assert (response.rcode() == dns.rcode.YXDOMAIN) is is_answer
    assert len(response.answer) == int(is_answer)


def test_alias_may_lead_to_a_name_too_long(rig: Rig, upstream: FakeUpstream) -> None:
    client = miss(rig)

    records = (f"www.example.com. 300 CNAME {LONG}", DNAME)
    say(upstream, rig, dns.rcode.YXDOMAIN, *records)

    response = received_one(client)
    assert (response.rcode(), len(response.answer)) == (dns.rcode.YXDOMAIN, 2)
    assert rig.ask_for(query_for()).rcode() == dns.rcode.YXDOMAIN  # cached
