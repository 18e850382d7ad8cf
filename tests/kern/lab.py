"""A steering with sockets around it, arranged as the supervisor does it."""

from __future__ import annotations

import contextlib
import select
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from dnsfront.ipc.spec import Listener
from dnsfront.ring.qhash import qname_hash, slot_of
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dnsfront.kernel.steering import BpfSteering

SLOTS = 65536
HASH_KEY = bytes(range(0xF0, 0x100))
PREFERENCES = 4


class Group:
    """The sockets of one listener, one a worker."""

    def __init__(
        self,
        steering: BpfSteering,
        worker_ids: Sequence[int],
        address: str = "127.0.0.1",
        *,
        port: int = 0,
        protocol: int = socket.IPPROTO_UDP,
        is_steered: bool = True,
    ) -> None:
        self.steering = steering
        self.protocol = protocol
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.is_wildcard = address in {"0.0.0.0", "::"}  # noqa: S104 - in a namespace
        transport = "tcp" if protocol == socket.IPPROTO_TCP else "udp"
        self.listener = Listener(address, port, family, transport, self.is_wildcard)
        self.sockets: dict[int, socket.socket] = {}
        # The kernel's order of the sockets is not the order of the ids.
        for worker_id in reversed(worker_ids):
            self.sockets[worker_id] = self.bind()
        if is_steered:
            steering.add_group(self.listener)
            for worker_id, sock in self.sockets.items():
                steering.set_socket(self.listener, worker_id, sock)
        self._is_steered = is_steered
        steering.attach(next(iter(self.sockets.values())))

    def bind(self) -> socket.socket:
        """Return one more socket of the listener, not in the sockarray."""
        sock = reuseport_socket(self.listener.family, self.protocol)
        sock.bind((self.listener.address, self.listener.port))
        if self.protocol == socket.IPPROTO_TCP:
            sock.listen()
        address, port = sock.getsockname()[:2]
        self.listener = replace(self.listener, address=address, port=port)
        return sock

    def set(self, worker_id: int, sock: socket.socket) -> None:
        """Make *sock* the worker's."""
        self.steering.set_socket(self.listener, worker_id, sock)

    def remove(self, worker_id: int) -> None:
        """Take the worker's socket out of the sockarray."""
        self.steering.remove_socket(self.listener, worker_id)

    def target(self, address: str | None = None) -> tuple[str, int]:
        """Return where a client sends to."""
        loopback = "::1" if self.listener.family == socket.AF_INET6 else "127.0.0.1"
        own = loopback if self.is_wildcard else self.listener.address
        return address or own, self.listener.port

    def receive(self, within_s: float = 2) -> tuple[int, bytes]:
        """Return the next datagram and the id of the worker whose socket has it."""
        worker_id = self.readable(within_s)
        return worker_id, self.sockets[worker_id].recv(1 << 16)

    def readable(self, within_s: float = 2) -> int:
        """Return the only worker that has something to take."""
        ids = {sock.fileno(): worker_id for worker_id, sock in self.sockets.items()}
        poll = select.poll()
        for fd in ids:
            poll.register(fd, select.POLLIN)
        ready = [ids[fd] for fd, _event in poll.poll(within_s * 1000)]
        assert len(ready) == 1, f"{len(ready)} sockets are readable, not one: {ready}"
        return ready[0]

    def client(self) -> socket.socket:
        """Return an unbound UDP socket of the listener's family."""
        return socket.socket(self.listener.family, socket.SOCK_DGRAM)

    def close(self) -> None:
        """Close the sockets and forget the listener."""
        for sock in self.sockets.values():
            sock.close()
        if self._is_steered:
            self.steering.remove_group(self.listener)


class Lab:
    """A steering, the table in force, and groups that close with the test."""

    def __init__(self, steering: BpfSteering) -> None:
        self.steering = steering
        self.table = b""
        self._resources = contextlib.ExitStack()

    def group(
        self, worker_ids: Sequence[int], address: str = "127.0.0.1", **options: int
    ) -> Group:
        """Return a new group with the program attached; its workers become live."""
        made = Group(self.steering, worker_ids, address, **options)  # type: ignore[arg-type]  # port, protocol, is_steered
        self._resources.callback(made.close)
        for worker_id in worker_ids:
            self.steering.set_live(worker_id, is_live=True)
        return made

    def client(self, group: Group) -> socket.socket:
        """Return a client's socket that closes with the test."""
        return self._resources.enter_context(group.client())

    def keep(self, sock: socket.socket) -> socket.socket:
        """Return *sock*, which closes with the test."""
        return self._resources.enter_context(sock)

    def publish(self, table: bytes) -> None:
        """Put *table* in force."""
        self.table = table
        self.steering.publish(table)

    def publish_everywhere(self, *worker_ids: int) -> None:
        """Put a table in force in which all slots have this preference list."""
        self.publish(bytes(worker_ids).ljust(PREFERENCES, b"\0") * SLOTS)

    def preference(self, qname: bytes) -> bytes:
        """Return the preference list of *qname* by the model in user space."""
        slot = slot_of(qname_hash(lower_case(qname), HASH_KEY), SLOTS)
        return self.table[slot * PREFERENCES : (slot + 1) * PREFERENCES]

    @contextlib.contextmanager
    def counting(self, **expected: int) -> Iterator[None]:
        """Prove that the body changes the counters by exactly *expected*."""
        before = self.steering.counters()
        yield
        after = self.steering.counters()
        assert {
            name: after[name] - count
            for name, count in before.items()
            if after[name] != count
        } == {name: count for name, count in expected.items() if count}

    def send_counted(self, client: socket.socket, octets: bytes, group: Group) -> None:
        """Send one datagram and wait until the program has run for it."""
        runs = sum(self.steering.counters().values())
        client.sendto(octets, group.target())
        eventually(lambda: sum(self.steering.counters().values()) == runs + 1)

    def close(self) -> None:
        """Close what the test opened, and leave the steering as it was found."""
        self._resources.close()
        for worker_id in self.steering.live_ids():
            self.steering.set_live(worker_id, is_live=False)
        for worker_id in range(1, 128):
            self.steering.forget(worker_id)
        self.steering.set_bound(0, 0)


def reuseport_socket(family: int, protocol: int = socket.IPPROTO_UDP) -> socket.socket:
    """Return an unbound socket with what the supervisor sets before it binds."""
    kind = socket.SOCK_STREAM if protocol == socket.IPPROTO_TCP else socket.SOCK_DGRAM
    sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def lower_case(qname: bytes) -> bytes:
    """Fold A to Z (`bytes.lower` does just that); lengths, at most 63, lie below."""
    return qname.lower()
