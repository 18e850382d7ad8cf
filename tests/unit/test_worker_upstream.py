"""Misses and the upstreams, which sockets of the test play, by a clock that is told."""

from __future__ import annotations

import gc
import socket
import struct
from collections.abc import Iterator
from itertools import pairwise

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.dns.cache import Limits
from dnsfront.ipc import stats
from dnsfront.ipc.spec import UpstreamServer
from dnsfront.ipc.stats import Counter
from dnsfront.worker import upstream as upstream_module
from tests.unit.worker_rig import (
    LIMITS,
    NS,
    TIMEOUT_S,
    Client,
    FakeUpstream,
    Rig,
    open_descriptors,
    query_for,
    said_to,
)

ADDRESS = "www.example.com. 300 A 192.0.2.1"


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    made = FakeUpstream()
    yield made
    made.close()


@pytest.fixture
def second() -> Iterator[FakeUpstream]:
    made = FakeUpstream(1)
    yield made
    made.close()


@pytest.fixture
def rig(upstream: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream]) as made:
        yield made


@pytest.fixture
def rig_of_two(upstream: FakeUpstream, second: FakeUpstream) -> Iterator[Rig]:
    with Rig(upstreams=[upstream, second]) as made:
        yield made


def send(rig: Rig, query: dns.message.Message | None = None) -> Client:
    """Send a query that misses; its client waits."""
    client = rig.client()
    assert rig.ask((query or query_for()).to_wire(), client) == []
    return client


def received(client: Client) -> list[dns.message.Message]:
    return [dns.message.from_wire(octets) for octets in client.receive()]


def received_one(client: Client) -> dns.message.Message:
    [response] = received(client)
    return response


def closed(upstream: FakeUpstream) -> None:
    """Let nobody listen where *upstream* was."""
    upstream.close()


# The plain way


def test_miss_is_fetched_and_then_a_hit(rig: Rig, upstream: FakeUpstream) -> None:
    client = send(rig)

    upstream.answer(ADDRESS)
    rig.round()

    response = received_one(client)
    assert response.answer[0].to_text() == "www.example.com. 300 IN A 192.0.2.1"
    assert rig.ask_for(query_for()).answer == response.answer
    assert upstream.take() == []
    assert rig.counted() == {
        "QUERIES_UDP": 2,
        "CACHE_REQUESTS": 2,
        "CACHE_HITS": 1,
        "NOERROR": 2,
    }
    assert rig.upstream() == (1, 0)


def test_query_is_a_new_one_with_edns_of_our_own(
    rig: Rig, upstream: FakeUpstream
) -> None:
    asked = query_for(
        "wWw.ExAmple.com", options=[dns.edns.GenericOption(8, b"\0\1\0\0")]
    )
    send(rig, asked)

    query, _sender = upstream.take_one()

    assert query.question[0].name.to_text() == "www.example.com."
    assert query.flags == dns.flags.RD | dns.flags.AD
    assert (query.edns, query.payload, query.options) == (0, 1232, ())
    assert not query.ednsflags & dns.flags.DO


@pytest.mark.parametrize("rd", [False, True])
@pytest.mark.parametrize("cd", [False, True])
@pytest.mark.parametrize("do", [False, True])
def test_flags_that_may_change_the_answer_are_passed_on(
    *, rig: Rig, upstream: FakeUpstream, rd: bool, cd: bool, do: bool
) -> None:
    asked = query_for(want_dnssec=do)
    asked.flags = rd * dns.flags.RD | cd * dns.flags.CD

    send(rig, asked)

    query, _sender = upstream.take_one()
    assert query.flags == (rd * dns.flags.RD | cd * dns.flags.CD | dns.flags.AD)
    assert bool(query.ednsflags & dns.flags.DO) == do


def test_ids_and_ports_are_not_to_be_foreseen(rig: Rig, upstream: FakeUpstream) -> None:
    ids, ports = [], []

    for number in range(64):
        send(rig, query_for(f"n{number}.example.com"))
        query, sender = upstream.take_one()
        ids.append(query.id)
        ports.append(sender[1])

    assert len(set(ids)) > 60
    assert len({b - a for a, b in pairwise(ids)}) > 55
    assert 8 <= len(set(ports)) <= 16


def test_worn_out_ports_are_replaced_and_closed(
    rig: Rig, upstream: FakeUpstream
) -> None:
    before = open_descriptors()
    ports = set()
    client = rig.client()

    for number in range(200):
        for place in range(200):
            name = b"\4%04d" % place + b"\4%04d\0" % number
            client.send(struct.pack("!6H", place, 256, 1, 0, 0, 0) + name + b"\0\1\0\1")
        rig.round()
        for octets, sender in upstream.take_octets():
            ports.add(sender[1])
            upstream.send(octets[:2] + b"\x81\x83" + octets[4:], sender)
        rig.round()
        client.receive()
    assert rig.resolver is not None
    rig.resolver.sweep()

    assert len(ports) > 20
    assert len(open_descriptors()) <= len(before) + 16 + 1


def test_zero_ttl_is_used_once(rig: Rig, upstream: FakeUpstream) -> None:
    for _ in range(2):
        client = send(rig)
        upstream.answer("www.example.com. 0 A 192.0.2.1")
        rig.round()

        assert received_one(client).answer[0].ttl == 0


# One fetch a question


def test_equal_questions_are_fetched_once(rig: Rig, upstream: FakeUpstream) -> None:
    names = ["www.example.com", "WWW.example.com", "wWw.eXaMpLe.CoM"]
    clients = [send(rig, query_for(name)) for name in names]

    upstream.answer(ADDRESS)
    rig.round()

    for name, client in zip(names, clients, strict=True):
        response = received_one(client)
        assert response.question[0].name.to_text() == name + "."
        assert len(response.answer) == 1
    assert rig.count(Counter.COALESCED) == 2
    assert rig.count(Counter.CACHE_REQUESTS) == 3
    assert rig.upstream() == (1, 0)


@pytest.mark.parametrize(
    "other",
    [
        query_for("www.example.com", "AAAA"),
        query_for("ww.example.com", "A"),
        query_for("www.example.com", "A", want_dnssec=True),
    ],
    ids=["type", "name", "DO"],
)
def test_other_questions_are_fetched_by_themselves(
    rig: Rig, upstream: FakeUpstream, other: dns.message.Message
) -> None:
    send(rig)
    send(rig, other)

    assert len(upstream.take()) == 2
    assert rig.count(Counter.COALESCED) == 0


def test_https_and_type_97_are_fetched_by_themselves(
    rig: Rig, upstream: FakeUpstream
) -> None:
    clients = {
        rtype: send(rig, query_for(rtype=rtype)) for rtype in ("HTTPS", "TYPE97")
    }

    for query, sender in upstream.take():
        kind = query.question[0].rdtype
        record = rf"www.example.com. 300 TYPE{int(kind)} \# 3 000000"
        upstream.send(said_to(query, record).to_wire(), sender)
    rig.round()

    for rtype, client in clients.items():
        response = received_one(client)
        assert response.question[0].rdtype == response.answer[0].rdtype
        assert rtype in {"HTTPS", "TYPE97"}


def test_client_that_asks_again_is_answered_each_time(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = send(rig)
    client.send(query_for().to_wire())
    rig.round()

    upstream.answer(ADDRESS)
    rig.round()

    assert len(client.receive()) == 2


# Not every datagram is the response


def forged(kind: str, response: dns.message.Message) -> bytes:
    octets = response.to_wire()
    return {
        "wrong id": bytes((octets[0] ^ 1,)) + octets[1:],
        "wrong name": octets.replace(b"\3www", b"\3wwv"),
        "wrong type": octets.replace(b"\0\1\0\1\xc0", b"\0\2\0\1\xc0", 1),
        "wrong class": octets.replace(b"\0\1\0\1\xc0", b"\0\1\0\3\xc0", 1),
        "a query": octets[:2] + bytes((octets[2] & 0x7F,)) + octets[3:],
        "opcode": octets[:2] + bytes((octets[2] | 0x28,)) + octets[3:],
        "no question": octets[:4] + b"\0\0" + octets[6:12] + octets[12 + 21 :],
        "two questions": octets[:4] + b"\0\2" + octets[6:],
        "short": octets[:14],
        "empty": b"",
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "wrong id",
        "wrong name",
        "wrong type",
        "wrong class",
        "a query",
        "opcode",
        "no question",
        "two questions",
        "short",
        "empty",
    ],
)
def test_forged_response_is_ignored(
    rig: Rig, upstream: FakeUpstream, kind: str
) -> None:
    client = send(rig)
    query, sender = upstream.take_one()
    evil = said_to(query, "www.example.com. 300 A 192.0.2.66")

    upstream.send(forged(kind, evil), sender)
    rig.round()
    assert client.receive() == []
    upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig.round()

    assert "192.0.2.1" in received_one(client).answer[0].to_text()
    assert rig.upstream() == (1, 0)


def test_response_from_another_port_is_ignored(
    rig: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = send(rig)
    query, sender = upstream.take_one()

    second.send(said_to(query, "www.example.com. 300 A 192.0.2.66").to_wire(), sender)
    rig.round()

    assert client.receive() == []


def test_response_to_another_port_of_ours_is_ignored(
    rig: Rig, upstream: FakeUpstream
) -> None:
    senders = {}
    number = 0
    while len(senders) < 2:
        number += 1
        client = send(rig, query_for(f"n{number}.example.com"))
        query, sender = upstream.take_one()
        senders.setdefault(sender, (client, query))
    [(_, (client, query)), (other, _)] = list(senders.items())[:2]

    upstream.send(said_to(query).to_wire(), other)
    rig.round()

    assert client.receive() == []


def test_question_may_be_repeated_in_other_letters(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = send(rig)
    query, sender = upstream.take_one()
    octets = said_to(query, ADDRESS).to_wire()

    upstream.send(octets.replace(b"\3www", b"\3WwW", 1), sender)
    rig.round()

    assert received_one(client).question[0].name.to_text() == "www.example.com."


def test_second_copy_of_a_response_changes_nothing(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = send(rig)
    query, sender = upstream.take_one()

    for _ in range(3):
        upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig.round()
    upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig.round()

    assert len(received(client)) == 1
    assert rig.counted()["NOERROR"] == 1
    assert rig.resolver is not None
    assert rig.resolver.pending == 0


def test_malformed_response_goes_to_the_next_server(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = send(rig_of_two)
    query, sender = upstream.take_one()

    upstream.send(said_to(query, ADDRESS).to_wire()[:-3], sender)
    rig_of_two.round()
    second.answer(ADDRESS)
    rig_of_two.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig_of_two.upstream(0) == (1, 1)
    assert rig_of_two.upstream(1) == (1, 0)


# Silence


def test_silent_servers_are_asked_three_times_in_all(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    rig = rig_of_two
    client = send(rig, query_for(payload=1232))
    asked = [(len(upstream.take()), len(second.take()))]

    for _ in range(3):
        rig.wait(TIMEOUT_S - 0.001)
        assert (len(upstream.take()), len(second.take())) == (0, 0)
        rig.wait(0.001)
        asked.append((len(upstream.take()), len(second.take())))

    assert asked == [(1, 0), (0, 1), (1, 0), (0, 0)]
    response = received_one(client)
    assert response.rcode() == dns.rcode.SERVFAIL
    assert [error.code for error in response.extended_errors()] == [22]
    assert rig.upstream(0) == (2, 2)
    assert rig.upstream(1) == (1, 1)
    assert rig.resolver is not None
    assert rig.resolver.pending == 0


def test_late_response_of_the_first_server_is_taken(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = send(rig_of_two)
    query, sender = upstream.take_one()
    rig_of_two.wait(TIMEOUT_S)
    assert second.take()

    upstream.send(said_to(query, ADDRESS).to_wire(), sender)
    rig_of_two.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig_of_two.upstream(0) == (1, 1)
    assert rig_of_two.upstream(1) == (1, 0)


def test_late_refusal_of_the_first_server_does_not_end_the_second_try(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = send(rig_of_two)
    query, sender = upstream.take_one()
    rig_of_two.wait(TIMEOUT_S)

    upstream.send(said_to(query, rcode=dns.rcode.SERVFAIL).to_wire(), sender)
    rig_of_two.round()
    assert client.receive() == []
    second.answer(ADDRESS)
    rig_of_two.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig_of_two.upstream(1) == (1, 0)


def test_late_response_in_the_round_of_a_refusal_ends_the_fetch(
    upstream: FakeUpstream, second: FakeUpstream
) -> None:
    with Rig(upstreams=[upstream, second]) as rig:
        client = send(rig)
        query, sender = upstream.take_one()
        closed(second)
        rig.wait(TIMEOUT_S)

        # The refusal by the second server and the first one's response are both there.
        upstream.send(said_to(query, ADDRESS).to_wire(), sender)
        rig.round()
        again = upstream.take()
        upstream.send(said_to(query, ADDRESS).to_wire(), sender)
        rig.round()

        assert received_one(client).rcode() == dns.rcode.NOERROR
        assert again == []
        assert rig.upstream(0) == (1, 1)
        assert rig.resolver is not None
        assert rig.resolver.pending == 0


def test_wait_for_the_next_round_ends_at_the_deadline(rig: Rig) -> None:
    send(rig)
    rig.round()

    assert rig.wait_s == pytest.approx(TIMEOUT_S)
    rig.now_ns += NS // 2
    rig.round()

    assert rig.wait_s == pytest.approx(TIMEOUT_S - 0.5)


def test_servers_that_are_down_are_left_out(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    rig_of_two.down.add(0)
    assert rig_of_two.resolver is not None
    rig_of_two.resolver.sweep()

    send(rig_of_two)

    assert (len(upstream.take()), len(second.take())) == (0, 1)


def test_each_server_has_one_try_where_all_are_down(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    rig = rig_of_two
    rig.down.update((0, 1))
    assert rig.resolver is not None
    rig.resolver.sweep()
    client = send(rig)

    rig.wait(TIMEOUT_S)
    rig.wait(TIMEOUT_S)

    assert (len(upstream.take()), len(second.take())) == (1, 1)
    assert received_one(client).rcode() == dns.rcode.SERVFAIL


def test_only_server_that_is_down_has_one_try(rig: Rig, upstream: FakeUpstream) -> None:
    rig.down.add(0)
    assert rig.resolver is not None
    rig.resolver.sweep()
    client = send(rig)

    rig.wait(TIMEOUT_S)

    assert len(upstream.take()) == 1
    assert received_one(client).rcode() == dns.rcode.SERVFAIL


# Nobody there


def test_refused_connection_goes_to_the_next_server_at_once(
    upstream: FakeUpstream, second: FakeUpstream
) -> None:
    closed(upstream)
    with Rig(upstreams=[upstream, second]) as rig:
        client = send(rig)

        rig.round()
        second.answer(ADDRESS)
        rig.round()

        assert received_one(client).rcode() == dns.rcode.NOERROR
        assert rig.upstream(0) == (1, 1)
        assert rig.upstream(1) == (1, 0)


@pytest.mark.parametrize("count", [1, 2, 7, 64, 130])
def test_refused_connections_fail_all_that_waited_without_a_time_out(
    upstream: FakeUpstream, count: int
) -> None:
    closed(upstream)
    with Rig(upstreams=[upstream]) as rig:
        client = rig.client()
        for number in range(count):
            client.send(query_for(f"n{number}.example.com").to_wire())

        rig.until(lambda: rig.count(Counter.RCODE_0 + dns.rcode.SERVFAIL) == count)

        assert len(client.receive()) == count
        assert rig.upstream() == (3 * count, 3 * count)
        assert rig.resolver is not None
        assert rig.resolver.pending == 0


def test_refusal_counts_once_where_an_earlier_send_left_through_the_same_port(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnsfront.worker.pool._POOL", 1)
    with Rig(upstreams=[upstream]) as rig:
        client = send(rig)
        closed(upstream)
        rig.wait(TIMEOUT_S)

        rig.round()

        assert rig.upstream() == (3, 2)
        assert client.receive() == []
        rig.round()
        assert received_one(client).rcode() == dns.rcode.SERVFAIL


def test_server_without_a_route_fails_at_once_and_harms_nobody(
    second: FakeUpstream,
) -> None:
    lost = FakeUpstream()
    # No host has a route to a documentation address of another scope.
    lost.spec = UpstreamServer(0, "fe80::1", 53, socket.AF_INET6, 1)
    with Rig(upstreams=[lost, second]) as rig:
        client = send(rig)

        second.answer(ADDRESS)
        rig.round()

        assert received_one(client).rcode() == dns.rcode.NOERROR
        assert rig.upstream(0) == (1, 1)
    lost.close()


def test_only_server_without_a_route_is_a_failure(upstream: FakeUpstream) -> None:
    upstream.spec = UpstreamServer(0, "fe80::1", 53, socket.AF_INET6, 1)
    with Rig(upstreams=[upstream]) as rig:
        [octets] = rig.ask(query_for(payload=1232).to_wire())

        response = dns.message.from_wire(octets)
        assert response.rcode() == dns.rcode.SERVFAIL
        assert [error.code for error in response.extended_errors()] == [22]


# Servers that cannot say


@pytest.mark.parametrize(
    "rcode", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR", "BADVERS"]
)
def test_server_that_cannot_say_is_followed_by_the_next(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream, rcode: str
) -> None:
    client = send(rig_of_two)

    upstream.answer(rcode=dns.rcode.from_text(rcode))
    rig_of_two.round()
    second.answer(ADDRESS)
    rig_of_two.round()

    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert rig_of_two.upstream(0) == (1, 1)


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED"])
def test_word_of_the_last_server_stands(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream, rcode: str
) -> None:
    client = send(rig_of_two)

    for server in (upstream, second):
        server.answer(rcode=dns.rcode.from_text(rcode))
        rig_of_two.round()

    assert dns.rcode.to_text(received_one(client).rcode()) == rcode
    assert upstream.take() == second.take() == []


@pytest.mark.parametrize("rcode", ["FORMERR", "NOTIMP"])
@pytest.mark.parametrize("copies", [1, 2], ids=["once", "twice"])
def test_server_from_before_edns_is_asked_without_it(
    rig: Rig, upstream: FakeUpstream, rcode: str, copies: int
) -> None:
    client = send(rig)
    query, sender = upstream.take_one()
    refusal = said_to(query, rcode=dns.rcode.from_text(rcode), edns=-1)

    for _ in range(copies):
        upstream.send(refusal.to_wire(), sender)
    rig.round()
    again = upstream.answer(ADDRESS, edns=-1)
    rig.round()

    assert again.edns == -1
    assert received_one(client).rcode() == dns.rcode.NOERROR
    assert upstream.take() == []


def test_name_that_does_not_exist_is_an_answer(
    rig_of_two: Rig, upstream: FakeUpstream, second: FakeUpstream
) -> None:
    client = send(rig_of_two)

    upstream.answer(rcode=dns.rcode.NXDOMAIN)
    rig_of_two.round()

    assert received_one(client).rcode() == dns.rcode.NXDOMAIN
    assert second.take() == []


# Truncation


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
    client = send(rig, query_for(rtype="TXT"))

    with truncate(rig, upstream) as connection:
        rig.round()
        query = from_tcp(connection)
        over_tcp(connection, said_to(query, *LARGE))
        rig.until(lambda: rig.resolver and rig.resolver.pending == 0)

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
    client = send(rig)

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
    client = send(rig)
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
    client = send(rig)
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
    send(rig, query_for(rtype="TXT"))
    with truncate(rig, upstream) as connection:
        rig.round()
        over_tcp(connection, said_to(from_tcp(connection), *LARGE))
        rig.until(lambda: rig.resolver and rig.resolver.pending == 0)

    entry = next(iter(rig.cache.views[1].values()))

    assert entry.head[2:4] == (200).to_bytes(2, "big")


# Failures


def fail(rig: Rig, upstream: FakeUpstream) -> None:
    """Let a fetch fail by time-outs."""
    client = send(rig)
    for _ in range(3):
        rig.wait(TIMEOUT_S)
    assert received_one(client).rcode() == dns.rcode.SERVFAIL
    assert len(upstream.take()) == 3


def test_failure_is_remembered_for_a_while(rig: Rig, upstream: FakeUpstream) -> None:
    fail(rig, upstream)

    response = rig.ask_for(query_for(payload=1232))

    assert response.rcode() == dns.rcode.SERVFAIL
    assert [error.code for error in response.extended_errors()] == [13]
    assert upstream.take() == []
    rig.now_ns += 5 * NS
    send(rig)
    assert len(upstream.take()) == 1


def test_failure_of_one_question_is_not_that_of_another(
    rig: Rig, upstream: FakeUpstream
) -> None:
    fail(rig, upstream)

    send(rig, query_for(rtype="AAAA"))

    assert len(upstream.take()) == 1


def test_forgotten_failures_are_tried_again(rig: Rig, upstream: FakeUpstream) -> None:
    fail(rig, upstream)

    rig.frontend.forget_failures()
    send(rig)

    assert len(upstream.take()) == 1


# Stale data


def cached(rig: Rig, upstream: FakeUpstream, *records: str, rcode: int = 0) -> None:
    client = send(rig)
    upstream.answer(*(records or (ADDRESS,)), rcode=rcode)
    rig.round()
    assert received(client)


def test_stale_answer_is_served_at_the_second_time_out(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    rig.now_ns += 300 * NS
    client = send(rig, query_for(payload=1232))
    rig.wait(TIMEOUT_S)
    assert client.receive() == []

    rig.wait(TIMEOUT_S)

    response = received_one(client)
    assert response.rcode() == dns.rcode.NOERROR
    assert response.answer[0].ttl == 30
    assert [error.code for error in response.extended_errors()] == [3]
    assert rig.count(Counter.CACHE_STALE) == 1
    rig.wait(TIMEOUT_S)
    assert client.receive() == []


def test_fetch_goes_on_behind_a_stale_answer(rig: Rig, upstream: FakeUpstream) -> None:
    cached(rig, upstream)
    rig.now_ns += 300 * NS
    client = send(rig)
    rig.wait(TIMEOUT_S)
    rig.wait(TIMEOUT_S)
    assert received(client)

    query, sender = upstream.take()[-1]
    upstream.send(said_to(query, "www.example.com. 60 A 192.0.2.2").to_wire(), sender)
    rig.round()

    assert client.receive() == []
    assert rig.ask_for(query_for()).answer[0].ttl == 60


def test_stale_answer_is_served_at_once_while_a_failure_is_remembered(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    rig.now_ns += 300 * NS
    client = send(rig)
    for _ in range(3):
        rig.wait(TIMEOUT_S)
    assert received(client)
    upstream.take()

    response = rig.ask_for(query_for())

    assert response.answer[0].ttl == 30
    assert upstream.take() == []


def test_stale_answer_is_preferred_to_a_failure(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    rig.now_ns += 300 * NS
    client = send(rig)

    upstream.answer(rcode=dns.rcode.SERVFAIL)
    rig.round()

    assert received_one(client).answer[0].ttl == 30


def test_stale_answer_has_an_age_limit(upstream: FakeUpstream) -> None:
    limits = Limits(100, 0, 86400, 60, prefetch=False)
    with Rig(upstreams=[upstream], limits=limits) as rig:
        cached(rig, upstream)
        rig.now_ns += (300 + 60) * NS
        client = send(rig)

        upstream.answer(rcode=dns.rcode.SERVFAIL)
        rig.round()

        assert received_one(client).rcode() == dns.rcode.SERVFAIL


# Prefetch, bounds, the end


def test_fetch_without_a_client_keeps_an_entry_fresh(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    rig.now_ns += 290 * NS
    rig.ask_for(query_for())
    [entry] = rig.cache.due
    assert rig.resolver is not None

    assert rig.resolver.fetch(1, entry.key, entry.key, entry, None)
    rig.round()
    upstream.answer(ADDRESS)
    rig.round()

    assert rig.ask_for(query_for()).answer[0].ttl == 300
    assert rig.resolver.pending == 0


def test_failed_prefetch_leaves_the_entry_alone(
    rig: Rig, upstream: FakeUpstream
) -> None:
    cached(rig, upstream)
    rig.now_ns += 290 * NS
    rig.ask_for(query_for())
    [entry] = rig.cache.due
    assert rig.resolver is not None
    rig.resolver.fetch(1, entry.key, entry.key, entry, None)
    rig.round()

    upstream.answer(rcode=dns.rcode.SERVFAIL)
    rig.round()

    assert rig.ask_for(query_for()).answer[0].ttl == 10


def test_too_many_pending_fetches_are_answered_at_once(
    rig: Rig, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_module, "MAX_PENDING", 3)
    for number in range(3):
        send(rig, query_for(f"n{number}.example.com"))

    response = rig.ask_for(query_for("one.more", payload=1232))

    assert response.rcode() == dns.rcode.SERVFAIL
    assert [error.code for error in response.extended_errors()] == [14]
    assert rig.resolver is not None
    assert rig.resolver.pending == 3
    assert len(upstream.take()) == 3


def test_batch_larger_than_one_system_call_is_answered(
    rig: Rig, upstream: FakeUpstream
) -> None:
    client = rig.client()
    names = [f"n{number}.example.com" for number in range(200)]
    for name in names:
        client.send(query_for(name).to_wire())
    rig.round()

    for query, sender in upstream.take():
        name = query.question[0].name.to_text()
        upstream.send(said_to(query, f"{name} 60 A 192.0.2.1").to_wire(), sender)
    rig.round()
    rig.round()

    answered = [message.answer[0].name.to_text() for message in received(client)]
    assert sorted(answered) == sorted(name + "." for name in names)
    assert rig.upstream() == (200, 0)
    assert sum(rig.words[stats.upstream_at(0) + 2 :][:16]) == 200


def test_closed_resolver_leaves_no_descriptor_and_no_waiting_client(
    upstream: FakeUpstream,
) -> None:
    rig = Rig()
    before = open_descriptors()
    rig.resolver = rig.frontend.resolver = rig._resolver([upstream], "ordered")
    clients = [send(rig, query_for(f"n{number}.test")) for number in range(40)]
    opened = open_descriptors() - before
    truncated = upstream.take()[0]
    upstream.send(said_to(truncated[0], flags=dns.flags.TC).to_wire(), truncated[1])
    rig.round()

    rig.resolver.close()
    rig.round()

    assert len(opened) > 16
    for client in clients:
        assert received_one(client).rcode() == dns.rcode.SERVFAIL
        client.close()
    rig.resolver = None
    gc.collect()
    assert not open_descriptors() & opened
    rig.close()


def test_policy_decides_who_is_asked_first(
    upstream: FakeUpstream, second: FakeUpstream
) -> None:
    with Rig(upstreams=[upstream, second], policy="chash", limits=LIMITS) as rig:
        for number in range(40):
            send(rig, query_for(f"n{number}.example.com"))

        counts = len(upstream.take()), len(second.take())

    assert sum(counts) == 40
    assert min(counts) > 5
