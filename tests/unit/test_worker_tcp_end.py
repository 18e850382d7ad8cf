"""How connections of clients end: in time, and after all answers."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.ipc.stats import Counter, Limit
from dnsfront.worker.transports.framed import MAX_OUTSTANDING
from dnsfront.worker.transports.streams import SILENT_S, STUCK_S
from tests.unit.fake_upstream import FakeUpstream
from tests.unit.streaming import BIG, Stream, away, respond_upstream, www
from tests.unit.stub_client import query_for
from tests.unit.worker_rig import NS, ZONE, Rig, open_descriptors

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


def test_client_that_only_closed_its_side_still_gets_its_answers(
    rig: Rig, stream: Stream, upstream: FakeUpstream
) -> None:
    stream.send(*map(away, range(3)), www())
    stream.socket.shutdown(socket.SHUT_WR)
    early = stream.until(1)
    assert not stream.has_ended

    respond_upstream(upstream)
    late = stream.until_closed()

    assert len(early) == 1
    assert sorted(response.id for response in late) == [0, 1, 2]
    assert not rig.tcp.connections


def test_half_closed_connection_is_served_to_its_last_query(
    rig: Rig, stream: Stream, upstream: FakeUpstream
) -> None:
    total = 2 * MAX_OUTSTANDING + 10
    stream.send(*map(away, range(total)))
    stream.socket.shutdown(socket.SHUT_WR)
    found: list[dns.message.Message] = []

    def is_over() -> bool:
        respond_upstream(upstream)
        found.extend(stream.read())
        return stream.has_ended

    rig.until(is_over)

    assert sorted(response.id for response in found) == list(range(total))


def test_connection_that_was_idle_too_long_is_closed(rig: Rig, stream: Stream) -> None:
    stream.send(www())
    stream.until(1)
    rig.now_ns += IDLE_S * NS
    rig.streams.expire(rig.now_ns)
    assert rig.tcp.connections

    rig.now_ns += 1
    rig.streams.expire(rig.now_ns)

    assert stream.until_closed() == []
    assert not rig.tcp.connections


@pytest.mark.parametrize(
    "garbage",
    [b"\0\5hello", b"\0\x0c" + b"\0\0\x80" + bytes(9)],
    ids=["short message", "a response"],
)
def test_garbage_takes_no_answer_along_that_was_asked_for_before(
    rig: Rig, stream: Stream, upstream: FakeUpstream, garbage: bytes
) -> None:
    stream.send(away(1), www())
    stream.socket.send(garbage)
    stream.send(www(), www())
    [quick] = stream.until(1)

    respond_upstream(upstream)
    late = stream.until_closed()

    assert quick.answer
    assert [response.id for response in late] == [1]
    stream.close()
    rig.until(lambda: not rig.tcp.connections)
    assert rig.count(Counter.QUERIES_TCP) == 2
    garbled = rig.count(Counter.IGNORED_SHORT) + rig.count(Counter.IGNORED_RESPONSE)
    assert garbled == 1


def test_client_that_does_not_hear_goodbye_is_closed_after_a_moment(
    rig: Rig, stream: Stream
) -> None:
    stream.socket.send(b"\0\0")
    assert stream.until_closed() == []
    stream.send(www())
    rig.round()
    assert rig.tcp.connections

    rig.streams.expire(rig.now_ns + SILENT_S * NS + 1)

    assert not rig.tcp.connections
    assert rig.count(Limit.TCP_IDLE) == 0


def test_connection_with_a_query_pending_is_not_idle(
    rig: Rig, stream: Stream, upstream: FakeUpstream
) -> None:
    stream.send(away(1))
    rig.until(lambda: rig.pool and rig.pool.pending)
    rig.streams.expire(rig.now_ns + 3 * IDLE_S * NS)

    respond_upstream(upstream)

    assert len(stream.until(1)) == 1
    assert rig.count(Limit.TCP_IDLE) == 0


def test_connection_whose_query_was_lost_does_not_stay_for_ever(
    rig: Rig, stream: Stream
) -> None:
    stream.send(away(1))
    rig.until(lambda: rig.pool and rig.pool.pending)

    rig.streams.expire(rig.now_ns + STUCK_S * NS + 1)

    assert stream.until_closed() == []
    assert rig.count(Limit.TCP_IDLE) == 1


def test_query_that_comes_in_drops_keeps_no_connection(
    rig: Rig, stream: Stream
) -> None:
    octets = www().to_wire()
    for at in range(IDLE_S + 1):
        stream.socket.send((len(octets).to_bytes(2, "big") + octets)[at : at + 1])
        rig.round()
        rig.now_ns += NS
        rig.streams.expire(rig.now_ns)

    assert stream.until_closed() == []
    assert rig.count(Limit.TCP_IDLE) == 1


def test_query_in_between_keeps_a_connection(rig: Rig, stream: Stream) -> None:
    for _ in range(3):
        stream.send(www())
        stream.until(1)
        rig.now_ns += (IDLE_S - 1) * NS
        rig.streams.expire(rig.now_ns)

    assert rig.tcp.connections


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
def test_client_that_is_gone_is_forgotten(
    *, rig: Rig, stream: Stream, upstream: FakeUpstream, is_reset: bool
) -> None:
    stream.send(away(1), away(2))
    rig.until(lambda: rig.pool and rig.pool.pending == 2)
    if is_reset:
        stream.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )
    stream.close()
    rig.round()

    respond_upstream(upstream)
    rig.until(lambda: not rig.tcp.connections)
    rig.until(lambda: rig.pool and rig.pool.pending == 0)

    assert rig.counted().get("EXCEPTIONS") is None


def test_closed_connections_leave_no_descriptor(rig: Rig) -> None:
    before = open_descriptors()

    for _ in range(20):
        stream = Stream(rig)
        stream.send(www())
        stream.until(1)
        stream.close()
    rig.until(lambda: not rig.tcp.connections)
    gc.collect()

    assert open_descriptors() <= before


def test_client_that_is_not_allowed_is_not_connected() -> None:
    with Rig(zone=ZONE, allow=("192.0.2.0/24",)) as rig:
        stream = Stream(rig)

        assert stream.until_closed() == []

        assert rig.counted() == {"TCP_REFUSED": 1}
        stream.close()


def test_client_that_does_not_read_is_not_served_on(rig: Rig) -> None:
    stream = Stream(rig, buffer_octets=4096)
    big = query_for("big.example.test", "TXT").to_wire()
    total = 500

    # All of them fit one buffer of ours; their responses are 25 MB.
    sent = stream.socket.send(total * (len(big).to_bytes(2, "big") + big))
    for _ in range(20):
        rig.round()

    assert sent == total * (len(big) + 2)
    served = rig.count(Counter.QUERIES_TCP)
    assert served < total / 2
    found: list[bytes] = []

    def has_all() -> bool:
        found.extend(stream.read_octets())
        return len(found) == total

    rig.until(has_all)
    assert rig.count(Counter.QUERIES_TCP) == total
    stream.close()


def test_half_closed_client_that_reads_slowly_gets_all(rig: Rig) -> None:
    stream = Stream(rig, buffer_octets=4096)
    big = query_for("big.example.test", "TXT").to_wire()
    stream.socket.send(40 * (len(big).to_bytes(2, "big") + big))
    stream.socket.shutdown(socket.SHUT_WR)

    found = stream.until_closed()

    assert len(found) == 40
    stream.close()


@pytest.mark.parametrize("is_reading", [True, False], ids=["a little", "nothing"])
def test_client_that_takes_nothing_of_its_answers_is_closed_in_time(
    *, rig: Rig, is_reading: bool
) -> None:
    stream = Stream(rig, buffer_octets=4096)
    stream.send(*[query_for("big.example.test", "TXT") for _ in range(40)])
    for _ in range(20):
        rig.round()
    [connection] = rig.tcp.connections
    assert connection.is_stalled

    for _ in range(2):
        rig.now_ns += (IDLE_S * NS * 3) // 4
        if is_reading:
            sent = rig.streams.octets
            rig.until(
                lambda sent=sent: stream.read_octets() or rig.streams.octets != sent
            )
        rig.streams.expire(rig.now_ns)

    assert bool(rig.tcp.connections) == is_reading
    assert rig.count(Limit.TCP_IDLE) == int(not is_reading)
    stream.close()


def test_client_that_breaks_while_it_is_owed_much_is_forgotten(rig: Rig) -> None:
    stream = Stream(rig, buffer_octets=4096)
    stream.send(*[query_for("big.example.test", "TXT") for _ in range(40)])
    for _ in range(20):
        rig.round()
    assert rig.streams.octets

    reset = b"\1\0\0\0\0\0\0\0"
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    stream.close()

    rig.until(lambda: not rig.tcp.connections)
    assert rig.streams.octets == 0
    assert "EXCEPTIONS" not in rig.counted()


def test_query_that_meets_a_fault_is_answered_and_frees_its_place(
    rig: Rig, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rig.answering.local.zones is not None

    def fail(_qname: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(rig.answering.local.zones, "find", fail)
    stream.send(*[query_for(f"n{n}.example.test") for n in range(MAX_OUTSTANDING + 1)])

    responses = stream.until(MAX_OUTSTANDING + 1)

    assert {x.rcode() for x in responses} == {dns.rcode.SERVFAIL}
    assert rig.count(Counter.EXCEPTIONS) == MAX_OUTSTANDING + 1
    [connection] = rig.tcp.connections
    assert connection.is_idle
