"""Records of a message as octets: their names, whether they are well formed.

Names are read by following compression pointers, which must lead backwards (RFC 1035,
4.1.4; RFC 9267, 2 tells what happens to those who follow any).
"""

from __future__ import annotations

from typing import Final

from dnsfront.dns import wire
from dnsfront.errors import WireError

CNAME: Final = 5
DNAME: Final = 39
SIG: Final = 24
RRSIG: Final = 46

#: Of types whose data begin with names: octets ahead of them, how many there are, and
#: how many octets follow at least; -1 where nothing may follow.
_NAMES: Final[dict[int, tuple[int, int, int]]] = {
    2: (0, 1, -1),  # NS
    3: (0, 1, -1),  # MD
    4: (0, 1, -1),  # MF
    CNAME: (0, 1, -1),
    7: (0, 1, -1),  # MB
    8: (0, 1, -1),  # MG
    9: (0, 1, -1),  # MR
    12: (0, 1, -1),  # PTR
    14: (0, 2, -1),  # MINFO
    15: (2, 1, -1),  # MX
    17: (0, 2, -1),  # RP
    18: (2, 1, -1),  # AFSDB
    21: (2, 1, -1),  # RT
    SIG: (18, 1, 1),
    26: (2, 2, -1),  # PX
    33: (6, 1, -1),  # SRV
    36: (2, 1, -1),  # KX
    DNAME: (0, 1, -1),
    RRSIG: (18, 1, 1),
    47: (0, 1, 0),  # NSEC
    64: (2, 1, 0),  # SVCB
    65: (2, 1, 0),  # HTTPS
}
#: Least octets of other types.
_LEAST: Final[dict[int, int]] = {
    29: 16,  # LOC
    43: 5,  # DS
    44: 3,  # SSHFP
    48: 5,  # DNSKEY
    50: 6,  # NSEC3
    51: 5,  # NSEC3PARAM
    52: 4,  # TLSA
    257: 3,  # CAA
}
#: Types whose data are strings and nothing else, and the least number of strings.
_STRINGS: Final[dict[int, int]] = {13: 2, 16: 1, 99: 1}
_NAPTR: Final = 35
#: SVCB and HTTPS.
_SERVICES: Final = frozenset((64, 65))
#: SOA ends in five numbers of four octets.
_SOA_NUMBERS: Final = 20


class Names:
    """The names in one message.

    What a pointer leads to is looked at once, so that all names of a message together
    cost no more than its octets, however they point at each other.
    """

    __slots__ = ("_known", "_octets")

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        #: What is known to begin at an offset: so many octets in full.
        self._known: dict[int, int] = {}

    def end(self, at: int) -> int:  # noqa: C901 - a step of a name is no function
        """Return where the name at *at* ends; a pointer ends it.

        Raises:
            WireError: it leaves the message, is over 255 octets, or a pointer of it
                leads anywhere but backwards.
        """
        octets, known = self._octets, self._known
        size, start, end, length = len(octets), at, 0, 0
        met: list[tuple[int, int]] | None = None
        while at < size:
            label = octets[at]
            if 0 < label < 64:
                length += label + 1
                at += label + 1
                continue
            if label == 0:
                length += 1
                end = end or at + 1
                break
            if label < 0xC0 or at + 2 > size:
                raise WireError("a name has a label of an unknown kind, or half a one")
            end = end or at + 2
            target = (label & 0x3F) << 8 | octets[at + 1]
            if not wire.HEADER_OCTETS <= target < start:
                raise WireError("a compression pointer does not lead backwards")
            rest = known.get(target)
            if rest is not None:
                length += rest
                break
            if met is None:
                met = []
            met.append((target, length))
            at = start = target
        else:
            raise WireError("a name leaves the message")
        if length > wire.MAX_QNAME_OCTETS:
            raise WireError("a name is over 255 octets")
        if met is not None:
            for target, before in met:
                known[target] = length - before
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


def check_data(names: Names, octets: bytes, rtype: int, at: int, end: int) -> None:
    """Check the data of a record, which stand from *at* to *end* in *octets*.

    Raises:
        WireError: they are not what data of a well-known type look like.
    """
    layout = _NAMES.get(rtype)
    if rtype in _SERVICES:
        is_whole = _is_service(octets, names.end(at + 2), end)
    elif layout is not None:
        before, count, behind = layout
        at += before
        for _ in range(count):
            at = names.end(at)
        is_whole = at == end if behind < 0 else at + behind <= end
    elif rtype == wire.SOA:
        at = names.end(names.end(at))
        is_whole = at + _SOA_NUMBERS == end
    elif rtype in _STRINGS:
        is_whole = _strings(octets, at, end) >= _STRINGS[rtype]
    elif rtype == _NAPTR:
        is_whole = _is_naptr(names, octets, at, end)
    else:
        is_whole = end - at >= _LEAST.get(rtype, 0)
    if not is_whole:
        raise WireError(f"data of type {rtype} are malformed")


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


def _is_naptr(names: Names, octets: bytes, at: int, end: int) -> bool:
    at += 4
    for _ in range(3):
        if at >= end:
            return False
        at += octets[at] + 1
    if at >= end:
        return False
    return names.end(at) == end


def expanded(names: Names, octets: bytes, at: int) -> tuple[bytes, bytes, int]:
    """Return the owner of the record at *at*, the rest of it, and where it ends.

    All names are in full, so that both can go anywhere.

    The record has passed :func:`check_data`. Names in data of types that are not known
    here are never compressed (RFC 3597, 4).
    """
    owner, at = names.read(at)
    rtype, _rclass, _ttl, rdlength = wire.RECORD.unpack_from(octets, at)
    fixed = octets[at : at + 8]
    at += 10
    end = at + rdlength
    before, count, _behind = _NAMES.get(rtype, (0, 0, 0))
    if rtype == wire.SOA:
        count = 2
    elif rtype == _NAPTR:
        before, count = 4, 1
        for _ in range(3):
            before += octets[at + before] + 1
    data = octets[at : at + before]
    at += before
    for _ in range(count):
        name, at = names.read(at)
        data += name
    data += octets[at:end]
    return owner, fixed + len(data).to_bytes(2, "big") + data, end
