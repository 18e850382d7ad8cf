"""One question on its way to the upstreams, and the ports where it is waited for.

Pure: records that others change; a port's socket is its owner's (`ports.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from dnsfront.dns import edns, wire
from dnsfront.dns.entry import Entry
from dnsfront.ipc.stats import MAX_UPSTREAMS
from dnsfront.worker.clients.waiter import Waiter
from dnsfront.worker.upstreams.server import Server
from dnsfront.worker.upstreams.shares import Share

#: RFC 9520, 3.1: at most three queries for one question to one server over UDP.
MAX_ASKED: Final = 3
#: The bit of `Fetch.queried` above the counts of all servers.
_OVER_TCP: Final = 1 << 2 * MAX_UPSTREAMS

#: What stands before and behind the question of a query, by view.
Forms = tuple[tuple[bytes, bytes], ...]
_NO_SHARES: Final[list[Share]] = []


class Port:
    """One source port towards *server*, and what is pending on it by message id.

    *left* is how many queries it may still carry, *deadline_ns* when it is too old.
    `heard_ns` is when something last came to it.
    """

    __slots__ = (
        "deadline_ns",
        "fd",
        "heard_ns",
        "is_given_up",
        "left",
        "opened_ns",
        "pending",
        "server",
    )

    def __init__(
        self, server: Server, fd: int, *, left: int, opened_ns: int, deadline_ns: int
    ) -> None:
        self.server = server
        self.fd = fd
        self.left = left
        self.opened_ns = opened_ns
        self.deadline_ns = deadline_ns
        self.heard_ns = opened_ns
        self.is_given_up = False
        self.pending: dict[bytes, Fetch] = {}


class Home(Protocol):
    """The fetches of the pool that a question goes to."""

    def remove(self, fetch: Fetch) -> None:
        """Forget a fetch that is over."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a zone of ours says, in *octets*, of a name that is an alias of *target*."""

    octets: bytes
    target: bytes


class Fetch:
    """A question that is being asked, and who waits for the response.

    *canonical* is the question: qname in lower case, true qtype and qclass. *key* is
    where the cache keeps the response, *entry* the expired one it has. *candidates* are
    the servers still to be tried, the next one last; *plain_server* is one that took
    offence at EDNS. `sent` has what may still be answered over UDP: the port, the id,
    and since when. `asked` is what is being asked now: *canonical*, or the name that
    the aliases of `partial`, a response, end with; with EDNS it goes in one of the
    *forms* (`queries.py`). `errors` are an upstream's Extended DNS Errors, as EDNS
    options. `abandon_tcp` ends the query over TCP, if one is under way.

    A try is a server and a time-out, `tries` how many of them are over. Within one the
    query may leave several times: first at `sent_at_ns`, last at `asked_at_ns`, and
    `repeats` times in between; `queried` counts the queries to each server, and
    whether one of them was asked over TCP for its silence.
    `sends` changes with every turn to a server or to TCP. A try ends at `deadline_ns`,
    or a time-out after it began where that is 0; one that only waits for what was asked
    before `is_waiting`. *shares* are those that it counts for (`shares.py`).
    What a server that knows signatures said without EDNS makes it `is_unsigned`.
    One whose `partial` was at first the beginning that a zone of ours made
    `is_of_zone`.
    Once the expired entry was sent to who waited it `has_sent_stale`.
    `home` has it among its fetches, whichever pool asks for what aliases lead to.
    """

    __slots__ = (
        "abandon_tcp",
        "asked",
        "asked_at_ns",
        "candidates",
        "canonical",
        "deadline_ns",
        "entry",
        "error",
        "errors",
        "failed_rcode",
        "forms",
        "has_edns",
        "has_sent_stale",
        "home",
        "is_done",
        "is_of_zone",
        "is_unsigned",
        "is_waiting",
        "key",
        "partial",
        "plain_server",
        "queried",
        "repeats",
        "restarts",
        "sends",
        "sent",
        "sent_at_ns",
        "server",
        "shares",
        "tries",
        "view",
        "waiters",
    )

    def __init__(
        self,
        view: int,
        key: bytes,
        canonical: bytes,
        entry: Entry | None,
        waiters: list[Waiter],
        candidates: list[Server],
        forms: Forms,
    ) -> None:
        self.forms = forms
        self.view = view
        self.key = key
        self.canonical = canonical
        self.asked = canonical
        self.partial = b""
        self.restarts = 0
        self.entry = entry
        self.waiters = waiters
        self.candidates = candidates
        self.sent: list[tuple[Port, bytes, int]] = []
        self.abandon_tcp: Callable[[], None] | None = None
        self.server = candidates[-1]
        self.sends = 0
        self.queried = 0
        self.sent_at_ns = 0
        self.asked_at_ns = 0
        self.deadline_ns = 0
        self.repeats = 0
        self.tries = 0
        self.is_waiting = False
        self.is_unsigned = False
        self.is_of_zone = False
        self.has_edns = True
        self.plain_server: Server | None = None
        self.is_done = False
        self.has_sent_stale = False
        self.home: Home | None = None
        self.shares: list[Share] = _NO_SHARES
        self.failed_rcode = wire.SERVFAIL
        self.error: int | None = edns.EDE_NO_REACHABLE_AUTHORITY
        self.errors = b""

    def exclude(self, server: Server) -> None:
        """Do not try *server* any more."""
        self.candidates = [x for x in self.candidates if x is not server]

    def may_ask(self, server: Server) -> bool:
        """Return whether *server* may be sent this question once more."""
        return self.queried >> 2 * server.position & 3 < MAX_ASKED

    def was_asked(self, server: Server) -> bool:
        """Return whether *server* was sent this question already."""
        return self.queried >> 2 * server.position & 3 != 0

    def has_one_left(self, server: Server) -> bool:
        """Return whether *server* may be sent this question just once more."""
        return self.queried >> 2 * server.position & 3 == MAX_ASKED - 1

    def count_query(self, server: Server) -> None:
        """Count a query to *server*; two bits each are enough, and cost the least."""
        self.queried += 1 << 2 * server.position

    @property
    def was_asked_over_tcp(self) -> bool:
        """Whether a server that was silent over UDP was asked over TCP."""
        return self.queried >= _OVER_TCP

    @property
    def is_over_udp(self) -> bool:
        """Whether what is sent over UDP is what counts; over TCP it may be too."""
        return self.abandon_tcp is None or self.queried >= _OVER_TCP

    def count_query_over_tcp(self) -> None:
        """Note that a server that was silent over UDP is asked over TCP."""
        self.queried |= _OVER_TCP

    def last_sent(self, server: Server) -> tuple[Port, bytes] | None:
        """Return the latest port and id that a response of *server* is awaited at."""
        for port, identity, _since_ns in reversed(self.sent):
            if port.server is server and port.pending.get(identity) is self:
                return port, identity
        return None

    def is_unheard(self, server: Server) -> bool:
        """Return whether nothing came to its port at *server* since it was asked."""
        last = self.last_sent(server)
        return last is None or last[0].heard_ns <= self.sent_at_ns

    def first_sent_ns(self, server: Server) -> int:
        """Return since when a response of *server* is awaited."""
        for port, _identity, since_ns in self.sent:
            if port.server is server:
                return since_ns
        return self.sent_at_ns

    def forget_sent(self) -> None:
        """Take no response to what was sent so far."""
        for port, identity, _since_ns in self.sent:
            port.pending.pop(identity, None)
        self.sent.clear()

    def forget_all_but_last(self, server: Server) -> None:
        """Take a response of *server* to no more than the latest of its queries."""
        for query in [query for query in self.sent if query[0].server is server][:-1]:
            query[0].pending.pop(query[1], None)
            self.sent.remove(query)

    def forget_port(self, port: Port) -> None:
        """Take no response that comes to *port*."""
        self.sent = [query for query in self.sent if query[0] is not port]

    def hang_up(self) -> None:
        """Take no response over TCP any more."""
        if self.abandon_tcp is not None:
            self.abandon_tcp()
            self.abandon_tcp = None
