"""Which servers are asked for a name, and in which order (`upstreams.policy`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dnsfront.ipc.spec import MAX_TRIES, UpstreamServer, endpoint_text
from dnsfront.ipc.stats import Health
from dnsfront.ring.servers import ServerRing
from dnsfront.worker.upstreams.server import Server

#: Orders servers for a qname. One that answered the name before in a chain of aliases
#: is preferred to its equals, so that one server sees the whole chain.
ServerOrder = Callable[[bytes, Sequence[Server], Server | None], list[Server]]


def order_of(policy: str, servers: Sequence[UpstreamServer], key: bytes) -> ServerOrder:
    """Return what orders *servers*, given in the same order, for a qname."""
    if policy == "least_outstanding":
        return _least_outstanding
    if policy == "chash" and len(servers) > 1:
        return _chash(servers, key)
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


class Choice:
    """The servers of one pool.

    *order* names them for a qname, best first; *health* returns what the health checks
    say of the upstream with an index. One question may show of a server on trial that
    it answers again.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        order: ServerOrder,
        health: Callable[[int], int],
    ) -> None:
        self._servers = servers
        self._order = order
        self._health = health
        self._choices = 0
        self.rank()

    def rank(self) -> None:
        """Note who is up; the only server there is needs no further choice."""
        words = [self._health(server.index) for server in self._servers]
        self._up = self._with(words, Health.UP)
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
        up = [server for server in order if server in self._up]
        if up:
            self._choices += 1
            up[0].chosen = self._choices
            order = up * MAX_TRIES
            if self._trials:
                # One question until the next look: it has others to fall back on.
                order.insert(0, self._trials.pop())
        return order[:MAX_TRIES][::-1]
