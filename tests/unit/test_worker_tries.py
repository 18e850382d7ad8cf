"""The rules of retrying, without a socket: whom they ask, when, and that they end."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsfront.dns import edns, wire
from dnsfront.dns.response import Response, parse_response
from dnsfront.ipc.spec import MAX_TRIES, UpstreamServer
from dnsfront.worker.upstreams.fetch import MAX_ASKED, Fetch, Port
from dnsfront.worker.upstreams.round_trip import RoundTrip
from dnsfront.worker.upstreams.server import Server
from dnsfront.worker.upstreams.tries import Act, Step, Tries

_MS = 1_000_000
_TIMEOUT_MS = 800
_CANONICAL = b"\3www\7example\3com\0\0\1\0\1"
_TARGET = b"\5other\7example\3net\0"


def response_with(rcode: int) -> Response:
    octets = wire.HEADER.pack(0, wire.QR | wire.RA, 1, 0, 0, 0) + _CANONICAL
    response = parse_response(octets, len(octets))
    response.rcode = rcode
    return response


class Play:
    """One fetch, and a pool that does what the rules want and writes it down.

    *order* has the positions of the servers for up to three tries, the first one first.
    `queries` are those over UDP: the server, when in milliseconds, what was asked for.
    """

    def __init__(self, *order: int) -> None:
        self.servers = [
            Server(
                UpstreamServer(n, f"192.0.2.{n}", 53, socket.AF_INET, 1),
                n,
                RoundTrip(_TIMEOUT_MS * _MS),
            )
            for n in range(max(order) + 1)
        ]
        self.tries = Tries(_TIMEOUT_MS * _MS)
        self._began_ns = self.now_ns = 1_000_000 * _MS
        self.ports = [
            Port(server, -1, left=9, opened_ns=self.now_ns, deadline_ns=1 << 60)
            for server in self.servers
        ]
        candidates = [self.servers[n] for n in order][::-1]
        self.fetch = Fetch(1, _CANONICAL, _CANONICAL, None, [], candidates, ())
        self.queries: list[tuple[int, int, bytes]] = []
        self.steps: list[Step] = []
        self.is_over = False
        self._begin()

    @property
    def now_ms(self) -> int:
        return (self.now_ns - self._began_ns) // _MS

    @property
    def sent(self) -> list[tuple[int, int]]:
        """The server and the time of each query."""
        return [(server, at_ms) for server, at_ms, _asked in self.queries]

    def _begin(self) -> None:
        server = self.tries.begin(self.fetch, self.now_ns)
        self.fetch.sent_at_ns = self.now_ns
        identity = len(self.queries).to_bytes(2, "big")
        port = self.ports[server.position]
        port.pending[identity] = self.fetch
        self.fetch.sent.append((port, identity, self.now_ns))
        self._write_down()

    def _write_down(self) -> None:
        position = self.fetch.server.position
        self.queries.append((position, self.now_ms, self.fetch.asked))

    def do(self, step: Step | None) -> Step | None:
        if step is None:
            return None
        self.steps.append(step)
        if step.act in (Act.REPEAT, Act.RENEW):
            self._write_down()
        elif step.act is Act.GO_ON:
            self.fetch.abandon_tcp = None
            self._begin()
        elif step.act is Act.GIVE_UP:
            self.is_over = True
        return step

    def look(self) -> Step:
        """Let time pass until there is something to look at."""
        self.now_ns = max(self.now_ns, self.tries.look_ns(self.fetch))
        step = self.do(self.tries.time_passed(self.fetch, self.now_ns))
        assert step is not None
        return step

    def look_until_over(self) -> None:
        for _ in range(40):
            if self.is_over:
                return
            self.look()
        assert self.is_over

    def wait(self, milliseconds: int) -> None:
        self.now_ns += milliseconds * _MS

    def fail(self) -> Step | None:
        return self.do(self.tries.failed(self.fetch))

    def refuse(self, rcode: int, position: int | None = None) -> Step | None:
        server = self.fetch.server if position is None else self.servers[position]
        return self.do(self.tries.refused(self.fetch, server, response_with(rcode)))

    def refuse_barely(self, rcode: int) -> Step | None:
        step = self.tries.refused_barely(self.fetch, self.fetch.server, rcode)
        return self.do(step)

    def truncate(self) -> None:
        self.tries.begin_over_tcp(self.fetch, self.now_ns)
        self.fetch.abandon_tcp = lambda: None

    def lead_on(self, *order: int) -> None:
        candidates = [self.servers[n] for n in order][::-1]
        self.fetch.abandon_tcp = None
        server = self.fetch.server
        self.tries.ask_for(self.fetch, _TARGET, server, lambda _qname, _by: candidates)
        self._begin()


# Silence


@pytest.mark.parametrize(
    ("order", "sent"),
    [
        ([0, 0, 0], [(0, 0), (0, 300), (0, 800)]),
        (
            [0, 1, 2],
            [
                *((0, 0), (0, 300), (0, 700)),
                *((1, 800), (1, 1100), (1, 1500)),
                *((2, 1600), (2, 1900), (2, 2300)),
            ],
        ),
        ([0, 1, 0], [(0, 0), (0, 300), (0, 700), (1, 800), (1, 1100), (1, 1500)]),
    ],
    ids=["one server", "three servers", "two servers"],
)
def test_silent_servers_are_sent_three_queries_each(
    order: list[int], sent: list[tuple[int, int]]
) -> None:
    play = Play(*order)

    play.look_until_over()

    assert play.sent == sent
    assert play.now_ms == MAX_TRIES * _TIMEOUT_MS
    assert play.fetch.failed_rcode == wire.SERVFAIL
    assert play.fetch.error == edns.EDE_NO_REACHABLE_AUTHORITY


def test_single_try_ends_after_one_time_out() -> None:
    play = Play(0)

    play.look_until_over()

    assert play.sent == [(0, 0), (0, 300), (0, 700)]
    assert play.now_ms == _TIMEOUT_MS


def test_last_query_is_not_kept_back_where_the_port_hears_something() -> None:
    play = Play(0, 0, 0)
    play.wait(100)
    play.ports[0].heard_ns = play.now_ns

    play.look_until_over()

    assert play.sent == [(0, 0), (0, 300), (0, 700)]
    assert play.now_ms == MAX_TRIES * _TIMEOUT_MS


def test_failure_and_silence_count_once_a_try_and_not_while_it_only_waits() -> None:
    play = Play(0, 0, 0)

    play.look_until_over()

    ends = [step for step in play.steps if step.act is not Act.REPEAT]
    assert [step.act for step in ends] == [Act.RENEW, Act.WAIT, Act.GIVE_UP]
    assert [step.is_failure for step in ends] == [True, True, False]
    assert [step.is_silence for step in ends] == [True, True, False]


@pytest.mark.parametrize(("at_ms", "act"), [(299, Act.WAIT), (300, Act.REPEAT)])
def test_client_that_asks_again_has_the_query_repeated(at_ms: int, act: Act) -> None:
    play = Play(0, 0, 0)
    play.wait(at_ms)

    step = play.do(play.tries.asked_again(play.fetch, play.now_ns))

    assert step == Step(act)


def test_clients_that_ask_again_get_no_fourth_query() -> None:
    play = Play(0, 0, 0)

    for _ in range(9):
        play.wait(300)
        play.do(play.tries.asked_again(play.fetch, play.now_ns))

    assert len(play.sent) == MAX_ASKED


@pytest.mark.parametrize(
    ("order", "following"), [([0, 0, 0], []), ([0, 0, 1], [1])], ids=["none", "other"]
)
def test_server_that_was_asked_often_enough_is_passed_over(
    order: list[int], following: list[int]
) -> None:
    play = Play(*order)
    for _ in range(2):
        play.wait(300)
        play.do(play.tries.asked_again(play.fetch, play.now_ns))

    play.fail()

    assert [server for server, _at_ms in play.sent] == [0, 0, 0, *following]
    assert play.is_over == (not following)


# What servers say


@pytest.mark.parametrize("rcode", [wire.SERVFAIL, wire.REFUSED])
def test_server_that_could_not_say_is_not_asked_again(rcode: int) -> None:
    play = Play(0, 1, 0)

    step = play.refuse(rcode)

    assert step == Step(Act.GO_ON, is_failure=True)
    assert play.sent == [(0, 0), (1, 0)]
    assert play.refuse(rcode) == Step(Act.GIVE_UP, is_failure=True)
    assert play.fetch.failed_rcode == rcode


@pytest.mark.parametrize("rcode", [wire.FORMERR, wire.NOTIMP, wire.BADVERS])
def test_offended_server_is_asked_once_more_without_edns(rcode: int) -> None:
    play = Play(0, 0, 0)
    assert play.fetch.has_edns

    play.refuse(rcode)

    assert play.sent == [(0, 0), (0, 0)]
    assert not play.fetch.has_edns
    assert play.refuse(wire.FORMERR) == Step(Act.GIVE_UP, is_failure=True)


def test_bare_error_ends_a_try_and_excludes_nobody() -> None:
    play = Play(0, 0, 0)

    play.refuse_barely(wire.SERVFAIL)
    play.refuse_barely(wire.SERVFAIL)

    assert play.sent == [(0, 0)] * 3
    assert play.refuse_barely(wire.SERVFAIL) == Step(Act.GIVE_UP, is_failure=True)


def test_late_refusal_has_nothing_follow() -> None:
    play = Play(0, 1, 0)
    while play.fetch.server.position == 0:
        play.look()
    sent = list(play.sent)

    assert play.refuse(wire.REFUSED, 0) is None

    assert play.sent == sent
    assert play.fail() == Step(Act.GIVE_UP, is_failure=True)


def test_truncated_response_gives_two_time_outs_over_tcp_and_no_repetition() -> None:
    play = Play(0, 1)
    play.wait(100)

    play.truncate()
    step = play.look()

    assert play.now_ms == 100 + 2 * _TIMEOUT_MS
    assert step == Step(Act.GO_ON, is_failure=True)
    assert play.sent == [(0, 0), (1, 100 + 2 * _TIMEOUT_MS)]


def test_target_of_an_alias_is_another_question() -> None:
    play = Play(0, 0, 0)
    while len(play.sent) < MAX_ASKED:
        play.look()

    play.lead_on(0, 0, 0)
    play.look_until_over()

    assert Counter(asked for *_, asked in play.queries) == {
        _CANONICAL: MAX_ASKED,
        _TARGET + _CANONICAL[-4:]: MAX_ASKED,
    }


# Whatever happens

_RCODES = st.sampled_from(
    [wire.SERVFAIL, wire.REFUSED, wire.FORMERR, wire.NOTIMP, wire.BADVERS]
)
_BARE_RCODES = st.sampled_from([wire.SERVFAIL, wire.REFUSED, wire.FORMERR])
_EVENTS = st.one_of(
    st.tuples(st.just("look"), st.just(0)),
    st.tuples(st.just("ask again"), st.sampled_from([0, 300, _TIMEOUT_MS])),
    st.tuples(st.just("hear"), st.integers(0, _TIMEOUT_MS)),
    st.tuples(st.just("fail"), st.just(0)),
    st.tuples(st.just("refuse"), _RCODES),
    st.tuples(st.just("refuse late"), _RCODES),
    st.tuples(st.just("refuse barely"), _BARE_RCODES),
    st.tuples(st.just("truncate"), st.just(0)),
)


def happen(play: Play, event: str, value: int) -> None:
    """Let something happen to the fetch, as a pool would be told it."""
    if event == "look":
        play.look()
    elif event == "ask again":
        play.wait(value)
        play.do(play.tries.asked_again(play.fetch, play.now_ns))
    elif event == "hear":
        play.wait(value)
        play.ports[play.fetch.server.position].heard_ns = play.now_ns
    elif event == "fail":
        play.fail()
    elif event == "refuse":
        play.refuse(value)
    elif event == "refuse late":
        position = play.queries[0][0]
        if position != play.fetch.server.position:
            play.refuse(value, position)
    elif event == "refuse barely":
        play.refuse_barely(value)
    elif play.fetch.abandon_tcp is None:
        play.truncate()


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=MAX_TRIES),
    st.lists(_EVENTS, max_size=30),
)
def test_no_server_gets_a_fourth_query_and_every_fetch_ends(
    order: Sequence[int], events: list[tuple[str, int]]
) -> None:
    play = Play(*order)

    for event, value in events:
        if not play.is_over:
            happen(play, event, value)
    play.look_until_over()

    per_server = Counter(server for server, _at_ms in play.sent)
    assert max(per_server.values()) <= MAX_ASKED
    assert set(per_server) <= set(order)
    assert play.fetch.candidates == []
    assert sum(server.outstanding for server in play.servers) == 1
