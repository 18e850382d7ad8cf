"""DNS over TCP for clients: real connections, over a clock that is told."""

from __future__ import annotations

from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.ipc.stats import Counter
from dnsfront.worker.transports.framed import MAX_OUTSTANDING, QUERIES_A_TURN
from tests.unit.fake_upstream import FakeUpstream
from tests.unit.streaming import BIG, Stream, away, respond_upstream, www
from tests.unit.stub_client import query_for
from tests.unit.worker_rig import NS, Rig

IDLE_S = 10


@pytest.fixture
def rig(upstream: FakeUpstream) -> Iterator[Rig]:
    with Rig(zone=BIG, upstreams=[upstream]) as made:
        yield made


@pytest.fixture
def stream(rig: Rig) -> Iterator[Stream]:
    made = Stream(rig)
    yield made
    made.close()


# The plain way


def test_query_over_tcp_is_answered(rig: Rig, stream: Stream) -> None:
    stream.send(www())

    [response] = stream.until(1)

    assert response.rcode() == dns.rcode.NOERROR
    assert response.answer[0].ttl == 300
    assert rig.counted() == {"QUERIES_TCP": 1, "TCP_CONNECTIONS": 1, "NOERROR": 1}


def test_large_answer_comes_whole(stream: Stream) -> None:
    stream.send(query_for("big.example.test", "TXT"))

    [response] = stream.until(1)

    assert len(response.answer[0]) == 200
    assert not response.flags & dns.flags.TC


def test_any_is_forwarded_over_tcp(
    stream: Stream, rig: Rig, upstream: FakeUpstream
) -> None:
    stream.send(query_for(rtype="ANY"))
    rig.until(lambda: rig.pool and rig.pool.pending)

    upstream.answer("www.example.com. 60 A 192.0.2.1")

    assert stream.until(1)[0].answer


@pytest.mark.parametrize("piece", [1, 2, 3, 7])
def test_query_may_come_in_pieces(rig: Rig, stream: Stream, piece: int) -> None:
    octets = www().to_wire()
    octets = 2 * (len(octets).to_bytes(2, "big") + octets)

    for at in range(0, len(octets), piece):
        stream.socket.send(octets[at : at + piece])
        rig.round()

    assert len(stream.until(2)) == 2


@pytest.mark.parametrize(
    ("octets", "rcode"),
    [
        (b"\0\1\1\0\0\0\0\0\0\0\0\0", "FORMERR"),
        (b"\0\1\x20\0\0\1\0\0\0\0\0\0\0\0\1\0\1", "NOTIMP"),
        (www().to_wire() + b"\0", "FORMERR"),
        (query_for("www.example.test", "AXFR").to_wire(), "REFUSED"),
    ],
    ids=["no question", "NOTIFY", "trailing octet", "AXFR"],
)
def test_malformed_query_gets_its_rcode_and_the_connection_stays(
    stream: Stream, octets: bytes, rcode: str
) -> None:
    stream.send(octets, www())

    refused, answered = stream.until(2)

    assert dns.rcode.to_text(refused.rcode()) == rcode
    assert answered.rcode() == dns.rcode.NOERROR


@pytest.mark.parametrize(
    "octets",
    [
        b"\0\0",
        b"\0\5hello",
        b"\0\x0c" + b"\0\0\x80" + bytes(9),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["empty message", "short message", "a response", "HTTP"],
)
def test_garbage_closes_the_connection(rig: Rig, stream: Stream, octets: bytes) -> None:
    stream.socket.send(octets)
    if octets.startswith(b"GET"):
        # Its first octets announce a message of 18245, which never comes.
        rig.round()
        rig.streams.expire(rig.now_ns + (IDLE_S + 1) * NS)

    assert stream.until_closed() == []
    stream.close()
    rig.until(lambda: not rig.tcp.connections)
    assert rig.count(Counter.QUERIES_TCP) == 0


# Many queries


def test_queries_are_pipelined(stream: Stream) -> None:
    queries = [www() for _ in range(300)]

    stream.send(*queries)

    ids = [response.id for response in stream.until(300)]
    assert sorted(ids) == sorted(query.id for query in queries)


def test_answers_come_as_they_are_ready(
    rig: Rig, stream: Stream, upstream: FakeUpstream
) -> None:
    slow, quick = away(1), www()
    stream.send(slow, quick)

    [first] = stream.until(1)
    respond_upstream(upstream)
    [second] = stream.until(1)

    assert (first.id, second.id) == (quick.id, slow.id)
    assert rig.count(Counter.QUERIES_TCP) == 2


def test_queries_under_way_are_bounded(
    rig: Rig, stream: Stream, upstream: FakeUpstream
) -> None:
    total = MAX_OUTSTANDING + 50
    stream.send(*map(away, range(total)))
    for _ in range(total // QUERIES_A_TURN):
        rig.round()

    first = respond_upstream(upstream, backwards=True)
    found = stream.until(first)
    rig.until(lambda: rig.pool and rig.pool.pending == 50)
    second = respond_upstream(upstream)
    found += stream.until(second)

    assert (first, second) == (MAX_OUTSTANDING, 50)
    assert sorted(response.id for response in found) == list(range(total))
