"""The order of addresses in an answer, which clients take for a choice (RFC 1794)."""

from __future__ import annotations

from typing import Final

from dnsfront.dns import wire

_ADDRESSES: Final = frozenset((1, 28))


def rotated(body: bytes, answers: int) -> bytes:
    """Return the records *body* with the first address of its last set made the last.

    Only addresses move, whose records are alike but for TTL and address, so that no
    compression pointer and no TTL is anywhere else afterwards.
    """
    at = run_at = count = 0
    alike = b""
    for _ in range(answers):
        begin = at
        is_pointer = body[at] >= 0xC0
        at = wire.skip_name(body, at)
        rtype, _rclass, _ttl, rdlength = wire.RECORD.unpack_from(body, at)
        at += 10 + rdlength
        if not (is_pointer and rtype in _ADDRESSES):
            count = 0
            continue
        head = body[begin : begin + 6]
        if not count or head != alike:
            run_at, alike, count = begin, head, 0
        count += 1
    if count < 2:
        return body
    size = (at - run_at) // count
    first = body[run_at : run_at + size]
    return body[:run_at] + body[run_at + size : at] + first + body[at:]
