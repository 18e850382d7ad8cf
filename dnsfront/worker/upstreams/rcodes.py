"""What the response code of an upstream is worth to who asked a question.

`tests/unit/test_worker_upstream_rcodes.py` has what comes of each, as a table.
"""

from __future__ import annotations

from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.chain import ends_too_long

#: The name is there, or it is not: RFC 8767, 4, has no others refresh what is cached.
_ANSWERS: Final = frozenset((wire.NOERROR, wire.NXDOMAIN))
#: Failures that clients are told by their own name, where no server knows better. The
#: others are about updates, keys, sessions or options, none of which a client sent.
_TOLD: Final = frozenset((wire.FORMERR, wire.SERVFAIL, wire.NOTIMP, wire.REFUSED))


def is_answer(rcode: int, octets: bytes, body_at: int) -> bool:
    """Return whether the response *octets* answers; its question ends at *body_at*.

    Whatever does not is a failure of its server, and the next one is asked.
    """
    if rcode == wire.YXDOMAIN:
        # RFC 6672, 2.2: the name that a DNAME record leads to is too long.
        return ends_too_long(octets, body_at)
    return rcode in _ANSWERS


def told(rcode: int) -> int:
    """Return what clients are told of the failure *rcode*."""
    return rcode if rcode in _TOLD else wire.SERVFAIL
