"""Answers that do not fit a datagram are fetched over TCP."""

from __future__ import annotations

import socket

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from tests.unit.fake_upstream import ADDRESS, FakeUpstream, said_to
from tests.unit.stub_client import query_for, received_one
from tests.unit.worker_rig import TIMEOUT_S, Rig, miss


def over_tcp(connection: socket.socket, response: dns.message.Message) -> None:
    octets = response.to_wire(max_size=65535)
    connection.sendall(len(octets).to_bytes(2, "big") + octets)


def from_tcp(connection: socket.socket) -> dns.message.Message:
    size = int.from_bytes(connection.recv(2), "big")
    return dns.message.from_wire(connection.recv(size))


def truncate(rig: Rig, upstream: FakeUpstream) -> socket.socket:
    """Truncate the one query that came; return the connection that follows."""
    upstream.answer(flags=dns.flags.TC)
    rig.round()
    return rig.until(lambda: accepted(upstream))


def accepted(upstream: FakeUpstream) -> socket.socket | None:
    try:
        return upstream.accept()
    except BlockingIOError:
        return None


LARGE = tuple(f'www.example.com. 300 TXT "{n:04d}{"x" * 240}"' for n in range(200))


def test_truncated_response_is_fetched_over_tcp(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = miss(rig, query_for(rtype="TXT"))

    with truncate(rig, upstream) as connection:
        rig.round()
        query = from_tcp(connection)
        over_tcp(connection, said_to(query, *LARGE))
        rig.until(lambda: rig.pool and rig.pool.pending == 0)

    assert received_one(client).flags & dns.flags.TC
    assert len(rig.cache) == 1
    assert rig.upstream() == (2, 0)


@pytest.mark.parametrize(
    "fault", ["closed", "wrong id", "wrong question", "still truncated", "cut"]
)
def test_tcp_that_fails_is_followed_by_the_next_server(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream, fault: str
) -> None:
    rig = rig_of_two
    client = miss(rig)

    with truncate(rig, upstream) as connection:
        rig.round()
        query = from_tcp(connection)
        response = said_to(query, ADDRESS)
        if fault == "wrong id":
            response.id ^= 1
        elif fault == "wrong question":
            response.question[0].name = query_for("evil.test").question[0].name
        elif fault == "still truncated":
            response.flags |= dns.flags.TC
        if fault == "cut":
            connection.sendall(b"\0\x40" + response.to_wire()[:20])
        elif fault != "closed":
            over_tcp(connection, response)
    rig.until(lambda: second.udp and rig.upstream(1) == (1, 0))
    second.answer(ADDRESS)
    rig.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig.upstream(0) == (2, 1)


def test_tcp_that_is_refused_is_followed_by_the_next_server(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    rig = rig_of_two
    client = miss(rig)
    upstream.tcp.close()

    upstream.answer(flags=dns.flags.TC)
    rig.until(lambda: rig.upstream(1) == (1, 0))
    second.answer(ADDRESS)
    rig.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR


def test_tcp_that_is_silent_times_out(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    rig = rig_of_two
    client = miss(rig)
    with truncate(rig, upstream):
        rig.wait(2 * TIMEOUT_S - 0.001)
        assert second.take() == []

        rig.wait(0.001)

        second.answer(ADDRESS)
        rig.round()
        assert received_one(client).rcode() == dns.rcode.NOERROR


def test_large_answer_reaches_the_next_client_over_tcp_from_the_cache(
    rig: Rig, upstream: FakeUpstream
) -> None:
    miss(rig, query_for(rtype="TXT"))
    with truncate(rig, upstream) as connection:
        rig.round()
        over_tcp(connection, said_to(from_tcp(connection), *LARGE))
        rig.until(lambda: rig.pool and rig.pool.pending == 0)

    entry = next(iter(rig.cache.views[1].values()))

    assert entry.head[2:4] == (200).to_bytes(2, "big")
