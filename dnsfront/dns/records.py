"""Records of a message as octets: whether their data are well formed."""

from __future__ import annotations

from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.compression import Names, short_end
from dnsfront.errors import WireError

NS: Final = 2
CNAME: Final = 5
PTR: Final = 12
MX: Final = 15
SIG: Final = 24
DNAME: Final = 39
RRSIG: Final = 46
NSEC: Final = 47
#: What a message has for the next hop alone: keys and signatures of transactions.
HOP_BY_HOP: Final = frozenset((249, 250))

#: SOA ends in five numbers of four octets.
SOA_NUMBERS: Final = 20

_SRV: Final = 33
_HTTPS: Final = 65
#: Of types whose data hold names: octets ahead of the first, how many names there are,
#: and how many octets follow at least; -1 where nothing may follow.
_NAMES: Final[dict[int, tuple[int, int, int]]] = {
    NS: (0, 1, -1),
    3: (0, 1, -1),  # MD
    4: (0, 1, -1),  # MF
    CNAME: (0, 1, -1),
    wire.SOA: (0, 2, SOA_NUMBERS),
    7: (0, 1, -1),  # MB
    8: (0, 1, -1),  # MG
    9: (0, 1, -1),  # MR
    PTR: (0, 1, -1),
    14: (0, 2, -1),  # MINFO
    MX: (2, 1, -1),
    17: (0, 2, -1),  # RP
    18: (2, 1, -1),  # AFSDB
    21: (2, 1, -1),  # RT
    23: (0, 1, -1),  # NSAP-PTR
    SIG: (18, 1, 1),
    26: (2, 2, -1),  # PX
    30: (0, 1, 0),  # NXT
    _SRV: (6, 1, -1),
    36: (2, 1, -1),  # KX
    DNAME: (0, 1, -1),
    RRSIG: (18, 1, 1),
    NSEC: (0, 1, 0),
    58: (0, 2, -1),  # TALINK
    64: (2, 1, 0),  # SVCB
    _HTTPS: (2, 1, 0),
    66: (5, 1, -1),  # DSYNC
    107: (2, 1, -1),  # LP
}
#: Types of the first days, whose names alone may be compressed (RFC 3597, 4).
_COMPRESSIBLE: Final = frozenset((NS, 3, 4, CNAME, wire.SOA, 7, 8, 9, PTR, 14, MX))
#: Least octets of other types.
_LEAST: Final[dict[int, int]] = {
    29: 16,  # LOC
    43: 5,  # DS
    44: 3,  # SSHFP
    48: 5,  # DNSKEY
    51: 5,  # NSEC3PARAM
    52: 4,  # TLSA
    257: 3,  # CAA
}
#: Types whose data are strings and nothing else, and the least number of strings.
_STRINGS: Final[dict[int, int]] = {
    13: 2,  # HINFO
    16: 1,  # TXT
    19: 1,  # X25
    20: 1,  # ISDN
    27: 3,  # GPOS
    56: 1,  # NINFO
    99: 1,  # SPF
    258: 1,  # AVC
    261: 1,  # RESINFO
    262: 1,  # WALLET
}
#: Types that end in a map of types, as NSEC does.
_NSEC3: Final = 50
_CSYNC: Final = 62
#: SVCB and HTTPS.
_SERVICES: Final = frozenset((64, _HTTPS))
#: Types whose data have names behind what has no fixed length.
_NAPTR: Final = 35
_IPSECKEY: Final = 45
_HIP: Final = 55
_AMTRELAY: Final = 260
_SHIFTING: Final = frozenset((_NAPTR, _IPSECKEY, _HIP, _AMTRELAY))
#: Octets of a gateway by its kind (RFC 4025, 2.5; RFC 8777, 4.2.3), but of a name.
_GATEWAYS: Final = {0: 0, 1: 4, 2: 16}
_NAMED_GATEWAY: Final = 3
#: Types of which much is asked whose data end in a name: octets ahead of it.
NAMED: Final = {NS: 0, CNAME: 0, PTR: 0, MX: 2}


def is_short(octets: bytes, rtype: int, at: int, end: int, body_at: int) -> bool:
    """Return whether data of some types are good in a way that is quickly seen.

    They stand from *at* to *end*. Of all others :func:`check_data` has the last word.
    """
    if rtype == wire.SOA:
        at = short_end(octets, at, body_at)
        return at > 0 and short_end(octets, at, body_at) + SOA_NUMBERS == end
    if rtype == wire.TXT:
        return at < end and at + 1 + octets[at] == end
    if rtype == _SRV:
        # Its name must not be compressed; what looks so is looked at again.
        return short_end(octets, at + 6, body_at) == end and octets[end - 2] < 0xC0
    if rtype == _HTTPS:
        at = short_end(octets, at + 2, body_at)
        return at > 0 and octets[at - 2] < 0xC0 and _is_service(octets, at, end)
    return False


def check_data(  # noqa: C901 - a case each
    names: Names, octets: bytes, rtype: int, at: int, end: int
) -> None:
    """Check the data of a record, which stand from *at* to *end* in *octets*.

    Raises:
        WireError: they are not what data of a well-known type look like.
    """
    layout = _layout(octets, rtype, at, end)
    if layout is not None:
        before, count, behind = layout
        at += before
        while count > 0 or (count < 0 and at < end):
            at = names.end(at)
            count -= 1
            if names.is_compressed and rtype not in _COMPRESSIBLE:
                names.is_odd = True
        if rtype in _SERVICES:
            is_whole = _is_service(octets, at, end)
        elif rtype == NSEC:
            is_whole = _is_type_map(octets, at, end)
        elif behind < 0 or rtype == wire.SOA:
            is_whole = at + max(behind, 0) == end
        else:
            is_whole = at + behind <= end
    elif rtype in _STRINGS:
        is_whole = _strings(octets, at, end) >= _STRINGS[rtype]
    elif rtype == _NSEC3:
        is_whole = _is_nsec3(octets, at, end)
    elif rtype == _CSYNC:
        is_whole = _is_type_map(octets, at + 6, end)
    else:
        is_whole = end - at >= _LEAST.get(rtype, 0)
    if not is_whole:
        raise WireError(f"data of type {rtype} are malformed")


def _layout(
    octets: bytes, rtype: int, at: int, end: int
) -> tuple[int, int, int] | None:
    """Return where names stand in data of a type that has any, as `_NAMES` tells it.

    A count of -1 is for as many as there are.

    Raises:
        WireError: the data end ahead of them.
    """
    if rtype not in _SHIFTING:
        return _NAMES.get(rtype)
    before, count, behind = 4, 1, -1
    if rtype == _NAPTR:
        for _ in range(3):
            before += octets[at + before] + 1 if at + before < end else end
    elif rtype == _HIP:
        count = -1
        if at + 4 <= end:
            before += octets[at] + (octets[at + 2] << 8 | octets[at + 3])
    elif at + 2 <= end:
        kind = octets[at + 1]
        if rtype == _IPSECKEY:
            before, behind = 3, 0
        else:
            before, kind = 2, kind & 0x7F
        if kind != _NAMED_GATEWAY:
            # Readers refuse kinds that they do not know.
            count, before = 0, before + _GATEWAYS.get(kind, end)
    if at + before > end:
        raise WireError(f"data of type {rtype} are cut short")
    return before, count, behind


def _is_type_map(octets: bytes, at: int, end: int) -> bool:
    """Return whether windows of types fill the data (RFC 4034, 4.1.2)."""
    before = -1
    while at + 2 <= end:
        window, length = octets[at], octets[at + 1]
        if window <= before or not 1 <= length <= 32:
            return False
        before = window
        at += 2 + length
    return at == end


def _is_nsec3(octets: bytes, at: int, end: int) -> bool:
    at += 4
    for _ in range(2):
        # The salt, then the hash of the next name (RFC 5155, 3.2).
        if at >= end:
            return False
        at += octets[at] + 1
    return _is_type_map(octets, at, end)


def _strings(octets: bytes, at: int, end: int) -> int:
    """Return how many strings fill the data; -1 when they do not."""
    count = 0
    while at < end:
        at += octets[at] + 1
        count += 1
    return count if at == end else -1


def _is_service(octets: bytes, at: int, end: int) -> bool:
    """Return whether parameters fill the data, their keys in order (RFC 9460, 2.2)."""
    before = -1
    while at + 4 <= end:
        key = octets[at] << 8 | octets[at + 1]
        if key <= before:
            return False
        before = key
        at += 4 + (octets[at + 2] << 8 | octets[at + 3])
    return at == end


def expanded(names: Names, octets: bytes, at: int) -> tuple[bytes, bytes]:
    """Return the owner of the record at *at*, and the rest of it.

    All names are in full, so that both can go anywhere.

    The record has passed :func:`check_data`. Names in data of types that are not known
    here are never compressed (RFC 3597, 4).

    Raises:
        WireError: it would be too long for a record.
    """
    owner, at = names.read(at)
    rtype, _rclass, _ttl, rdlength = wire.RECORD.unpack_from(octets, at)
    fixed = octets[at : at + 8]
    at += 10
    end = at + rdlength
    before, count, _behind = _layout(octets, rtype, at, end) or (0, 0, 0)
    data = octets[at : at + before]
    at += before
    while count > 0 or (count < 0 and at < end):
        name, at = names.read(at)
        data += name
        count -= 1
    data += octets[at:end]
    if len(data) > 0xFFFF:
        raise WireError("with its names in full, a record is too long")
    return owner, fixed + len(data).to_bytes(2, "big") + data
