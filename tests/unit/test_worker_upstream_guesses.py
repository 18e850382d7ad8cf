"""Somebody who knows the ports and guesses at the ids."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Final

import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.ipc import stats
from tests.unit.fake_upstream import ADDRESS, FakeUpstream, said_to
from tests.unit.stub_client import Client, query_for, received_one
from tests.unit.test_worker_upstream_last import Stream
from tests.unit.worker_rig import TIMEOUT_S, Rig, miss

#: `make guesses` has 100,000 of them.
_GUESSES: Final = int(os.environ.get("GUESSES", "5000"))
_NAMES: Final = 50
#: What is taken for chance: copies, and responses that come late.
_CHANCE: Final = 7
_EVIL: Final = "192.0.2.66"
_NAME: Final = "n{}.example.com"

_Sender = tuple[str, int]


@pytest.fixture
def stream(rig: Rig, upstream: FakeUpstream) -> Iterator[Stream]:
    made = Stream(rig, upstream)
    yield made
    made.close()


def forged(rig: Rig) -> int:
    return rig.words[stats.upstream_at(0) + stats.Upstream.FORGED]


def guess(query: dns.message.Message, identity: int) -> bytes:
    name = query.question[0].name
    evil = said_to(query, f"{name} 300 A {_EVIL}").to_wire()
    return identity.to_bytes(2, "big") + evil[2:]


def wrong_ids(query: dns.message.Message) -> Iterator[int]:
    return iter([query.id ^ number for number in range(1, 1 << 16)])


def test_no_guess_lands_though_the_ports_are_known(
    rig: Rig, upstream: FakeUpstream, stream: Stream
) -> None:
    """Every id is tried for every name; the right one comes late, as it does by luck.

    Sooner than the eighth guess it comes with a chance of 1 in 9,000 a name.
    """
    clients: dict[str, Client] = {}
    asked: list[tuple[dns.message.Message, _Sender]] = []
    for number in range(_NAMES):
        name = _NAME.format(number)
        clients[name] = miss(rig, query_for(name))
        asked.append(upstream.take_one())
    rows = []
    for query, sender in asked:
        ids = [*wrong_ids(query)][: _GUESSES // _NAMES - 1]
        random.Random(query.id).shuffle(ids)
        ids.insert(_CHANCE + 1, query.id)
        rows.append([(guess(query, identity), sender) for identity in ids])

    sent = 0
    for guesses in zip(*rows, strict=True):
        for octets, sender in guesses:
            upstream.send(octets, sender)
        sent += len(guesses)
        rig.round()
    for query in stream.queries(_NAMES):
        stream.answer(query, f"{query.question[0].name} 300 A 192.0.2.1")
    rig.until(lambda: rig.pool and rig.pool.pending == 0)

    assert sent == _GUESSES
    assert forged(rig) == _NAMES
    for client in clients.values():
        response = received_one(client)
        assert response.rcode() == dns.rcode.NOERROR
        assert _EVIL not in response.to_text()


def test_few_that_come_by_chance_do_no_harm(rig: Rig, upstream: FakeUpstream) -> None:
    client = miss(rig)
    query, sender = upstream.take_one()
    ids = wrong_ids(query)
    for _ in range(_CHANCE):
        upstream.send(guess(query, next(ids)), sender)
    rig.round()

    upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert forged(rig) == 0


def test_guesses_at_other_ports_and_names_count_for_nobody(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)
    query, sender = upstream.take_one()
    other = query_for("other.example.com")
    for identity in list(wrong_ids(query))[:50]:
        upstream.send(guess(other, identity), sender)
        upstream.send(b"\x80" * 9, sender)
    rig.round()

    upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert forged(rig) == 0


def test_question_is_lost_rather_than_believed_where_there_is_no_tcp(
    rig: Rig, upstream: FakeUpstream
) -> None:
    upstream.tcp.close()
    client = miss(rig)
    ended = False
    for _ in range(6):
        for query, sender in upstream.take():
            ids = wrong_ids(query)
            for _ in range(_CHANCE + 1):
                upstream.send(guess(query, next(ids)), sender)
            rig.round()
            upstream.send(guess(query, query.id), sender)
        rig.wait(TIMEOUT_S)
        ended = ended or not (rig.pool and rig.pool.pending)

    assert ended
    assert received_one(client).rcode() == dns.rcode.SERVFAIL
