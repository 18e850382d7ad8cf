"""Names in wire form: their labels, their text, and which of them are above which."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from dnsfront.errors import WireError

MAX_QNAME_OCTETS: Final = 255

_ESCAPE: Final = re.compile(rb"\\(\d{3}|\D)")


def labels(name: bytes) -> Iterator[bytes]:
    """Yield the labels of *name*, the first one first and without the root's."""
    at = 0
    while name[at]:
        end = at + 1 + name[at]
        yield name[at + 1 : end]
        at = end


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


def qname_from_text(text: str) -> bytes:
    """Return the lower-case wire form of a name as text; see :func:`name_from_text`."""
    return name_from_text(text).lower()


def name_from_text(text: str) -> bytes:
    r"""Return the wire form, root label included, of a name as text, in its case.

    ``\.`` and ``\DDD`` are understood (RFC 1035, 5.1); other characters must be ASCII.

    Raises:
        WireError: an empty label, a label over 63 octets or a name over 255.
    """
    if text == ".":
        return b"\0"
    try:
        octets = text.encode("ascii")
    except UnicodeEncodeError as exc:
        raise WireError(
            f"{text!r} is not ASCII; write an internationalised name in its xn-- form"
        ) from exc
    parts = _split_labels(octets)
    if parts[-1] == b"" and len(parts) > 1:
        parts.pop()
    wire = bytearray()
    for label in parts:
        if not 1 <= len(label) <= 63:
            raise WireError(
                f"{text!r}: got a label of {len(label)} octets, want 1 to 63"
            )
        wire.append(len(label))
        wire += label
    wire.append(0)
    if len(wire) > MAX_QNAME_OCTETS:
        raise WireError(f"{text!r}: got {len(wire)} octets, want at most 255")
    return bytes(wire)


def _split_labels(octets: bytes) -> list[bytes]:
    parts = [bytearray()]
    at = 0
    while at < len(octets):
        escape = _ESCAPE.match(octets, at)
        if escape is not None:
            value = escape[1]
            number = int(value) if len(value) == 3 else value[0]
            if number > 255:
                raise WireError(f"got the escape \\{number}, want at most \\255")
            parts[-1].append(number)
            at = escape.end()
            continue
        if octets[at] == ord("\\"):
            raise WireError("want three digits or one other character behind a \\")
        if octets[at] == ord("."):
            parts.append(bytearray())
        else:
            parts[-1].append(octets[at])
        at += 1
    return [bytes(part) for part in parts]


def qname_to_text(qname: bytes) -> str:
    r"""Return a wire-form name as people write it, without the final dot.

    What is not a letter, digit, hyphen, underscore, slash or asterisk becomes ``\DDD``.
    """
    texts = ("".join(map(_character, label)) for label in labels(qname))
    return ".".join(texts) or "."


def _character(octet: int) -> str:
    character = chr(octet)
    if octet < 128 and (character.isalnum() or character in "-_/*"):
        return character
    return f"\\{octet:03d}"
