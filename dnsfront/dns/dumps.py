"""Cache entries as lines of text, for files that outlive every process.

A line is a JSON object; the first one of a file is :data:`HEAD`. Times are of the wall
clock, since no other is the same after a boot. What is read was in the hands of others:
the message goes through the same parser as what upstreams say.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Final

from dnsfront.dns import edns, wire
from dnsfront.dns.entry import ODD_STUB, ODD_ZONE, VIEWS, Entry, aged, odd_of
from dnsfront.dns.names import qname_to_text
from dnsfront.dns.response import parse_response
from dnsfront.errors import WireError

#: What such a file begins with. Other versions are not read.
HEAD: Final = {"dnsfront": "cache", "version": 1}
#: The longest line, for the longest message, and for what people read beside it.
MAX_LINE: Final = 1 << 18
#: Lines that are given to workers at once, and their characters.
MAX_LINES: Final = 500
_CHARACTERS: Final = 400_000
_AA: Final = wire.AA >> 8
_RCODES: Final = (wire.NOERROR, wire.NXDOMAIN)
#: The bits of a view, as they are told.
_FLAGS: Final = {"rd": 1, "cd": 2, "do": 4}


class DamagedError(ValueError):
    """A line of a dump is none; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class EntryTold:
    """An entry that a line has, and the name of the pool that its response is from.

    If it has expired, its `expires_at` is 0.
    """

    entry: Entry
    pool: str


def line_of(entry: Entry, *, pool: str, now_s: int, wall_s: int) -> str | None:
    """Return a fresh *entry* as a line, without its end.

    None is for what is made here, wholly or in part, and for what has expired.
    """
    left_s = entry.expires_at - now_s
    if left_s <= 0 or entry.odd & (ODD_ZONE | ODD_STUB) or entry.head[0] & _AA:
        return None
    age_s = now_s - entry.aged_at
    head = b"\0\0" + entry.head[:2] + b"\0\1" + entry.head[2:]
    body = aged(entry.body, entry.ttl_offsets, lambda ttl: ttl - age_s)
    message = head + entry.canonical + body
    line: dict[str, Any] = {
        "name": qname_to_text(entry.key[:-4]),
        "type": int.from_bytes(entry.tail[:2], "big"),
        "flags": [name for name, bit in _FLAGS.items() if entry.view & bit],
        "pool": pool,
        "expires": wall_s + left_s,
        "ttl": left_s,
        "message": base64.b64encode(message).decode(),
    }
    if entry.errors:
        line["errors"] = entry.errors.hex()
    return json.dumps(line)


def entry_in(line: str, *, now_s: int, wall_s: int) -> EntryTold:
    """Return what a *line* has, of which so much time is gone as on the wall clock.

    What is from the future has expired: nobody knows how old it is.

    Raises:
        DamagedError: it has nothing that could have been cached.
    """
    plain = plain_in(line)
    expires_s, ttl_s = _number(plain, "expires"), _number(plain, "ttl")
    try:
        octets = base64.b64decode(_text(plain, "message"), validate=True)
        errors = bytes.fromhex(plain.get("errors", ""))
        return EntryTold(
            _entry(
                octets,
                view=_view(plain),
                ttl_s=ttl_s,
                age_s=wall_s + ttl_s - expires_s,
                now_s=now_s,
                errors=edns.errors_in(errors, 0, len(errors)),
            ),
            _text(plain, "pool"),
        )
    except (WireError, ValueError, TypeError, IndexError, struct.error) as exc:
        raise DamagedError(str(exc)) from exc


def plain_in(line: str) -> dict[str, Any]:
    """Return the object that a *line* is.

    Raises:
        DamagedError: it is none.
    """
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise DamagedError("no JSON") from exc
    if not isinstance(plain, dict):
        raise DamagedError("no object")
    return plain


def _number(plain: dict[str, Any], key: str) -> int:
    value = plain.get(key)
    if type(value) is not int or not 0 < value < 1 << 53:
        raise DamagedError(f"{key} is no number of seconds")
    return value


def _text(plain: dict[str, Any], key: str) -> str:
    value = plain.get(key)
    if not isinstance(value, str):
        raise DamagedError(f"{key} is no text")
    return value


def _view(plain: dict[str, Any]) -> int:
    view = sum(_FLAGS.get(x, VIEWS) for x in set(plain.get("flags", ())))
    if view >= VIEWS:
        raise DamagedError("flags are not of rd, cd and do")
    return view


def _entry(
    octets: bytes, *, view: int, ttl_s: int, age_s: int, now_s: int, errors: bytes
) -> Entry:
    body_at = wire.question_end(octets)
    if body_at < 0 or octets[2] & 0x82 != 0x80 or octets[4:6] != b"\0\1":
        raise DamagedError("no whole response to one question")
    canonical = octets[wire.HEADER_OCTETS : body_at]
    qname, tail = canonical[:-4], canonical[-4:]
    if qname != qname.lower() or tail[2:] != wire.CLASS_IN.to_bytes(2, "big"):
        raise DamagedError("a question that no cache has")
    response = parse_response(octets, body_at)
    if response.rcode not in _RCODES or response.ttl_s <= 0 or response.target:
        raise DamagedError("a response that no cache keeps")
    key = canonical.lower()
    entry = Entry(view, key, tail)
    entry.head = response.head
    entry.body = response.body
    entry.ttl_offsets = response.ttl_offsets
    entry.errors = errors
    entry.odd = odd_of(key, tail, response.rcode, errors)
    entry.aged_at = now_s
    left_s = min(ttl_s, response.ttl_s) - age_s
    if age_s >= 0 and left_s > 0:
        entry.body = aged(entry.body, entry.ttl_offsets, lambda ttl: ttl - age_s)
        entry.lifetime_s = left_s
        entry.expires_at = now_s + left_s
    return entry


def pieces_in(file: IO[str]) -> Iterator[tuple[list[int], list[str]]]:
    """Yield the lines of a dump, so many at once, with their numbers in *file*.

    Raises:
        DamagedError: it is none, or of another version.
    """
    try:
        head = plain_in(file.readline(MAX_LINE))
    except DamagedError:
        head = {}
    if head.get("dnsfront") != HEAD["dnsfront"]:
        raise DamagedError("got no dump of a cache, want one")
    if head.get("version") != HEAD["version"]:
        found = json.dumps(head.get("version"))[:40]
        raise DamagedError(f"got version {found}, want {HEAD['version']}")
    numbers: list[int] = []
    lines: list[str] = []
    size = 0
    number = 1
    while line := file.readline():
        number += 1
        text = line.rstrip("\n")[:MAX_LINE]
        if len(lines) == MAX_LINES or size + len(text) > _CHARACTERS:
            yield numbers, lines
            numbers, lines, size = [], [], 0
        if text.strip():
            numbers.append(number)
            lines.append(text)
            size += len(text)
    if lines:
        yield numbers, lines
