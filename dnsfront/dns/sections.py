"""What follows the question of a response, in the form that every producer hands on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sections:
    """The answer, authority and additional sections of one response, without OPT.

    *octets* are the records in wire form, exactly as they stand behind a 12-octet
    header and the uncompressed question, so that their compression pointers hold in any
    response to the same question, whatever case the client spelled it in. The counts do
    not include an OPT record: OPT is hop by hop (RFC 6891, 6.1.1) and is built anew.
    """

    rcode: int
    is_authoritative: bool
    is_authentic: bool
    answers: int
    authorities: int
    additionals: int
    octets: bytes
    #: The name, in lower case, that an answer of aliases ends with, where somebody else
    #: can say more of it; else empty.
    target: bytes = b""
