"""Servers that are asked over TLS: whom they are believed to be, and never plainly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import dns.rcode
import pytest

from dnsfront.ipc.stats import TLS_RESULTS
from dnsfront.tls.client import Fault
from tests.unit.authority import NAME, Authority, Identity
from tests.unit.fake_upstream import ADDRESS, FakeUpstream
from tests.unit.stub_client import query_for, received_one
from tests.unit.tls_peer import TlsPeer, handshakes, respond, server_context, trusting
from tests.unit.worker_rig import TIMEOUT_S, Rig, miss

_QNAME: Final = "n{}.example.com"
_AUTHORITY: Final = Authority()
_OTHER_AUTHORITY: Final = Authority()
_IDENTITY: Final = _AUTHORITY.identity(NAME)


@pytest.fixture
def peer(rig: Rig, upstream: FakeUpstream) -> Iterator[TlsPeer]:
    """The one upstream, which is asked over TLS."""
    yield from _peer(rig, [upstream], _IDENTITY)


def _peer(
    rig: Rig, upstreams: list[FakeUpstream], identity: Identity, *pins: str
) -> Iterator[TlsPeer]:
    trusting(upstreams[0], _AUTHORITY, NAME, *pins)
    rig.forward_to(upstreams)
    made = TlsPeer(rig, upstreams[0], identity)
    yield made
    made.close()


def answered(rig: Rig) -> None:
    rig.until(lambda: rig.pool is not None and rig.pool.pending == 0)


def test_question_goes_over_tls_and_nothing_in_the_clear(
    rig: Rig, upstream: FakeUpstream, peer: TlsPeer
) -> None:
    client = miss(rig)
    [query] = peer.queries(1)
    respond(query, ADDRESS)
    answered(rig)

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert query[1].selected_alpn_protocol() == "dot"
    assert upstream.take() == []
    assert rig.upstream() == (1, 0)
    assert (handshakes(rig, "full"), handshakes(rig, "resumed")) == (1, 0)


@pytest.mark.parametrize("length", [1, 40, 63])
def test_queries_are_padded_to_whole_blocks(
    rig: Rig, peer: TlsPeer, length: int
) -> None:
    miss(rig, query_for(f"{'x' * length}.{'y' * length}.example.com"))
    peer.queries(1)

    assert [size % 128 for size in peer.sizes] == [0]


def test_queries_share_a_connection_and_are_answered_in_any_order(
    rig: Rig, peer: TlsPeer
) -> None:
    clients = [miss(rig, query_for(_QNAME.format(n))) for n in range(200)]
    for query in reversed(peer.queries(200)):
        respond(query, f"{query[0].question[0].name} 300 A 192.0.2.1")
    answered(rig)

    for number, client in enumerate(clients):
        response = received_one(client)
        assert response.question[0].name.to_text() == _QNAME.format(number) + "."
        assert response.rcode() == dns.rcode.NOERROR
    # Another one is opened beyond 128, and only when the first is.
    assert peer.accept() <= 2
    assert rig.upstream() == (200, 0)


_IMPOSTORS: Final = {
    "expired": (_AUTHORITY.identity(NAME, days=-1), ()),
    "name": (_AUTHORITY.identity("other.example"), ()),
    "authority": (_OTHER_AUTHORITY.identity(NAME), ()),
    "pin": (_AUTHORITY.identity(NAME), (_IDENTITY.pin,)),
}


@pytest.mark.parametrize("fault", _IMPOSTORS)
def test_server_that_does_not_prove_who_it_is_gets_no_query(
    rig: Rig, upstream: FakeUpstream, fault: str
) -> None:
    identity, pins = _IMPOSTORS[fault]
    for peer in _peer(rig, [upstream], identity, *pins):
        client = miss(rig)
        peer.serve_until_told(fault)
        answered(rig)

        assert received_one(client).rcode() == dns.rcode.SERVFAIL
        assert handshakes(rig, fault) == 1
        assert peer.take() == []
        assert peer.sizes == []
        assert upstream.take() == []


def test_others_of_the_pool_are_asked_instead(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    rig, (identity, pins) = rig_of_two, _IMPOSTORS["name"]
    for peer in _peer(rig, [upstream, second], identity, *pins):
        client = miss(rig)
        peer.serve_until_told("name")
        rig.until(lambda: rig.upstream(1) == (1, 0))
        second.answer(ADDRESS)
        rig.round()

        assert received_one(client).rcode() == dns.rcode.NOERROR
        # For a while the first is not even tried.
        later = miss(rig, query_for(_QNAME.format(1)))
        rig.round()
        second.answer(f"{_QNAME.format(1)} 300 A 192.0.2.1")
        rig.round()
        assert received_one(later).rcode() == dns.rcode.NOERROR
        assert peer.accept() == 1
        assert handshakes(rig, "name") == 1


@pytest.mark.parametrize("others", [(), (_OTHER_AUTHORITY.identity(NAME).pin,)])
def test_key_that_is_pinned_is_believed(
    rig: Rig, upstream: FakeUpstream, others: tuple[str, ...]
) -> None:
    for peer in _peer(rig, [upstream], _IDENTITY, *others, _IDENTITY.pin):
        client = miss(rig)
        respond(peer.queries(1)[0], ADDRESS)
        answered(rig)

        assert received_one(client).rcode() == dns.rcode.NOERROR


@pytest.mark.parametrize("says_so", [True, False], ids=["said", "unsaid"])
def test_session_is_resumed_after_the_server_closed_its_connection(
    rig: Rig, peer: TlsPeer, *, says_so: bool
) -> None:
    for number in range(3):
        client = miss(rig, query_for(_QNAME.format(number)))
        [query] = peer.queries(1)
        respond(query, f"{_QNAME.format(number)} 300 A 192.0.2.1")
        answered(rig)
        assert received_one(client).rcode() == dns.rcode.NOERROR
        peer.close(says_so=says_so)
        rig.round()

    assert (handshakes(rig, "full"), handshakes(rig, "resumed")) == (1, 2)


@pytest.mark.parametrize("says_so", [True, False], ids=["said", "unsaid"])
def test_queries_under_way_when_the_server_closes_are_sent_again(
    rig: Rig, peer: TlsPeer, *, says_so: bool
) -> None:
    miss(rig, query_for(_QNAME.format(0)))
    respond(peer.queries(1)[0], f"{_QNAME.format(0)} 300 A 192.0.2.1")
    answered(rig)
    client = miss(rig)
    peer.queries(1)

    peer.close(says_so=says_so)
    [again] = peer.queries(1)
    respond(again, ADDRESS)
    answered(rig)

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig.upstream() == (2, 0)


def test_handshake_has_its_time_and_then_a_pause(
    rig: Rig, upstream: FakeUpstream
) -> None:
    trusting(upstream, _AUTHORITY, NAME)
    rig.forward_to([upstream])
    client = miss(rig)
    for _ in range(3):
        rig.wait(TIMEOUT_S)
    assert received_one(client).rcode() == dns.rcode.SERVFAIL
    assert rig.upstream() == (3, 3)

    assert rig.pool is not None
    rig.wait(1)
    rig.pool.sweep()
    # It is not even tried now.
    later = rig.ask_for(query_for(_QNAME.format(0)))

    assert later.rcode() == dns.rcode.SERVFAIL
    assert handshakes(rig, "handshake") == 1
    upstream.accept().close()
    with pytest.raises(BlockingIOError):
        upstream.accept()


def test_server_that_is_back_is_asked_again(
    rig: Rig, upstream: FakeUpstream, peer: TlsPeer
) -> None:
    good = peer.context
    peer.context = server_context(_IMPOSTORS["expired"][0])
    miss(rig)
    peer.serve_until_told("expired")

    peer.context = good
    rig.wait(6)
    client = miss(rig, query_for(_QNAME.format(0)))
    respond(peer.queries(1)[0], f"{_QNAME.format(0)} 300 A 192.0.2.1")
    answered(rig)

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert upstream.take() == []


def test_idle_connection_is_kept_for_half_a_minute(rig: Rig, peer: TlsPeer) -> None:
    assert rig.pool is not None
    for number, pause_s in enumerate([0, 29, 31]):
        rig.wait(pause_s)
        rig.pool.sweep()
        miss(rig, query_for(_QNAME.format(number)))
        respond(peer.queries(1)[0], f"{_QNAME.format(number)} 300 A 192.0.2.1")
        answered(rig)

    assert peer.accept() == 2


def test_results_are_those_that_are_counted() -> None:
    assert ("full", "resumed", *Fault) == TLS_RESULTS
