"""The plainest lines of a master file, read at a tenth of the cost.

A line is plain when it has no quotes, escapes, parentheses and comments, and its type
is among the few here. What this cannot vouch for is left to `text.py`, which says what
is wrong with it, if anything is.
"""

from __future__ import annotations

import re
import socket
from typing import Final

from dnsfront.dns.names import MAX_QNAME_OCTETS

_NAME: Final = r"[A-Za-z0-9_*/-]{1,63}(?:\.[A-Za-z0-9_*/-]{1,63})*\.?"
_PLAIN: Final = re.compile(
    rf"""
    (?: ({_NAME}) [ \t]+ | [ \t]+ )
    (?: ([0-9]{{1,9}}) [ \t]+ )?
    (?: IN [ \t]+ )?
    (?: A    [ \t]+ ([0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}})
      | AAAA [ \t]+ ([0-9A-Fa-f:.]{{2,45}})
      | (CNAME | NS | PTR) [ \t]+ ({_NAME})
      | MX   [ \t]+ ([0-9]{{1,5}}) [ \t]+ ({_NAME})
      | TXT  [ \t]+ (?: "([ !\#-\[\]-~]{{0,255}})" | ([!\#-'*-:<-\[\]-~]{{1,255}}) )
    )
    [ \t]* (?: \n | \Z )
    """,
    re.VERBOSE,
)
_TYPE: Final = {"CNAME": 5, "NS": 2, "PTR": 12}
#: Names that data point to are few, and come again and again; more of them are not.
_MAX_KNOWN: Final = 10000

#: End, owner, TTL, whether it was given, type and data.
PlainRecord = tuple[int, bytes, int, bool, int, bytes]


class PlainLines:
    """Reads plain lines of *text*."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._match = _PLAIN.match
        self._known: dict[str, bytes] = {}
        self._origin = b""

    def read(  # noqa: C901 - a call a field costs more than all it does
        self, at: int, origin: bytes, owner: bytes | None, ttl_s: int | None
    ) -> PlainRecord | None:
        """Return the record of the line at *at*; None if the line is not plain.

        *owner* and *ttl_s* are those of a record that has none of its own.
        """
        match = self._match(self._text, at)
        if match is None:
            return None
        if origin is not self._origin:
            self._known.clear()
            self._origin = origin
        name, ttl, ipv4, ipv6, kind, target, preference, host, quoted, bare = (
            match.groups()
        )
        if name is not None:
            owner = _to_wire(name, origin).lower()
        if ttl is not None:
            ttl_s = int(ttl)
        if owner is None or ttl_s is None:
            return None
        try:
            if ipv4 is not None:
                rtype, rdata = 1, socket.inet_pton(socket.AF_INET, ipv4)
            elif ipv6 is not None:
                rtype, rdata = 28, socket.inet_pton(socket.AF_INET6, ipv6)
            elif kind is not None:
                rtype, rdata = _TYPE[kind], self._name(target, origin)
            elif preference is not None:
                rtype = 15
                rdata = int(preference).to_bytes(2, "big") + self._name(host, origin)
            else:
                rtype = 16
                octets = (bare if quoted is None else quoted).encode("ascii")
                rdata = bytes((len(octets),)) + octets
        except (OSError, OverflowError, _NotPlainError):
            return None
        if len(owner) > MAX_QNAME_OCTETS:
            return None
        return match.end(), owner, ttl_s, ttl is not None, rtype, rdata

    def _name(self, text: str, origin: bytes) -> bytes:
        name = self._known.get(text)
        if name is None:
            name = _to_wire(text, origin)
            if len(name) > MAX_QNAME_OCTETS:
                raise _NotPlainError
            if len(self._known) < _MAX_KNOWN:
                self._known[text] = name
        return name


class _NotPlainError(Exception):
    """Something that `text.py` refuses in better words."""


def _to_wire(text: str, origin: bytes) -> bytes:
    """Return the wire form of *text*, whose labels are plain; its length is open."""
    octets = text.encode("ascii")
    if octets.endswith(b"."):
        octets, origin = octets[:-1], b"\0"
    return (
        b"".join([bytes((len(label),)) + label for label in octets.split(b".")])
        + origin
    )
