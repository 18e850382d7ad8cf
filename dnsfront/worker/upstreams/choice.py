"""Which servers are asked for a name, and in which order (`upstreams.policy`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final
from zlib import crc32

from dnsfront.ipc.spec import MAX_TRIES, UpstreamServer, endpoint_text
from dnsfront.ipc.stats import HEALTH_MASK, HELD_OF, HELD_SHIFT, Health
from dnsfront.ring.servers import ServerRing
from dnsfront.worker.upstreams.server import Server

#: Orders servers for a qname. One that answered the name before in a chain of aliases
#: is preferred to its equals, so that one server sees the whole chain.
ServerOrder = Callable[[bytes, Sequence[Server], Server | None], list[Server]]


#: One question of so many goes to the server that was the first longest ago, so that
#: what is known of its speed stays true.
_EXPLORED: Final = 32
#: What is about as fast as the fastest: a quarter and a millisecond slower.
_NEARLY: Final = 4
_NEARLY_NS: Final = 1_000_000
#: Pending questions that a server may have whatever its share is.
_LEAST_BOUND: Final = 64


def order_of(policy: str, servers: Sequence[UpstreamServer], key: bytes) -> ServerOrder:
    """Return what orders *servers*, given in the same order, for a qname."""
    if policy == "least_outstanding":
        return _least_outstanding
    if policy == "chash" and len(servers) > 1:
        return _chash(servers, key)
    if policy == "fastest" and len(servers) > 1:
        return _Fastest(_chash(servers, key)).order
    return _ordered


def _ordered(
    _qname: bytes, servers: Sequence[Server], _before: Server | None
) -> list[Server]:
    return list(servers)


def _least_outstanding(
    _qname: bytes, servers: Sequence[Server], before: Server | None
) -> list[Server]:
    """Order by load; of equals whoever was chosen longest ago comes first."""
    return sorted(
        servers,
        key=lambda x: (x.outstanding / x.spec.weight, x is not before, x.chosen),
    )


def _chash(servers: Sequence[UpstreamServer], key: bytes) -> ServerOrder:
    """Return an order by hash over the servers' addresses, equal on all hosts.

    So a server sees the same names for as long as it is there, whoever asks, and the
    caches of two servers hold as little twice as those of two workers.
    """
    ring = ServerRing(
        [endpoint_text(server.address, server.port) for server in servers],
        [server.weight for server in servers],
        key,
    )

    def order(
        qname: bytes, servers: Sequence[Server], _before: Server | None
    ) -> list[Server]:
        return [servers[position] for position in ring.order(qname)]

    return order


class _Fastest:
    """Orders by what is expected of each server; those about as fast go as *equals* do.

    So a name has one server as long as that is no slower than others.
    """

    def __init__(self, equals: ServerOrder) -> None:
        self._equals = equals
        self._questions = 0

    def order(
        self, qname: bytes, servers: Sequence[Server], before: Server | None
    ) -> list[Server]:
        ordered = self._equals(qname, servers, before)
        self._questions += 1
        if self._questions % _EXPLORED == 0:
            ordered.sort(key=lambda x: x.chosen)
            return ordered
        least_ns = min(x.round_trip.expected_ns for x in ordered)
        nearly_ns = least_ns + least_ns // _NEARLY + _NEARLY_NS
        # What stays equal keeps its order.
        ordered.sort(key=lambda x: max(x.round_trip.expected_ns, nearly_ns))
        return ordered


class Choice:
    """The servers of one pool.

    *order* names them for a qname, best first; *health* returns what the health checks
    say of the upstream with an index. One question may show of a server on trial that
    it answers again; where names *are_placed*, that is one of its own. A server with
    more than *bound* times its share of what is pending is passed over, unless that
    is 0.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        order: ServerOrder,
        health: Callable[[int], int],
        *,
        bound: float = 0,
        are_placed: bool = False,
    ) -> None:
        self._servers = servers
        self._order = order
        self._health = health
        self._bound = bound
        self._are_placed = are_placed
        self._choices = 0
        self.rank()

    def rank(self) -> None:
        """Note who is up; the only server there is needs no further choice."""
        told = [self._health(server.index) for server in self._servers]
        words = [word & HEALTH_MASK for word in told]
        #: Those that were down, and how many of `HELD_OF` names they do not get yet.
        self._held = {
            server.position: word >> HELD_SHIFT
            for server, word in zip(self._servers, told, strict=True)
            if word >> HELD_SHIFT
        }
        self._up = self._with(words, Health.UP)
        self._are_all_up = len(self._up) == len(self._servers)
        self._trials = self._with(words, Health.TRIAL) if self._up else []
        only = list(self._servers) if len(self._servers) == 1 else []
        self._only = only * (MAX_TRIES if self._up else 1)

    def _with(self, words: list[int], health: Health) -> list[Server]:
        pairs = zip(self._servers, words, strict=True)
        return [server for server, word in pairs if word == health]

    def of(self, qname: bytes, before: Server | None = None) -> list[Server]:
        """Return the servers of up to three tries, the first of them last.

        *before* is who answered the name before, in a chain of aliases.
        When all are down each gets one try, so that a wrong verdict of the health
        checks costs no answer and a right one no more than one time-out a server.
        """
        if self._only:
            return self._only[:]
        order = self._order(qname, self._servers, before)
        up = order
        if not self._are_all_up:
            up = [server for server in order if server in self._up]
        if up:
            if self._bound and up[0].outstanding >= _LEAST_BOUND:
                self._relieve(up)
            if self._held and len(up) > 1:
                self._hold_back(up, qname)
            self._choices += 1
            up[0].chosen = self._choices
            trial = self._trial(order) if self._trials else None
            order = up * MAX_TRIES
            if trial is not None:
                order.insert(0, trial)
        return order[:MAX_TRIES][::-1]

    def _trial(self, order: list[Server]) -> Server | None:
        """Return the server on trial that this question is for, if it is for one.

        One question until the next look: it has others to fall back on.
        """
        if not self._are_placed:
            return self._trials.pop()
        if order[0] not in self._trials:
            return None
        self._trials.remove(order[0])
        return order[0]

    def _relieve(self, up: list[Server]) -> None:
        """Put the first of *up* in front that has no more than it should have."""
        most = self._bound * (1 + sum(server.outstanding for server in up))
        most /= sum(server.spec.weight for server in up)
        for server in up:
            allowed = max(most * server.spec.weight, _LEAST_BOUND)
            if server.outstanding < allowed:
                up.remove(server)
                up.insert(0, server)
                return

    def _hold_back(self, up: list[Server], qname: bytes) -> None:
        """Have the first of *up* wait for its turn, if it is not to get this name yet.

        The same names come back first on all hosts.
        """
        held = self._held.get(up[0].position, 0)
        if crc32(qname) % HELD_OF < held:
            up.insert(1, up.pop(0))
