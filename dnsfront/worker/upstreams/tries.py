"""The rules of trying: what is done next about a question that has no response yet.

A try is a server and a time-out. Within it the query is repeated by the round trip that
was measured, and when a client asks again: three times at most a server and question.
After it the next server is tried, or more time given to a server that was asked often
enough. One that nothing came from, and that there is no other for, is asked over TCP as
well: what is lost there is sent again by the kernel (RFC 7766, 5; RFC 9520, 3.1 counts
the queries over each transport).

Pure: no socket, no meter, no clock. Each rule takes the state of a fetch and what has
happened, changes that state and returns what is to be done; its caller does it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from dnsfront.dns import edns, wire
from dnsfront.dns.response import NEVER_KEPT, Response
from dnsfront.worker.upstreams.fetch import Fetch
from dnsfront.worker.upstreams.rcodes import told
from dnsfront.worker.upstreams.server import Server

#: What servers say that take offence at an OPT record (RFC 6891, 7).
OFFENDED: Final = frozenset((wire.FORMERR, wire.NOTIMP, wire.BADVERS))


class Act(Enum):
    """What is to be done about a fetch."""

    #: Nothing, until `Tries.look_ns`.
    WAIT = "wait"
    #: Send the query to its server once more, within the same try.
    REPEAT = "repeat"
    #: Send the query to its server once more: that begins another try there.
    RENEW = "renew"
    #: Begin a try at the next server, by `Tries.begin`.
    GO_ON = "go on"
    #: Answer all who wait with the rcode and the errors that the fetch has.
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done, and what else follows from what has happened.

    *is_failure* says that the server failed a query, *is_silence* that the port of that
    query may be to blame, *is_over_tcp* that the server is to be asked over TCP
    besides.
    """

    act: Act
    is_failure: bool = False
    is_silence: bool = False
    is_over_tcp: bool = False


_WAIT: Final = Step(Act.WAIT)
_REPEAT: Final = Step(Act.REPEAT)


class Tries:
    """The rules for servers that have *timeout_ns* to respond in each try."""

    def __init__(self, timeout_ns: int) -> None:
        self._timeout_ns = timeout_ns

    def begin(self, fetch: Fetch, now_ns: int) -> Server:
        """Begin a try at the next server, which is to be sent the query; return it."""
        server = fetch.candidates.pop()
        if fetch.sends:
            fetch.server.outstanding -= 1
            fetch.deadline_ns = fetch.repeats = 0
            fetch.is_waiting = False
        fetch.sends += 1
        fetch.server = server
        fetch.asked_at_ns = now_ns
        # The first line says what `_wants_edns` would, without a call, for nearly all.
        fetch.has_edns = (
            server.edns.is_sure and fetch.plain_server is not server
        ) or _wants_edns(fetch, server, now_ns)
        # What `Fetch.count_query` does, without a call more for every miss.
        fetch.queried += 1 << 2 * server.position
        server.outstanding += 1
        return server

    def begin_over_tcp(self, fetch: Fetch, now_ns: int) -> None:
        """Begin a try over TCP at the same server, whose response was truncated."""
        fetch.forget_sent()
        fetch.sends += 1
        fetch.sent_at_ns = now_ns
        fetch.deadline_ns = now_ns + 2 * self._timeout_ns

    def ask_for(
        self,
        fetch: Fetch,
        target: bytes,
        server: Server,
        choose: Callable[[bytes, Server], list[Server]],
    ) -> None:
        """Have *target* asked for, the name that the aliases of `partial` end with.

        That is what *server* said; *choose* returns the candidates for it.
        """
        # What was answered is no load any more when servers are compared.
        fetch.server.outstanding -= 1
        fetch.candidates = choose(target, server)
        fetch.server.outstanding += 1  # until begin() goes on to the next try
        fetch.restarts += 1
        fetch.asked = target + fetch.canonical[-4:]
        fetch.queried = 0
        fetch.forget_sent()

    def look_ns(self, fetch: Fetch) -> int:
        """Return when to look whether :meth:`time_passed` has something to do.

        That is at the end of the try, or ahead of it to repeat the query.
        """
        deadline_ns = self._deadline_ns(fetch)
        if _may_repeat(fetch):
            return min(deadline_ns, _repeat_ns(fetch))
        return deadline_ns

    def _deadline_ns(self, fetch: Fetch) -> int:
        return fetch.deadline_ns or fetch.sent_at_ns + self._timeout_ns

    # -- what happens

    def time_passed(self, fetch: Fetch, now_ns: int) -> Step:
        """Repeat the query of *fetch*, or end its try, if it is time for that."""
        if now_ns >= self._deadline_ns(fetch):
            return self._timed_out(fetch, now_ns)
        if _may_repeat(fetch) and now_ns >= _repeat_ns(fetch):
            return self._repeat(fetch, now_ns)
        return _WAIT

    def asked_again(self, fetch: Fetch, now_ns: int) -> Step:
        """Repeat the query for a client's sake, if the server could have answered."""
        server = fetch.server
        if (
            now_ns - fetch.asked_at_ns >= server.round_trip.repeat_ns
            and fetch.abandon_tcp is None
            and fetch.may_ask(server)
        ):
            return self._repeat(fetch, now_ns)
        return _WAIT

    def failed(self, fetch: Fetch) -> Step:
        """Go on without a response: nobody listens, nothing leaves, it is malformed."""
        return self._go_on(fetch, is_silence=False)

    def refused(self, fetch: Fetch, server: Server, response: Response) -> Step | None:
        """Do without *server*, which could not say; the last word stands.

        Asking it the same again would only repeat the work. But a server from before
        EDNS (RFC 6891, 7) is asked once more without it, and some of those send the
        query's OPT record back. A late word has nothing follow.
        """
        rcode = response.rcode or wire.SERVFAIL
        fetch.exclude(server)
        if rcode in OFFENDED and fetch.has_edns and server is fetch.server:
            fetch.plain_server = server
            fetch.candidates.append(server)
            # The OPT record is ours: the client's question is not what is wrong.
            rcode = wire.SERVFAIL
        fetch.failed_rcode = told(rcode)
        fetch.error = edns.EDE_NO_REACHABLE_AUTHORITY if response.is_lame else None
        fetch.errors = response.errors
        return self.failed(fetch) if server is fetch.server else None

    def refused_barely(self, fetch: Fetch, server: Server, rcode: int) -> Step:
        """Go on after an error of *server* that repeats no question.

        That is forged more easily, so it ends a try, but does not exclude the server.
        """
        if rcode in OFFENDED and fetch.has_edns:
            fetch.plain_server = server
            if server not in fetch.candidates:
                fetch.candidates.append(server)
            rcode = wire.SERVFAIL
        fetch.failed_rcode = rcode
        fetch.error = None
        fetch.errors = b""
        return self.failed(fetch)

    # -- what follows

    def _repeat(self, fetch: Fetch, now_ns: int) -> Step:
        """Send the query once more within its try."""
        server = fetch.server
        fetch.deadline_ns = self._deadline_ns(fetch)
        if not server.edns.is_known:
            # The sooner it is found out that EDNS is what it does not answer.
            server.edns.was_silent(now_ns, has_edns=fetch.has_edns)
            fetch.has_edns = _wants_edns(fetch, server, now_ns)
        _count_repetition(fetch, now_ns)
        return _REPEAT

    def _timed_out(self, fetch: Fetch, now_ns: int) -> Step:
        """End a try that was in vain; go on with the next, or wait on."""
        fetch.tries += 1
        server = fetch.server
        if not fetch.is_over_udp:
            return self._go_on(fetch, is_silence=False)
        is_silence = not fetch.is_waiting
        if is_silence:
            server.edns.was_silent(now_ns, has_edns=fetch.has_edns)
        following = fetch.candidates[-1] if fetch.candidates else None
        if following is None or (following is not server and fetch.may_ask(following)):
            return self._go_on(fetch, is_silence=is_silence)
        fetch.candidates.pop()
        fetch.deadline_ns = now_ns + self._timeout_ns
        act = Act.WAIT
        if fetch.may_ask(following):
            fetch.has_edns = _wants_edns(fetch, server, now_ns)
            _count_repetition(fetch, now_ns)
            act = Act.RENEW
        else:
            # Asked often enough; but who takes long may still answer.
            fetch.is_waiting = True
        return Step(
            act,
            is_failure=is_silence,
            is_silence=is_silence,
            is_over_tcp=not fetch.was_asked_over_tcp,
        )

    def _go_on(self, fetch: Fetch, *, is_silence: bool) -> Step:
        """Try the next server that may be asked; without one there is no answer."""
        while fetch.candidates and not fetch.may_ask(fetch.candidates[-1]):
            fetch.candidates.pop()
        return Step(
            Act.GO_ON if fetch.candidates else Act.GIVE_UP,
            is_failure=not fetch.is_waiting,
            is_silence=is_silence,
        )


def learn(fetch: Fetch, server: Server, response: Response, now_ns: int) -> None:
    """Note what a response tells about *server* and EDNS."""
    if fetch.view & 4 and not fetch.has_edns and server.edns.is_known:
        # Signatures may be missing: for who waits, and for nobody later.
        fetch.is_unsigned = True
        response.ttl_s = NEVER_KEPT
    if server is fetch.server:
        server.edns.answered(now_ns, has_edns=fetch.has_edns, has_opt=response.has_opt)


def _wants_edns(fetch: Fetch, server: Server, now_ns: int) -> bool:
    """Return whether *server* is to be asked with an OPT record."""
    edns = server.edns
    return server is not fetch.plain_server and (
        edns.is_sure or edns.is_wanted(now_ns, is_first=not fetch.was_asked(server))
    )


def _count_repetition(fetch: Fetch, now_ns: int) -> None:
    fetch.count_query(fetch.server)
    fetch.asked_at_ns = now_ns
    fetch.repeats += 1


def _may_repeat(fetch: Fetch) -> bool:
    """Return whether the query is to be repeated within its try unasked."""
    server = fetch.server
    return (
        fetch.abandon_tcp is None
        and fetch.may_ask(server)
        and not (fetch.has_one_left(server) and _is_kept_back(fetch))
    )


def _repeat_ns(fetch: Fetch) -> int:
    """Return when the query is to be repeated."""
    return fetch.asked_at_ns + fetch.server.round_trip.interval_ns(fetch.repeats)


def _is_kept_back(fetch: Fetch) -> bool:
    """Return whether the last query to a server is better sent after the time-out.

    It is through another port then, which helps if this one is what does not work; and
    there is no other server to turn to.
    """
    candidates, server = fetch.candidates, fetch.server
    return bool(candidates) and candidates[-1] is server and fetch.is_unheard(server)
