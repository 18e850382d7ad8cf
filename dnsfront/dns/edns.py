"""The OPT record and its options: what clients say in it, and what we say.

Pure: no socket, no clock.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from dnsfront.dns import wire
from dnsfront.errors import WireError

#: EDNS option codes (RFC 5001, RFC 7873, RFC 7828, RFC 7830, RFC 8914).
OPTION_NSID: Final = 3
OPTION_COOKIE: Final = 10
OPTION_KEEPALIVE: Final = 11
OPTION_PADDING: Final = 12
OPTION_EDE: Final = 15

#: Extended DNS Error codes of RFC 8914, 4.
EDE_STALE_ANSWER: Final = 3
EDE_CACHED_ERROR: Final = 13
EDE_NOT_READY: Final = 14
EDE_BLOCKED: Final = 15
EDE_PROHIBITED: Final = 18
EDE_STALE_NXDOMAIN: Final = 19
EDE_NOT_AUTHORITATIVE: Final = 20
EDE_NO_REACHABLE_AUTHORITY: Final = 22

_OPT_FIXED = struct.Struct("!xHHBBHH")
_OPTION = struct.Struct("!HH")
_DO: Final = 0x8000
#: Octets of Extended DNS Errors that are taken from an upstream: some come with long
#: texts, and leave no room for an answer.
_MAX_ERRORS_OCTETS: Final = 256


@dataclass(frozen=True, slots=True)
class Edns:
    """What the OPT record of a query says (RFC 6891, 6.1).

    *cookie* is the first COOKIE option's, empty where there is none.
    """

    udp_size: int
    version: int
    is_dnssec_ok: bool
    wants_nsid: bool
    cookie: bytes
    wants_keepalive: bool


def parse_opt(octets: bytes, at: int, end: int) -> Edns:
    """Return what the OPT record says that stands from *at* to *end*.

    Raises:
        WireError: FORMERR, an option is cut short, or no cookie has that length.
    """
    _rtype, udp_size, _extended, version, flags, _length = _OPT_FIXED.unpack_from(
        octets, at
    )
    wants_nsid = False
    cookie = b""
    wants_keepalive = False
    at += 11
    while at < end:
        if at + 4 > end:
            raise WireError("an EDNS option is cut short", wire.FORMERR)
        code, length = _OPTION.unpack_from(octets, at)
        at += 4 + length
        if at > end:
            raise WireError("an EDNS option's data are cut short", wire.FORMERR)
        if code == OPTION_NSID:
            wants_nsid = True
        elif code == OPTION_COOKIE:
            # RFC 7873, 5.2.2; of several, the first counts.
            if length != 8 and not 16 <= length <= 40:
                raise WireError(
                    "want a cookie of 8 or of 16 to 40 octets", wire.FORMERR
                )
            cookie = cookie or octets[at - length : at]
        elif code == OPTION_KEEPALIVE:
            wants_keepalive = True
    size = max(udp_size, wire.PLAIN_UDP_OCTETS)
    return Edns(size, version, bool(flags & _DO), wants_nsid, cookie, wants_keepalive)


def opt_record(
    *,
    is_dnssec_ok: bool = False,
    extended_rcode: int = 0,
    options: bytes = b"",
    udp_size: int = wire.UDP_PAYLOAD_OCTETS,
) -> bytes:
    """Return an OPT record of ours; *extended_rcode* is the upper 8 of the 12 bits."""
    flags = _DO if is_dnssec_ok else 0
    return (
        _OPT_FIXED.pack(wire.OPT, udp_size, extended_rcode, 0, flags, len(options))
        + options
    )


def option(code: int, data: bytes) -> bytes:
    """Return one EDNS option in wire form."""
    return _OPTION.pack(code, len(data)) + data


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

    An empty *opt* stays empty: without EDNS there is no room for any.
    """
    if not opt:
        return opt
    options = opt[11:] + options
    return opt[:9] + struct.pack("!H", len(options)) + options


def with_error(opt: bytes, code: int) -> bytes:
    """Return the OPT record *opt* with an Extended DNS Error added (RFC 8914).

    An empty *opt* stays empty: without EDNS there is no room for one.
    """
    return with_options(opt, error_option(code))
