"""The reuseport groups: whose sockets are in them, and the program attached to each."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from dnsfront.ipc.spec import Listener, Place
from dnsfront.supervisor.listeners import (
    ListenerSockets,
    SocketPair,
    datagrams_dropped,
    open_sockets,
)
from dnsfront.supervisor.steering import Steering

#: Each listener has a group for either.
PROTOCOLS: Final = (socket.IPPROTO_UDP, socket.IPPROTO_TCP)

_DROPS_MODULUS: Final = 1 << 32


class _Membership:
    """One worker's sockets, and the drops of the UDP ones, beyond 32 bits.

    *placed* are the places whose sockets are in their sockarrays already.
    """

    def __init__(
        self,
        sockets: tuple[ListenerSockets, ...],
        placed: frozenset[Place] = frozenset(),
    ) -> None:
        self.sockets = sockets
        self.placed = placed
        self.is_in_kernel = False
        # What was dropped before was told to whoever had the sockets then.
        self._seen = [datagrams_dropped(pair.udp) for pair in sockets]
        self._dropped = 0

    def dropped(self) -> int:
        for index, pair in enumerate(self.sockets):
            seen = datagrams_dropped(pair.udp)
            self._dropped += (seen - self._seen[index]) % _DROPS_MODULUS
            self._seen[index] = seen
        return self._dropped


@dataclass
class Inherited:
    """What a predecessor had in the kernel: by worker_id and place, and by group.

    Each descriptor is owned here until somebody takes it out.
    """

    sockets: dict[int, dict[Place, SocketPair]] = field(default_factory=dict)
    sockarrays: dict[tuple[Place, int], int] = field(default_factory=dict)

    def close(self) -> None:
        """Give up what nobody took."""
        for pairs in self.sockets.values():
            for udp, tcp in pairs.values():
                udp.close()
                tcp.close()
        self.sockets.clear()
        while self.sockarrays:
            os.close(self.sockarrays.popitem()[1])


class SocketGroups:
    """Every worker's listening sockets and their place in the kernel.

    Each listener has one group for UDP and one for TCP. A worker is bound, then joins,
    and some day leaves; the program is attached once the first workers have joined.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        steering: Steering,
        inherited: Inherited | None = None,
    ) -> None:
        self.listeners = tuple(listeners)
        self._steering = steering
        self._inherited = Inherited() if inherited is None else inherited
        self._shared = frozenset(place for place, _ in self._inherited.sockarrays)
        self._members: dict[int, _Membership] = {}
        self._has_groups = False

    def __len__(self) -> int:
        """Return how many workers have their sockets open."""
        return len(self._members)

    def __contains__(self, worker_id: int) -> bool:
        return worker_id in self._members

    def bind(self, worker_id: int) -> None:
        """Open the worker's sockets; from now on they may queue what the kernel likes.

        Those of a predecessor are open, and in the kernel, already.

        Raises:
            UnavailableError, PrivilegeError: an address is not to be had.
        """
        inherited = self._inherited.sockets.pop(worker_id, {})
        self._members[worker_id] = _Membership(
            open_sockets(self.listeners, inherited), self._shared & inherited.keys()
        )

    def join(self, worker_id: int) -> None:
        """Put the worker's sockets where the program can choose them.

        Raises:
            KernelError: the kernel refuses.
        """
        if not self._has_groups:
            for listener in self.listeners:
                for protocol in PROTOCOLS:
                    fd = self._inherited.sockarrays.pop(
                        (listener.place, protocol), None
                    )
                    self._steering.add_group(listener, protocol, fd)
            self._has_groups = True
        member = self._members[worker_id]
        member.is_in_kernel = True
        for pair in member.sockets:
            if pair.listener.place in member.placed:
                continue
            for protocol, sock in pair.by_protocol():
                self._steering.set_socket(pair.listener, protocol, worker_id, sock)

    def attach(self) -> None:
        """Steer every group; workers that join later are steered as members of it.

        Raises:
            KernelError: the kernel refuses.
        """
        for sock in self._one_of_each():
            self._steering.attach(sock)

    def sockets_of(self, worker_id: int) -> tuple[ListenerSockets, ...]:
        """Return the worker's sockets, one pair a listener."""
        return self._members[worker_id].sockets

    def dropped(self, worker_id: int) -> int:
        """Return the datagrams that the worker's present sockets dropped so far."""
        member = self._members.get(worker_id)
        return 0 if member is None else member.dropped()

    def report_drops(self) -> None:
        """Tell steering, since a dropped datagram is no backlog."""
        for worker_id, member in self._members.items():
            self._steering.set_dropped(worker_id, member.dropped())

    def leave(self, worker_id: int) -> int:
        """Close the worker's sockets and return how many datagrams they dropped.

        With the last member its groups are gone, and so is the program from them.
        """
        dropped = self.dropped(worker_id)
        if self._members.keys() == {worker_id}:
            for sock in self._one_of_each():
                self._steering.detach(sock)
        member = self._members.pop(worker_id, None)
        if member is None:
            return 0
        for pair in member.sockets:
            if member.is_in_kernel:
                for protocol, _sock in pair.by_protocol():
                    self._steering.remove_socket(pair.listener, protocol, worker_id)
            pair.close()
        return dropped

    def abandon(self) -> None:
        """Leave all groups, and the program attached to them, to a successor.

        What a successor did not take over leaves its sockarray when it closes.
        """
        for member in self._members.values():
            for pair in member.sockets:
                pair.close()
        self._members.clear()

    def _one_of_each(self) -> Iterator[socket.socket]:
        """Return one member of every group: what holds for it holds for all of them."""
        for member in list(self._members.values())[:1]:
            for pair in member.sockets:
                yield pair.udp
                yield pair.tcp
