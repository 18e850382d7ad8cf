"""What becomes of fetches as time goes by: queries repeated, other servers, waiting on.

A try is a server and a time-out. Within it the query is repeated by the round trip that
was measured, and when a client asks again, three times at most a server and question.
"""

from __future__ import annotations

from typing import Protocol

from dnsfront.ipc.stats import Upstream
from dnsfront.worker.process.meter import Meter
from dnsfront.worker.upstreams.fetch import Fetch
from dnsfront.worker.upstreams.server import Server
from dnsfront.worker.upstreams.timers import Timers


class Tries(Protocol):
    """The pool, as far as it is needed here."""

    def failed(self, fetch: Fetch) -> None:
        """Try the next server, or give up."""

    def wants_edns(self, fetch: Fetch, server: Server) -> bool:
        """Return whether *server* is to be asked with an OPT record."""
        ...

    def stale_meanwhile(self, fetch: Fetch) -> None:
        """Answer from stale data while the fetch goes on."""

    def repeat(self, fetch: Fetch, server: Server) -> bool:
        """Send the query of *fetch* to *server* once more; return whether it left."""
        ...

    def distrust(self, fetch: Fetch, server: Server) -> None:
        """Give up the port of an overdue *fetch*, if nothing comes to it any more."""


class Patience:
    """Looks at the fetches whose time has come."""

    def __init__(
        self, tries: Tries, timers: Timers, timeout_ns: int, meter: Meter
    ) -> None:
        self._tries = tries
        self._timers = timers
        self._timeout_ns = timeout_ns
        self._meter = meter

    def asked_again(self, fetch: Fetch, now_ns: int) -> None:
        """Repeat the query of *fetch*, if its server could have answered by now."""
        server = fetch.server
        if (
            server is not None
            and now_ns - fetch.asked_at_ns >= server.round_trip.repeat_ns
            and fetch.abandon_tcp is None
            and fetch.may_ask(server)
        ):
            self._repeat(fetch, server, now_ns)

    def look(self, fetch: Fetch, now_ns: int) -> None:
        """Repeat the query of *fetch*, end its try, or look again later."""
        server = fetch.server
        at_ns = fetch.deadline_ns or fetch.sent_at_ns + self._timeout_ns
        if now_ns >= at_ns or server is None:
            self._time_out(fetch, now_ns)
            return
        sends = fetch.sends
        if self._may_repeat(fetch, server) and now_ns >= self._repeat_at_ns(
            fetch, server
        ):
            self._repeat(fetch, server, now_ns)
        self._look_again(fetch, server, at_ns, sends)

    def _look_again(
        self, fetch: Fetch, server: Server, deadline_ns: int, sends: int
    ) -> None:
        """Look at *fetch* at the end of its try, or ahead of that to repeat its query.

        Not if it was done, or sent elsewhere, since it had so many *sends*.
        """
        if fetch.is_done or fetch.sends != sends:
            return
        if self._may_repeat(fetch, server):
            deadline_ns = min(deadline_ns, self._repeat_at_ns(fetch, server))
        self._timers.look(fetch, deadline_ns)

    def _may_repeat(self, fetch: Fetch, server: Server) -> bool:
        """Return whether the query is to be repeated within its try unasked."""
        return (
            fetch.abandon_tcp is None
            and fetch.may_ask(server)
            and not (fetch.has_one_left(server) and _is_kept_back(fetch, server))
        )

    def _repeat_at_ns(self, fetch: Fetch, server: Server) -> int:
        """Return when the query is to be repeated."""
        return fetch.asked_at_ns + server.round_trip.interval_ns(fetch.repeats)

    def _repeat(self, fetch: Fetch, server: Server, now_ns: int) -> None:
        """Send the query once more within its try."""
        self._meter.upstream_count(server.index, Upstream.RETRANSMISSIONS)
        fetch.deadline_ns = fetch.deadline_ns or fetch.sent_at_ns + self._timeout_ns
        if not server.edns.is_known:
            # The sooner it is found out that EDNS is what it does not answer.
            server.edns.was_silent(now_ns, has_edns=fetch.has_edns)
            fetch.has_edns = self._tries.wants_edns(fetch, server)
        self._ask_again(fetch, server, now_ns)

    def _ask_again(self, fetch: Fetch, server: Server, now_ns: int) -> None:
        fetch.count_query(server)
        fetch.asked_at_ns = now_ns
        fetch.repeats += 1
        if not self._tries.repeat(fetch, server):
            self._tries.failed(fetch)

    def _time_out(self, fetch: Fetch, now_ns: int) -> None:
        """End a try that was in vain; go on with the next, or wait on."""
        self._tries.stale_meanwhile(fetch)
        fetch.tries += 1
        server = fetch.server
        following = fetch.candidates[-1] if fetch.candidates else None
        if server is None or fetch.abandon_tcp is not None:
            self._tries.failed(fetch)
            return
        if not fetch.is_waiting:
            server.edns.was_silent(now_ns, has_edns=fetch.has_edns)
            self._tries.distrust(fetch, server)
        if following is None or (following is not server and fetch.may_ask(following)):
            self._tries.failed(fetch)
            return
        if not fetch.is_waiting:
            self._meter.upstream_failed(server.index)
        fetch.candidates.pop()
        fetch.deadline_ns = now_ns + self._timeout_ns
        sends = fetch.sends
        if fetch.may_ask(following):
            self._meter.upstream_sent(server.index, 1)
            fetch.has_edns = self._tries.wants_edns(fetch, server)
            self._ask_again(fetch, server, now_ns)
        else:
            # Asked often enough; but who takes long may still answer.
            fetch.is_waiting = True
        self._look_again(fetch, server, fetch.deadline_ns, sends)


def _is_kept_back(fetch: Fetch, server: Server) -> bool:
    """Return whether the last query to *server* is better sent after the time-out.

    It is through another port then, which helps if this one is what does not work; and
    there is no other server to turn to.
    """
    candidates = fetch.candidates
    return bool(candidates) and candidates[-1] is server and fetch.is_unheard(server)
