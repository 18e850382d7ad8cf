"""Queries passed to their owner in user space: two workers, one set of sockets."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import dns.edns
import dns.message
import dns.rcode
import pytest

from dnsfront.dns.names import qname_from_text
from dnsfront.ipc.stats import Counter
from dnsfront.ring.qhash import qname_hash, slot_of
from dnsfront.worker.peers.transfer import transfer
from tests.unit.fake_upstream import FakeUpstream
from tests.unit.shared_load import KEY, Load
from tests.unit.stub_client import Client, query_for
from tests.unit.worker_rig import ZONE, Rig, eventually

#: Slot 0 belongs to worker 1, slot 1 to worker 2.
TABLE = bytes((1, 2, 0, 0, 2, 1, 0, 0))
NSID = [dns.edns.GenericOption(dns.edns.OptionType(3), b"")]


def owned_by(worker_id: int) -> str:
    """Return a name below example.test that belongs to a worker."""
    for number in range(1000):
        text = f"n{number}.example.test"
        qname = qname_from_text(text)
        if slot_of(qname_hash(qname[:-1], KEY), 2) == worker_id - 1:
            return text
    raise AssertionError


class Host:
    """Two workers that know each other."""

    def __init__(
        self, stack: ExitStack, upstream: FakeUpstream | None, *, is_steered: bool
    ) -> None:
        load = Load(live_ids=(1, 2))
        stack.callback(load.close)
        self.rigs = {
            worker_id: stack.enter_context(
                Rig(
                    zone="" if upstream else ZONE,
                    upstreams=[upstream] if upstream else [],
                    worker_id=worker_id,
                    table=TABLE,
                    load=load,
                    is_steered=is_steered,
                )
            )
            for worker_id in (1, 2)
        }
        for worker_id, rig in self.rigs.items():
            other = self.rigs[3 - worker_id]
            rig.peers.replace({3 - worker_id: other.handover_send.dup()})
        # All workers share the sockets that clients see.
        self.first, self.second = self.rigs.values()
        shared = self.first.udp.sock
        twin = self.second.udp_listener(0, shared, is_wildcard=False)
        self.second.udp = twin
        self.load = load

    def round(self) -> None:
        for rig in self.rigs.values():
            rig.round()

    def ask(self, client: Client, query: dns.message.Message) -> dns.message.Message:
        client.send(query.to_wire())
        [octets] = eventually(client.receive, self.round)
        return dns.message.from_wire(octets)


@contextmanager
def host(
    upstream: FakeUpstream | None = None, *, is_steered: bool = True
) -> Iterator[Host]:
    with ExitStack() as stack:
        yield Host(stack, upstream, is_steered=is_steered)


def nsid_of(response: dns.message.Message) -> bytes:
    [option] = response.options
    octets: bytes = option.to_wire()
    return octets


# Datagrams


@pytest.mark.parametrize(
    ("is_steered", "counter"),
    [(True, "HANDOVER_MISPLACED"), (False, "HANDOVER_USERSPACE")],
    ids=["with the program", "without it"],
)
def test_misplaced_datagram_is_answered_by_its_owner(
    *, is_steered: bool, counter: str
) -> None:
    with host(is_steered=is_steered) as pair:
        client = pair.first.client()

        response = pair.ask(client, query_for(owned_by(2), options=NSID))

        assert response.rcode() == dns.rcode.NXDOMAIN
        assert nsid_of(response) == b"w2"
        assert pair.first.counted() == {"QUERIES_UDP": 1, counter: 1}
        assert pair.second.counted() == {"NXDOMAIN": 1}


def test_datagram_of_the_owner_stays() -> None:
    with host() as pair:
        response = pair.ask(pair.first.client(), query_for(owned_by(1), options=NSID))

        assert nsid_of(response) == b"w1"
        assert pair.first.counted() == {"QUERIES_UDP": 1, "NXDOMAIN": 1}


def test_steered_datagram_stays_whoever_owns_its_name() -> None:
    with host() as pair:
        pair.load.steer(1, 1)

        response = pair.ask(pair.first.client(), query_for(owned_by(2), options=NSID))

        assert nsid_of(response) == b"w1"


def test_owner_that_is_not_live_gets_nothing() -> None:
    with host() as pair:
        pair.load.set_live((1,))

        response = pair.ask(pair.first.client(), query_for(owned_by(2), options=NSID))

        assert nsid_of(response) == b"w1"


def test_owner_that_is_not_known_is_stood_in_for() -> None:
    with host() as pair:
        pair.first.peers.replace({})

        response = pair.ask(pair.first.client(), query_for(owned_by(2), options=NSID))

        assert nsid_of(response) == b"w1"
        assert pair.first.count(Counter.HANDOVER_FAILED) == 1


def test_handed_over_datagram_is_not_passed_on_again() -> None:
    with host() as pair:
        client = pair.first.client()
        pair.ask(client, query_for(owned_by(2)))
        # To the second worker, the table now says that the first is the owner.
        pair.load.publish(pair.second.ownership, bytes((2, 1, 0, 0, 1, 2, 0, 0)))

        name = "a." + owned_by(2)
        while pair.first.ownership.owner(qname_from_text(name)) != 2:
            name = "a." + name
        response = pair.ask(client, query_for(name, options=NSID))

        assert nsid_of(response) == b"w2"


def test_owner_fetches_once_for_all_workers() -> None:
    upstream = FakeUpstream()
    with host(upstream) as pair:
        name = owned_by(2)
        clients = [pair.first.client() for _ in range(5)]
        for client in clients:
            client.send(query_for(name).to_wire())
        pair.round()
        pair.round()

        upstream.answer(f"{name} 60 A 192.0.2.1")

        for client in clients:
            [octets] = eventually(client.receive, pair.round)
            assert dns.message.from_wire(octets).answer
        assert pair.second.count(Counter.COALESCED) == 4
        assert len(pair.first.cache) == 0
        assert len(pair.second.cache) == 1
    upstream.close()


def test_more_than_a_batch_is_handed_over() -> None:
    with host(is_steered=False) as pair:
        client = pair.first.client()
        for number in range(200):
            query = query_for(owned_by(2))
            query.id = number
            client.send(query.to_wire())
        found: list[bytes] = []

        def has_all() -> bool:
            found.extend(client.receive())
            return len(found) == 200

        eventually(has_all, pair.round)

        ids = sorted(int.from_bytes(octets[:2], "big") for octets in found)
        assert ids == list(range(200))
        assert pair.first.count(Counter.HANDOVER_USERSPACE) == 200


def test_query_of_64_kib_is_handed_over_whole() -> None:
    with host() as pair:
        client = pair.first.client()
        octets = query_for(owned_by(2), options=NSID).to_wire()
        padding = 65507 - len(octets) - 4
        option = struct.pack("!HH", 65001, padding) + bytes(padding)
        octets = octets[:-6] + struct.pack("!H", 4 + len(option)) + octets[-4:] + option

        client.send(octets)

        assert len(octets) == 65507
        [response] = eventually(client.receive, pair.round)
        assert nsid_of(dns.message.from_wire(response)) == b"w2"


# Streams


class Stream:
    def __init__(self, rig: Rig) -> None:
        self.socket = socket.socket()
        self.socket.connect(rig.address)
        self.socket.settimeout(0)
        self._octets = b""

    def send(self, *queries: dns.message.Message) -> None:
        for query in queries:
            octets = query.to_wire()
            self.socket.send(struct.pack("!H", len(octets)) + octets)

    def read(self) -> dns.message.Message | None:
        with suppress(BlockingIOError):
            self._octets += self.socket.recv(65536)
        end = 2 + int.from_bytes(self._octets[:2], "big")
        if len(self._octets) < max(end, 3):
            return None
        octets, self._octets = self._octets[2:end], self._octets[end:]
        return dns.message.from_wire(octets)

    def close(self) -> None:
        self.socket.close()


@contextmanager
def stream_to(rig: Rig) -> Iterator[Stream]:
    made = Stream(rig)
    yield made
    made.close()


def test_query_over_tcp_is_answered_by_its_owner_over_that_connection() -> None:
    with host() as pair, stream_to(pair.first) as stream:
        stream.send(query_for(owned_by(2), options=NSID))

        response = eventually(stream.read, pair.round)

        assert response.rcode() == dns.rcode.NXDOMAIN
        assert nsid_of(response) == b"w2"
        assert pair.first.counted() == {
            "QUERIES_TCP": 1,
            "HANDOVER_TCP": 1,
            "TCP_CONNECTIONS": 1,
        }
        assert pair.second.counted() == {"NXDOMAIN": 1}


def test_answers_over_tcp_go_to_the_connection_that_asked() -> None:
    with (
        host() as pair,
        stream_to(pair.first) as one,
        stream_to(pair.first) as two,
    ):
        queries = [query_for(owned_by(2)) for _ in range(4)]
        one.send(*queries[:2])
        two.send(*queries[2:])

        for stream, asked in ((one, queries[:2]), (two, queries[2:])):
            ids = {eventually(stream.read, pair.round).id for _ in asked}
            assert ids == {query.id for query in asked}


def test_large_answer_is_handed_back_whole() -> None:
    upstream = FakeUpstream()
    with host(upstream) as pair, stream_to(pair.first) as stream:
        stream.send(query_for(owned_by(2), "TXT"))
        eventually(lambda: pair.second.pool and pair.second.pool.pending, pair.round)
        records = [f'{owned_by(2)} 60 TXT "{n:03d}{"x" * 240}"' for n in range(150)]

        upstream.answer(*records)

        response = eventually(stream.read, pair.round)
        assert len(response.answer[0]) == 150
    upstream.close()


def test_answer_for_a_connection_that_is_gone_is_dropped() -> None:
    with host() as pair:
        stream = Stream(pair.first)
        stream.send(query_for(owned_by(2)))
        eventually(lambda: pair.first.count(Counter.HANDOVER_TCP), pair.first.round)

        reset = struct.pack("=ii", 1, 0)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        stream.close()
        eventually(lambda: not pair.first.tcp.connections, pair.first.round)
        pair.round()
        pair.round()

        assert "EXCEPTIONS" not in pair.first.counted()
        assert pair.second.counted() == {"NXDOMAIN": 1}


def test_owner_over_tcp_that_is_not_known_is_stood_in_for() -> None:
    with host() as pair, stream_to(pair.first) as stream:
        pair.first.peers.replace({})
        stream.send(query_for(owned_by(2), options=NSID))

        response = eventually(stream.read, pair.round)

        assert nsid_of(response) == b"w1"
        assert pair.first.count(Counter.HANDOVER_FAILED) == 1
        assert pair.first.count(Counter.HANDOVER_TCP) == 0


def test_entry_of_4000_addresses_is_whole_at_its_next_owner() -> None:
    upstream = FakeUpstream()
    with host(upstream) as pair:
        name = owned_by(1)
        records = [f"{name} 300 A 10.0.{n >> 8}.{n & 255}" for n in range(4000)]
        with stream_to(pair.first) as stream:
            stream.send(query_for(name))
            eventually(lambda: pair.first.pool and pair.first.pool.pending, pair.round)
            upstream.answer(*records)
            asked = eventually(stream.read, pair.round)
        entries = pair.first.cache.entries()

        for _ in transfer(
            entries,
            owner=lambda _qname: 2,
            own_id=1,
            now_s=pair.first.clock.now_s,
            send=pair.first.peers.pass_parcel,
        ):
            pass
        pair.second.round()

        assert pair.second.count(Counter.CACHE_ADOPTED) == 1
        [entry] = pair.second.cache.entries()
        assert len(entry.body) == 4000 * 16
        assert pair.second.cache.fresh(entry, pair.second.clock.now_s + 5)
        assert len(asked.answer[0]) == 4000
    upstream.close()
