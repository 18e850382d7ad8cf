"""What servers say in place of an answer, and what a fetch makes of it."""

from __future__ import annotations

from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.response import NEVER_KEPT, Response
from dnsfront.worker.upstreams.fetch import Fetch
from dnsfront.worker.upstreams.server import Server

#: Words of a server that another server may know better.
RETRY_ELSEWHERE: Final = frozenset(
    (wire.SERVFAIL, wire.REFUSED, wire.NOTIMP, wire.FORMERR)
)
#: What servers say that take offence at an OPT record (RFC 6891, 7).
OFFENDED: Final = frozenset((wire.FORMERR, wire.NOTIMP, wire.BADVERS))


def note_refusal(fetch: Fetch, server: Server, response: Response) -> None:
    """Have *fetch* do without *server*, which could not say; the last word stands.

    Asking it the same again would only repeat the work. But a server from before EDNS
    (RFC 6891, 7) is asked once more without it, and some of those send the query's OPT
    record back.
    """
    rcode = response.rcode or wire.SERVFAIL
    fetch.candidates = [x for x in fetch.candidates if x is not server]
    if rcode in OFFENDED and fetch.has_edns and server is fetch.server:
        fetch.plain_server = server
        fetch.candidates.append(server)
    fetch.failed_rcode = rcode if rcode <= wire.RCODE_MASK else wire.SERVFAIL
    fetch.error = wire.EDE_NO_REACHABLE_AUTHORITY if response.is_lame else None
    fetch.errors = response.errors


def note_bare_error(fetch: Fetch, server: Server, rcode: int) -> None:
    """Note the error *rcode* of *server*, which came without a question."""
    if rcode in OFFENDED and fetch.has_edns:
        fetch.plain_server = server
        if server not in fetch.candidates:
            fetch.candidates.append(server)
    fetch.failed_rcode = rcode
    fetch.error = None
    fetch.errors = b""


def learn(fetch: Fetch, server: Server, response: Response, now_ns: int) -> None:
    """Note what a response tells about *server* and EDNS."""
    if fetch.view & 4 and not fetch.has_edns and server.edns.is_known:
        # Signatures may be missing: for who waits, and for nobody later.
        fetch.is_unsigned = True
        response.ttl_s = NEVER_KEPT
    if server is fetch.server:
        server.edns.answered(now_ns, has_edns=fetch.has_edns, has_opt=response.has_opt)
