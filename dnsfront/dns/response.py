"""What an upstream said, in the form in which it is kept and sent on."""

from __future__ import annotations

import struct
from typing import Final

from dnsfront.dns import wire
from dnsfront.errors import WireError

#: RFC 2308, 5: negative answers are kept for one to three hours at the most.
MAX_NEGATIVE_TTL_S: Final = 10800
_FOREVER: Final = 0x7FFFFFFF
#: Flags of a response that are the upstream's to say; the rest is said by us.
_KEPT_FLAGS: Final = wire.AD | wire.RCODE_MASK

_OPT: Final = wire.OPT
_SOA: Final = wire.SOA
_HEAD = struct.Struct("!4H")


class Response:
    """A response of an upstream without its OPT record.

    *head* is flags and record counts as cache entries keep them, *body* the records
    behind the question, *ttl_offsets* where in them the TTLs stand. *rcode* includes
    the bits of the OPT record. *ttl_s* is how long the response may be kept, 0 for not
    at all: the least TTL (*max_ttl_s* is the largest), and for negative responses the
    SOA's minimum (RFC 2308, 5).
    """

    __slots__ = (
        "body",
        "has_answers",
        "has_opt",
        "head",
        "max_ttl_s",
        "rcode",
        "ttl_offsets",
        "ttl_s",
    )

    def __init__(
        self,
        rcode: int,
        head: bytes,
        body: bytes,
        ttl_offsets: tuple[int, ...],
        ttl_s: int,
        max_ttl_s: int,
        has_answers: bool,  # noqa: FBT001 - keywords cost a tenth of a microsecond
        has_opt: bool,  # noqa: FBT001
    ) -> None:
        self.rcode = rcode
        self.head = head
        self.body = body
        self.ttl_offsets = ttl_offsets
        self.ttl_s = ttl_s
        self.max_ttl_s = max_ttl_s
        self.has_answers = has_answers
        self.has_opt = has_opt


def parse_response(  # noqa: C901 - a call a record costs more than all it does
    octets: bytes, body_at: int
) -> Response:
    """Return the parts of an upstream's response; its question ends at *body_at*.

    Records behind an OPT record are left out, since compression pointers to them would
    no longer hold without it; nobody is known to put records there but transaction
    signatures, which are hop by hop too.

    Raises:
        WireError: counts and records do not agree.
    """
    _, flags, _, answers, authorities, additionals = wire.HEADER.unpack_from(octets)
    rcode = flags & wire.RCODE_MASK
    at = end = body_at
    offsets = []
    ttl_s, max_ttl_s = _FOREVER, 0
    has_opt = has_soa = False
    kept = 0
    unpack = wire.RECORD.unpack_from
    first_additional = answers + authorities
    size = len(octets)
    for number in range(first_additional + additionals):
        # An owner name is a pointer nearly always; only others are walked.
        if at < size and octets[at] >= 0xC0:
            at += 2
        else:
            at = wire.skip_name(octets, at)
        if at < 0 or at + 10 > size:
            raise WireError("a record of the response is cut short")
        rtype, _rclass, ttl, rdlength = unpack(octets, at)
        record_end = at + 10 + rdlength
        if record_end > size:
            raise WireError("a record's data are cut short")
        if rtype == _OPT:
            if number < first_additional:
                raise WireError("an OPT record stands outside the additional section")
            has_opt = True
            rcode |= ttl >> 24 << 4
        elif not has_opt:
            offsets.append(at + 4 - body_at)
            # Comparisons, since min() and max() cost four times as much.
            if ttl < ttl_s:  # noqa: PLR1730
                ttl_s = ttl
            if ttl > max_ttl_s:  # noqa: PLR1730
                max_ttl_s = ttl
            if rtype == _SOA and answers <= number < first_additional:
                has_soa = True
                minimum = int.from_bytes(octets[record_end - 4 : record_end], "big")
                ttl_s = min(ttl_s, minimum, MAX_NEGATIVE_TTL_S)
            end = record_end
            kept += 1
        at = record_end
    if not has_soa and (answers == 0 or rcode == wire.NXDOMAIN):
        ttl_s = 0
    flags = wire.QR | wire.RA | flags & _KEPT_FLAGS
    return Response(
        rcode,
        _HEAD.pack(flags, answers, authorities, kept - first_additional),
        octets[body_at:end],
        tuple(offsets),
        ttl_s,
        max_ttl_s,
        answers > 0,
        has_opt,
    )
