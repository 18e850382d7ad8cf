"""How connections of clients end in a drain: nobody is forgotten, nobody stays."""

from __future__ import annotations

from collections.abc import Iterator

import dns.message
import pytest

from dnsfront.dns.response import Response
from dnsfront.ipc.stats import Counter
from dnsfront.worker.transports.framed import BUSY_NS
from dnsfront.worker.transports.streams import SILENT_S
from dnsfront.worker.upstreams.fetch import Fetch
from tests.unit.fake_upstream import FakeUpstream
from tests.unit.streaming import BIG, Stream, away, respond_upstream, www
from tests.unit.stub_client import query_for
from tests.unit.worker_rig import NS, Rig


@pytest.fixture
def rig(upstream: FakeUpstream) -> Iterator[Rig]:
    with Rig(zone=BIG, upstreams=[upstream]) as made:
        yield made


@pytest.fixture
def stream(rig: Rig) -> Iterator[Stream]:
    made = Stream(rig)
    yield made
    made.close()


def test_drained_client_that_reads_slowly_gets_all(rig: Rig) -> None:
    stream = Stream(rig, buffer_octets=4096)
    stream.send(*[query_for("big.example.test", "TXT") for _ in range(40)])
    rig.until(lambda: rig.streams.octets)

    rig.tcp.drain(is_kept=False)

    assert len(stream.until_closed()) == 40
    stream.close()
    rig.until(lambda: not rig.tcp.connections)


def test_drained_listener_answers_what_was_asked_and_closes(
    rig: Rig, stream: Stream, upstream: FakeUpstream
) -> None:
    idle = Stream(rig)
    idle.send(www())
    idle.until(1)
    stream.send(away(1))
    rig.until(lambda: rig.pool and rig.pool.pending)

    rig.tcp.drain(is_kept=False)
    assert idle.until_closed() == []
    assert not stream.has_ended
    respond_upstream(upstream)

    [response] = stream.until_closed()
    assert response.id == 1
    idle.close()
    stream.close()
    rig.until(lambda: not rig.tcp.connections)


def test_query_that_comes_with_the_last_answer_is_answered_in_a_drain(
    rig: Rig,
    stream: Stream,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream.send(away(1))
    rig.until(lambda: rig.pool and rig.pool.pending)
    rig.tcp.drain(is_kept=False)
    rig.round()
    take = rig.outcomes.deliver

    def ask_and_take(fetch: Fetch, response: Response) -> None:
        stream.send(www())
        take(fetch, response)

    monkeypatch.setattr(rig.outcomes, "deliver", ask_and_take)
    respond_upstream(upstream)

    assert len(stream.until_closed()) == 2


def test_drain_ends_for_a_client_that_is_owed_something_all_the_time(
    rig: Rig, stream: Stream, upstream: FakeUpstream
) -> None:
    pool = rig.pool
    assert pool is not None
    stream.send(away(1))
    rig.until(lambda: pool.pending == 1)
    rig.tcp.drain(is_kept=False)
    stream.send(away(2))
    rig.until(lambda: pool.pending == 2)
    rig.streams.expire(rig.now_ns)
    rig.streams.expire(rig.now_ns + BUSY_NS + 1)

    stream.send(away(3))
    for _ in range(5):
        rig.round()
    assert pool.pending == 2  # nothing is read while something is owed
    found: list[dns.message.Message] = []

    def is_over() -> bool:
        # Whatever is answered, the client has asked more before that.
        if not found:
            stream.send(away(4))
        respond_upstream(upstream)
        found.extend(stream.read())
        return stream.has_ended

    rig.until(is_over)

    # Then once more, so that no answer that took its time costs the query behind it.
    assert {response.id for response in found} >= {1, 2, 3}
    assert rig.count(Counter.QUERIES_TCP) == len(found)


def test_drained_listener_waits_for_the_first_query_of_a_connection(rig: Rig) -> None:
    early, late, silent = (Stream(rig) for _ in range(3))
    rig.until(lambda: len(rig.tcp.connections) == 3)
    early.send(www())

    rig.tcp.drain(is_kept=False)
    late.send(www())

    assert len(early.until_closed()) == len(late.until_closed()) == 1
    early.close()
    late.close()
    rig.until(lambda: len(rig.tcp.connections) == 1)
    rig.streams.expire(rig.now_ns + (SILENT_S + 1) * NS)
    assert silent.until_closed() == []
    silent.close()


def test_drained_listener_takes_all_who_were_waiting(rig: Rig) -> None:
    streams = [Stream(rig) for _ in range(100)]
    for stream in streams:
        stream.send(www())

    rig.tcp.drain(is_kept=False)

    assert rig.count(Counter.TCP_CONNECTIONS) == 100
    for stream in streams:
        stream.close()
