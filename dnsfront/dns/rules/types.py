"""Types of questions by their mnemonics (IANA, DNS parameters)."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from dnsfront.errors import WireError

TYPES: Final = MappingProxyType(
    {
        "A": 1,
        "NS": 2,
        "CNAME": 5,
        "SOA": 6,
        "PTR": 12,
        "HINFO": 13,
        "MX": 15,
        "TXT": 16,
        "RP": 17,
        "AFSDB": 18,
        "AAAA": 28,
        "LOC": 29,
        "SRV": 33,
        "NAPTR": 35,
        "CERT": 37,
        "DNAME": 39,
        "DS": 43,
        "SSHFP": 44,
        "RRSIG": 46,
        "NSEC": 47,
        "DNSKEY": 48,
        "NSEC3": 50,
        "NSEC3PARAM": 51,
        "TLSA": 52,
        "SMIMEA": 53,
        "CDS": 59,
        "CDNSKEY": 60,
        "OPENPGPKEY": 61,
        "CSYNC": 62,
        "ZONEMD": 63,
        "SVCB": 64,
        "HTTPS": 65,
        "SPF": 99,
        "ANY": 255,
        "URI": 256,
        "CAA": 257,
    }
)
_MAX_TYPE: Final = 0xFFFF


def type_from_text(text: str) -> int:
    """Return the number of a type, which TYPE65 names as well as HTTPS (RFC 3597, 5).

    Raises:
        WireError: it is none.
    """
    name = text.upper()
    number = TYPES.get(name)
    if number is None and name.startswith("TYPE") and name[4:].isdecimal():
        number = int(name[4:])
    if number is None or not 0 < number <= _MAX_TYPE:
        raise WireError("want a type like AAAA, or TYPE and a number to 65535")
    return number
