"""Names in wire form, and which of them are above which."""

from __future__ import annotations

from collections.abc import Iterator


def ancestors(name: bytes) -> Iterator[bytes]:
    """Yield *name*, its parent, and so on up to the root."""
    at = 0
    while True:
        yield name[at:]
        if not name[at]:
            return
        at += name[at] + 1


def is_under(qname: bytes, origin: bytes) -> bool:
    """Return whether *qname* is *origin* or below it; both lower-case wire form."""
    surplus = len(qname) - len(origin)
    if surplus < 0 or not qname.endswith(origin):
        return False
    at = 0
    while at < surplus:
        at += qname[at] + 1
    return at == surplus
