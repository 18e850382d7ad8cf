"""Only the response to what was asked is taken, whatever else comes."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from tests.unit.fake_upstream import ADDRESS, FakeUpstream, said_to
from tests.unit.stub_client import Client, query_for, received, received_one
from tests.unit.worker_rig import Rig, miss


def forged(kind: str, response: dns.message.Message) -> bytes:
    octets = response.to_wire()
    return {
        "wrong id": bytes((octets[0] ^ 1,)) + octets[1:],
        "wrong name": octets.replace(b"\3www", b"\3wwv"),
        "wrong type": octets.replace(b"\0\1\0\1\xc0", b"\0\2\0\1\xc0", 1),
        "wrong class": octets.replace(b"\0\1\0\1\xc0", b"\0\1\0\3\xc0", 1),
        "a query": octets[:2] + bytes((octets[2] & 0x7F,)) + octets[3:],
        "opcode": octets[:2] + bytes((octets[2] | 0x28,)) + octets[3:],
        "no question": octets[:4] + b"\0\0" + octets[6:12] + octets[12 + 21 :],
        "two questions": octets[:4] + b"\0\2" + octets[6:],
        "short": octets[:14],
        "empty": b"",
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "wrong id",
        "wrong name",
        "wrong type",
        "wrong class",
        "a query",
        "opcode",
        "no question",
        "two questions",
        "short",
        "empty",
    ],
)
def test_forged_response_is_ignored(
    rig: Rig, upstream: FakeUpstream, kind: str
) -> None:
    client = miss(rig)
    query, sender = upstream.take_one()
    evil = said_to(query, "www.example.com. 300 A 192.0.2.66")

    upstream.send(forged(kind, evil), sender)
    rig.round()
    assert client.receive() == []
    upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig.round()

    assert "192.0.2.1" in received_one(client).answer[0].to_text()
    assert rig.upstream() == (1, 0)


def test_response_from_another_port_is_ignored(
    rig: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = miss(rig)
    query, sender = upstream.take_one()

    second.send(said_to(query, "www.example.com. 300 A 192.0.2.66").to_wire(), sender)
    rig.round()

    assert client.receive() == []


def test_response_to_another_port_of_ours_is_ignored(
    rig: Rig, upstream: FakeUpstream
) -> None:
    senders: dict[tuple[str, int], tuple[Client, dns.message.Message]] = {}
    number = 0
    while len(senders) < 2:
        number += 1
        client = miss(rig, query_for(f"n{number}.example.com"))
        query, sender = upstream.take_one()
        senders.setdefault(sender, (client, query))
    [(_, (client, query)), (other, _)] = list(senders.items())[:2]

    upstream.send(said_to(query).to_wire(), other)
    rig.round()

    assert client.receive() == []


def test_question_may_be_repeated_in_other_letters(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)
    query, sender = upstream.take_one()
    octets = said_to(query, ADDRESS).to_wire()

    upstream.send(octets.replace(b"\3www", b"\3WwW", 1), sender)
    rig.round()

    assert received_one(client).question[0].name.to_text() == "www.example.com."


def test_second_copy_of_a_response_changes_nothing(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)
    query, sender = upstream.take_one()

    for _ in range(3):
        upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig.round()
    upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig.round()

    assert len(received(client)) == 1
    assert rig.counted()["NOERROR"] == 1
    assert rig.pool is not None
    assert rig.pool.pending == 0


def test_malformed_response_goes_to_the_next_server(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = miss(rig_of_two)
    query, sender = upstream.take_one()

    upstream.send(said_to(query, ADDRESS).to_wire()[:-3], sender)
    rig_of_two.round()
    second.answer(ADDRESS)
    rig_of_two.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig_of_two.upstream(0) == (1, 1)
    assert rig_of_two.upstream(1) == (1, 0)
