"""How messages between workers are laid out: a head by its kind, then the payload."""

from __future__ import annotations

import struct
from typing import Final

from dnsfront.worker.process.batch import ADDRESS_OCTETS, CONTROL_OCTETS

DATAGRAM: Final = 1
STREAM_QUERY: Final = 2
STREAM_RESPONSE: Final = 3
#: The number tells the form of a parcel, too: a predecessor may be another version.
PARCEL: Final = 6

KIND: Final = struct.Struct("=B")
#: kind, listener number, octets of address and of control message, then both padded.
DATAGRAM_HEAD: Final = struct.Struct(f"=BBBB{ADDRESS_OCTETS}s{CONTROL_OCTETS}s")
#: kind, worker_id of the sender, token.
STREAM_HEAD: Final = struct.Struct("=BBQ")
#: Behind that of a query: octets of the client's packed address, which is padded.
STREAM_CLIENT: Final = struct.Struct("=B16s")
