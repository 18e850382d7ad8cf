"""What zones are made of: the records of one owner and type, and names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ROOT: Final = b"\0"
NS: Final = 2
CNAME: Final = 5
PTR: Final = 12
MX: Final = 15
AAAA: Final = 28
SRV: Final = 33
DNAME: Final = 39
DS: Final = 43
RRSIG: Final = 46
NSEC: Final = 47
NSEC3: Final = 50
NSEC3PARAM: Final = 51

#: Where the name that additional processing, or a CNAME chain, goes on with begins.
_TARGET_AT: Final = {NS: 0, CNAME: 0, MX: 2, SRV: 6}
#: Where the last name in the data begins, of types whose data end in one.
_NAME_AT: Final = {2: 0, 5: 0, 12: 0, 15: 2, 18: 2, 21: 2, 33: 6, 36: 2, 39: 0, 107: 2}
#: What a record takes in an answer besides its data, its owner a pointer.
RECORD_OCTETS: Final = 12


@dataclass(frozen=True, slots=True)
class RRset:
    """The records of one owner and type, their data with all names written out."""

    rtype: int
    ttl_s: int
    rdatas: tuple[bytes, ...]

    @property
    def targets(self) -> tuple[bytes, ...]:
        """The names that the data point to, for those types where that matters."""
        at = _TARGET_AT.get(self.rtype)
        if at is None:
            return ()
        return tuple(rdata[at:].lower() for rdata in self.rdatas)


def kind_of(rtype: int, rdata: bytes) -> int:
    """Return what keeps a record apart from others of its owner.

    That is the type; of signatures also the type that they cover, since with that they
    are asked for, and have their TTLs.
    """
    return rtype if rtype != RRSIG else signature_of(rdata[0] << 8 | rdata[1])


def signature_of(rtype: int) -> int:
    """Return the kind of the signatures that cover *rtype*."""
    return RRSIG | rtype << 16


def folded(rtype: int, rdata: bytes) -> bytes:
    """Return what the data of equal records have in common, whatever their case."""
    at = _NAME_AT.get(rtype)
    return rdata if at is None else rdata[:at] + rdata[at:].lower()
