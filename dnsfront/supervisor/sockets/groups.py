"""The reuseport groups: whose sockets are in them, and the program attached to each."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Final

from dnsfront.errors import ControlError
from dnsfront.ipc.spec import Listener, ListenerKey
from dnsfront.kernel.steering import MAX_GROUPS, Steering
from dnsfront.supervisor.sockets.listeners import ListeningSocket, open_sockets

_DROPS_MODULUS: Final = 1 << 32


class _Membership:
    """One worker's sockets by number, and the datagrams they dropped, beyond 32 bits.

    *chosen* are the listeners whose sockets are in their sockarrays.
    """

    def __init__(
        self, sockets: Iterable[ListeningSocket], chosen: AbstractSet[ListenerKey]
    ) -> None:
        self.sockets: dict[int, ListeningSocket] = {}
        self.chosen = set(chosen)
        self._seen: dict[int, int] = {}
        self._dropped = 0
        for sock in sockets:
            self.add(sock)

    def add(self, sock: ListeningSocket) -> None:
        self.sockets[sock.listener.number] = sock
        # What was dropped before was told to whoever had the socket then.
        self._seen[sock.listener.number] = sock.dropped()

    def dropped(self) -> int:
        for number, sock in self.sockets.items():
            seen = sock.dropped()
            self._dropped += (seen - self._seen[number]) % _DROPS_MODULUS
            self._seen[number] = seen
        return self._dropped


@dataclass
class Inherited:
    """What a predecessor had in the kernel: sockets by worker_id, and sockarrays.

    Each descriptor is owned here until somebody takes it out.
    """

    sockets: dict[int, dict[ListenerKey, socket.socket]] = field(default_factory=dict)
    sockarrays: dict[ListenerKey, int] = field(default_factory=dict)

    def close(self) -> None:
        """Give up what nobody took."""
        for sockets in self.sockets.values():
            for sock in sockets.values():
                sock.close()
        self.sockets.clear()
        while self.sockarrays:
            os.close(self.sockarrays.popitem()[1])


class SocketGroups:
    """Every worker's listening sockets, and the group of each listener in the kernel.

    A worker is bound, then joins, and some day leaves; the program is attached once the
    first workers have joined. *listeners* are what whoever is bound from now on gets,
    with their numbers.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        steering: Steering,
        inherited: Inherited | None = None,
    ) -> None:
        self._steering = steering
        self._inherited = Inherited() if inherited is None else inherited
        self._shared = frozenset(self._inherited.sockarrays)
        self._members: dict[int, _Membership] = {}
        #: What has groups in the kernel, by number.
        self._grouped: dict[int, Listener] = {}
        self.listeners: tuple[Listener, ...] = ()
        self.listeners = self.numbered(listeners)

    def __len__(self) -> int:
        """Return how many workers have their sockets open."""
        return len(self._members)

    def __contains__(self, worker_id: int) -> bool:
        return worker_id in self._members

    def numbered(self, listeners: Iterable[Listener]) -> tuple[Listener, ...]:
        """Return *listeners* with the numbers they have, or free ones.

        Raises:
            ControlError: with those of now, and those that are closing, they are more
                than the program and a message between workers can tell apart.
        """
        listeners = tuple(listeners)
        known = {x.key: x.number for x in (*self.listeners, *self._grouped.values())}
        count = len(known.keys() | {x.key for x in listeners})
        if count > MAX_GROUPS:
            raise ControlError(
                f"listen: got {count} listeners, old and new ones together, want "
                f"{MAX_GROUPS} at most; change fewer addresses at once"
            )
        free = iter(sorted(set(range(MAX_GROUPS)) - set(known.values())))
        return tuple(
            replace(x, number=known[x.key] if x.key in known else next(free))
            for x in listeners
        )

    # -- workers

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
        self._add_groups(self.listeners)
        member = self._members[worker_id]
        for sock in member.sockets.values():
            self._let_choose(worker_id, member, sock)

    def _add_groups(self, listeners: Iterable[Listener]) -> None:
        for listener in listeners:
            if listener.number in self._grouped:
                continue
            fd = self._inherited.sockarrays.pop(listener.key, None)
            self._steering.add_group(listener, fd)
            self._grouped[listener.number] = listener

    def _let_choose(
        self, worker_id: int, member: _Membership, sock: ListeningSocket
    ) -> None:
        """Put the worker's socket where the program can choose it."""
        if sock.listener.key in member.chosen:
            return
        member.chosen.add(sock.listener.key)
        self._steering.set_socket(sock.listener, worker_id, sock.sock)

    def leave(self, worker_id: int) -> int:
        """Close the worker's sockets and return how many datagrams they dropped.

        With the last member its groups are gone, and so is the program from them.
        """
        dropped = self.dropped(worker_id)
        member = self._members.get(worker_id)
        if member is None:
            return 0
        if len(self._members) == 1:
            self.detach(self._grouped.values())
        del self._members[worker_id]
        for sock in member.sockets.values():
            self._close(worker_id, member, sock)
        return dropped

    def _close(
        self, worker_id: int, member: _Membership, sock: ListeningSocket
    ) -> None:
        if sock.listener.key in member.chosen:
            self._steering.remove_socket(sock.listener, worker_id)
        sock.close()

    def sockets_of(
        self, worker_id: int, listeners: Iterable[Listener]
    ) -> list[ListeningSocket]:
        """Return the worker's sockets of *listeners*, in their order."""
        sockets = self._members[worker_id].sockets
        return [sockets[listener.number] for listener in listeners]

    # -- listeners

    def add(self, listeners: Iterable[Listener]) -> None:
        """Open *listeners* for every worker, and put them into the kernel.

        Raises:
            DnsfrontError: an address is not to be had, or the kernel refuses; then
                nothing is left of them.
        """
        listeners = tuple(listeners)
        try:
            self._add_groups(listeners)
            for worker_id, member in self._members.items():
                for sock in open_sockets(listeners):
                    member.add(sock)
                    self._let_choose(worker_id, member, sock)
        except BaseException:
            self.remove(listeners)
            raise

    def want(self, listeners: Iterable[Listener]) -> None:
        """Open *listeners* for whoever is bound from now on; the others keep theirs."""
        self.listeners = tuple(listeners)

    def shut(self, listeners: Iterable[Listener]) -> None:
        """Let nothing more come to *listeners* over UDP, ahead of :meth:`remove`."""
        for listener in listeners:
            for member in self._members.values():
                if listener.number in member.sockets:
                    member.sockets[listener.number].shut()

    def shut_worker(self, worker_id: int) -> None:
        """Let nothing more come to a worker over UDP, where no program chooses."""
        for sock in self._members[worker_id].sockets.values():
            sock.shut()

    def remove(self, listeners: Iterable[Listener]) -> None:
        """Close *listeners* for every worker."""
        listeners = tuple(listeners)
        self.detach(listeners)
        for listener in listeners:
            for worker_id, member in self._members.items():
                sock = member.sockets.pop(listener.number, None)
                if sock is not None:
                    member.dropped()
                    self._close(worker_id, member, sock)
                    member.chosen.discard(listener.key)
            if self._grouped.pop(listener.number, None) is not None:
                self._steering.remove_group(listener)

    def attach(self, listeners: Iterable[Listener] | None = None) -> None:
        """Steer the groups of *listeners*, or all; who joins later is steered as well.

        Raises:
            KernelError: the kernel refuses.
        """
        for sock in self._one_of_each(listeners):
            self._steering.attach(sock)

    def detach(self, listeners: Iterable[Listener]) -> None:
        """Leave the groups of *listeners* to the kernel's own choice."""
        for sock in self._one_of_each(listeners):
            self._steering.detach(sock)

    def _one_of_each(
        self, listeners: Iterable[Listener] | None
    ) -> Iterator[socket.socket]:
        """Return one member of every group: what holds for it holds for all of them."""
        wanted = self.listeners if listeners is None else listeners
        for listener in wanted:
            for member in self._members.values():
                sock = member.sockets.get(listener.number)
                if sock is not None:
                    yield sock.sock
                    break

    # -- drops, and the end

    def dropped(self, worker_id: int) -> int:
        """Return the datagrams that the worker's present sockets dropped so far."""
        member = self._members.get(worker_id)
        return 0 if member is None else member.dropped()

    def holds_datagrams(self, worker_id: int) -> bool:
        """Return whether the kernel says that it holds datagrams for the worker."""
        member = self._members.get(worker_id)
        return member is not None and any(
            sock.holds_datagrams() for sock in member.sockets.values()
        )

    def report_drops(self) -> None:
        """Tell steering, since a dropped datagram is no backlog."""
        for worker_id, member in self._members.items():
            self._steering.set_dropped(worker_id, member.dropped())

    def abandon(self, kept: Mapping[int, Collection[ListenerKey]]) -> None:
        """Leave all groups, and the program attached to them, to a successor.

        *kept* are the listeners that it reads, by worker_id. Nothing more comes to
        sockets that it neither reads nor can pass over; they are still to be drained.
        """
        served = {key for keys in kept.values() for key in keys}
        for worker_id, member in self._members.items():
            for sock in member.sockets.values():
                key = sock.listener.key
                if key not in served or (
                    key not in kept.get(worker_id, ())
                    and self._steering.mode == "userspace"
                ):
                    sock.shut()
                sock.close()
        self._members.clear()
