"""Octets to query parts and back: what the protocol fixes, and nothing else.

Pure: no socket, no clock. Nothing here trusts a length, a count or a pointer of a
message (RFC 9267 lists what happens to those who do).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

from dnsfront.errors import WireError

HEADER_OCTETS: Final = 12
MAX_QNAME_OCTETS: Final = 255

# Second flags word of the header, RFC 1035, 4.1.1 and RFC 4035, 3.
QR: Final = 0x8000
OPCODE_MASK: Final = 0x7800
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
AD: Final = 0x0020
CD: Final = 0x0010
RCODE_MASK: Final = 0x000F

NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
BADVERS: Final = 16

A: Final = 1
SOA: Final = 6
TXT: Final = 16
OPT: Final = 41
ANY: Final = 255

CLASS_IN: Final = 1
CLASS_ANY: Final = 255

#: EDNS option codes (RFC 5001, RFC 8914).
OPTION_NSID: Final = 3
OPTION_EDE: Final = 15

#: Extended DNS Error codes of RFC 8914, 4.
EDE_STALE_ANSWER: Final = 3
EDE_CACHED_ERROR: Final = 13
EDE_NOT_READY: Final = 14
EDE_PROHIBITED: Final = 18
EDE_STALE_NXDOMAIN: Final = 19
EDE_NOT_AUTHORITATIVE: Final = 20
EDE_NO_REACHABLE_AUTHORITY: Final = 22

#: The UDP size that we announce and the most that we send over UDP, unless told: what
#: fits a packet on every path without fragments (RFC 9715, 3.2).
UDP_PAYLOAD_OCTETS: Final = 1232
#: The most that a client without EDNS takes over UDP (RFC 1035, 2.3.4).
PLAIN_UDP_OCTETS: Final = 512
TCP_PAYLOAD_OCTETS: Final = 65535
#: The most that a config lets us send over UDP.
MAX_UDP_OCTETS: Final = 4096

HEADER = struct.Struct("!6H")
#: The record counts of the header behind the count of questions.
COUNTS = struct.Struct("!3H")
#: Type, class, TTL and RDLENGTH, behind the owner name of a record (RFC 1035, 4.1.3).
RECORD = struct.Struct("!HHIH")
_OPT_FIXED = struct.Struct("!xHHBBHH")
_OPTION = struct.Struct("!HH")
#: The root and the type, with which every OPT record begins.
_OPT_HEAD: Final = b"\0\0\x29"
_DO: Final = 0x8000


@dataclass(frozen=True, slots=True)
class Edns:
    """What the OPT record of a query says (RFC 6891, 6.1)."""

    udp_size: int
    version: int
    is_dnssec_ok: bool
    wants_nsid: bool


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


def question_end(octets: bytes, at: int = HEADER_OCTETS) -> int:
    """Return where the question at *at* ends, or -1 when there is no plain one.

    Plain means: labels of at most 63 octets, at most 255 in all, no compression, and
    type and class behind the name, all inside *octets*.
    """
    size = len(octets)
    start = at
    while at < size:
        label = octets[at]
        if label == 0:
            at += 5
            return at if at <= size and at - start <= MAX_QNAME_OCTETS + 4 else -1
        if label > 63:
            return -1
        at += label + 1
    return -1


def parse_query(octets: bytes) -> Query:
    """Return the parts of a query of opcode QUERY.

    Raises:
        WireError: with the rcode that the protocol wants: FORMERR, NOTIMP or BADVERS.
            A message of less than 12 octets or with QR set must not come here.
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
    for _ in range(additionals):
        owner_at, at, rtype = _record_end(octets, at)
        if rtype != OPT:
            continue
        if edns is not None or octets[owner_at] != 0:
            raise WireError("want one OPT at the root (RFC 6891, 6.1.1)", FORMERR)
        edns = _parse_opt(octets, owner_at, at)
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


def skip_name(octets: bytes, at: int) -> int:
    """Return where the name at *at* ends, or -1 when it is malformed.

    A compression pointer ends a name; it is not followed, so there is no loop.
    """
    size = len(octets)
    while at < size:
        label = octets[at]
        if label == 0:
            return at + 1
        if label >= 0xC0:
            return at + 2 if at + 2 <= size else -1
        if label > 63:
            return -1
        at += label + 1
    return -1


def _parse_opt(octets: bytes, at: int, end: int) -> Edns:
    _rtype, udp_size, _extended, version, flags, _length = _OPT_FIXED.unpack_from(
        octets, at
    )
    wants_nsid = False
    at += 11
    while at < end:
        if at + 4 > end:
            raise WireError("an EDNS option is cut short", FORMERR)
        code, length = _OPTION.unpack_from(octets, at)
        at += 4 + length
        if at > end:
            raise WireError("an EDNS option's data are cut short", FORMERR)
        wants_nsid = wants_nsid or code == OPTION_NSID
    return Edns(max(udp_size, PLAIN_UDP_OCTETS), version, bool(flags & _DO), wants_nsid)


def opt_record(
    *,
    is_dnssec_ok: bool = False,
    extended_rcode: int = 0,
    options: bytes = b"",
    udp_size: int = UDP_PAYLOAD_OCTETS,
) -> bytes:
    """Return an OPT record of ours; *extended_rcode* is the upper 8 of the 12 bits."""
    return (
        struct.pack(
            "!xHHBBHH",
            OPT,
            udp_size,
            extended_rcode,
            0,
            _DO if is_dnssec_ok else 0,
            len(options),
        )
        + options
    )


def option(code: int, data: bytes) -> bytes:
    """Return one EDNS option in wire form."""
    return _OPTION.pack(code, len(data)) + data


#: Octets of Extended DNS Errors that are taken from an upstream: some come with long
#: texts, and leave no room for an answer.
_MAX_ERRORS_OCTETS: Final = 256


def errors_in(octets: bytes, at: int, end: int) -> bytes:
    """Return the Extended DNS Errors among the EDNS options from *at* to *end*.

    They come as options (RFC 8914, 2). What is malformed or too much is left out, and
    so is a text that is no UTF-8: clients would refuse the whole response.
    """
    errors = b""
    while at + 4 <= end:
        code, length = _OPTION.unpack_from(octets, at)
        begin, at = at, at + 4 + length
        if at > end:
            break
        if (
            code == OPTION_EDE
            and length >= 2
            and len(errors) + at - begin <= _MAX_ERRORS_OCTETS
        ):
            code_end = begin + 6
            is_text = _is_utf8(octets[code_end:at])
            errors += (
                octets[begin:at]
                if is_text
                else option(OPTION_EDE, octets[code_end - 2 : code_end])
            )
    return errors


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def error_option(code: int) -> bytes:
    """Return an Extended DNS Error of ours without text, as an EDNS option."""
    return option(OPTION_EDE, struct.pack("!H", code))


def with_options(opt: bytes, options: bytes) -> bytes:
    """Return the OPT record *opt* with *options* added.

    An empty *opt* stays empty: without EDNS there is no place for any.
    """
    if not opt:
        return opt
    options = opt[11:] + options
    return opt[:9] + struct.pack("!H", len(options)) + options


def with_error(opt: bytes, code: int) -> bytes:
    """Return the OPT record *opt* with an Extended DNS Error added (RFC 8914).

    An empty *opt* stays empty: without EDNS there is no place for one.
    """
    return with_options(opt, error_option(code))


def error_response(
    octets: bytes,
    rcode: int,
    *,
    error: int | None = None,
    udp_size: int = UDP_PAYLOAD_OCTETS,
) -> bytes:
    """Return a response of a header and, where it can be read, the question.

    An OPT record that begins right behind the question, or behind the header if there
    is none, is answered by one, so that the client does not take us for a server from
    before EDNS (RFC 6891, 6.1.1 and 7); it holds the Extended DNS Error *error*.
    *rcode* over 15 needs it in any case.
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
            is_dnssec_ok=is_dnssec_ok, extended_rcode=rcode >> 4, udp_size=udp_size
        )
    if error is not None:
        opt = with_error(opt, error)
    header = HEADER.pack(0, flags, bool(question), 0, 0, bool(opt))
    return octets[:2] + header[2:] + question + opt


_ESCAPE = re.compile(rb"\\(\d{3}|\D)")


def qname_from_text(text: str) -> bytes:
    r"""Return the lower-case wire form, root label included, of a name as text.

    ``\.`` and ``\DDD`` are understood (RFC 1035, 5.1); other characters must be ASCII.

    Raises:
        WireError: an empty label, a label over 63 octets or a name over 255.
    """
    if text == ".":
        return b"\0"
    try:
        octets = text.encode("ascii")
    except UnicodeEncodeError as exc:
        raise WireError(
            f"{text!r} is not ASCII; write an internationalised name in its xn-- form"
        ) from exc
    labels = _split_labels(octets)
    if labels[-1] == b"" and len(labels) > 1:
        labels.pop()
    wire = bytearray()
    for label in labels:
        if not 1 <= len(label) <= 63:
            raise WireError(
                f"{text!r}: got a label of {len(label)} octets, want 1 to 63"
            )
        wire.append(len(label))
        wire += label
    wire.append(0)
    if len(wire) > MAX_QNAME_OCTETS:
        raise WireError(f"{text!r}: got {len(wire)} octets, want at most 255")
    return bytes(wire).lower()


def _split_labels(octets: bytes) -> list[bytes]:
    labels = [bytearray()]
    at = 0
    while at < len(octets):
        escape = _ESCAPE.match(octets, at)
        if escape is not None:
            value = escape[1]
            number = int(value) if len(value) == 3 else value[0]
            if number > 255:
                raise WireError(f"got the escape \\{number}, want at most \\255")
            labels[-1].append(number)
            at = escape.end()
            continue
        if octets[at] == ord("\\"):
            raise WireError("want three digits or one other character behind a \\")
        if octets[at] == ord("."):
            labels.append(bytearray())
        else:
            labels[-1].append(octets[at])
        at += 1
    return [bytes(label) for label in labels]


def qname_to_text(qname: bytes) -> str:
    r"""Return a wire-form name as people write it, without the final dot.

    What is not a letter, digit, hyphen, underscore, slash or asterisk becomes ``\DDD``.
    """
    labels = []
    at = 0
    while qname[at]:
        label = qname[at + 1 : at + 1 + qname[at]]
        labels.append("".join(_character(octet) for octet in label))
        at += 1 + qname[at]
    return ".".join(labels) or "."


def _character(octet: int) -> str:
    character = chr(octet)
    if octet < 128 and (character.isalnum() or character in "-_/*"):
        return character
    return f"\\{octet:03d}"
