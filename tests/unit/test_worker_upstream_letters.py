"""Questions in letters drawn at random, and servers that do not keep them."""

from __future__ import annotations

from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.ipc.spec import PoolSettings
from dnsfront.worker.upstreams.letters import Letters
from tests.unit.fake_upstream import FakeUpstream, said_to
from tests.unit.shared_load import KEY
from tests.unit.stub_client import query_for, received_one
from tests.unit.test_worker_upstream_last import Stream
from tests.unit.worker_rig import TIMEOUT_S, Rig, miss

_NAME = "a-long-name-{}-of-many-letters.example.com"
_Sender = tuple[str, int]


@pytest.fixture
def mixed(rig: Rig, upstream: FakeUpstream) -> Iterator[Stream]:
    """Have the one upstream asked in drawn letters; yield its connections."""
    pool = PoolSettings("ordered", TIMEOUT_S, (upstream.spec,), mixed_case=True)
    rig.forwarding.replace(pool, hash_key=KEY, udp_size=1232)
    made = Stream(rig, upstream)
    yield made
    made.close()


def name_in(octets: bytes) -> bytes:
    return octets[12 : octets.index(0, 12)]


def answer(octets: bytes, *, keeps: bool) -> bytes:
    query = dns.message.from_wire(octets)
    response = said_to(query, f"{query.question[0].name} 300 A 192.0.2.1").to_wire()
    name = name_in(octets)
    return response if keeps else response.replace(name, name.lower())


def ask(
    rig: Rig, upstream: FakeUpstream, number: int
) -> tuple[dns.message.Message, bytes, _Sender]:
    query = query_for(_NAME.format(number))
    miss(rig, query)
    [(octets, sender)] = upstream.take_octets()
    return query, octets, sender


def test_letters_are_drawn_and_told_to_nobody(
    rig: Rig, upstream: FakeUpstream, mixed: Stream
) -> None:
    spelled = set()
    for number in range(8):
        client = miss(rig, query_for(_NAME.format(number)))
        [(octets, sender)] = upstream.take_octets()
        spelled.add(name_in(octets)[:12])
        upstream.send(answer(octets, keeps=True), sender)
        rig.round()

        response = received_one(client)
        assert response.rcode() == dns.rcode.NOERROR
        assert response.to_text() == response.to_text().replace("LONG", "long")
        assert str(response.answer[0].name) == _NAME.format(number) + "."
    # Eight times the same ten letters by chance: 1 in 2^70.
    assert len(spelled) > 1
    assert mixed.accept() == 0


def test_repetition_has_the_same_letters(
    rig: Rig, upstream: FakeUpstream, mixed: Stream
) -> None:
    _query, first, sender = ask(rig, upstream, 0)
    rig.wait(TIMEOUT_S / 2)
    [(again, same)] = upstream.take_octets()

    assert (again, same) == (first, sender)
    assert mixed.accept() == 0


def test_answer_in_other_letters_is_not_believed(
    rig: Rig, upstream: FakeUpstream, mixed: Stream
) -> None:
    client = miss(rig, query_for(_NAME.format(0)))
    [(octets, sender)] = upstream.take_octets()
    forged = answer(octets, keeps=False).replace(
        b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x42"
    )

    upstream.send(forged, sender)
    rig.round()
    [query] = mixed.queries(1)
    mixed.answer(query, f"{query.question[0].name} 300 A 192.0.2.1")
    rig.until(lambda: rig.pool and rig.pool.pending == 0)

    assert "192.0.2.1" in received_one(client).to_text()


def test_server_that_folds_is_asked_in_small_letters_before_long(
    rig: Rig, upstream: FakeUpstream, mixed: Stream
) -> None:
    for number in range(3):
        _query, octets, sender = ask(rig, upstream, number)
        upstream.send(answer(octets, keeps=False), sender)
        rig.round()
        [query] = mixed.queries(1)
        mixed.answer(query, f"{query.question[0].name} 300 A 192.0.2.1")
        rig.until(lambda: rig.pool and rig.pool.pending == 0)

    client = miss(rig, query_for(_NAME.format(3)))
    [(octets, sender)] = upstream.take_octets()
    assert name_in(octets) == name_in(octets).lower()
    upstream.send(answer(octets, keeps=True), sender)
    rig.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    rig.wait(901)
    _query, octets, _sender = ask(rig, upstream, 4)
    assert name_in(octets) != name_in(octets).lower()


def test_truncated_answer_is_asked_for_over_tcp(
    rig: Rig, upstream: FakeUpstream, mixed: Stream
) -> None:
    client = miss(rig)
    [(octets, sender)] = upstream.take_octets()
    said = said_to(dns.message.from_wire(octets), flags=dns.flags.TC)
    upstream.send(said.to_wire(), sender)
    rig.round()
    [query] = mixed.queries(1)
    mixed.answer(query, "www.example.com. 300 A 192.0.2.1")
    rig.until(lambda: rig.pool and rig.pool.pending == 0)

    assert received_one(client).rcode() == dns.rcode.NOERROR


def test_octets_that_are_no_letters_stay() -> None:
    letters = Letters(bytes(16))
    question = b"\x3f" + b"[`{@a_-9" * 7 + b"\xe1\xc1zzzzz" + b"\0\0\1\0\1"
    query = bytes(range(12)) + question + b"opt"

    spelled = letters.spell(query, question, 0)

    assert spelled != query
    assert spelled.lower() == query.lower()
    assert len(spelled) == len(query)
    assert letters.is_proof(spelled, question, 0)
