"""Names that there are none of: where one type was denied, all are (RFC 2308, 5).

An upstream that says NXDOMAIN says it of the name. Its response to one question is the
response to any other about that name, octet for octet behind the question, and, where
the operator wants it, about all names below (RFC 8020).
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from dnsfront.dns import wire
from dnsfront.dns.chain import joined
from dnsfront.dns.entry import VIEWS, Entry, odd_of
from dnsfront.dns.names import ancestors
from dnsfront.dns.response import Response, parse_response

_EMPTY: Final = wire.HEADER.pack(0, wire.QR | wire.AD, 1, 0, 0, 0)


class Denials:
    """The entries that deny a name, by view and name; the cache tells which they are.

    `by_name` are dictionaries that misses read, the same objects for ever. What they
    find may have expired.
    """

    def __init__(self) -> None:
        self.by_name: tuple[dict[bytes, Entry], ...] = tuple({} for _ in range(VIEWS))

    def came(self, entry: Entry) -> None:
        """Know *entry*, which denies its name, unless another does so for longer."""
        names, qname = self.by_name[entry.view], entry.key[:-4]
        other = names.get(qname)
        if other is None or other.expires_at <= entry.expires_at:
            names[qname] = entry

    def went(self, entry: Entry) -> None:
        """Do not find *entry* any more."""
        names, qname = self.by_name[entry.view], entry.key[:-4]
        if names.get(qname) is entry:
            del names[qname]

    def above(self, view: int, qname: bytes, now_s: int) -> Entry | None:
        """Return a fresh denial of a name above *qname*, the root's apart."""
        names = self.by_name[view]
        if names:
            for name in islice(ancestors(qname), 1, None):
                entry = names.get(name)
                if entry is not None and entry.expires_at > now_s and len(name) > 1:
                    return entry
        return None


def denied_alike(denial: Entry, key: bytes, tail: bytes) -> Entry:
    """Return an entry for another question about the name that *denial* denies.

    Pointers in its records lead to the name of the question, which is the same.
    """
    entry = Entry(denial.view, key, tail)
    entry.head = denial.head
    entry.body = denial.body
    entry.ttl_offsets = denial.ttl_offsets
    entry.errors = denial.errors
    entry.odd = odd_of(key, tail, denial.rcode, denial.errors)
    entry.aged_at = denial.aged_at
    entry.lifetime_s = denial.lifetime_s
    entry.expires_at = denial.expires_at
    return entry


def denied_below(denial: Entry, canonical: bytes) -> Response:
    """Return what *denial*, of a name above, comes to for the question *canonical*.

    Raises:
        WireError: with its names in full it would be too long.
    """
    response = parse_response(
        joined(_EMPTY + canonical, denial.to_message()),
        wire.HEADER_OCTETS + len(canonical),
    )
    response.errors = denial.errors
    return response
