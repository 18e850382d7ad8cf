"""What an upstream said, in the form in which it is kept and sent on."""

from __future__ import annotations

import struct
from typing import Final

from dnsfront.dns import edns, wire
from dnsfront.dns.chain import follow, may_lead_on, scrubbed
from dnsfront.dns.compression import Names, short_end
from dnsfront.dns.records import CNAME, HOP_BY_HOP, NAMED, RRSIG, check_data, is_short
from dnsfront.errors import TooManyRecordsError, WireError

#: RFC 2308, 5: negative answers are kept for one to three hours at the most.
MAX_NEGATIVE_TTL_S: Final = 10800
#: The lifetime of what must not be kept, whatever the least TTL of the config is.
NEVER_KEPT: Final = -1
#: Records of a response that is no plain list of answers: each is read several times
#: in full, some microseconds in all, while everybody else waits. And names in any
#: response that are not seen to be good at once.
MAX_ODD_RECORDS: Final = 512
MAX_ODD_NAMES: Final = 1024
_TOO_MANY: Final = "more records than are looked at one by one"
_FOREVER: Final = 0x7FFFFFFF
#: Flags of a response that are the upstream's to say; the rest is said by us.
_KEPT_FLAGS: Final = wire.AD | wire.RCODE_MASK

_OPT: Final = wire.OPT
_SOA: Final = wire.SOA
_A: Final = 1
_AAAA: Final = 28
_IN: Final = wire.CLASS_IN
#: Of the types of addresses, as they stand in a question with their class: how their
#: records begin, with a pointer to the name of the question, and the octets of data.
_ADDRESSES: Final = {
    b"\0\1\0\1": (b"\xc0\x0c\0\1\0\1", 4),
    b"\0\x1c\0\1": (b"\xc0\x0c\0\x1c\0\1", 16),
}
#: The beginning of a record up to its TTL, the TTL, and the length of the data.
_PLAIN_RECORD = struct.Struct("!6sIH")
#: Owner and type of an OPT record, payload, upper bits of the code, version, flags,
#: and the length of the options.
_PLAIN_OPT = struct.Struct("!3sHBBHH")
_OPT_HEAD: Final = b"\0\0\x29"
#: A compression pointer to offset 0.
_POINTER: Final = 0xC000
_OWN_POINTER: Final = _POINTER | wire.HEADER_OCTETS
_HEAD = struct.Struct("!4H")
#: A record whose owner is a pointer, up to its data.
_OWNED_RECORD = struct.Struct("!3HIH")


class Response:
    """A response of an upstream without its OPT record.

    *head* is flags and record counts as cache entries keep them, *body* the records
    behind the question, *ttl_offsets* where in them the TTLs stand. *rcode* includes
    the bits of the OPT record. *ttl_s* is how long the response may be kept, 0 for not
    at all: the least TTL of answer and authority (*max_ttl_s* is the largest of all),
    and for negative responses the SOA's minimum (RFC 2308, 5). `NEVER_KEPT` is for
    what says nothing that lasts: a denial without SOA, an alias without its end.

    *target* is the name that an answer of aliases ends with where it says nothing about
    it, or empty; *is_lame* tells that nothing was said by one that cannot recurse;
    *may_lead_on* that there may be an alias among the records;
    *errors* are the Extended DNS Errors, as EDNS options.
    """

    __slots__ = (
        "body",
        "errors",
        "has_answers",
        "has_opt",
        "head",
        "is_lame",
        "max_ttl_s",
        "may_lead_on",
        "min_ttl_s",
        "rcode",
        "target",
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
        min_ttl_s: int,
        max_ttl_s: int,
        has_answers: bool,  # noqa: FBT001 - keywords cost a tenth of a microsecond
        has_opt: bool,  # noqa: FBT001
    ) -> None:
        self.rcode = rcode
        self.head = head
        self.body = body
        self.ttl_offsets = ttl_offsets
        self.ttl_s = ttl_s
        self.min_ttl_s = min_ttl_s
        self.max_ttl_s = max_ttl_s
        self.has_answers = has_answers
        self.has_opt = has_opt
        self.target = b""
        self.is_lame = False
        self.may_lead_on = False
        self.errors = b""


def _parse_plain(  # noqa: PLR0911 - each return is a reason to look closer
    octets: bytes,
    body_at: int,
    flags: int,
    answers: int,
    additionals: int,
    kind: tuple[bytes, int],
) -> Response | None:
    """Return what most responses are, or None for those that are anything else.

    That is: addresses of the name that was asked for, and an OPT record without
    options behind them. It means what :func:`parse_response` says, at half the price.
    """
    if flags & wire.RCODE_MASK:
        return None
    start, data_octets = kind
    record_octets = 12 + data_octets
    end = body_at + answers * record_octets
    size = len(octets)
    if additionals:
        if size != end + _PLAIN_OPT.size:
            return None
        # No options, and no upper bits of a response code.
        head, _size, upper, _version, _flags, options = _PLAIN_OPT.unpack_from(
            octets, end
        )
        if head != _OPT_HEAD or upper or options:
            return None
    elif size != end:
        return None
    # Declared, as below.
    ttl_s: int
    ttl: int
    length: int
    unpack = _PLAIN_RECORD.unpack_from
    first, ttl_s, length = unpack(octets, body_at)
    if first != start or length != data_octets:
        return None
    max_ttl_s = ttl_s
    offsets: tuple[int, ...] = (6,)
    if answers > 1:
        offsets = tuple(range(6, answers * record_octets, record_octets))
        for at in range(body_at + record_octets, end, record_octets):
            first, ttl, length = unpack(octets, at)
            if first != start or length != data_octets:
                return None
            ttl_s, max_ttl_s = min(ttl_s, ttl), max(max_ttl_s, ttl)
    ttl_s = min(ttl_s, _FOREVER)
    return Response(
        wire.NOERROR,
        _HEAD.pack(wire.QR | wire.RA | flags & _KEPT_FLAGS, answers, 0, 0),
        octets[body_at:end],
        offsets,
        ttl_s,
        ttl_s,
        max_ttl_s,
        True,  # noqa: FBT003 - as the parameters say
        additionals > 0,
    )


def parse_response(  # noqa: C901, PLR0912, PLR0915 - a call a record costs too much
    octets: bytes, body_at: int
) -> Response:
    """Return the parts of an upstream's response; its question ends at *body_at*.

    Records in the answer that neither the question nor an alias in it leads to are
    dropped, as are all of another class than the question's, which is IN, and what is
    for the next hop alone. Names are written in full where some readers want it, as in
    data of types younger than RFC 1035 (RFC 3597, 4). Records behind an OPT record are
    left out, since compression pointers to them would no longer hold without it; nobody
    is known to put records there but transaction signatures.

    Raises:
        WireError: counts and records do not agree, a record is malformed, or none is
            of the class that was asked for.
        TooManyRecordsError: there are more than `MAX_ODD_RECORDS`, and they are not
            all answers to the question itself; or more than `MAX_ODD_NAMES`.
    """
    # Declared, since what is unpacked has no type, which costs much where compiled.
    flags: int
    answers: int
    authorities: int
    additionals: int
    rtype: int
    rclass: int
    ttl: int
    rdlength: int
    _, flags, _, answers, authorities, additionals = wire.HEADER.unpack_from(octets)
    if not authorities and additionals < 2 and answers:
        kind = _ADDRESSES.get(octets[body_at - 4 : body_at])
        if kind is not None:
            plain = _parse_plain(octets, body_at, flags, answers, additionals, kind)
            if plain is not None:
                return plain
    rcode = flags & wire.RCODE_MASK
    at = body_at
    qtype = octets[body_at - 4] << 8 | octets[body_at - 3]
    offsets = []
    ttl_s, max_ttl_s = _FOREVER, 0
    additional_ttl_s = _FOREVER
    has_opt = has_soa = has_strangers = is_odd = False
    # Where the name of the question stands, then of the alias met last, as pointers;
    # and the one before, or at first the name above, which owns most SOA records.
    owner = owner_before = _OWN_POINTER
    if authorities and body_at > 17:
        owner_before += 1 + octets[wire.HEADER_OCTETS]
    ends_with_alias = False
    errors = b""
    names: Names | None = None
    strangers = 0
    unpack = _OWNED_RECORD.unpack_from
    first_additional = answers + authorities
    size = len(octets)
    end, kept = 0, first_additional + additionals
    for number in range(first_additional + additionals):
        pointer = 0
        if at + 12 <= size:
            pointer, rtype, rclass, ttl, rdlength = unpack(octets, at)
            data_at = at + 12
        elif at + 11 != size or octets[at]:
            # No record is shorter than one of the root without data.
            raise WireError("a record of the response is cut short")
        if pointer != owner and pointer != owner_before:  # noqa: PLR1714 - fast
            if pointer < 256:
                # The root, which owns every OPT record.
                data_at = at + 11
            else:
                data_at = short_end(octets, at, body_at) + 10
                if data_at < 10:
                    if names is None:
                        names = Names(octets, MAX_ODD_NAMES)
                    data_at = names.end(at) + 10
            if data_at > size:
                raise WireError("a record of the response is cut short")
            rtype, rclass, ttl, rdlength = wire.RECORD.unpack_from(octets, data_at - 10)
        record_end = data_at + rdlength
        if record_end > size:
            raise WireError("a record's data are cut short")
        if rtype == _OPT:
            if number < first_additional:
                raise WireError("an OPT record stands outside the additional section")
            if not has_opt:
                has_opt, end, kept = True, at, number
            rcode |= ttl >> 24 << 4
            if rdlength:
                errors += edns.errors_in(octets, data_at, record_end)
        elif has_opt:
            pass
        elif rclass != _IN:
            has_strangers = True
            if number < (answers or authorities):
                strangers += 1
        else:
            if rtype == _A:
                if rdlength != 4:
                    raise WireError(f"an IPv4 address of {rdlength} octets")
            elif rtype == _AAAA:
                if rdlength != 16:
                    raise WireError(f"an IPv6 address of {rdlength} octets")
            else:
                # What is not seen to be good at once is looked at closely.
                before = NAMED.get(rtype, -1)
                if before >= 0:
                    is_plain = (
                        short_end(octets, data_at + before, body_at) == record_end
                    )
                else:
                    is_plain = is_short(octets, rtype, data_at, record_end, body_at)
                if not is_plain:
                    if names is None:
                        names = Names(octets, MAX_ODD_NAMES)
                    check_data(names, octets, rtype, data_at, record_end)
                    has_strangers = has_strangers or rtype in HOP_BY_HOP
            offsets.append(data_at - 6 - body_at)
            # Comparisons, since min() and max() cost four times as much.
            if ttl > max_ttl_s:  # noqa: PLR1730
                max_ttl_s = ttl
            if number < first_additional:
                if ttl < ttl_s:  # noqa: PLR1730
                    ttl_s = ttl
                if number < answers:
                    # What is not the plain form of an answer is looked at below.
                    if pointer == owner and rtype == qtype:
                        ends_with_alias = False
                    elif pointer == owner and rtype == CNAME:
                        owner_before = owner
                        owner = _POINTER | data_at if data_at < 0x4000 else -1
                        ends_with_alias = True
                    elif rtype == RRSIG and (
                        pointer == owner
                        or (pointer == owner_before and owner != _OWN_POINTER)
                    ):
                        covered = octets[data_at] << 8 | octets[data_at + 1]
                        is_odd = is_odd or covered not in (qtype, CNAME)
                    else:
                        is_odd = True
                        if first_additional + additionals > MAX_ODD_RECORDS:
                            raise TooManyRecordsError(_TOO_MANY)
                elif rtype == _SOA:
                    has_soa = True
                    minimum = int.from_bytes(octets[record_end - 4 : record_end], "big")
                    if minimum > MAX_NEGATIVE_TTL_S:  # noqa: PLR1730
                        minimum = MAX_NEGATIVE_TTL_S
                    if minimum < ttl_s:  # noqa: PLR1730
                        ttl_s = minimum
            elif ttl < additional_ttl_s:
                additional_ttl_s = ttl
        at = record_end
    if not has_opt:
        end = at
    target, is_whole = b"", True
    has_odd_names = names is not None and names.is_odd
    if is_odd or ends_with_alias or has_strangers or has_odd_names:
        if first_additional + additionals > MAX_ODD_RECORDS:
            raise TooManyRecordsError(_TOO_MANY)
        if strangers and strangers == (answers or authorities):
            raise WireError("nothing of the class that was asked for")
        chain = follow(octets, body_at)
        if chain.has_foreign or has_strangers or has_odd_names:
            return parse_response(scrubbed(octets, body_at, chain.kept), body_at)
        is_whole = chain.is_whole
        if rcode == wire.NOERROR and not has_soa:
            target = chain.target
    if (
        target
        or not is_whole
        or (not has_soa and (answers == 0 or rcode == wire.NXDOMAIN))
    ):
        ttl_s = NEVER_KEPT
    response = Response(
        rcode,
        _HEAD.pack(
            wire.QR | wire.RA | flags & _KEPT_FLAGS,
            answers,
            authorities,
            kept - first_additional,
        ),
        octets[body_at:end],
        tuple(offsets),
        ttl_s,
        min(ttl_s, additional_ttl_s) if kept > first_additional else ttl_s,
        max_ttl_s,
        answers > 0,
        has_opt,
    )
    if ttl_s == NEVER_KEPT:
        response.target = target
        response.is_lame = not (answers or has_soa or rcode or flags & wire.RA)
    response.errors = errors
    response.may_lead_on = may_lead_on(octets)
    return response
