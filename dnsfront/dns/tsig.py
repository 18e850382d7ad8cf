"""What a server without keys owes to signed queries (RFC 8945, 5.2 and 5.3).

Pure: no socket, no clock.
"""

from __future__ import annotations

import struct
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.compression import Names
from dnsfront.errors import UnknownKeyError, WireError

TSIG: Final = 250
_BADKEY: Final = 17
#: Time signed, fudge, and the length of the MAC.
_SIGNED = struct.Struct("!6sHH")
#: Original id, error, and the length of other data.
_REST = struct.Struct("!2sHH")


def refuse(octets: bytes, at: int, *, is_last: bool) -> None:
    """Look at the TSIG record that begins at *at*, which is not cut short.

    Raises:
        UnknownKeyError: it is well formed, and nobody has a key here.
        WireError: FORMERR, it is not.
    """
    names = Names(octets)
    owner, at = names.read(at)
    _type, rclass, ttl, rdlength = wire.RECORD.unpack_from(octets, at)
    at += 10
    end = at + rdlength
    if not is_last or rclass != wire.CLASS_ANY or ttl:
        raise WireError("want one TSIG, the last record, of class ANY and TTL 0")
    algorithm, at = names.read(at)
    if at + _SIGNED.size > end:
        raise WireError("the TSIG record is cut short")
    signed_at, fudge, mac_octets = _SIGNED.unpack_from(octets, at)
    at += _SIGNED.size + mac_octets
    if at + _REST.size > end:
        raise WireError("the MAC of the TSIG record is cut short")
    identity, _error, other_octets = _REST.unpack_from(octets, at)
    if at + _REST.size + other_octets != end:
        raise WireError("the other data of the TSIG record are cut short")
    data = (
        algorithm + _SIGNED.pack(signed_at, fudge, 0) + _REST.pack(identity, _BADKEY, 0)
    )
    head = wire.RECORD.pack(TSIG, wire.CLASS_ANY, 0, len(data))
    raise UnknownKeyError(owner + head + data)
