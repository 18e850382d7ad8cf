"""The listening sockets of one worker, which may change while it serves.

A listener that leaves is read to its end, and its socket stays open for as long as
somebody waits for a response through it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Iterable, Sequence

from dnsfront.ipc.spec import Listener
from dnsfront.worker.answering.answering import Answering
from dnsfront.worker.clients.access import AccessList
from dnsfront.worker.peers.handover import Peers
from dnsfront.worker.peers.ownership import Ownership
from dnsfront.worker.process.reactor import Reactor
from dnsfront.worker.transports.streams import Streams
from dnsfront.worker.transports.tcp import TcpListener
from dnsfront.worker.transports.udp import UdpListener


class Listening:
    """The sockets by the number of their listener.

    All in *udp* and *tcp* are open; of these :meth:`watch` reads those that neither
    leave nor are kept by a successor.
    """

    def __init__(
        self,
        *,
        answering: Answering,
        ownership: Ownership,
        access: AccessList,
        peers: Peers,
        reactor: Reactor,
        streams: Streams,
    ) -> None:
        self.udp: dict[int, UdpListener] = {}
        self.tcp: dict[int, TcpListener] = {}
        # What every round goes through, ready made.
        self.all_udp: tuple[UdpListener, ...] = ()
        self._answering = answering
        self._ownership = ownership
        self._access = access
        self._peers = peers
        self._reactor = reactor
        self._streams = streams
        self._leaving: set[int] = set()
        self._kept: set[int] = set()

    def add(self, listeners: Iterable[Listener], fds: Sequence[int]) -> None:
        """Open *listeners*; *fds* has a UDP and a TCP socket of each, to be owned.

        Those that are open already stay as they are.
        """
        sockets = [socket.socket(fileno=fd) for fd in fds]
        for listener, udp, tcp in zip(
            listeners, sockets[::2], sockets[1::2], strict=True
        ):
            if listener.number in self.udp:
                udp.close()
                tcp.close()
                continue
            self.udp[listener.number] = UdpListener(
                listener.number,
                udp,
                is_wildcard=listener.is_wildcard,
                answering=self._answering,
                ownership=self._ownership,
                access=self._access,
                peers=self._peers,
                clock=time.monotonic_ns,
            )
            self.tcp[listener.number] = TcpListener(
                tcp, streams=self._streams, access=self._access
            )
        self._note()

    def _note(self) -> None:
        self.all_udp = tuple(self.udp.values())

    def answer_passed(
        self, number: int, address: bytes, control: bytes, octets: bytes
    ) -> None:
        """Answer a datagram of listener *number* that another worker passed here.

        Raises:
            KeyError: there is no such listener.
        """
        self.udp[number].answer_passed(address, control, octets)

    def settle(self) -> None:
        """Take what waited for a predecessor, and forget what that one had taken."""
        steered = self._ownership.steered
        if self.take():
            self._ownership.count_as_taken(steered)

    def watch(self) -> None:
        """Take whatever comes, from now on."""
        for number, udp in self.udp.items():
            if number not in self._leaving:
                self._reactor.watch(udp.fileno(), udp.ready)
                tcp = self.tcp[number]
                self._reactor.watch(tcp.fileno(), tcp.ready)

    def unwatch(self) -> None:
        """Leave what comes where it is."""
        for number in self.udp:
            self._unwatch(number)

    def _unwatch(self, number: int) -> None:
        tcp = self.tcp[number]
        tcp.is_paused = False
        for listener in (self.udp[number].fileno(), tcp.fileno()):
            self._reactor.forget(listener)

    def drain(self, kept: Collection[int]) -> None:
        """Take no new connections; what waits at *kept* is a successor's to take."""
        self._kept.update(kept)
        for number, tcp in self.tcp.items():
            tcp.drain(is_kept=number in self._kept)

    def take(self) -> bool:
        """Take what the UDP sockets hold; return whether all were found empty."""
        mine = [udp for number, udp in self.udp.items() if number not in self._kept]
        return all([udp.drain() for udp in mine])  # noqa: C419 - all of them, always

    def leave(self, numbers: Iterable[int]) -> None:
        """Begin to close *numbers*, those of them that are open."""
        for number in self.udp.keys() & numbers:
            self._leaving.add(number)
            self._unwatch(number)
            self.tcp[number].drain(is_kept=False)

    def has_left(self) -> bool:
        """Take what the leaving ones still hold; return whether nobody waits there."""
        leaving = [self.udp[number] for number in self._leaving]
        are_empty = [udp.drain() for udp in leaving]
        for number in self._leaving:
            self.tcp[number].ready(0)
        if not all(are_empty) or any(self.tcp[n].connections for n in self._leaving):
            return False
        if self._streams.answering.delivery.crowds.waiting:
            return False
        return not self._streams.answering.forwarding.is_awaited_at(leaving)

    def close(self) -> None:
        """Close the leaving ones, and the connections that are left there."""
        while self._leaving:
            number = self._leaving.pop()
            self.udp.pop(number).close()
            self.tcp.pop(number).close()
        self._note()

    @property
    def connections(self) -> int:
        """How many TCP connections there are."""
        return len(self._streams)

    def flush_udp(self) -> None:
        """Send the responses over UDP."""
        for udp in self.udp.values():
            udp.flush()

    def expire(self, now_ns: int) -> None:
        """Close connections on which nothing happens."""
        self._streams.expire(now_ns)
        for tcp in self.tcp.values():
            tcp.resume()
