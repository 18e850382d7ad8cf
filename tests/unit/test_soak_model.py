"""The rules of the soak: which answers are allowed, and what an operation excuses."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.soak.excuses import RECOVERY_S, Excuse, Ledger, Usable
from tests.soak.model import (
    FAILED,
    LOST,
    STALE,
    WRONG,
    Fault,
    Model,
    Question,
    Timeline,
    kind_of,
    ttl_of,
    zone_address,
    zone_text,
)
from tests.soak.resolvers import forgeries, responses, truth

ZONE = "z1.test"
#: Upstreams give it the TTL of the number.
NAMES = {ttl_of(name): name for name in (f"a{n}.up.test" for n in range(60))}


def query_for(name: str, rdtype: str = "A") -> dns.message.Message:
    return dns.message.make_query(name, rdtype, use_edns=0)


def judged(
    name: str, second: int, at_s: float, *, rdtype: str = "A", ttl: int | None = None
) -> list[str]:
    response = truth(query_for(name, rdtype), second)
    if ttl is not None:
        for rrset in (*response.answer, *response.authority):
            rrset.ttl = ttl
    question = Question(name, rdtype, at_s, is_tcp=True)
    return [fault.kind for fault in Model().judge(question, response, at_s)]


@pytest.mark.parametrize(
    ("name", "rdtype"),
    [
        ("a1.up.test", "A"),
        ("alias1.up.test", "A"),
        ("nx1.up.test", "A"),
        ("nodata1.up.test", "AAAA"),
        ("big1.up.test", "TXT"),
        ("r77.up.test", "A"),
    ],
)
def test_what_a_good_upstream_says_is_allowed(name: str, rdtype: str) -> None:
    assert judged(name, 1000, 1000.5, rdtype=rdtype) == []


def test_answer_past_its_ttl_is_stale() -> None:
    assert judged(NAMES[5], 1000, 1004.0, ttl=1) == []
    assert judged(NAMES[5], 1000, 1020.0, ttl=0) == [STALE]
    assert judged(NAMES[2], 1000, 1003.0, ttl=30) == [STALE]


def test_ttl_that_does_not_count_down_is_wrong() -> None:
    assert judged(NAMES[300], 1000, 1100.0, ttl=200) == []
    assert judged(NAMES[300], 1000, 1100.0, ttl=290) == [WRONG]


def test_answer_for_another_name_is_wrong() -> None:
    response = truth(query_for("a1.up.test"), 1000)
    question = Question("a2.up.test", "A", 1000.0)

    [fault] = Model().judge(question, response, 1000.5)

    assert fault.kind == WRONG


def test_answer_from_before_a_flush_is_wrong_after_it() -> None:
    rules = Model(flushed_s={".up.test": 1010.0})
    response = truth(query_for(NAMES[300]), 1000)
    for rrset in response.answer:
        rrset.ttl = 285

    def kinds(sent_s: float) -> list[str]:
        question = Question(NAMES[300], "A", sent_s)
        return [x.kind for x in rules.judge(question, response, sent_s + 0.1)]

    assert kinds(1009.0) == []
    assert kinds(1015.0) == [WRONG]


def test_flush_of_a_name_is_not_of_those_that_end_alike() -> None:
    rules = Model(flushed_s={"a1.up.test": 1010.0})

    def kinds(name: str) -> set[str]:
        question = Question(name, "A", 1011.0)
        faults = rules.judge(question, truth(query_for(name), 1000), 1011.1)
        return {fault.kind for fault in faults} - {STALE}

    assert kinds("nodata1.up.test") == set()
    assert kinds("a1.up.test") == {WRONG}


def zone_response(version: int) -> dns.message.Message:
    response = dns.message.make_response(query_for(f"n1.{ZONE}"))
    address = zone_address(ZONE, version)
    response.answer.append(dns.rrset.from_text(f"n1.{ZONE}.", 60, "IN", "A", address))
    return response


def test_both_versions_of_a_zone_are_allowed_until_the_new_one_is_settled() -> None:
    rules = Model()
    rules.zones[ZONE] = Timeline(1)
    rules.zones[ZONE].begin(2, 100.0)
    rules.zones[ZONE].settle(102.0)

    def kinds(version: int, sent_s: float) -> list[str]:
        question = Question(f"n1.{ZONE}", "A", sent_s)
        faults = rules.judge(question, zone_response(version), sent_s + 0.1)
        return [fault.kind for fault in faults]

    assert kinds(2, 99.0) == [WRONG]
    assert kinds(1, 101.0) == kinds(2, 101.0) == []
    assert kinds(1, 103.0) == [WRONG]


def test_upstreams_word_in_a_served_zone_is_wrong() -> None:
    rules = Model()
    rules.zones[ZONE] = Timeline(1)
    name = f"n1.{ZONE}"

    [fault] = rules.judge(Question(name, "A", 5.0), truth(query_for(name), 5), 5.1)

    assert fault.kind == WRONG


def test_stranger_is_refused_exactly_while_not_allowed() -> None:
    rules = Model()
    rules.stranger.begin(0, 10.0)
    rules.stranger.settle(11.0)
    refused = dns.message.make_response(query_for("a1.up.test"))
    refused.set_rcode(dns.rcode.REFUSED)
    question = Question("a1.up.test", "A", 20.0, is_stranger=True)

    assert rules.judge(question, refused, 20.1) == []
    [fault] = rules.judge(question, truth(query_for("a1.up.test"), 20), 20.1)
    assert fault.kind == WRONG


def test_failure_is_no_wonder_only_while_no_upstream_is_of_use() -> None:
    usable = Usable(["a", "b"])
    usable.note(["a", "b"], ["a", "b"], 0.0)
    usable.note(["a", "b"], ["b"], 10.0)
    usable.note(["a", "b"], [], 20.0)
    usable.note(["a", "b"], ["a", "b"], 30.0)

    assert not usable.covers(FAILED, 11.0, 12.0)
    assert usable.covers(STALE, 11.0, 12.0)
    assert usable.covers(FAILED, 19.0, 21.0)
    assert usable.covers(FAILED, 31.0, 32.0)
    assert not usable.covers(FAILED, 31.0 + RECOVERY_S, 40.0 + RECOVERY_S)
    assert not usable.covers(LOST, 21.0, 22.0)


def test_excuse_covers_its_kinds_its_time_and_its_number() -> None:
    ledger = Ledger(Usable([]))
    ledger.excuses.append(Excuse(frozenset((LOST,)), "a kill", 10.0, 12.0, most=1))

    for kind, sent_s in ((LOST, 5.0), (LOST, 9.0), (LOST, 13.0), (WRONG, 11.0)):
        question = Question("a1.up.test", "A", sent_s)
        ledger.enter(question, Fault(kind, "x"), sent_s + 1.5, is_upstreams=False)

    assert ledger.excused == {"lost: a kill": 1}
    assert [kind for kind, _ in ledger.open] == [LOST, LOST, WRONG]


def test_forgeries_are_never_what_was_asked_for() -> None:
    query = query_for("a1.up.test")
    [*forged, right] = responses(query, "forging", 7, is_tcp=False)

    assert forged == forgeries(right)
    for octets in forged:
        if len(octets) < 12:
            continue
        message = dns.message.from_wire(octets)
        assert (
            message.id != query.id
            or message.question != query.question
            or not message.flags & dns.flags.QR
        )


def test_zone_files_name_their_version() -> None:
    assert kind_of("alias12.up.test") == "alias"
    assert zone_text(ZONE, 258).count("172.1.1.2") == 21
