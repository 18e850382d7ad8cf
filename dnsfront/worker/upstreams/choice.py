"""Which servers are tried for a name, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dnsfront.ipc.spec import MAX_TRIES
from dnsfront.worker.upstreams.server import Server


class Choice:
    """The servers of one pool.

    *order* names them for a qname, best first; *is_up* tells what the health checks
    think of the upstream with an index, *is_on_trial* whether one question may show
    that it answers again.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        order: Callable[[bytes, Sequence[Server]], list[Server]],
        is_up: Callable[[int], bool],
        is_on_trial: Callable[[int], bool] | None,
    ) -> None:
        self._servers = servers
        self._order = order
        self._is_up = is_up
        self._is_on_trial = is_on_trial
        self.rank()

    def rank(self) -> None:
        """Note who is up; the only server there is needs no further choice."""
        self._up = [server for server in self._servers if self._is_up(server.index)]
        self._trials: list[Server] = []
        if self._up and self._is_on_trial is not None:
            self._trials = [x for x in self._servers if self._is_on_trial(x.index)]
        only = list(self._servers) if len(self._servers) == 1 else []
        self._only = only * (MAX_TRIES if self._up else 1)

    def of(self, qname: bytes) -> list[Server]:
        """Return the servers of up to three tries, the first of them last.

        When all are down each gets one try, so that a wrong verdict of the health
        checks costs no answer and a right one no more than one time-out a server.
        """
        if self._only:
            return self._only[:]
        order = self._order(qname, self._servers)
        up = [server for server in order if server in self._up]
        if up:
            order = up * MAX_TRIES
            if self._trials:
                # One question until the next look: it has others to fall back on.
                order.insert(0, self._trials.pop())
        return order[:MAX_TRIES][::-1]
