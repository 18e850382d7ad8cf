"""How a query to an upstream is spelled, and what is a response to it."""

from __future__ import annotations

from typing import Final

from dnsfront.dns import edns, wire
from dnsfront.dns.entry import VIEWS
from dnsfront.worker.upstreams.fetch import Fetch, Forms, Port


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
            edns.opt_record(is_dnssec_ok=bool(view & 4), udp_size=udp_size),
        )
        for view in range(VIEWS)
    )


def message(identity: bytes, fetch: Fetch) -> bytes:
    """Return the query that asks for *fetch* under the id *identity*."""
    head, opt = (fetch.forms if fetch.has_edns else PLAIN_FORMS)[fetch.view]
    return identity + head + fetch.asked + opt


#: RFC 8467, 4.1: queries of one length tell an eavesdropper less.
_BLOCK_OCTETS: Final = 128


def padded_message(fetch: Fetch) -> bytes:
    """Return the query for *fetch* without its id, padded: for encrypted ways alone.

    Padding is an EDNS option (RFC 7830), the last of the OPT record, which comes last.
    """
    octets = message(b"", fetch)
    if not fetch.has_edns:
        return octets
    size = -(2 + len(octets) + 4) % _BLOCK_OCTETS
    padding = edns.option(edns.OPTION_PADDING, bytes(size))
    return octets[:-2] + len(padding).to_bytes(2, "big") + padding


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


def is_bare_about(fetch: Fetch, port: Port, octets: bytes) -> bool:
    """Return whether *octets* are an error without a question about the last try.

    That is forged more easily, so it can do no more than end the try it is about.
    """
    return is_bare_error(octets) and fetch.sent[-1][:2] == (port, octets[:2])


def is_response(octets: bytes, canonical: bytes) -> bool:
    """Return whether *octets* are a response of opcode QUERY to *canonical*.

    A server may echo the question in other letters; it was sent in lower case.
    """
    if not octets.startswith(canonical, wire.HEADER_OCTETS):
        end = wire.HEADER_OCTETS + len(canonical)
        question = octets[wire.HEADER_OCTETS : end]
        if question[:-4].lower() != canonical[:-4] or question[-4:] != canonical[-4:]:
            return False
    return octets[2] & 0xF8 == 0x80 and octets[4] == 0 and octets[5] == 1
