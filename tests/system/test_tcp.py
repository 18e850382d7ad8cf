"""Clients over TCP: pipelined, answered out of order, by the owner of each name."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import dns.flags
import dns.rcode
import pytest

from tests.kern.queries import qname_of
from tests.system.clients import ask, nsid_of, nsid_query
from tests.system.front import DEMO_ZONE, FrontEnd
from tests.system.metrics import connected, hit, missed, responded, steered
from tests.system.processes import needed, output_of
from tests.system.streams import Stream, handed_over, stream_to
from tests.system.upstream import Asked, FakeUpstream, Response, answer, truncated
from tests.waiting import eventually

IDLE_S = 4


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as made:
        yield made


@pytest.fixture(scope="module")
def front(folder: Path, upstream: FakeUpstream) -> Iterator[FrontEnd]:
    with FrontEnd(
        folder,
        upstreams={"servers": [{"address": str(upstream.address)}]},
        zones=[DEMO_ZONE],
        limits={"tcp_idle": f"{IDLE_S}s"},
    ) as made:
        yield made


def test_pipelined_queries_are_answered_by_the_owner_of_each_name(
    front: FrontEnd, upstream: FakeUpstream
) -> None:
    names = [f"name{number}.pipeline.test" for number in range(200)]
    preferences = front.lookup(names)
    before = front.metrics().counts()

    with stream_to(front) as (stream, worker):
        queries = [nsid_query(qname_of(x), at) for at, x in enumerate(names)]
        stream.send(*queries)
        answered_by = {x.id: nsid_of(x) for x in stream.responses(len(names))}

    assert answered_by == {at: preferences[x][0] for at, x in enumerate(names)}
    front.expect(
        before,
        connected(1, len(names))
        + missed(len(names), str(upstream.address))
        + handed_over(preferences, names, worker),
    )


def test_answer_cached_over_one_transport_is_a_hit_over_the_other(
    front: FrontEnd, upstream: FakeUpstream
) -> None:
    preferences = front.lookup(["shared.test"])
    before = front.metrics().counts()

    ask(front.address, "shared.test")
    with stream_to(front) as (stream, worker):
        stream.send(nsid_query(qname_of("shared.test"), 1))
        stream.responses(1)

    front.expect(
        before,
        steered(1)
        + missed(1, str(upstream.address))
        + connected(1, 1)
        + hit(1)
        + handed_over(preferences, ["shared.test"], worker),
    )


def test_quick_answer_overtakes_a_slow_one(
    front: FrontEnd, upstream: FakeUpstream
) -> None:
    slow, quick = (
        nsid_query(qname_of(x), at) for at, x in enumerate(("slow", "quick"))
    )

    with stream_to(front) as (stream, _worker):
        with upstream.holding("slow."):
            stream.send(slow, quick)
            [first] = stream.responses(1)
        [second] = stream.responses(1)

    assert [first.question[0].name.to_text(), second.question[0].name.to_text()] == [
        "quick.",
        "slow.",
    ]


def test_query_may_come_octet_by_octet(front: FrontEnd) -> None:
    query = nsid_query(qname_of("www.example.test"), 1)
    octets = len(query).to_bytes(2, "big") + query

    with stream_to(front) as (stream, _worker):
        for octet in octets:
            stream.send_octets(bytes([octet]))
        [response] = stream.responses(1)

    assert str(response.answer[0][0]) == "192.0.2.80"


def test_client_that_sends_no_more_still_gets_what_it_is_owed(
    front: FrontEnd, upstream: FakeUpstream
) -> None:
    with stream_to(front) as (stream, _worker):
        with upstream.holding("owed.test"):
            stream.send(nsid_query(qname_of("owed.test"), 1))
            stream.end()
        [response] = stream.responses(1)
        assert stream.receive() == b""

    assert response.rcode() == dns.rcode.NOERROR


def test_hundred_connections_at_once_are_served(front: FrontEnd) -> None:
    clients = 100
    query = nsid_query(qname_of("www.example.test"), 1)
    before = front.metrics()

    with ExitStack() as stack:
        streams = [Stream(front.address) for _ in range(clients)]
        for stream in streams:
            stack.callback(stream.close)
            stream.send(query)
        responses = [stream.responses(1)[0] for stream in streams]

    assert {str(response.answer[0][0]) for response in responses} == {"192.0.2.80"}

    def is_counted() -> bool:
        change = front.metrics().counts() - before.counts()
        # Which worker takes which connection is the kernel's secret.
        assert 0 < change.pop("handover tcp") < clients
        assert change == connected(clients, clients) + responded(clients, "zone")
        return True

    eventually(is_counted)
    # The 4-tuple of each connection goes through the table, so nobody takes them all.
    taken = Counter(front.metrics().by_worker("tcp_connections_total"))
    taken -= Counter(before.by_worker("tcp_connections_total"))
    assert sorted(taken) == ["w1", "w2", "w3", "w4"]


def test_large_answer_needs_tcp_and_comes_whole(front: FrontEnd) -> None:
    cut = ask(front.address, "large.example.test", "TXT")
    whole = ask(front.address, "large.example.test", "TXT", over_tcp=True)

    assert (bool(cut.flags & dns.flags.TC), cut.answer) == (True, [])
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0][0].strings) == 12


def nearly_64_kib(asked: Asked) -> list[Response]:
    """Tell as much as a message can hold, over TCP."""
    if not asked.is_tcp:
        return truncated(asked)
    return [asked.response(*(f'300 TXT "{number:0255}"' for number in range(244)))]


@pytest.mark.parametrize("by_owner", [True, False], ids=["by owner", "handed over"])
def test_answer_of_nearly_64_kib_comes_whole(
    front: FrontEnd, upstream: FakeUpstream, *, by_owner: bool
) -> None:
    upstream.script = nearly_64_kib
    qname = f"huge{by_owner}.test"
    preferences = front.lookup([qname])
    query = nsid_query(qname_of(qname), 1)
    txt = query.replace(b"\0\1\0\1\0\0\x29", b"\0\x10\0\1\0\0\x29")

    # The kernel chooses who takes a connection, so several are made.
    is_done = False
    while not is_done:
        with stream_to(front) as (stream, worker):
            is_done = (worker == preferences[qname][0]) == by_owner
            stream.send(txt)
            [response] = stream.responses(1)

    upstream.script = answer
    assert sum(len(record.strings[0]) for record in response.answer[0]) == 244 * 255
    assert len(response.to_wire()) > 65000


@pytest.mark.parametrize(
    ("program", "arguments"),
    [("dig", ["+tcp"]), ("kdig", ["+tcp"]), ("dig", []), ("kdig", [])],
    ids=["dig +tcp", "kdig +tcp", "dig, by itself", "kdig, by itself"],
)
def test_tools_get_the_large_answer(
    front: FrontEnd, program: str, arguments: list[str]
) -> None:
    host, port = front.address

    printed = output_of(
        *(needed(program), f"@{host}", "-p", str(port), *arguments),
        *("large.example.test", "TXT", "+nsid"),
    )

    assert "12 large enough to need TCP" in printed
    assert "NSID" in printed


def test_idle_connection_is_closed(front: FrontEnd) -> None:
    opened_at = time.monotonic()
    stream = Stream(front.address, patience_s=6 * IDLE_S)

    assert stream.receive() == b""
    stream.close()

    # Its upper bound is the patience above: a busy machine closes late.
    assert time.monotonic() - opened_at > IDLE_S - 0.5


def test_no_connection_is_reset_while_workers_and_processes_come_and_go(
    front: FrontEnd,
) -> None:
    is_over = threading.Event()

    def connect() -> int:
        answered = 0
        while not is_over.is_set():
            stream = Stream(front.address)
            stream.send(nsid_query(qname_of("www.example.test"), 1))
            [response] = stream.responses(1)
            assert response.answer
            stream.close()
            answered += 1
        return answered

    with ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(connect)
        try:
            for worker in ("w1", "w2", "w3", "w4") * 2:
                assert front.command("drain", worker)[0] == 0
                assert front.command("undrain", worker)[0] == 0
            front.take_over()
        finally:
            is_over.set()
        assert connecting.result() > 100
