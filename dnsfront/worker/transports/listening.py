"""The listening sockets of one worker, which may change while it serves.

A listener that leaves is read to its end, and its socket stays open for as long as
somebody waits for a response through it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

from dnsfront.ipc.spec import Listener
from dnsfront.worker.answering.answering import Answering
from dnsfront.worker.clients.gate import Gate
from dnsfront.worker.peers.handover import Peers
from dnsfront.worker.peers.ownership import Ownership
from dnsfront.worker.process.reactor import Reactor
from dnsfront.worker.transports.listener import OpenListener
from dnsfront.worker.transports.streams import Streams
from dnsfront.worker.transports.tcp import TcpListener
from dnsfront.worker.transports.udp import UdpListener


class Listening:
    """The open listeners by number.

    Of these :meth:`watch` reads those that do not leave. While `is_paused` nothing is
    taken from any, whoever comes and goes: a successor reads the same sockets.
    """

    def __init__(
        self,
        *,
        answering: Answering,
        ownership: Ownership,
        gate: Gate,
        peers: Peers,
        reactor: Reactor,
        streams: Streams,
    ) -> None:
        #: What opens a listener of each transport.
        self._openers: dict[str, Callable[[Listener, socket.socket], OpenListener]] = {
            "udp": partial(
                UdpListener,
                reactor=reactor,
                answering=answering,
                ownership=ownership,
                gate=gate,
                peers=peers,
                clock=time.monotonic_ns,
            ),
            "tcp": partial(TcpListener, streams=streams, gate=gate),
        }
        self._open: dict[int, OpenListener] = {}
        # What every round goes through, ready made.
        self._flushed: tuple[OpenListener, ...] = ()
        self.is_paused = False
        self._ownership = ownership
        self._streams = streams
        self._answering = answering

    def add(self, listeners: Iterable[Listener], fds: Sequence[int]) -> None:
        """Open *listeners*; *fds* has a socket of each, to be owned.

        Those that are open already stay as they are.
        """
        for listener, fd in zip(listeners, fds, strict=True):
            sock = socket.socket(fileno=fd)
            if listener.number in self._open:
                sock.close()
                continue
            opener = self._openers[listener.transport]
            self._open[listener.number] = opener(listener, sock)
        self._note()

    def _note(self) -> None:
        self._flushed = tuple(x for x in self._open.values() if x.is_flushed)

    def answer_passed(
        self, number: int, address: bytes, control: bytes, octets: bytes
    ) -> None:
        """Answer a datagram of listener *number* that another worker passed here.

        Raises:
            KeyError, ValueError: there is no such listener, or not for datagrams.
        """
        self._open[number].answer_passed(address, control, octets)

    def catch_up(self) -> None:
        """Take what waited for a predecessor, and count what that one took as taken."""
        steered = self._ownership.steered
        if self.take():
            self._ownership.count_as_taken(steered)

    def watch(self) -> None:
        """Take whatever comes, from now on, or when a pause is over."""
        if self.is_paused:
            return
        for listener in self._open.values():
            listener.watch()

    def unwatch(self) -> None:
        """Leave what comes where it is."""
        for listener in self._open.values():
            listener.unwatch()

    def pause(self) -> None:
        """Leave what comes where it is until :meth:`resume`."""
        self.is_paused = True
        self.unwatch()

    def resume(self) -> None:
        """Take what came meanwhile, and whatever comes."""
        self.is_paused = False
        self.watch()

    def drain(self, kept: Collection[int]) -> None:
        """Take no new connections; what waits at *kept* is a successor's to take."""
        for number, listener in self._open.items():
            listener.drain(is_kept=number in kept)

    def take(self) -> bool:
        """Take what the sockets hold; return whether all were found empty."""
        mine = [listener for listener in self._open.values() if not listener.is_kept]
        return all([x.take() for x in mine])  # noqa: C419 - all of them, always

    def leave(self, numbers: Iterable[int]) -> None:
        """Begin to close *numbers*, those of them that are open."""
        for number in self._open.keys() & numbers:
            self._open[number].leave()

    def has_left(self) -> bool:
        """Take what leaving listeners still hold; return whether nobody waits there."""
        leaving = [listener for listener in self._open.values() if listener.is_leaving]
        if not all([x.has_left() for x in leaving]):  # noqa: C419 - as in take()
            return False
        return not self._answering.is_awaited_at(leaving)

    def close(self) -> None:
        """Close the listeners that leave, and the connections that are left there."""
        for listener in [x for x in self._open.values() if x.is_leaving]:
            del self._open[listener.number]
            listener.close()
        self._note()

    @property
    def is_ticking(self) -> bool:
        """Whether something here may become overdue, see :meth:`expire`."""
        return len(self._streams) > 0 or any(
            listener.is_paused for listener in self._open.values()
        )

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._streams)

    def flush(self) -> None:
        """Send the responses that were collected."""
        for listener in self._flushed:
            listener.flush()

    def expire(self, now_ns: int) -> None:
        """Close connections on which nothing happens; about four times a second.

        Where there are none, and nobody pauses, it may be later than that.
        """
        self._streams.expire(now_ns)
        for listener in self._open.values():
            listener.expire()
