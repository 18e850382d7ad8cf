"""The open listeners of a worker: one of each transport, known by their numbers."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from dnsfront.ipc.spec import Listener
from dnsfront.ipc.stats import QUERIES
from dnsfront.ipc.transports import TRANSPORTS
from dnsfront.worker.transports.listening import Listening
from tests.unit.stub_client import query_for
from tests.unit.worker_rig import ZONE, Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig(zone=ZONE) as made:
        yield made


@pytest.fixture
def listening(rig: Rig) -> Iterator[Listening]:
    """Return the listeners of *rig*, one of each transport, numbered in their order."""
    made = Listening(
        answering=rig.answering,
        ownership=rig.ownership,
        gate=rig.gate,
        peers=rig.peers,
        reactor=rig.reactor,
        streams=rig.streams,
    )
    for number, (name, transport) in enumerate(TRANSPORTS.items()):
        sock = socket.socket(type=transport.kind | socket.SOCK_NONBLOCK)
        sock.bind(("127.0.0.1", 0))
        if not transport.is_datagram:
            sock.listen()
        host, port = sock.getsockname()
        made.add(
            [
                Listener(
                    host, port, socket.AF_INET, name, is_wildcard=False, number=number
                )
            ],
            [sock.detach()],
        )
    yield made
    made.leave(range(len(TRANSPORTS)))
    made.close()


def test_every_transport_has_a_counter_of_its_queries() -> None:
    assert QUERIES.keys() == TRANSPORTS.keys()


def test_every_transport_can_be_opened_watched_and_left(listening: Listening) -> None:
    listening.watch()
    listening.unwatch()

    assert listening.take()
    listening.leave([0])
    assert listening.has_left()


def test_a_pause_holds_whoever_comes_and_goes(rig: Rig, listening: Listening) -> None:
    """`watch` is what a worker does at each word about its peers."""
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(listening._open[0].sock.getsockname())
        listening.watch()
        listening.pause()
        client.send(query_for("www.example.test").to_wire())

        listening.watch()
        listening.expire(rig.now_ns)
        rig.round()
        listening.flush()

        assert rig.count(QUERIES["udp"]) == 0

        listening.resume()
        rig.round()
        listening.flush()

        assert rig.count(QUERIES["udp"]) == 1
        client.recv(512)


def test_listener_that_is_open_stays_as_it_is(listening: Listening) -> None:
    listener = Listener("127.0.0.1", 1, socket.AF_INET, "udp", is_wildcard=False)
    again = socket.socket(type=socket.SOCK_DGRAM)
    before = dict(listening._open)

    listening.add([listener], [again.detach()])

    assert listening._open == before


def test_datagram_passed_here_is_answered_by_its_listener(
    listening: Listening,
) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.settimeout(5)
        host, port = client.getsockname()
        address = (
            socket.AF_INET.to_bytes(2, "little")
            + port.to_bytes(2, "big")
            + socket.inet_aton(host)
            + bytes(8)
        )
        query = query_for("www.example.test").to_wire()

        listening.answer_passed(0, address, b"", query)
        listening.flush()

        assert client.recv(512)[:2] == query[:2]


@pytest.mark.parametrize(
    ("number", "error"),
    [(1, ValueError), (200, KeyError)],
    ids=["one for connections", "one that is not open"],
)
def test_datagram_passed_to_no_udp_listener_is_refused(
    listening: Listening, number: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        listening.answer_passed(number, bytes(16), b"", b"")
