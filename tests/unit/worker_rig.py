"""A worker in one piece, without its process: real sockets, but a clock that is told.

The parts are put together as `dnsfront/worker/loop.py` does it; a round of the loop
happens when a test asks for one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal, Self, TypeVar

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from dnsfront.dns.cache import Cache
from dnsfront.dns.settings import CacheSettings
from dnsfront.dns.shape import Shapes
from dnsfront.dns.zones.zone_set import ZoneSet
from dnsfront.ipc import stats
from dnsfront.ipc.spec import AccessSettings, Listener, Policy, PoolSettings
from dnsfront.ipc.spec import Limits as Bounds
from dnsfront.ipc.stats import RCODES, Counter, Health, Rcode
from dnsfront.ipc.stats import Upstream as Word
from dnsfront.worker.answering.answering import Answering
from dnsfront.worker.answering.arrivals import Arrivals
from dnsfront.worker.answering.delivery import Delivery
from dnsfront.worker.answering.failures import Failures
from dnsfront.worker.answering.local import Local
from dnsfront.worker.answering.stale import Stale
from dnsfront.worker.answering.words import Words
from dnsfront.worker.clients.gate import Gate
from dnsfront.worker.peers.handover import Peers
from dnsfront.worker.peers.inbox import Inbox
from dnsfront.worker.peers.transfer import Recipient
from dnsfront.worker.process.clock import Clock
from dnsfront.worker.process.faults import Faults
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.process.reactor import Reactor
from dnsfront.worker.transports.streams import Streams
from dnsfront.worker.transports.tcp import TcpListener
from dnsfront.worker.transports.udp import UdpListener
from dnsfront.worker.upstreams import pool as upstream
from dnsfront.worker.upstreams.forwarding import Forwarding
from dnsfront.worker.upstreams.pool import Pool
from tests.unit.asking import load_zone
from tests.unit.fake_upstream import ADDRESS, FakeUpstream, twin_sockets
from tests.unit.shared_load import KEY, Load
from tests.unit.stub_client import Client, query_for, received

NS: Final = 1_000_000_000
#: These tests also run against the compiled form, where constants are constant and
#: classes have no subclasses of Python.
interpreted: Final = pytest.mark.skipif(
    not upstream.__file__.endswith(".py"), reason="what is compiled is fixed"
)
LIMITS: Final = CacheSettings(1000, 64 << 20, 64 << 10, 0, 86400, 86400, prefetch=True)
TIMEOUT_S: Final = 0.8
#: What the config has by default.
BOUNDS: Final = Bounds(
    tcp_connections=1000,
    tcp_connections_per_client=100,
    tcp_queries_per_connection=0,
    tcp_idle_s=10,
    tcp_memory_octets=1 << 26,
    pending=20000,
    pending_per_zone=2000,
    waiters_per_fetch=10_000,
)

ZONE: Final = """\
$TTL 300
@ SOA ns1 hostmaster 1 7200 900 1209600 300
@ NS ns1
ns1 A 192.0.2.53
www A 192.0.2.80
"""

T = TypeVar("T")


def eventually(check: Callable[[], T | None], step: Callable[[], object]) -> T:
    """Return what *check* returns as soon as that is true, taking *step* in between."""
    deadline_at = time.monotonic() + 30
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < deadline_at, f"still {value!r}"
        step()


class Rig:
    """One worker: its listeners on 127.0.0.1, its cache, its pool, its peers."""

    def __init__(
        self,
        *,
        upstreams: Sequence[FakeUpstream] = (),
        zone: str = "",
        limits: CacheSettings = LIMITS,
        allow: Sequence[str] = ("127.0.0.0/8", "::1/128"),
        policy: Policy = "ordered",
        worker_id: int = 1,
        table: bytes = b"\1\0\0\0",
        load: Load | None = None,
        is_steered: bool = True,
        host: str = "127.0.0.1",
        bounds: Bounds = BOUNDS,
        descriptors: int = 1000,
        udp_size: int = 1232,
    ) -> None:
        self.now_ns = 1_000_000 * NS
        self._udp_size = udp_size
        self.load = load or Load()
        self._owns_load = load is None
        self.down: set[int] = set()
        self.on_trial: set[int] = set()
        stats_fd = stats.create()
        self.words = stats.words(stats_fd)
        os.close(stats_fd)
        self.clock = Clock()
        self.meter = Meter(self.words, self.clock)
        self.faults = Faults(self.meter)
        self.ownership = self.load.ownership(worker_id, table=table)
        self.cache = Cache(limits)
        self.gate = Gate(AccessSettings(tuple(allow), "refuse"))
        self.wait_s: float | None = None
        self.reactor = Reactor(
            self.clock,
            now_ns=lambda: self.now_ns,
            after_round=self._after_round,
            on_tick=lambda _now_ns: True,
            on_fault=self.faults.caught,
        )
        delivery = Delivery(self.meter, self.faults)
        failures = Failures(self.clock, self.meter)
        stale = Stale(self.cache, delivery, self.clock, self.meter)
        local = Local(
            self.cache,
            delivery,
            clock=self.clock,
            meter=self.meter,
            faults=self.faults,
        )
        self.arrivals = Arrivals(self.cache, self.clock, local, delivery)
        self.outcomes = self.arrivals.outcomes(stale, failures)
        self.forwarding = Forwarding(
            limits=bounds,
            outcomes=self.outcomes,
            health=self._health,
            reactor=self.reactor,
            meter=self.meter,
            faults=self.faults,
        )
        self.forwarding.be_patient(limits.serve_stale_after_s)
        self.answering = Answering(
            worker_id=worker_id,
            cache=self.cache,
            shapes=Shapes(self.cache.views, nsid=b"w%d" % worker_id, udp_size=udp_size),
            ownership=self.ownership,
            forwarding=self.forwarding,
            delivery=delivery,
            failures=failures,
            stale=stale,
            local=local,
            words=Words(delivery, self.meter),
            clock=self.clock,
            meter=self.meter,
            faults=self.faults,
            is_steered=is_steered,
        )
        if zone:
            self.answering.serve(ZoneSet([load_zone("example.test", zone, "test")]))
        self.clock.set(self.now_ns)
        if upstreams:
            self.forward_to(upstreams, policy)
        receiving, self.handover_send = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_DGRAM
        )
        self.peers = Peers(worker_id)
        self._receiving = receiving
        self.inbox = self.inbox_at(receiving, self.peers)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._udp_socket, self._tcp_socket = twin_sockets(family, host)
        self._udp_socket.settimeout(0)
        self._tcp_socket.settimeout(0)
        self._tcp_socket.listen(1024)
        self.address = (host, self._udp_socket.getsockname()[1])
        self.udp = self.udp_listener(0, self._udp_socket, is_wildcard=False)
        self.streams = Streams(
            answering=self.answering,
            reactor=self.reactor,
            peers=self.peers,
            limits=bounds,
            descriptors=descriptors,
        )
        self.tcp = self.tcp_listener(1, self._tcp_socket)
        self.udp.watch()
        self.tcp.watch()
        self.reactor.watch(self.inbox.fileno(), self._on_handover)
        self._clients: list[Client] = []

    def udp_listener(
        self, index: int, sock: socket.socket, *, is_wildcard: bool
    ) -> UdpListener:
        return UdpListener(
            self._listener(index, sock, "udp", is_wildcard=is_wildcard),
            sock,
            reactor=self.reactor,
            answering=self.answering,
            ownership=self.ownership,
            gate=self.gate,
            peers=self.peers,
            clock=lambda: self.now_ns,
        )

    def admit(self, *networks: str, deny: Literal["refuse", "drop"] = "refuse") -> None:
        """Serve the clients of *networks* from now on, and nobody else."""
        self.gate.replace(AccessSettings(networks, deny))

    def tcp_listener(self, index: int, sock: socket.socket) -> TcpListener:
        return TcpListener(
            self._listener(index, sock, "tcp"),
            sock,
            streams=self.streams,
            gate=self.gate,
        )

    def _listener(
        self,
        number: int,
        sock: socket.socket,
        transport: str,
        *,
        is_wildcard: bool = False,
    ) -> Listener:
        host, port = self.address
        return Listener(host, port, sock.family, transport, is_wildcard, number)

    def _health(self, index: int) -> Health:
        if index in self.on_trial:
            return Health.TRIAL
        return Health.DOWN if index in self.down else Health.UP

    def forward_to(
        self, upstreams: Sequence[FakeUpstream], policy: Policy = "ordered"
    ) -> None:
        """Have misses go to *upstreams*."""
        servers = tuple(upstream.spec for upstream in upstreams)
        self.forwarding.replace(
            PoolSettings(policy, TIMEOUT_S, servers),
            hash_key=KEY,
            udp_size=self._udp_size,
        )

    @property
    def pool(self) -> Pool | None:
        """The pool that misses go to."""
        return self.forwarding.find(b"\0")

    def inbox_at(self, receiving: socket.socket, peers: Peers) -> Inbox:
        """Return an inbox for what this worker is to answer."""
        return Inbox(
            receiving,
            peers,
            on_datagram=self._on_datagram,
            on_query=self.answering.query,
            on_parcel=Recipient(self.cache, self.clock, self.meter).adopt,
        )

    def _on_handover(self, _event: int) -> None:
        self.inbox.receive()

    def _on_datagram(
        self, number: int, address: bytes, control: bytes, octets: bytes
    ) -> None:
        {0: self.udp}[number].answer_passed(address, control, octets)

    def _after_round(self) -> float | None:
        self.forwarding.expire()
        self.answering.delivery.go_on()
        self.streams.work()
        self.forwarding.flush()
        self.wait_s = self.forwarding.wait_s()
        self.udp.flush()
        self.peers.flush()
        self.meter.flush()
        self.reactor.stop()
        return 0

    def round(self) -> None:
        """Do one round of the loop, without waiting for anything."""
        self.reactor.run()

    def wait(self, seconds: float) -> None:
        """Let the clock go on, then do a round."""
        self.now_ns += round(seconds * NS)
        self.round()

    def until(self, check: Callable[[], T | None]) -> T:
        """Do rounds until *check* is true; return what it returned."""
        return eventually(check, self.round)

    def client(self, host: str = "") -> Client:
        """Return a client, at an address of its own if there is a *host*."""
        client = Client(self.address, host)
        self._clients.append(client)
        return client

    def ask(self, octets: bytes, client: Client | None = None) -> list[bytes]:
        """Return the responses to *octets* that come within one round."""
        client = client or self.client()
        client.send(octets)
        self.round()
        return client.receive()

    def ask_for(self, query: dns.message.Message) -> dns.message.Message:
        """Return the one response to *query*, which is answered in one round."""
        [octets] = self.ask(query.to_wire())
        return dns.message.from_wire(octets)

    def count(self, counter: int) -> int:
        return self.words[counter]

    def counted(self) -> dict[str, int]:
        """Return every counter that is not zero, by name; rcodes by mnemonic.

        The access list's own counter is NOT_ALLOWED here, since REFUSED is an rcode.
        """
        found = {
            "NOT_ALLOWED" if counter == Counter.REFUSED else counter.name: (
                self.words[counter]
            )
            for counter in Counter
            if self.words[counter]
        }
        for rcode in range(RCODES):
            count = self.words[Rcode.FIRST + rcode]
            if count:
                found[dns.rcode.to_text(dns.rcode.Rcode(rcode))] = count
        return found

    def upstream(self, index: int = 0) -> tuple[int, int]:
        """Return the requests and failures of an upstream."""
        at = stats.upstream_at(index)
        return self.words[at + Word.REQUESTS], self.words[at + Word.FAILURES]

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.streams.close()
        self.forwarding.close()
        self.peers.replace({})
        for sock in (
            self._receiving,
            self.handover_send,
            self._udp_socket,
            self._tcp_socket,
        ):
            sock.close()
        if self._owns_load:
            self.load.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def open_descriptors() -> set[str]:
    """Return the descriptors of this process that are sockets."""
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
            if target.startswith("socket:"):
                found.add(target)
    return found


def miss(rig: Rig, query: dns.message.Message | None = None, host: str = "") -> Client:
    """Send a query that misses; its client waits."""
    client = rig.client(host)
    assert rig.ask((query or query_for()).to_wire(), client) == []
    return client


def cached(rig: Rig, upstream: FakeUpstream, *records: str, rcode: int = 0) -> None:
    client = miss(rig)
    upstream.answer(*(records or (ADDRESS,)), rcode=rcode)
    rig.round()
    assert received(client)
