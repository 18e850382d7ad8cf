"""What probes look like, and what will do as an answer to one."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.names import qname_from_text
from dnsfront.ipc.spec import DEFAULT_POOL

_TYPES: Final = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "MX": 15, "TXT": 16, "AAAA": 28}


@dataclass(frozen=True)
class ProbeForm:
    """What probes look like, how often they go out, and how many decide."""

    name: str
    type: str
    interval_s: float
    rise: int
    fall: int
    timeout_s: float
    slow_start_s: float = 0
    #: The pool that it is for; those of two pools are asked for each.
    pool: str = DEFAULT_POOL

    @property
    def must_resolve(self) -> bool:
        """Whether the name is to be resolved; of the root any word will do.

        An upstream that has no way to the root is not dead; an upstream that cannot
        resolve a name that the operator chose is.
        """
        return self.name != "."

    def query(self, identity: bytes, attempt: int) -> bytes:
        """Return a probe; *attempt* counts those that were not answered.

        The root is asked for without RD, since a recursive server answers that at
        once; one that drops such queries is asked with RD next time.
        """
        flags = wire.RD if self.must_resolve or attempt % 2 else 0
        header = wire.HEADER.pack(0, flags, 1, 0, 0, 0)
        question = qname_from_text(self.name) + struct.pack(
            "!HH", _TYPES[self.type], wire.CLASS_IN
        )
        return identity + header[2:] + question

    def is_answer(self, response: bytes) -> bool:
        """Return whether a *response* with the id of the query will do."""
        if len(response) < wire.HEADER_OCTETS or not response[2] & 0x80:
            return False
        rcode = response[3] & wire.RCODE_MASK
        return not self.must_resolve or rcode in (wire.NOERROR, wire.NXDOMAIN)
