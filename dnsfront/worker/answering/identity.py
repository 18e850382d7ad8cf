"""What a server says about itself, class CHAOS (RFC 4892)."""

from __future__ import annotations

import struct
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.names import qname_from_text

CLASS_CH: Final = 3
_TTL_S: Final = 0
_ID_NAMES: Final = ("id.server", "hostname.bind")
_VERSION_NAMES: Final = ("version.server", "version.bind")
_RECORD = struct.Struct("!HHHIHB")
_POINTER: Final = 0xC00C


def identity_records(identity: str, version: str) -> dict[bytes, bytes]:
    """Return the record for each qname that is answered; empty texts are not told."""
    return {
        qname_from_text(name): _record(text.encode("utf-8", "replace")[:255])
        for names, text in ((_ID_NAMES, identity), (_VERSION_NAMES, version))
        if text
        for name in names
    }


def _record(text: bytes) -> bytes:
    size = len(text)
    fixed = _RECORD.pack(_POINTER, wire.TXT, CLASS_CH, _TTL_S, size + 1, size)
    return fixed + text
