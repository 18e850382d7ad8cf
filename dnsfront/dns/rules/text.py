"""Lists of names as people write them: hosts, plain names, adblock's, and RPZ.

Each line is read by itself, so a list may mix the first three. One that has a SOA
record, or `$TTL` or `$ORIGIN`, is a response policy zone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Final

from dnsfront.dns.rules.names import (
    AS_RULED,
    DROP,
    NODATA,
    NXDOMAIN,
    PASS,
    NameListWriter,
)
from dnsfront.errors import ListError

#: Lines that are left out, and told of one by one; others are counted.
MAX_TOLD: Final = 5
#: Lines that are read in one go.
_AT_ONCE: Final = 256
#: Lines in which a response policy zone has shown what it is.
_HEAD_LINES: Final = 50
_MAX_SHOWN: Final = 60

_NAME: Final = re.compile(rb"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?")
_ADDRESS: Final = re.compile(rb"[0-9.]*\.[0-9]+|[0-9a-f:]*:[0-9a-f:.%a-z0-9]*")
_ADBLOCK: Final = re.compile(rb"(@@)?\|\|([a-z0-9_.*-]+)\^?(?:\$important)?")
_POLICY_ZONE: Final = re.compile(rb"^\s*\$(?:ttl|origin)\b|\ssoa\s", re.IGNORECASE)
#: What every hosts file begins with: names of the host itself.
_OF_THE_HOST: Final = frozenset(
    (
        b"localhost",
        b"localhost.localdomain",
        b"local",
        b"broadcasthost",
        b"0.0.0.0",
        b"ip6-localhost",
        b"ip6-loopback",
        b"ip6-localnet",
        b"ip6-mcastprefix",
        b"ip6-allnodes",
        b"ip6-allrouters",
        b"ip6-allhosts",
    )
)
#: What a CNAME in a response policy zone leads to, and what that stands for.
_POLICIES: Final = {
    b".": NXDOMAIN,
    b"*.": NODATA,
    b"rpz-passthru.": PASS,
    b"rpz-drop.": DROP,
}
#: Triggers that are not the name asked for.
_OTHER_TRIGGERS: Final = (b".rpz-ip", b".rpz-nsip", b".rpz-nsdname", b".rpz-client-ip")
_LENGTHS: Final = tuple(bytes((length,)) for length in range(64))


@dataclass
class ReadList:
    """The names that were read, and the lines left out, of which the first are told."""

    writer: NameListWriter
    left_out: int = 0
    told: list[str] = field(default_factory=list)

    def leave_out(self, number: int, line: bytes, reason: str) -> None:
        """Leave the line with this *number* out, for a *reason*."""
        self.left_out += 1
        if len(self.told) < MAX_TOLD:
            text = line.decode("ascii", "backslashreplace")
            shown = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
            self.told.append(f"line {number}: got {shown!r}, {reason}")


def read_list(octets: bytes, give_way: Callable[[], object] = bool) -> ReadList:
    """Return the names in the text *octets*; *give_way* is called now and then.

    Raises:
        ListError: it has none, though it has lines.
    """
    read = ReadList(NameListWriter(octets.count(b"\n") + 1))
    file = io.BytesIO(octets)
    is_policy = any(map(_POLICY_ZONE.search, islice(file, _HEAD_LINES)))
    file.seek(0)
    if is_policy:
        _read_policy(_give_way_between(file, give_way), read)
    else:
        _read_lines(_give_way_between(file, give_way), read)
    if read.left_out and not read.writer.names:
        raise ListError(f"it has no names: {read.told[0]}")
    return read


def _give_way_between(
    file: io.BytesIO, give_way: Callable[[], object]
) -> Iterator[bytes]:
    while lines := list(islice(file, _AT_ONCE)):
        yield from lines
        give_way()


def _wire(name: bytes) -> bytes:
    """Return *name*, of the letters of _NAME, in wire form without the root label.

    Raises:
        ListError: a label of it, or all of it, is too long.
    """
    parts = name.split(b".")
    try:
        wire = b"".join([_LENGTHS[len(part)] + part for part in parts])
    except IndexError as exc:
        raise ListError("want labels of at most 63 octets") from exc
    if len(wire) > 254:
        raise ListError("want at most 255 octets")
    return wire


def _read_lines(lines: Iterator[bytes], read: ReadList) -> None:
    add, matches = read.writer.add, _NAME.fullmatch
    for number, line in enumerate(lines, 1):
        text = line.strip().lower()
        try:
            if matches(text):
                if text.startswith(b"*."):
                    # Who writes this means the name as well, in a list of names.
                    text = text[2:]
                if text in _OF_THE_HOST or _ADDRESS.fullmatch(text):
                    raise ListError("want a name")
                add(_wire(text.rstrip(b".")), AS_RULED, AS_RULED)
            elif text and text[0] not in b"#!;[":
                _read_other(text, read)
        except ListError as exc:
            read.leave_out(number, line.strip(), str(exc))


def _read_other(text: bytes, read: ReadList) -> None:
    """ReadList a line that is not just a name, nor a comment.

    Raises:
        ListError: it says nothing of a name.
    """
    if text.startswith((b"||", b"@@||")):
        found = _ADBLOCK.fullmatch(text.partition(b" ")[0])
        if found is None or not _NAME.fullmatch(found[2]):
            raise ListError("want ||name^, for other rules are not about names")
        action = PASS if found[1] else AS_RULED
        name = _wire(found[2].removeprefix(b"*.").rstrip(b"."))
        read.writer.add(name, action, action)
        return
    words = text.split()
    first, *names = takewhile(lambda word: not word.startswith(b"#"), words)
    if not names and _NAME.fullmatch(first) and not _ADDRESS.fullmatch(first):
        names = [first]
    elif not _ADDRESS.fullmatch(first) or not names:
        raise ListError("want a name, ||name^, or an address and names")
    for name in names:
        if name in _OF_THE_HOST:
            continue
        if not _NAME.fullmatch(name):
            raise ListError("want a name behind the address")
        read.writer.add(_wire(name.rstrip(b".")), AS_RULED, AS_RULED)


def _read_policy(lines: Iterator[bytes], read: ReadList) -> None:
    """ReadList a response policy zone: records of one line each, but for the SOA."""
    origin, depth, owner = b"", 0, b""
    for number, line in enumerate(lines, 1):
        text = line.partition(b";")[0].rstrip().lower()
        is_within = depth > 0
        depth += text.count(b"(") - text.count(b")")
        if is_within or not text.strip():
            continue
        words = text.split()
        if words[0] == b"$origin" and len(words) > 1:
            origin = words[1].rstrip(b".")
        if words[0].startswith(b"$"):
            continue
        if not text[:1].isspace():
            owner = words.pop(0)
        data = _without_ttl(words)
        try:
            if data[:1] == [b"soa"] and owner.endswith(b"."):
                origin = origin or owner.rstrip(b".")
            elif data[:1] not in ([b"soa"], [b"ns"]):
                _add_policy(owner, origin, data, read)
        except ListError as exc:
            read.leave_out(number, line.strip(), str(exc))


def _without_ttl(words: list[bytes]) -> list[bytes]:
    """Return type and data of a record, without its TTL and its class."""
    at = 0
    while at < len(words) and (words[at] == b"in" or words[at][:1].isdigit()):
        at += 1
    return words[at:]


def _add_policy(owner: bytes, origin: bytes, data: list[bytes], read: ReadList) -> None:
    if owner.endswith(b"."):
        end = b"." + origin + b"."
        if not owner.endswith(end):
            zone = origin.decode("ascii", "backslashreplace")
            raise ListError(f"want a name in the zone {zone}")
        owner = owner.removesuffix(end)
    if owner.endswith(_OTHER_TRIGGERS):
        raise ListError("want a name that is asked for, other triggers do nothing")
    is_below = owner.startswith(b"*.")
    name = owner.removeprefix(b"*.")
    if not _NAME.fullmatch(name):
        raise ListError("want a name")
    if data[:1] != [b"cname"] or len(data) != 2 or data[1] not in _POLICIES:
        raise ListError("want CNAME to . or *. or rpz-passthru. or rpz-drop.")
    action = _POLICIES[data[1]]
    if is_below:
        read.writer.add(_wire(name), 0, action)
    else:
        read.writer.add(_wire(name), action, 0)
