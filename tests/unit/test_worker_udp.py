"""Datagrams through a worker, from a real socket and back, with every counter."""

from __future__ import annotations

import socket
import struct
from collections import Counter as Counts
from collections.abc import Iterator
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnsfront.dns import wire
from dnsfront.ipc import stats
from dnsfront.ipc.stats import BUCKETS, Source
from dnsfront.worker.transports import udp
from tests.unit.fake_upstream import FakeUpstream, said_to
from tests.unit.stub_client import query_for
from tests.unit.worker_rig import NS, ZONE, Rig, eventually, interpreted

IP_PKTINFO = 8
QUESTION = b"\3www\7example\4test\0\0\1\0\1"
OPT = wire.opt_record()


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig(zone=ZONE) as made:
        yield made


def message(
    *,
    flags: int = wire.RD,
    counts: tuple[int, int, int, int] = (1, 0, 0, 0),
    rest: bytes = QUESTION,
) -> bytes:
    return struct.pack("!6H", 0x1234, flags, *counts) + rest


def with_opt(opt: bytes = OPT, *, question: bytes = QUESTION) -> bytes:
    return message(counts=(1, 0, 0, 1), rest=question + opt)


def padded(size: int) -> bytes:
    """Return a query of *size* octets, most of them in an option that nobody knows."""
    room = size - len(with_opt()) - 4
    option = struct.pack("!HH", 65001, room) + bytes(room)
    return with_opt(OPT[:9] + struct.pack("!H", len(option)) + option)


def www(rtype: str = "A", **edns: Any) -> dns.message.Message:  # noqa: ANN401 - as in dnspython
    return query_for("www.example.test", rtype, **edns)


def histogram(rig: Rig, source: Source) -> int:
    return sum(rig.words[source : source + BUCKETS])


# Everything that clients send

SILENCE = None
ODD = {
    "nothing": (b"", SILENCE, {"IGNORED_SHORT": 1}),
    "one octet": (b"\0", SILENCE, {"IGNORED_SHORT": 1}),
    "half a header": (message()[:11], SILENCE, {"IGNORED_SHORT": 1}),
    "a response": (message(flags=wire.QR), SILENCE, {"IGNORED_RESPONSE": 1}),
    "header alone": (message(rest=b""), "FORMERR", {"FORMERR": 1}),
    "no question": (message(counts=(0, 0, 0, 0), rest=b""), "FORMERR", {"FORMERR": 1}),
    "two questions": (
        message(counts=(2, 0, 0, 0), rest=2 * QUESTION),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "an answer": (message(counts=(1, 1, 0, 0)), "FORMERR", {"FORMERR": 1}),
    "pointer loop": (message(rest=b"\xc0\x0c\0\1\0\1"), "FORMERR", {"FORMERR": 1}),
    "label overrun": (message(rest=b"\x3fwww\0\0\1\0\1"), "FORMERR", {"FORMERR": 1}),
    "name too long": (
        message(rest=5 * (b"\x3f" + b"x" * 63) + b"\0\0\1\0\1"),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "name too long with OPT": (
        with_opt(question=4 * (b"\x3f" + b"x" * 63) + b"\0\0\1\0\1"),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "no type": (message(rest=b"\3www\0"), "FORMERR", {"FORMERR": 1}),
    "trailing octet": (message(rest=QUESTION + b"\0"), "FORMERR", {"FORMERR": 1}),
    "trailing octet with OPT": (with_opt(OPT + b"\0"), "FORMERR", {"FORMERR": 1}),
    "octet between question and OPT": (
        with_opt(b"\0" + OPT),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "OPT not counted": (message(rest=QUESTION + OPT), "FORMERR", {"FORMERR": 1}),
    "OPT missing": (message(counts=(1, 0, 0, 1)), "FORMERR", {"FORMERR": 1}),
    "header alone, which counts an OPT record": (
        message(counts=(1, 0, 0, 1), rest=b""),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "half an OPT record": (
        message(counts=(1, 0, 0, 1), rest=OPT[:6]),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "OPT and no question": (
        message(counts=(1, 0, 0, 1), rest=OPT),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "two OPT records": (
        message(counts=(1, 0, 0, 2), rest=QUESTION + 2 * OPT),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "OPT not at the root": (with_opt(b"\1a" + OPT), "FORMERR", {"FORMERR": 1}),
    "option overrun": (
        with_opt(OPT[:9] + b"\0\4\0\3\0\1"),
        "FORMERR",
        {"FORMERR": 1},
    ),
    "NOTIFY": (message(flags=4 << 11), "NOTIMP", {"NOTIMP": 1}),
    "UPDATE": (message(flags=5 << 11), "NOTIMP", {"NOTIMP": 1}),
    "EDNS of version 1": (
        with_opt(OPT[:6] + b"\1" + OPT[7:]),
        "BADVERS",
        {"BADVERS": 1},
    ),
    "EDNS of version 255 and more": (
        with_opt(OPT[:6] + b"\xff" + OPT[7:9] + b"\0\4\0\3\0\0"),
        "BADVERS",
        {"BADVERS": 1},
    ),
    "class CH": (message(rest=QUESTION[:-1] + b"\3"), "REFUSED", {"REFUSED": 1}),
    "class ANY": (message(rest=QUESTION[:-2] + b"\0\xff"), "REFUSED", {"REFUSED": 1}),
    "AXFR": (message(rest=QUESTION[:-4] + b"\0\xfc\0\1"), "REFUSED", {"REFUSED": 1}),
    "IXFR": (message(rest=QUESTION[:-4] + b"\0\xfb\0\1"), "REFUSED", {"REFUSED": 1}),
    "question for OPT": (
        message(rest=QUESTION[:-4] + b"\0\x29\0\1"),
        "REFUSED",
        {"REFUSED": 1},
    ),
    "name of nobody": (
        message(rest=b"\7example\3com\0\0\1\0\1"),
        "REFUSED",
        {"REFUSED": 1},
    ),
    "plain": (message(), "NOERROR", {"NOERROR": 1}),
    "plain with OPT": (with_opt(), "NOERROR", {"NOERROR": 1}),
    "TC, AA, RA and Z set": (
        message(flags=wire.TC | wire.AA | wire.RA | 0x40),
        "NOERROR",
        {"NOERROR": 1},
    ),
    "octets of an OPT record in an option": (
        with_opt(OPT[:9] + struct.pack("!HHH", 15, 65001, 11) + OPT),
        "NOERROR",
        {"NOERROR": 1},
    ),
    "319 octets": (padded(319), "NOERROR", {"NOERROR": 1}),
    "320 octets": (padded(320), "NOERROR", {"NOERROR": 1}),
    "321 octets": (padded(321), "NOERROR", {"NOERROR": 1}),
    "65507 octets": (padded(65507), "NOERROR", {"NOERROR": 1}),
    "65507 octets of noise": (
        message(rest=bytes(65495)),
        "FORMERR",
        {"FORMERR": 1},
    ),
}


def said(octets: bytes) -> str:
    """Return the response code that dnspython reads, and check the whole response."""
    flags = int.from_bytes(octets[2:4], "big")
    assert flags & wire.QR
    # dnspython holds the records of an UPDATE to other rules.
    plain = (flags & ~wire.OPCODE_MASK).to_bytes(2, "big")
    return dns.rcode.to_text(
        dns.message.from_wire(octets[:2] + plain + octets[4:]).rcode()
    )


@pytest.mark.parametrize(("octets", "verdict", "counters"), ODD.values(), ids=list(ODD))
@pytest.mark.parametrize("is_warm", [False, True], ids=["first", "later"])
def test_client_gets_what_the_protocol_asks(
    *,
    rig: Rig,
    octets: bytes,
    verdict: str | None,
    counters: dict[str, int],
    is_warm: bool,
) -> None:
    if is_warm:
        for known in (message(), with_opt(), octets):
            rig.ask(known)
    before = rig.counted()

    responses = rig.ask(octets)

    assert [said(response) for response in responses] == ([verdict] if verdict else [])
    assert all(response[:2] == b"\x12\x34" for response in responses)
    after = rig.counted()
    delta = {
        name: count - before.get(name, 0)
        for name, count in after.items()
        if count != before.get(name, 0)
    }
    assert delta == {"QUERIES_UDP": 1, **counters}
    assert rig.ask_for(www()).rcode() == dns.rcode.NOERROR


def test_all_of_it_in_one_batch_gets_the_same(rig: Rig) -> None:
    client = rig.client()
    sent = list(ODD.values())
    for octets, _verdict, _counters in sent:
        client.send(octets)

    rig.round()

    found = sorted(said(octets) for octets in client.receive())
    assert found == sorted(verdict for _octets, verdict, _counters in sent if verdict)
    expected: dict[str, int] = {"QUERIES_UDP": len(sent)}
    for _octets, _verdict, counters in sent:
        for name, count in counters.items():
            expected[name] = expected.get(name, 0) + count
    assert rig.counted() == expected


def test_query_whose_option_ends_like_a_learned_opt_record_is_answered(
    rig: Rig,
) -> None:
    rig.ask(with_opt())
    tricky = ODD["octets of an OPT record in an option"][0]

    [response] = rig.ask(tricky)

    assert said(response) == "NOERROR"
    assert len(dns.message.from_wire(response).answer) == 1


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.booleans())
def test_no_octets_harm_a_worker(rig: Rig, octets: bytes, has_header: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    before = rig.counted()
    if has_header:
        octets = message(counts=(1, 0, 0, 1), rest=octets)

    responses = rig.ask(octets)

    assert len(responses) <= 1
    for response in responses:
        said(response)
    after = rig.counted()
    assert "EXCEPTIONS" not in after
    names = set(after) - {"QUERIES_UDP"}
    assert sum(after[x] - before.get(x, 0) for x in names) == 1


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


# Who is served


def test_client_that_is_not_allowed_is_refused_with_the_reason() -> None:
    with Rig(zone=ZONE, allow=("192.0.2.0/24",)) as rig:
        for octets in (message(), with_opt(), padded(1000), message(flags=4 << 11)):
            [response] = rig.ask(octets)
            assert said(response) == "REFUSED"
        refused = rig.ask_for(www(payload=1232))
        silent = rig.ask(b"") + rig.ask(message(flags=wire.QR))

        assert [error.code for error in refused.extended_errors()] == [18]
        assert silent == []
        assert rig.counted() == {
            "QUERIES_UDP": 7,
            "NOT_ALLOWED": 5,
            "REFUSED": 5,
            "IGNORED_SHORT": 1,
            "IGNORED_RESPONSE": 1,
        }


def test_client_that_is_no_longer_allowed_is_refused_at_once(rig: Rig) -> None:
    rig.ask_for(www())

    rig.admit("192.0.2.0/24")

    assert rig.ask_for(www()).rcode() == dns.rcode.REFUSED


def test_clients_are_served_over_ipv6() -> None:
    with Rig(zone=ZONE, host="::1") as rig:
        for _ in range(3):
            assert rig.ask_for(www()).rcode() == dns.rcode.NOERROR
        rig.admit("127.0.0.0/8")

        assert rig.ask_for(www()).rcode() == dns.rcode.REFUSED


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

    def fail(qname: bytes, *arguments: object) -> object:
        if qname.startswith(b"\3bad"):
            raise ZeroDivisionError
        return respond(qname, *arguments)  # type: ignore[arg-type]

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
