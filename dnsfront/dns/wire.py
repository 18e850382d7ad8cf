"""Constants and layouts of messages, and where names and questions end in them.

Pure: no socket, no clock. Nothing here trusts a length, a count or a pointer of a
message (RFC 9267 lists what happens to those who do).
"""

from __future__ import annotations

import struct
from typing import Final

from dnsfront.dns.names import MAX_QNAME_OCTETS

HEADER_OCTETS: Final = 12

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
YXDOMAIN: Final = 6
BADVERS: Final = 16
BADCOOKIE: Final = 23

A: Final = 1
SOA: Final = 6
TXT: Final = 16
OPT: Final = 41
ANY: Final = 255

CLASS_IN: Final = 1
CLASS_ANY: Final = 255

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
