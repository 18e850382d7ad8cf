"""The shape of a query: everything about it that decides how its response looks.

Nearly all queries of a host have one of a few dozen shapes: these header flags, with
or without that OPT record. A shape is worked out once and found again by comparing
octets, so that a hit needs no parsing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final

from dnsfront.dns import edns, wire
from dnsfront.dns.cookies import CLIENT_OCTETS, COOKIE_OCTETS, ServerCookies
from dnsfront.dns.edns import Edns
from dnsfront.dns.entry import Entry, view_of
from dnsfront.dns.query import Query, cookie_alone, error_response

_HEAD = struct.Struct("!4H")
_HEADER_TAIL = struct.Struct("!5H")
#: Octets of an OPT record without options.
_OPT_OCTETS: Final = 11
_HEADER_AND_OPT_OCTETS: Final = 12 + _OPT_OCTETS
#: Distinct OPT records remembered per header; a flood of odd ones starts over.
MAX_OPTS: Final = 512
MAX_HEADS: Final = 4096
#: Octets of an OPT record with a cookie of ours and nothing else, and of the shortest
#: query that has one.
_COOKIE_OPT_OCTETS: Final = _OPT_OCTETS + 4 + COOKIE_OCTETS
_LEAST_WITH_COOKIE: Final = 12 + 5 + _COOKIE_OPT_OCTETS
#: Clients with a cookie that are remembered, and for how long.
MAX_COOKIES: Final = 4096
_COOKIES_KEPT_S: Final = 300
#: The head of an entry that says REFUSED.
_REFUSED: Final = (wire.QR | wire.RA | wire.REFUSED).to_bytes(2, "big") + bytes(6)


class Heads(dict[bytes, bytes]):
    """The octets 2 to 11 of a response, by the head of the cache entry behind it.

    Fills itself: what is asked for the first time is worked out and kept.
    """

    def __init__(self, query_flags: int, *, has_opt: bool, is_dnssec_ok: bool) -> None:
        super().__init__()
        self._copied = query_flags & (wire.RD | wire.CD)
        # RFC 6840, 5.7 and 5.8: AD is for those who asked for it by AD or by DO.
        shows_ad = bool(query_flags & wire.AD) or is_dnssec_ok
        self._kept = 0xFFFF if shows_ad else 0xFFFF & ~wire.AD
        self._opt_count = int(has_opt)

    def __missing__(self, head: bytes) -> bytes:
        flags, answers, authorities, additionals = _HEAD.unpack(head)
        octets = _HEADER_TAIL.pack(
            flags & self._kept | self._copied,
            1,
            answers,
            authorities,
            additionals + self._opt_count,
        )
        if len(self) >= MAX_HEADS:
            self.clear()
        self[head] = octets
        return octets


class Shape:
    """How to look up and how to answer queries that look alike.

    *lookup* finds an entry by the folded question in the right view of the cache,
    *limit* is the largest response in octets, *opt* the OPT record of the response.
    """

    __slots__ = ("_refusal_opt", "heads", "limit", "lookup", "opt", "view")

    def __init__(
        self,
        view: int,
        lookup: Callable[[bytes], Entry | None],
        heads: Heads,
        limit: int,
        opt: bytes,
    ) -> None:
        self.view = view
        self.lookup = lookup
        self.heads = heads
        self.limit = limit
        self.opt = opt
        self._refusal_opt = b""

    def refusal(self, identity: bytes, question: bytes) -> bytes:
        """Return the response to a client that is not allowed."""
        if self.opt and not self._refusal_opt:
            error = edns.error_option(edns.EDE_PROHIBITED)
            self._refusal_opt = edns.with_options(self.opt, error)
        head = self.heads[_REFUSED]
        return b"".join((identity, head, question, self._refusal_opt))

    def message(
        self, identity: bytes, question: bytes, head: bytes, body: bytes
    ) -> bytes:
        """Return the response, cut to header, question and OPT if it is too long."""
        size = 12 + len(question) + len(body) + len(self.opt)
        if size > self.limit:
            return self.truncated(identity, question, head)
        return b"".join((identity, self.heads[head], question, body, self.opt))

    def truncated(self, identity: bytes, question: bytes, head: bytes) -> bytes:
        """Return the response without its records, and with TC (RFC 2181, 9)."""
        flags = int.from_bytes(head[:2], "big") | wire.TC
        cut = self.heads[flags.to_bytes(2, "big") + b"\0\0\0\0\0\0"]
        return b"".join((identity, cut, question, self.opt))

    def with_error(self, code: int) -> Shape:
        """Return this shape with an Extended DNS Error in its OPT record."""
        return self.with_options(edns.error_option(code))

    def with_errors(self, errors: bytes, size: int) -> Shape:
        """Return this shape with Extended DNS *errors*, unless they do not fit.

        *size* is that of question and records: no record is worth leaving out for them.
        """
        if wire.HEADER_OCTETS + size + len(self.opt) + len(errors) > self.limit:
            return self
        return self.with_options(errors)

    def with_options(self, options: bytes) -> Shape:
        """Return this shape with EDNS *options* added to its OPT record, if any."""
        opt = edns.with_options(self.opt, options)
        return Shape(self.view, self.lookup, self.heads, self.limit, opt)


class Shapes:
    """Every shape met so far; *views* are the dictionaries of the cache.

    The fast path reads `plain` by octets 2 to 11 of a query without OPT, and `with_opt`
    by the same octets and then by the last 11 octets of a query with one; what is in
    neither may be :meth:`with_cookie`.
    """

    def __init__(
        self,
        views: Sequence[dict[bytes, Entry]],
        *,
        nsid: bytes,
        udp_size: int = wire.UDP_PAYLOAD_OCTETS,
    ) -> None:
        self.udp_size = udp_size
        self._views = views
        self._nsid = edns.option(edns.OPTION_NSID, nsid)
        self._heads: dict[tuple[int, bool, bool], Heads] = {}
        self.plain: dict[bytes, Shape] = {}
        self.with_opt: dict[bytes, dict[bytes, Shape]] = {}
        self._cookies: ServerCookies | None = None
        self._by_cookie: dict[bytes, Shape] = {}
        self._keepalive = b""
        self._forgotten_at_s = 0
        for flags in (
            rd | ad | cd
            for rd in (0, wire.RD)
            for ad in (0, wire.AD)
            for cd in (0, wire.CD)
        ):
            without = _HEADER_TAIL.pack(flags, 1, 0, 0, 0)
            self.plain[without] = self._shape(flags, None, limit=wire.PLAIN_UDP_OCTETS)
            self.with_opt[_HEADER_TAIL.pack(flags, 1, 0, 0, 1)] = {}

    def refusal(self, octets: bytes) -> bytes:
        """Return the response to a client that is not allowed, if that is easy.

        It is empty where the query has to be parsed first.
        """
        header = octets[2:12]
        shape = self.plain.get(header)
        question = octets[12:]
        if shape is None and len(octets) > _HEADER_AND_OPT_OCTETS:
            by_opt = self.with_opt.get(header)
            if by_opt is not None:
                shape = by_opt.get(octets[-_OPT_OCTETS:])
                question = octets[12:-_OPT_OCTETS]
        if shape is None or wire.question_end(question, 0) != len(question):
            return b""
        return shape.refusal(octets[:2], question)

    def resize(self, udp_size: int) -> None:
        """Send, and say that we take, messages of up to *udp_size* octets over UDP."""
        self.udp_size = udp_size
        for by_opt in self.with_opt.values():
            by_opt.clear()
        self._by_cookie.clear()

    def use_cookies(self, cookies: ServerCookies | None) -> None:
        """Send *cookies* from now on; None takes no notice of a client's."""
        self._cookies = cookies
        self._by_cookie.clear()

    def cookie_alone(self, octets: bytes, address: bytes) -> tuple[int, bytes] | None:
        """Return rcode and response to a query for a cookie alone, None to others.

        RFC 7873, 5.4: with a cookie of ours it asks whether that is still good.
        """
        cookies = self._cookies
        cookie = b"" if cookies is None else cookie_alone(octets)
        if cookies is None or not cookie or not address:
            return None
        is_good = len(cookie) == CLIENT_OCTETS or cookies.is_good(cookie, address)
        rcode = wire.NOERROR if is_good else wire.BADCOOKIE
        options = cookies.option(cookie, address)
        return rcode, error_response(
            octets, rcode, options=options, udp_size=self.udp_size
        )

    def keep_alive(self, idle_s: float) -> None:
        """Tell who asks over a connection that it is kept *idle_s* without a query."""
        tenths = min(round(idle_s * 10), 0xFFFF)
        self._keepalive = edns.option(edns.OPTION_KEEPALIVE, tenths.to_bytes(2, "big"))

    def of(self, query: Query, *, is_stream: bool, address: bytes = b"") -> Shape:
        """Return the shape of a parsed query.

        It has NSID and a cookie where the query has, and over a connection how long
        that is kept; the cookie is for *address*.
        """
        client = query.edns
        options = b""
        if client is not None:
            if client.cookie and address and self._cookies is not None:
                options = self._cookies.option(client.cookie, address)
            if client.wants_keepalive and is_stream:
                options += self._keepalive
        if is_stream:
            limit = wire.TCP_PAYLOAD_OCTETS
        elif client is None:
            limit = wire.PLAIN_UDP_OCTETS
        else:
            limit = min(client.udp_size, self.udp_size)
        return self._shape(query.flags, client, limit=limit, options=options)

    def with_cookie(self, octets: bytes, address: bytes, now_s: int) -> Shape | None:
        """Return the shape of a query with nothing but a cookie that is known.

        That is one which comes back to *address* as it is. Its OPT record are the last
        39 octets.
        """
        known = self._by_cookie
        if now_s - self._forgotten_at_s > _COOKIES_KEPT_S:
            known.clear()
            self._forgotten_at_s = now_s
        if not known or len(octets) < _LEAST_WITH_COOKIE:
            return None
        return known.get(octets[2:12] + octets[-_COOKIE_OPT_OCTETS:] + address)

    def learn(
        self, octets: bytes, query: Query, shape: Shape, address: bytes = b""
    ) -> None:
        """Remember the *shape* of a query over UDP for the fast path.

        That is one with a plain OPT record, or with a good cookie and nothing else.
        """
        if query.edns is None:
            return
        by_opt = self.with_opt.get(octets[2:12])
        if by_opt is None:
            return
        opt_size = len(octets) - wire.HEADER_OCTETS - len(query.question)
        if opt_size == _OPT_OCTETS:
            if len(by_opt) >= MAX_OPTS:
                by_opt.clear()
            by_opt[octets[-_OPT_OCTETS:]] = shape
        elif (
            opt_size == _COOKIE_OPT_OCTETS
            and address
            and shape.opt[_OPT_OCTETS:] == octets[_OPT_OCTETS - _COOKIE_OPT_OCTETS :]
        ):
            if len(self._by_cookie) >= MAX_COOKIES:
                self._by_cookie.clear()
            key = octets[2:12] + octets[-_COOKIE_OPT_OCTETS:] + address
            self._by_cookie[key] = shape

    def _shape(
        self, flags: int, client: Edns | None, *, limit: int, options: bytes = b""
    ) -> Shape:
        is_dnssec_ok = client is not None and client.is_dnssec_ok
        opt = b""
        if client is not None:
            if client.wants_nsid:
                options = self._nsid + options
            opt = edns.opt_record(
                is_dnssec_ok=is_dnssec_ok, options=options, udp_size=self.udp_size
            )
        view = view_of(flags, is_dnssec_ok=is_dnssec_ok)
        flags &= wire.RD | wire.AD | wire.CD
        heads_key = (flags, client is not None, is_dnssec_ok)
        heads = self._heads.get(heads_key)
        if heads is None:
            heads = self._heads[heads_key] = Heads(
                flags, has_opt=client is not None, is_dnssec_ok=is_dnssec_ok
            )
        return Shape(view, self._views[view].get, heads, limit, opt)
