"""The words of an entry of master-file text: names, spans of time, and the rest."""

from __future__ import annotations

import re
from typing import Final

import dns.name
import dns.tokenizer

from dnsfront.dns.names import MAX_QNAME_OCTETS, labels, name_from_text
from dnsfront.errors import WireError

#: RFC 2181, 8.
MAX_TTL_S: Final = 0x7FFFFFFF

#: A span of time.
DURATION: Final = re.compile(r"(?:[0-9]+[wdhms])+|[0-9]+", re.IGNORECASE | re.ASCII)
_DURATION_PART: Final = re.compile(r"([0-9]+)([wdhms]?)", re.IGNORECASE | re.ASCII)
_UNIT_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Tokens(dns.tokenizer.Tokenizer):
    """The words of one entry; names are ours, and absolute."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.seen: list[dns.tokenizer.Token] = []
        self.origin = b"\0"

    def get(
        self,
        want_leading: bool = False,  # noqa: FBT001, FBT002 - its signature
        want_comment: bool = False,  # noqa: FBT001, FBT002
    ) -> dns.tokenizer.Token:
        """Return the next token, and remember it for messages."""
        token = super().get(want_leading, want_comment)
        self.seen.append(token)
        return token

    def as_name(
        self,
        token: dns.tokenizer.Token,
        origin: dns.name.Name | None = None,
        relativize: bool = False,  # noqa: FBT001, FBT002
        relativize_to: dns.name.Name | None = None,
    ) -> dns.name.Name:
        """Return the name that *token* spells; *origin* is that of this entry."""
        # dnspython takes what is not ASCII through IDNA, and keeps the case.
        del origin, relativize, relativize_to
        if not token.is_identifier():
            raise ValueError("want it without quotes")
        return dns.name.Name((*labels(name_in(token.value, self.origin)), b""))


def name_in(text: str, origin: bytes) -> bytes:
    """Return the wire form of the name that *text* means, in its case.

    Raises:
        ValueError: not a name, or too long with *origin* behind it.
    """
    if text == "@":
        return origin
    try:
        name = name_from_text(text)
    except WireError as exc:
        raise ValueError(str(exc)) from exc
    if _is_absolute(text):
        return name
    name = name[:-1] + origin
    if len(name) > MAX_QNAME_OCTETS:
        raise ValueError(
            f"{text!r} has {len(name)} octets with the origin behind it, "
            f"want at most {MAX_QNAME_OCTETS}"
        )
    return name


def _is_absolute(text: str) -> bool:
    """Tell whether *text* ends in a dot that no backslash takes the meaning from."""
    if not text.endswith("."):
        return False
    stem = text[:-1]
    return (len(stem) - len(stem.rstrip("\\"))) % 2 == 0


def seconds_in(token: dns.tokenizer.Token) -> int:
    """Return a TTL or another span of time; units as in ``1h30m`` are understood.

    Raises:
        ValueError: not a span, or more than 31 bits.
    """
    text = token.value
    if not token.is_identifier() or not DURATION.fullmatch(text):
        raise ValueError(f"got {text!r}, want seconds, or a span such as 1h30m")
    seconds = sum(
        int(number[:12]) * _UNIT_S[unit.lower()]
        for number, unit in _DURATION_PART.findall(text)
    )
    if seconds > MAX_TTL_S:
        raise ValueError(f"got {text!r}, want at most {MAX_TTL_S} s")
    return seconds
