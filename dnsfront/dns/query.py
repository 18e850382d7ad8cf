"""A query as octets to its parts, and the response to one that cannot be answered.

Pure: no socket, no clock. Nothing here trusts a length, a count or a pointer of a
message (RFC 9267 lists what happens to those who do).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dnsfront.dns.edns import Edns, opt_record, parse_opt, with_error
from dnsfront.dns.tsig import TSIG, refuse
from dnsfront.dns.wire import (
    CD,
    FORMERR,
    HEADER,
    HEADER_OCTETS,
    NOTIMP,
    OPCODE_MASK,
    OPT,
    PLAIN_UDP_OCTETS,
    QR,
    RA,
    RCODE_MASK,
    RD,
    RECORD,
    UDP_PAYLOAD_OCTETS,
    question_end,
    skip_name,
)
from dnsfront.errors import WireError

#: The root and the type, with which every OPT record begins.
_OPT_HEAD: Final = b"\0\0\x29"


@dataclass(frozen=True, slots=True)
class Query:
    """A well-formed query with one question.

    *question* is the question section as the client spelled it, *qname* the lower-case
    wire form with the root label.
    """

    identity: bytes
    flags: int
    question: bytes
    qname: bytes
    qtype: int
    qclass: int
    edns: Edns | None


def parse_query(octets: bytes) -> Query:
    """Return the parts of a query of opcode QUERY.

    Raises:
        WireError: with the rcode that the protocol wants: FORMERR, NOTIMP or BADVERS.
            A message of less than 12 octets or with QR set must not come here.
        UnknownKeyError: it is signed, and we have no keys (NOTAUTH).
    """
    _identity, flags, questions, answers, authorities, additionals = HEADER.unpack_from(
        octets
    )
    if flags & OPCODE_MASK:
        raise WireError("the opcode is not QUERY", NOTIMP)
    if questions != 1 or answers or authorities:
        raise WireError("a query has one question and no answer (RFC 9619)", FORMERR)
    end = question_end(octets)
    if end < 0:
        raise WireError("the question is no plain question", FORMERR)
    edns = None
    at = end
    for number in range(1, additionals + 1):
        owner_at, at, rtype = _record_end(octets, at)
        if rtype == TSIG:
            is_last = number == additionals and at == len(octets)
            refuse(octets, owner_at, is_last=is_last)
        if rtype != OPT:
            continue
        if edns is not None or octets[owner_at] != 0:
            raise WireError("want one OPT at the root (RFC 6891, 6.1.1)", FORMERR)
        edns = parse_opt(octets, owner_at, at)
    if at != len(octets):
        raise WireError("octets follow the last record", FORMERR)
    question = octets[HEADER_OCTETS:end]
    return Query(
        identity=octets[:2],
        flags=flags,
        question=question,
        qname=question[:-4].lower(),
        qtype=int.from_bytes(question[-4:-2], "big"),
        qclass=int.from_bytes(question[-2:], "big"),
        edns=edns,
    )


def cookie_alone(octets: bytes) -> bytes:
    """Return the cookie of a query for nothing but one (RFC 7873, 5.4).

    It has no question. Where it is anything else, what is returned is empty.
    """
    _identity, flags, *counts = HEADER.unpack_from(octets)
    if flags & OPCODE_MASK or counts != [0, 0, 0, 1]:
        return b""
    try:
        owner_at, end, rtype = _record_end(octets, HEADER_OCTETS)
        if rtype != OPT or octets[owner_at] != 0 or end != len(octets):
            return b""
        edns = parse_opt(octets, owner_at, end)
    except WireError:
        return b""
    return b"" if edns.version else edns.cookie


def _record_end(octets: bytes, at: int) -> tuple[int, int, int]:
    """Return owner offset, end and type of the record at *at*."""
    owner_at = at
    at = skip_name(octets, at)
    if at < 0 or at + 10 > len(octets):
        raise WireError("a record is cut short", FORMERR)
    rtype, _rclass, _ttl, rdlength = RECORD.unpack_from(octets, at)
    at += 10 + rdlength
    if at > len(octets):
        raise WireError("a record's data are cut short", FORMERR)
    return owner_at, at, rtype


def error_response(
    octets: bytes,
    rcode: int,
    *,
    error: int | None = None,
    options: bytes = b"",
    udp_size: int = UDP_PAYLOAD_OCTETS,
    tsig: bytes = b"",
) -> bytes:
    """Return a response of a header and, where it can be read, the question.

    An OPT record that begins right behind the question, or behind the header if there
    is none, is answered by one, so that the client does not take us for a server from
    before EDNS (RFC 6891, 6.1.1 and 7); it holds *options* and the Extended DNS Error
    *error*.
    *rcode* over 15 needs it in any case. *tsig* is the record for a signed query.
    """
    flags = int.from_bytes(octets[2:4], "big") & (OPCODE_MASK | RD | CD)
    flags |= QR | RA | (rcode & RCODE_MASK)
    end = question_end(octets) if octets[4:6] == b"\0\1" else -1
    question = octets[HEADER_OCTETS:end] if end > 0 else b""
    if octets[4:6] == b"\0\0":
        end = HEADER_OCTETS
    opt = b""
    has_opt = end > 0 and octets[end : end + 3] == _OPT_HEAD
    if rcode > RCODE_MASK or (has_opt and octets[6:10] == b"\0\0\0\0"):
        is_dnssec_ok = has_opt and octets[end + 7 : end + 8] >= b"\x80"
        opt = opt_record(
            is_dnssec_ok=is_dnssec_ok,
            extended_rcode=rcode >> 4,
            options=options,
            udp_size=udp_size,
        )
    if error is not None:
        opt = with_error(opt, error)
    if HEADER_OCTETS + len(question) + len(opt) + len(tsig) > PLAIN_UDP_OCTETS:
        tsig = b""  # no key has a name that long
    header = HEADER.pack(0, flags, bool(question), 0, 0, bool(opt) + bool(tsig))
    return octets[:2] + header[2:] + question + opt + tsig
