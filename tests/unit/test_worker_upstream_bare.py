"""Errors of upstreams that repeat no question."""

from __future__ import annotations

import select
import socket
import struct

import dns.message
import dns.rcode
import pytest

from tests.unit.fake_upstream import ADDRESS, FakeUpstream, said_to
from tests.unit.stub_client import received_one
from tests.unit.worker_rig import TIMEOUT_S, Rig, miss


def bare(query: dns.message.Message, rcode: str, *, edns: int = -1) -> bytes:
    """Return an error with a header, and at most an OPT record."""
    error = dns.message.make_response(query)
    error.question.clear()
    error.use_edns(edns)
    error.set_rcode(dns.rcode.from_text(rcode))
    return error.to_wire()


@pytest.mark.parametrize("edns", [-1, 0], ids=["without OPT", "with OPT"])
@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED"])
def test_an_error_without_a_question_is_the_servers_word_at_once(
    rig_of_two: Rig,
    upstream: FakeUpstream,
    second: FakeUpstream,
    rcode: str,
    edns: int,
) -> None:
    client = miss(rig_of_two)
    query, sender = upstream.take_one()

    upstream.send(bare(query, rcode, edns=edns), sender)
    rig_of_two.round()
    second.answer(ADDRESS)
    rig_of_two.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig_of_two.upstream(0) == (1, 1)
    assert rig_of_two.upstream(1) == (1, 0)


@pytest.mark.parametrize("rcode", ["FORMERR", "NOTIMP"])
def test_a_complaint_without_a_question_is_answered_by_a_plain_query(
    rig: Rig, upstream: FakeUpstream, rcode: str
) -> None:
    client = miss(rig)
    query, sender = upstream.take_one()

    upstream.send(bare(query, rcode), sender)
    rig.round()
    again = upstream.answer(ADDRESS, edns=-1)
    rig.round()

    assert (query.edns, again.edns) == (0, -1)
    assert received_one(client).rcode() == dns.rcode.NOERROR


@pytest.mark.parametrize("is_bare", [True, False])
@pytest.mark.parametrize("rcode", ["FORMERR", "NOTIMP"])
def test_a_complaint_about_our_opt_record_is_not_told_to_the_client(
    rig: Rig, upstream: FakeUpstream, rcode: str, *, is_bare: bool
) -> None:
    client = miss(rig)
    query, sender = upstream.take_one()
    complaint = said_to(query, rcode=dns.rcode.from_text(rcode)).to_wire()

    upstream.send(bare(query, rcode) if is_bare else complaint, sender)
    for _ in range(4):
        rig.wait(TIMEOUT_S)  # the plain queries get lost

    assert received_one(client).rcode() == dns.rcode.SERVFAIL


def test_errors_without_a_question_to_every_try_are_told_without_a_time_out(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)
    asked = 0

    for _ in range(3):
        query, sender = upstream.take_one()
        asked += 1
        upstream.send(bare(query, "SERVFAIL"), sender)
        rig.round()

    assert received_one(client).rcode() == dns.rcode.SERVFAIL
    assert asked == 3
    assert upstream.take() == []


def test_an_error_without_a_question_ends_one_try_and_no_more(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig)
    query, sender = upstream.take_one()

    for _ in range(20):
        upstream.send(bare(query, "REFUSED"), sender)
    rig.round()
    rig.round()
    assert client.receive() == []
    upstream.answer(ADDRESS)
    rig.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR


def test_an_error_without_a_question_about_an_earlier_try_is_nothing(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = miss(rig_of_two)
    query, sender = upstream.take_one()
    rig_of_two.wait(TIMEOUT_S)

    upstream.send(bare(query, "SERVFAIL"), sender)
    rig_of_two.round()
    second.answer(ADDRESS)
    rig_of_two.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig_of_two.upstream(1) == (1, 0)


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda octets: octets[:3] + b"\x80" + octets[4:],
        lambda octets: octets[:3] + b"\x83" + octets[4:],
        lambda octets: octets[:7] + b"\1" + octets[8:],
        lambda octets: bytes((octets[0] ^ 1,)) + octets[1:],
        lambda octets: octets[:2] + b"\0" + octets[3:],
        lambda octets: octets[:11],
    ],
    ids=["NOERROR", "NXDOMAIN", "an answer", "other id", "a query", "short"],
)
def test_only_errors_need_no_question(
    rig: Rig, upstream: FakeUpstream, spoilt: object
) -> None:
    client = miss(rig)
    query, sender = upstream.take_one()

    assert callable(spoilt)
    upstream.send(spoilt(bare(query, "REFUSED")), sender)
    rig.round()
    assert upstream.take() == []
    upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig.upstream() == (1, 0)


def test_an_error_without_a_question_over_tcp_goes_to_the_next_server(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = miss(rig_of_two)
    query, sender = upstream.take_one()
    truncated = bytearray(said_to(query).to_wire())
    truncated[2] |= 2
    upstream.send(bytes(truncated), sender)
    rig_of_two.round()
    with upstream.accept() as connection:
        rig_of_two.until(lambda: _readable(connection))
        asked = dns.message.from_wire(connection.recv(4096)[2:])
        error = bare(asked, "SERVFAIL")
        connection.sendall(struct.pack("!H", len(error)) + error)
        rig_of_two.until(lambda: rig_of_two.upstream(1)[0] == 1)
        second.answer(ADDRESS)
        rig_of_two.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR


def _readable(connection: socket.socket) -> bool:
    return bool(select.select([connection], [], [], 0)[0])
