"""Records of a message as octets: their names, whether they are well formed.

Names are read by following compression pointers, which must lead backwards (RFC 1035,
4.1.4; RFC 9267, 2 tells what happens to those who follow any).
"""

from __future__ import annotations

from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.names import MAX_QNAME_OCTETS
from dnsfront.errors import TooManyRecordsError, WireError

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
#: Pointers of one name that every reader follows; dnspython goes no further.
_MAX_POINTERS: Final = 16
#: How long a name may be to be looked at without a memory of those before.
_SHORT_OCTETS: Final = 64


def short_end(octets: bytes, at: int, body_at: int) -> int:
    """Return where the name at *at* ends if it is good and short, else -1.

    Short is what nearly all names are: some labels, and maybe a pointer to others. The
    question's name, which ends four octets ahead of *body_at*, needs no second look,
    nor does the one above it. Of all that is not short, :class:`Names` has to tell what
    is wrong with it, or nothing.
    """
    start, size = at, len(octets)
    while at < size:
        label = octets[at]
        if label == 0:
            return at + 1 if at - start < _SHORT_OCTETS else -1
        if label > 63:
            break
        at += label + 1
    end = at + 2
    if end > size:
        return -1
    # Below zero where it is no pointer.
    target = (octets[at] << 8 | octets[at + 1]) - 0xC000
    if target == 12 or target == 13 + octets[12] < body_at - 4:
        length = at - start + body_at - 4 - target
        return end if length <= MAX_QNAME_OCTETS else -1
    if 12 <= target < start and _is_short(octets, target, start):
        return end if at - start < _SHORT_OCTETS else -1
    return -1


def _is_short(octets: bytes, at: int, limit: int) -> bool:
    """Return whether a good name begins at *at*, and ends ahead of *limit*.

    What a pointer leads to is ahead of where it is led from, and so is its end.
    """
    start = at
    is_last = False
    while at < limit:
        label = octets[at]
        if label == 0:
            return at - start < _SHORT_OCTETS
        if label < 64:
            at += label + 1
            continue
        if is_last or at + 2 > limit or at - start >= _SHORT_OCTETS:
            return False
        # The first pointer here is followed, too.
        is_last = True
        target = (label << 8 | octets[at + 1]) - 0xC000
        if not 12 <= target < start:
            return False
        limit, start, at = start, target, target
    return False


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


class Names:
    """The names in one message.

    What a pointer leads to is looked at once, so that all names of a message together
    cost no more than its octets, however they point at each other. After *most* looks
    there are no more.

    *is_odd* tells that there are names that readers refuse unless they are written in
    full, *is_compressed* that the name looked at last has a pointer.
    """

    __slots__ = ("_known", "_left", "_octets", "is_compressed", "is_odd")

    def __init__(self, octets: bytes, most: int = 1 << 20) -> None:
        self._octets = octets
        self._left = most
        self.is_compressed = False
        self.is_odd = False
        #: What is known to begin at an offset, in one number: octets in full, number of
        #: pointers, and where the first of them, or the root, ends.
        self._known: dict[int, int] = {}

    def end(self, at: int) -> int:  # noqa: C901, PLR0912 - a step is no function
        """Return where the name at *at* ends; a pointer ends it.

        Raises:
            WireError: it leaves the message, is over 255 octets, or a pointer of it
                leads to anything but a name ahead of it.
            TooManyRecordsError: there were too many looks.
        """
        self._left -= 1
        if self._left < 0:
            raise TooManyRecordsError("more names than are looked at one by one")
        octets, known = self._octets, self._known
        start, limit, end = at, len(octets), 0
        length = pointers = length_before = pointers_before = 0
        met: list[tuple[int, int, int, int]] = []
        while True:
            while at < limit and 0 < octets[at] < 64:
                at += octets[at] + 1
            if at >= limit:
                raise WireError("a name leaves the message, or runs into itself")
            label = octets[at]
            length += at - start
            at += 2 if label else 1
            if 0 < label < 0xC0 or at > limit:
                raise WireError("a name has a label of an unknown kind, or half a one")
            if end:
                met.append((start, length_before, pointers_before, at))
            else:
                end = at
            if label == 0:
                length += 1
                break
            target = (label & 0x3F) << 8 | octets[at - 1]
            if not wire.HEADER_OCTETS <= target < start:
                raise WireError("a compression pointer does not lead backwards")
            pointers += 1
            rest = known.get(target)
            if rest is not None:
                if rest >> 24 > start:
                    raise WireError("a compression pointer leads into its own name")
                length += rest & 255
                pointers += rest >> 8 & 0xFFFF
                break
            length_before, pointers_before = length, pointers
            limit, start, at = start, target, target
        if length > MAX_QNAME_OCTETS:
            raise WireError("a name is over 255 octets")
        for target, octets_before, count_before, part_end in met:
            rest = (pointers - count_before) << 8 | length - octets_before
            known[target] = part_end << 24 | rest
        self.is_compressed = pointers > 0
        if pointers > _MAX_POINTERS:
            self.is_odd = True
        return end

    def read(self, at: int) -> tuple[bytes, int]:
        """Return the name at *at* in full wire form, as spelled, and where it ends.

        Raises:
            WireError: as :meth:`end` does.
        """
        end = self.end(at)
        octets = self._octets
        name = b""
        while True:
            label = octets[at]
            if label >= 0xC0:
                at = (label & 0x3F) << 8 | octets[at + 1]
                continue
            name += octets[at : at + label + 1]
            if label == 0:
                return name, end
            at += label + 1


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
