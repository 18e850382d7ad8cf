"""Datagrams through a worker, from a real socket and back, with every counter."""

from __future__ import annotations

import socket
from collections import Counter as Counts
from collections.abc import Iterator

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from dnsfront.dns import wire
from dnsfront.ipc import stats
from dnsfront.ipc.stats import BUCKETS, Source
from dnsfront.worker.transports import udp
from tests.unit.datagrams import QUESTION, message, padded, with_opt, www
from tests.unit.fake_upstream import FakeUpstream, said_to
from tests.unit.stub_client import query_for
from tests.unit.worker_rig import NS, ZONE, Rig, eventually, interpreted

IP_PKTINFO = 8


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig(zone=ZONE) as made:
        yield made


def histogram(rig: Rig, source: Source) -> int:
    return sum(rig.words[source : source + BUCKETS])


# Hits


def test_answer_of_a_zone_is_the_same_from_the_cache(rig: Rig) -> None:
    first = rig.ask(www(payload=1232).to_wire())
    again = [rig.ask(www(payload=1232).to_wire()) for _ in range(3)]

    assert {octets[2:] for [octets] in again} == {first[0][2:]}
    assert rig.counted() == {"QUERIES_UDP": 4, "NOERROR": 4}
    assert histogram(rig, Source.ZONE) == 4


def test_question_comes_back_as_it_was_spelled(rig: Rig) -> None:
    for name in ("www.example.test", "WWW.example.test", "wWw.eXaMPLe.TesT"):
        response = rig.ask_for(query_for(name))

        assert response.question[0].name.to_text() == name + "."
        assert response.answer[0].name.to_text() == name + "."


def test_https_and_type_97_get_their_own_answers(rig: Rig) -> None:
    for rtype in ("HTTPS", "TYPE97", "HTTPS"):
        response = rig.ask_for(www(rtype))

        assert response.question[0].rdtype == (65 if rtype == "HTTPS" else 97)


def test_hits_between_others_reach_their_own_clients(rig: Rig) -> None:
    for name in ("www", "ns1"):
        rig.ask_for(query_for(f"{name}.example.test"))
    clients = [rig.client() for _ in range(30)]
    kinds = [
        message(rest=b"\3ns1" + QUESTION[4:]),
        b"short",
        message(),
        message(flags=4 << 11),
        with_opt(),
        message(flags=wire.QR),
    ]
    for number, client in enumerate(clients):
        client.send(number.to_bytes(2, "big") + kinds[number % 6][2:])

    rig.round()

    for number, client in enumerate(clients):
        responses = client.receive()
        assert len(responses) == (number % 6 not in (1, 5))
        for octets in responses:
            assert octets[:2] == number.to_bytes(2, "big")
            if number % 6 == 0:
                assert b"\3ns1" in octets
            elif number % 6 in (2, 4):
                assert dns.message.from_wire(octets).answer


def test_several_batches_are_served_in_one_round(rig: Rig) -> None:
    rig.ask_for(www())
    client = rig.client()

    for number in range(200):
        client.send(number.to_bytes(2, "big") + message()[2:])
    rig.round()

    ids = [int.from_bytes(octets[:2], "big") for octets in client.receive()]
    assert ids == list(range(200))


def test_client_that_is_gone_harms_nobody(rig: Rig) -> None:
    rig.ask_for(www())
    gone, there = rig.client(), rig.client()
    for client in (gone, there, gone, there):
        client.send(message())
    gone.close()

    rig.round()

    assert len(there.receive()) == 2


def test_ttls_of_a_hit_count_down(rig: Rig) -> None:
    upstream = FakeUpstream()
    rig.forward_to([upstream])
    client = rig.client()
    rig.ask(query_for().to_wire(), client)
    upstream.answer("www.example.com. 300 A 192.0.2.1")
    rig.round()
    client.receive()

    found = []
    for _ in range(4):
        found.append(rig.ask_for(query_for()).answer[0].ttl)
        rig.now_ns += 99 * NS

    assert found == [300, 201, 102, 3]
    assert histogram(rig, Source.HIT) == 4
    upstream.close()


def test_denial_is_counted_by_its_code(rig: Rig) -> None:
    for _ in range(3):
        response = rig.ask_for(query_for("nobody.example.test"))
        assert response.rcode() == dns.rcode.NXDOMAIN

    assert rig.counted() == {"QUERIES_UDP": 3, "NXDOMAIN": 3}


LONG = ZONE + "".join(f'big 60 TXT "{n:03d}{"x" * 97}"\n' for n in range(20))


@pytest.mark.parametrize("size", [0, 512, 1232, 65535])
def test_long_answer_is_cut_to_the_clients_size(size: int) -> None:
    with Rig(zone=LONG) as rig:
        for _ in range(3):
            query = query_for(
                "big.example.test", "TXT", **({"payload": size} if size else {})
            )
            [octets] = rig.ask(query.to_wire())

            response = dns.message.from_wire(octets)
            assert len(octets) <= max(512, min(size, 1232))
            assert response.flags & dns.flags.TC
            assert (response.edns == 0) == bool(size)


def test_any_is_cut_over_udp_where_it_would_be_forwarded(rig: Rig) -> None:
    upstream = FakeUpstream()
    rig.forward_to([upstream])

    response = rig.ask_for(query_for(rtype="ANY"))

    assert response.flags & dns.flags.TC
    assert not response.answer
    assert upstream.take() == []
    upstream.close()


def test_nsid_names_the_worker(rig: Rig) -> None:
    asked = www(options=[dns.edns.GenericOption(dns.edns.OptionType(3), b"")])

    for _ in range(3):
        [option] = rig.ask_for(asked).options
        assert option.to_wire() == b"w1"
    assert rig.ask_for(www(payload=1232)).options == ()


def test_without_upstreams_other_names_are_refused_with_the_reason(rig: Rig) -> None:
    response = rig.ask_for(query_for("www.example.com", payload=1232))

    assert response.rcode() == dns.rcode.REFUSED
    assert [error.code for error in response.extended_errors()] == [20]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.9.9.9"])
def test_wildcard_listener_answers_from_the_address_that_was_asked(
    rig: Rig, host: str
) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs,
    ):
        ours.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        ours.bind(("0.0.0.0", 0))  # noqa: S104 - that is what is tested
        ours.settimeout(0)
        theirs.bind(("127.0.0.1", 0))
        theirs.settimeout(0)
        listener = rig.udp_listener(1, ours, is_wildcard=True)

        for octets in (message(), message(flags=4 << 11), message(), b"", message()):
            theirs.sendto(octets, (host, ours.getsockname()[1]))
        listener.ready(0)
        listener.flush()

        senders = [theirs.recvfrom(1000)[1] for _ in range(4)]
        assert {sender[0] for sender in senders} == {host}


# Full sockets, exceptions, the drain


def test_exception_in_a_query_is_answered_servfail_and_harms_no_other(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    zones = rig.answering.local.zones
    assert zones is not None
    zone = zones.find(b"\7example\4test\0")
    assert zone is not None
    respond = zone.respond

    def fail(qname: bytes, *arguments: object, **options: bool) -> object:
        if qname.startswith(b"\3bad"):
            raise ZeroDivisionError
        return respond(qname, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(zone, "respond", fail)
    client = rig.client()
    for name in (b"\3www", b"\3bad", b"\3ns1"):
        client.send(message(rest=name + QUESTION[4:]))
        client.send(padded(400).replace(b"\3www", name))
    rig.round()

    rcodes = Counts(octets[3] & 15 for octets in client.receive())
    assert rcodes == {wire.NOERROR: 4, wire.SERVFAIL: 2}
    assert rig.counted() == {
        "QUERIES_UDP": 6,
        "NOERROR": 4,
        "SERVFAIL": 2,
        "EXCEPTIONS": 2,
    }
    assert "ZeroDivisionError" in caplog.text


def test_entry_that_is_broken_harms_none_but_who_asks_for_it(rig: Rig) -> None:
    client = rig.client()
    rig.ask(message(), client)
    [broken] = [x for view in rig.cache.views for x in view.values()]
    rig.ask(message(rest=b"\3ns1" + QUESTION[4:]), client)
    broken.odd, broken.stamp, broken.ttl_offsets = 0, -1, (60_000,)

    for name in (b"\3ns1", b"\3www", b"\3ns1"):
        client.send(message(rest=name + QUESTION[4:]))
    rig.round()

    rcodes = Counts(octets[3] & 15 for octets in client.receive())
    assert rcodes == {wire.NOERROR: 2, wire.SERVFAIL: 1}
    assert rig.count(stats.Counter.EXCEPTIONS) == 1


def test_drain_serves_all_that_the_socket_holds(rig: Rig) -> None:
    client = rig.client()
    for number in range(150):
        client.send(number.to_bytes(2, "big") + message()[2:])

    is_empty = rig.udp.take()

    assert is_empty
    assert len(client.receive()) == 150


@interpreted
def test_drain_ends_though_datagrams_keep_coming(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp, "_DRAIN_ROUNDS", 2)
    client = rig.client()
    for _ in range(150):
        client.send(message())

    verdicts = [rig.udp.take(), rig.udp.take()]

    assert verdicts == [False, True]
    assert len(client.receive()) == 150


def test_datagrams_are_told_to_the_kernel_program_as_taken(rig: Rig) -> None:
    client = rig.client()
    rig.load.steer(1, 70)
    for _ in range(70):
        client.send(message())

    rig.round()

    assert rig.load.taken(1) == 70


def test_waiting_clients_of_one_question_may_come_by_any_shape(rig: Rig) -> None:
    upstream = FakeUpstream()
    rig.forward_to([upstream])
    plain, edns, nsid = rig.client(), rig.client(), rig.client()
    rig.ask(query_for().to_wire(), plain)
    rig.ask(query_for(payload=1232).to_wire(), edns)
    asked = query_for(options=[dns.edns.GenericOption(dns.edns.OptionType(3), b"")])
    rig.ask(asked.to_wire(), nsid)

    query, sender = upstream.take_one()
    upstream.send(
        said_to(
            query, "www.example.com. 300 A 192.0.2.1", flags=dns.flags.AD
        ).to_wire(),
        sender,
    )
    eventually(lambda: rig.pool and not rig.pool.pending, rig.round)

    found = [dns.message.from_wire(x.receive()[0]) for x in (plain, edns, nsid)]
    assert [message.edns for message in found] == [-1, 0, 0]
    assert [len(message.options) for message in found] == [0, 0, 1]
    assert not any(message.flags & dns.flags.AD for message in found)
    assert len({message.answer[0].to_text() for message in found}) == 1
    upstream.close()
