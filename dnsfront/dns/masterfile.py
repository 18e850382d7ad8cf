r"""Master-file text (RFC 1035, 5) to entries, each with the line it stands on.

dnslib brings a zone parser, but it loses lines, takes a type only in upper case and a
TTL only before the class, reads ``\DDD`` as octal and ``@`` in data as a label, and
cannot tell a quoted parenthesis from one that groups. So the text is taken apart here,
and dnslib sees one record's fields at a time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from dnsfront.dns.wire import MAX_QNAME_OCTETS, qname_from_text
from dnsfront.errors import WireError, ZoneError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: RFC 2181, 8.
_MAX_TTL_S: Final = 0x7FFFFFFF

_LEXEME: Final = re.compile(
    r"""
      (?P<newline> \n )
    | (?P<blank>   [ \t\r\f\v]+ )
    | (?P<comment> ;[^\n]* )
    | (?P<group>   [()] )
    | " (?P<quoted> (?: [^"\\\n] | \\. )* ) "
    | (?P<bare>    (?: [^\s;()"\\] | \\. )+ )
    """,
    re.VERBOSE | re.ASCII,
)
_ESCAPE: Final = re.compile(rb"\\(\d{3}|.)", re.DOTALL)
_DURATION: Final = re.compile(r"(?:[0-9]+[wdhms])+|[0-9]+", re.IGNORECASE)
_DURATION_PART: Final = re.compile(r"([0-9]+)([wdhms]?)", re.IGNORECASE)
_UNIT_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_CLASSES: Final = frozenset({"IN", "CH", "HS", "CS"})


@dataclass(frozen=True, slots=True)
class Token:
    """One word of an entry, its escapes still in it."""

    text: str
    is_quoted: bool

    def to_octets(self) -> bytes:
        """Return the octets that the token means; what is not ASCII counts as UTF-8.

        Raises:
            ValueError: an escape over 255.
        """
        octets = self.text.encode("utf-8", "surrogateescape")
        return _ESCAPE.sub(_unescaped, octets)

    def to_name(self, origin: bytes) -> bytes:
        """Return the lower-case wire form of the name that the token means.

        Raises:
            ValueError: not a name, or too long with *origin* behind it.
        """
        if self.text == "@" and not self.is_quoted:
            return origin
        try:
            name = qname_from_text(self.text)
        except WireError as exc:
            raise ValueError(str(exc)) from exc
        if _is_absolute(self.text):
            return name
        name = name[:-1] + origin
        if len(name) > MAX_QNAME_OCTETS:
            raise ValueError(
                f"{self.text!r} has {len(name)} octets with the origin behind it, "
                f"want at most {MAX_QNAME_OCTETS}"
            )
        return name

    def to_seconds(self) -> int:
        """Return a TTL or another span of time; units as in ``1h30m`` are understood.

        Raises:
            ValueError: not a span, or more than 31 bits.
        """
        if self.is_quoted or not _DURATION.fullmatch(self.text):
            raise ValueError(
                f"got {self.text!r}, want seconds, or a span such as 1h30m"
            )
        seconds = sum(
            int(number) * _UNIT_S[unit.lower()]
            for number, unit in _DURATION_PART.findall(self.text)
        )
        if seconds > _MAX_TTL_S:
            raise ValueError(f"got {self.text!r}, want at most {_MAX_TTL_S} s")
        return seconds


@dataclass(frozen=True, slots=True)
class Entry:
    """One record as it is written: *rdata* is not interpreted yet.

    *rtype* is upper case; names in *rdata* are relative to *origin*.
    """

    line: int
    owner: bytes
    ttl_s: int
    rtype: str
    rdata: tuple[Token, ...]
    origin: bytes


@dataclass(slots=True)
class _Line:
    """What stands between two line ends that count, parentheses resolved."""

    number: int
    is_indented: bool
    tokens: list[Token] = field(default_factory=list)


def read_entries(origin: bytes, text: str, path: str) -> Iterator[Entry]:
    """Yield the records of *text* in their order; *path* is for messages only.

    Raises:
        ZoneError: with path and line, while iterating.
    """
    reader = _Reader(origin)
    for line in _logical_lines(text, path):
        try:
            entry = reader.read(line)
        except ValueError as exc:
            raise ZoneError(f"{path}:{line.number}: {exc}") from exc
        if entry is not None:
            yield entry


class _Reader:
    """What an entry takes over from the lines above it."""

    def __init__(self, origin: bytes) -> None:
        self._origin = origin
        self._owner: bytes | None = None
        self._default_ttl_s: int | None = None
        self._last_ttl_s: int | None = None

    def read(self, line: _Line) -> Entry | None:
        """Return the record of *line*, or None for a directive.

        Raises:
            ValueError: what is wrong with the line.
        """
        tokens = iter(line.tokens)
        if not line.is_indented:
            first = next(tokens)
            if first.text.startswith("$") and not first.is_quoted:
                self._directive(first.text.upper(), list(tokens))
                return None
            self._owner = first.to_name(self._origin)
        if self._owner is None:
            raise ValueError("the record has no owner, and there is none above it")
        ttl_s: int | None = None
        has_class = False
        token = next(tokens, None)
        while token is not None:
            word = token.text.upper()
            if ttl_s is None and _DURATION.fullmatch(word):
                self._last_ttl_s = ttl_s = token.to_seconds()
            elif not has_class and word in _CLASSES:
                has_class = True
                if word != "IN":
                    raise ValueError(f"got class {word}, want IN")
            else:
                break
            token = next(tokens, None)
        if token is None:
            raise ValueError("the record has no type")
        return Entry(
            line=line.number,
            owner=self._owner,
            ttl_s=self._ttl_s() if ttl_s is None else ttl_s,
            rtype=token.text.upper(),
            rdata=tuple(tokens),
            origin=self._origin,
        )

    def _directive(self, name: str, arguments: list[Token]) -> None:
        if name not in {"$ORIGIN", "$TTL"}:
            raise ValueError(f"{name} is not supported; write its records out")
        if len(arguments) != 1:
            raise ValueError(f"got {len(arguments)} values after {name}, want one")
        if name == "$ORIGIN":
            self._origin = arguments[0].to_name(self._origin)
        else:
            self._default_ttl_s = arguments[0].to_seconds()

    def _ttl_s(self) -> int:
        """Return the TTL of a record without one (RFC 2308, 4; RFC 1035, 5.1)."""
        for ttl_s in (self._default_ttl_s, self._last_ttl_s):
            if ttl_s is not None:
                return ttl_s
        raise ValueError("the record has no TTL, and there is no $TTL above it")


def _logical_lines(text: str, path: str) -> Iterator[_Line]:
    """Yield the lines that hold something; one may span several between parentheses."""
    line: _Line | None = None
    depth = 0
    for number, kind, value in _lexemes(text, path):
        if line is None:
            line = _Line(number, is_indented=kind == "blank")
        if kind == "group":
            depth += 1 if value == "(" else -1
            if depth < 0:
                raise ZoneError(f"{path}:{number}: ')' closes nothing")
        elif kind in {"quoted", "bare"}:
            line.tokens.append(Token(value, kind == "quoted"))
        elif kind == "newline" and depth == 0:
            if line.tokens:
                yield line
            line = None
    if line is not None and depth:
        raise ZoneError(f"{path}:{line.number}: '(' is not closed")
    if line is not None and line.tokens:
        yield line


def _lexemes(text: str, path: str) -> Iterator[tuple[int, str, str]]:
    """Yield line number, kind and value of everything in *text*."""
    number, at = 1, 0
    while at < len(text):
        lexeme = _LEXEME.match(text, at)
        if lexeme is None:
            reason = (
                "the quoted text is not closed on its line"
                if text[at] == '"'
                else "nothing follows the backslash"
            )
            raise ZoneError(f"{path}:{number}: {reason}")
        at = lexeme.end()
        kind = lexeme.lastgroup or ""
        yield number, kind, lexeme[kind]
        number += kind == "newline"


def _unescaped(escape: re.Match[bytes]) -> bytes:
    value = escape[1]
    if len(value) == 1:
        return value
    if int(value) > 0xFF:
        raise ValueError(f"got the escape \\{value.decode()}, want at most \\255")
    return bytes([int(value)])


def _is_absolute(text: str) -> bool:
    """Tell whether *text* ends in a dot that no backslash takes the meaning from."""
    if not text.endswith("."):
        return False
    stem = text[:-1]
    return (len(stem) - len(stem.rstrip("\\"))) % 2 == 0
