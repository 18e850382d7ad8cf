"""One question on its way to the upstreams: its state, its query, its response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dnsfront.dns import wire
from dnsfront.dns.entry import VIEWS, Entry
from dnsfront.worker.upstreams.retry import MAX_ASKED

if TYPE_CHECKING:
    from dnsfront.worker.clients.waiter import Waiter
    from dnsfront.worker.upstreams.exchange import Exchange
    from dnsfront.worker.upstreams.pending import Share
    from dnsfront.worker.upstreams.server import Port, Server

#: What stands before and behind the question of a query, by view.
Forms = tuple[tuple[bytes, bytes], ...]
_NO_SHARES: Final[list[Share]] = []


class Fetch:
    """A question that is being asked, and who waits for the response.

    *exact* is the question as it is sent: qname in lower case, true qtype and qclass.
    *key* is where the cache keeps the response, *entry* the expired one it has.
    *candidates* are the servers still to be tried, the next one last; *plain_server* is
    one that took offence at EDNS; *places* the ids pending on ports, and since when.
    *asked* is what
    is being asked now: *exact*, or the name that the aliases of *partial*, a response,
    end with; with EDNS it goes in one of the *forms* of :func:`edns_forms`. *errors*
    are an upstream's Extended DNS Errors, as EDNS options.

    A try is a server and a time-out, `tries` how many of them are over. Within one the
    query may leave several times: first at `sent_at_ns`, last at `asked_at_ns`, and
    `repeats` times in between; `queried` counts the queries to each server.
    `sends` changes with every turn to a server or to TCP. A try ends at `until_ns`, or
    a time-out after it began where that is 0; one that only waits for what was asked
    before `is_waiting`. *shares* are those that it counts for (`pending.py`).
    What a server that knows signatures said without EDNS makes it `is_unsigned`.
    """

    __slots__ = (
        "asked",
        "asked_at_ns",
        "candidates",
        "connection",
        "entry",
        "error",
        "errors",
        "exact",
        "failed_rcode",
        "forms",
        "has_edns",
        "is_done",
        "is_unsigned",
        "is_waiting",
        "key",
        "partial",
        "places",
        "plain_server",
        "queried",
        "repeats",
        "restarts",
        "sends",
        "sent_at_ns",
        "server",
        "shares",
        "tries",
        "until_ns",
        "view",
        "waiters",
    )

    def __init__(
        self,
        view: int,
        key: bytes,
        exact: bytes,
        entry: Entry | None,
        waiters: list[Waiter],
        candidates: list[Server],
        forms: Forms,
    ) -> None:
        self.forms = forms
        self.view = view
        self.key = key
        self.exact = exact
        self.asked = exact
        self.partial = b""
        self.restarts = 0
        self.entry = entry
        self.waiters = waiters
        self.candidates = candidates
        self.places: list[tuple[Port, bytes, int]] = []
        self.connection: Exchange | None = None
        self.server: Server | None = None
        self.sends = 0
        self.queried = 0
        self.sent_at_ns = 0
        self.asked_at_ns = 0
        self.until_ns = 0
        self.repeats = 0
        self.tries = 0
        self.is_waiting = False
        self.is_unsigned = False
        self.has_edns = True
        self.plain_server: Server | None = None
        self.is_done = False
        self.shares: list[Share] = _NO_SHARES
        self.failed_rcode = wire.SERVFAIL
        self.error: int | None = wire.EDE_NO_REACHABLE_AUTHORITY
        self.errors = b""

    def may_ask(self, server: Server) -> bool:
        """Return whether *server* may be sent this question once more."""
        return self.queried >> 2 * server.index & 3 < MAX_ASKED

    def was_asked(self, server: Server) -> bool:
        """Return whether *server* was sent this question already."""
        return self.queried >> 2 * server.index & 3 != 0

    def has_one_left(self, server: Server) -> bool:
        """Return whether *server* may be sent this question just once more."""
        return self.queried >> 2 * server.index & 3 == MAX_ASKED - 1

    def count_query(self, server: Server) -> None:
        """Count a query to *server*; two bits each are enough, and cost the least."""
        self.queried += 1 << 2 * server.index

    def place_at(self, server: Server) -> tuple[Port, bytes] | None:
        """Return where a response of *server* is waited for, the latest such place."""
        for port, identity, _since_ns in reversed(self.places):
            if port.server is server and port.pending.get(identity) is self:
                return port, identity
        return None

    def is_unheard(self, server: Server) -> bool:
        """Return whether nothing came to its port at *server* since it was asked."""
        place = self.place_at(server)
        return place is None or place[0].heard_ns <= self.sent_at_ns

    def first_asked_ns(self, server: Server) -> int:
        """Return since when a response of *server* is waited for."""
        for port, _identity, since_ns in self.places:
            if port.server is server:
                return since_ns
        return self.sent_at_ns

    def forget_places(self) -> None:
        """Take no response to what was sent so far."""
        for port, identity, _since_ns in self.places:
            port.pending.pop(identity, None)
        self.places.clear()

    def forget_old_places_at(self, server: Server) -> None:
        """Take a response of *server* at no more than the latest place."""
        for place in [place for place in self.places if place[0].server is server][:-1]:
            place[0].pending.pop(place[1], None)
            self.places.remove(place)

    def hang_up(self) -> None:
        """Take no response over TCP any more."""
        if self.connection is not None:
            self.connection.abandon()
            self.connection = None


def _query_head(view: int, *, has_edns: bool) -> bytes:
    """Return octets 2 to 11 of a query in *view*; AD asks for AD (RFC 6840, 5.7)."""
    flags = wire.AD | (wire.RD if view & 1 else 0) | (wire.CD if view & 2 else 0)
    return flags.to_bytes(2, "big") + bytes((0, 1, 0, 0, 0, 0, 0, has_edns))


PLAIN_FORMS: Final[Forms] = tuple(
    (_query_head(view, has_edns=False), b"") for view in range(VIEWS)
)


def edns_forms(udp_size: int) -> Forms:
    """Return the forms of queries that allow responses of up to *udp_size* octets."""
    return tuple(
        (
            _query_head(view, has_edns=True),
            wire.opt_record(is_dnssec_ok=bool(view & 4), udp_size=udp_size),
        )
        for view in range(VIEWS)
    )


def message(identity: bytes, fetch: Fetch) -> bytes:
    """Return the query that asks for *fetch* under the id *identity*."""
    head, opt = (fetch.forms if fetch.has_edns else PLAIN_FORMS)[fetch.view]
    return identity + head + fetch.asked + opt


#: What a server says that did not get as far as the question.
_BARE_ERRORS: Final = frozenset(
    (wire.FORMERR, wire.SERVFAIL, wire.NOTIMP, wire.REFUSED)
)


def is_bare_error(octets: bytes) -> bool:
    """Return whether *octets* are an error without question, answer and authority."""
    return (
        len(octets) >= wire.HEADER_OCTETS
        and octets[2] & 0x80 != 0
        and octets[3] & wire.RCODE_MASK in _BARE_ERRORS
        and octets[4:10] == bytes(6)
    )


def is_response(octets: bytes, exact: bytes) -> bool:
    """Return whether *octets* are a response of opcode QUERY to the question *exact*.

    A server may echo the question in other letters; it was sent in lower case.
    """
    if not octets.startswith(exact, wire.HEADER_OCTETS):
        question = octets[wire.HEADER_OCTETS : wire.HEADER_OCTETS + len(exact)]
        if question[:-4].lower() != exact[:-4] or question[-4:] != exact[-4:]:
            return False
    return octets[2] & 0xF8 == 0x80 and octets[4] == 0 and octets[5] == 1
