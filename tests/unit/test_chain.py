"""Chains of aliases in an answer, and answers that are joined."""

from __future__ import annotations

import dns.message
import dns.rrset
import pytest

from dnsfront.dns import wire
from dnsfront.dns.chain import joined
from tests.unit.responses import (
    ALIAS,
    END,
    A,
    parsed,
    response,
    soa,
)

# The end of a chain


@pytest.mark.parametrize(
    ("answer", "question", "target"),
    [
        ((ALIAS,), "www.example.test. A", b"\1a\5other\4test\0"),
        ((ALIAS, END), "www.example.test. A", b""),
        ((END, ALIAS), "www.example.test. A", b""),
        ((ALIAS,), "www.example.test. CNAME", b""),
        ((ALIAS,), "www.example.test. ANY", b""),
        ((ALIAS, END), "www.example.test. AAAA", b"\1a\5other\4test\0"),
        ((A,), "www.example.test. A", b""),
        ((), "www.example.test. A", b""),
    ],
    ids=[
        "bare alias",
        "whole chain",
        "backwards",
        "asked for the alias",
        "asked for anything",
        "another type at the end",
        "no alias",
        "nothing",
    ],
)
def test_a_chain_tells_what_it_lacks(
    answer: tuple[str, ...], question: str, target: bytes
) -> None:
    assert parsed(response(question, answer=answer)).target == target


def test_a_denied_end_lacks_nothing() -> None:
    parts = parsed(response(answer=(ALIAS,), authority=(soa(300, 60),)))

    assert parts.target == b""
    assert parts.ttl_s == 60


def test_answers_are_joined_where_the_first_one_leads() -> None:
    first = response(
        answer=(ALIAS,), authority=("example.test. 9 IN NS ns.example.test.",)
    )
    second = response(
        "a.other.test. A",
        answer=(END,),
        additional=("x.test. 9 IN A 192.0.2.9",),
        edns=0,
    )

    made = joined(first, second)

    whole = dns.message.from_wire(made)
    assert [rrset.to_text() for rrset in whole.answer] == [ALIAS, END]
    assert whole.question[0].name.to_text() == "www.example.test."
    assert not whole.authority
    assert len(whole.additional) == 1
    assert whole.edns == 0
    assert parsed(made).ttl_s == 300


@pytest.mark.parametrize(
    ("first", "second", "is_authentic"),
    [(1, 1, True), (1, 0, False), (0, 1, False)],
    ids=["both", "first", "second"],
)
def test_a_joined_answer_is_authentic_where_both_were(
    *, first: int, second: int, is_authentic: bool
) -> None:
    made = joined(
        response(answer=(ALIAS,), flags=first * wire.AD),
        response("a.other.test. A", answer=(END,), flags=second * wire.AD),
    )

    assert bool(parsed(made).head[1] & wire.AD) is is_authentic
