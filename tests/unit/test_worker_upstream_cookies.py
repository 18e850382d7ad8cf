"""Cookies towards servers that know them, and that do not."""

from __future__ import annotations

from collections.abc import Iterator

import dns.edns
import dns.message
import dns.rcode
import pytest

from dnsfront.ipc.spec import PoolSettings
from tests.unit.fake_upstream import FakeUpstream, said_to
from tests.unit.shared_load import KEY
from tests.unit.stub_client import Client, query_for, received_one
from tests.unit.test_worker_upstream_last import Stream
from tests.unit.worker_rig import TIMEOUT_S, Rig, miss

_COOKIE = 10
_NAME = "n{}.example.com"
_SERVERS = b"cookie of a server"
_Sender = tuple[str, int]


@pytest.fixture(params=[False, True], ids=["cookies", "letters too"])
def asked(
    rig: Rig, upstream: FakeUpstream, request: pytest.FixtureRequest
) -> Iterator[Stream]:
    """Have the one upstream sent cookies; yield its connections."""
    pool = PoolSettings(
        "ordered", TIMEOUT_S, (upstream.spec,), mixed_case=request.param, cookies=True
    )
    rig.forwarding.replace(pool, hash_key=KEY, udp_size=1232)
    made = Stream(rig, upstream)
    yield made
    made.close()


def ask(
    rig: Rig, upstream: FakeUpstream, number: int
) -> tuple[Client, dns.message.Message, _Sender]:
    client = miss(rig, query_for(_NAME.format(number)))
    query, sender = upstream.take_one()
    return client, query, sender


def cookie_in(query: dns.message.Message) -> bytes:
    [option] = [x for x in query.options if x.otype == _COOKIE]
    return option.to_wire() or b""


def answer(
    query: dns.message.Message,
    cookie: bytes,
    address: str = "192.0.2.1",
    rcode: int = 0,
) -> bytes:
    response = said_to(query, f"{query.question[0].name} 300 A {address}", rcode=rcode)
    options = [dns.edns.GenericOption(_COOKIE, cookie)] if cookie else []
    response.use_edns(0, payload=1232, options=options)
    response.set_rcode(dns.rcode.Rcode(rcode))
    return response.to_wire()


def known(rig: Rig, upstream: FakeUpstream) -> bytes:
    """Have the server's cookie known; return ours."""
    client, query, sender = ask(rig, upstream, 99)
    ours = cookie_in(query)
    upstream.send(answer(query, ours + _SERVERS), sender)
    rig.round()
    assert received_one(client).rcode() == dns.rcode.NOERROR
    return ours


def by_tcp(rig: Rig, stream: Stream, client: Client) -> str:
    [query] = stream.queries(1)
    stream.answer(query, f"{query.question[0].name} 300 A 192.0.2.1")
    rig.until(lambda: rig.pool and rig.pool.pending == 0)
    return received_one(client).to_text()


def test_cookie_of_the_server_comes_back_to_it(
    rig: Rig, upstream: FakeUpstream, asked: Stream
) -> None:
    ours = known(rig, upstream)
    assert len(ours) == 8

    client, query, sender = ask(rig, upstream, 0)
    assert cookie_in(query) == ours + _SERVERS
    upstream.send(answer(query, ours + b"another cookie of it"), sender)
    rig.round()
    assert received_one(client).rcode() == dns.rcode.NOERROR

    assert cookie_in(ask(rig, upstream, 1)[1]) == ours + b"another cookie of it"
    assert asked.accept() == 0


@pytest.mark.parametrize(
    "cookie", [b"", b"wrong one" + _SERVERS], ids=["none", "another"]
)
def test_response_without_our_cookie_is_not_believed(
    rig: Rig, upstream: FakeUpstream, asked: Stream, cookie: bytes
) -> None:
    known(rig, upstream)
    client, query, sender = ask(rig, upstream, 0)

    upstream.send(answer(query, cookie, "192.0.2.66"), sender)
    rig.round()

    assert "192.0.2.66" not in by_tcp(rig, asked, client)


def test_server_that_knows_no_cookies_is_believed(
    rig: Rig, upstream: FakeUpstream, asked: Stream
) -> None:
    for number in range(5):
        client, query, sender = ask(rig, upstream, number)
        upstream.send(answer(query, b""), sender)
        rig.round()
        assert received_one(client).rcode() == dns.rcode.NOERROR
    assert asked.accept() == 0


def test_server_that_forgot_cookies_is_believed_before_long(
    rig: Rig, upstream: FakeUpstream, asked: Stream
) -> None:
    known(rig, upstream)
    for number in range(3):
        client, query, sender = ask(rig, upstream, number)
        upstream.send(answer(query, b""), sender)
        rig.round()
        assert "192.0.2.1" in by_tcp(rig, asked, client)

    client, query, sender = ask(rig, upstream, 3)
    upstream.send(answer(query, b""), sender)
    rig.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR


def test_server_that_wants_another_cookie_is_asked_over_tcp(
    rig: Rig, upstream: FakeUpstream, asked: Stream
) -> None:
    ours = known(rig, upstream)
    client, query, sender = ask(rig, upstream, 0)
    bad = answer(query, ours + b"its new one", rcode=dns.rcode.BADCOOKIE)
    upstream.send(bad, sender)
    rig.round()

    assert "192.0.2.1" in by_tcp(rig, asked, client)
    assert cookie_in(ask(rig, upstream, 1)[1]) == ours + b"its new one"


def test_clients_see_no_cookie(rig: Rig, upstream: FakeUpstream, asked: Stream) -> None:
    ours = known(rig, upstream)

    [octets] = rig.ask(query_for(_NAME.format(99), payload=1232).to_wire())

    assert ours not in octets
    assert asked.accept() == 0
